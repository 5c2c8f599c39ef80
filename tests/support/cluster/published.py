"""A release of this tree in a registry of this machine, and what strangers can find out about it there."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, Self

import httpx
from rich.console import Console

from devcluster.cache import REPOSITORY
from devcluster.release.command import Asked, release

Json = dict[str, Any]

ONNX: Final = "converter.engines.ONNX"
RUNTIME: Final = "converter.runtimeImage"
IMAGES: Final = ("operator", "converter", "runtime", "onnx-verify")
_OPENSSL: Final = shutil.which("openssl") or "openssl"
_INDEX: Final = "application/vnd.oci.image.index.v1+json"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"


class Published:
    """A release.

    Args:
        host: The registry.
        folder: Where the release's files are, and the private key.
        summary: What the release says of itself.
        commit: What git said when it began.

    """

    def __init__(self, host: str, folder: Path, summary: Json, commit: str) -> None:
        self.host = host
        self.summary = summary
        self.commit = commit
        self._folder = folder

    @classmethod
    def make(cls, host: str, folder: Path) -> Self:
        """Release into ``host/edge``, signed with a new key."""
        key = folder / "private.pem"
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        subprocess.run([_OPENSSL, "genpkey", *curve, "-out", key], check=True, capture_output=True)
        asked = Asked(f"{host}/edge", folder / "out", images=IMAGES, sign_key=key, untagged=True)
        command = [shutil.which("git") or "git", "rev-parse", "HEAD"]
        head = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
        made = release(asked, Console(stderr=True), {"HOME": str(folder)})
        return cls(host, folder, made, head.stdout.strip())

    def reference(self, value: str) -> str:
        """The image that a value of the chart names."""
        (found,) = (each["reference"] for each in self.summary["images"] if each["value"] == value)
        return str(found)

    def helm_arguments(self) -> tuple[str, ...]:
        """What Helm is given to find the chart."""
        chart = self.summary["chart"]
        return (f"oci://{chart['repository']}", "--version", chart["version"], "--plain-http")

    def file(self, name: str) -> str:
        """A file of the release's folder."""
        return (self._folder / "out" / name).read_text()

    # As a stranger asks, by HTTP and openssl alone.

    def get(self, repository: str, kind: str, name: str) -> httpx.Response:
        """A manifest or a blob."""
        url = f"http://{self.host}/v2/{repository}/{kind}/{name}"
        answer = httpx.get(url, headers={"Accept": f"{_INDEX}, {_MANIFEST}"}, trust_env=False)
        answer.raise_for_status()
        return answer

    def signed_digest(self, repository: str, digest: str) -> str:
        """The digest that the signature of an image is about, once openssl has verified that."""
        tag = digest.replace(":", "-")
        (layer,) = self.get(repository, "manifests", f"{tag}.sig").json()["layers"]
        payload = self.get(repository, "blobs", layer["digest"]).content
        self._verify(payload, layer["annotations"]["dev.cosignproject.cosign/signature"])
        return str(json.loads(payload)["critical"]["image"]["docker-manifest-digest"])

    def statements(self, repository: str, digest: str) -> dict[str, Json]:
        """Statements about an image by their types, once openssl has verified each."""
        found = {}
        tag = digest.replace(":", "-")
        for layer in self.get(repository, "manifests", f"{tag}.att").json()["layers"]:
            envelope = self.get(repository, "blobs", layer["digest"]).json()
            payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
            (signature,) = envelope["signatures"]
            self._verify(f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload, signature["sig"])
            said: Json = json.loads(payload)
            (subject,) = said["subject"]
            assert subject["digest"] == {"sha256": digest.removeprefix("sha256:")}
            found[said["predicateType"]] = said["predicate"]
        return found

    def _verify(self, content: bytes, signature: str) -> None:
        signed, proof = self._folder / "signed", self._folder / "proof"
        signed.write_bytes(content)
        proof.write_bytes(base64.b64decode(signature))
        key = self._folder / "out" / "cosign.pub"
        subprocess.run(
            [_OPENSSL, "dgst", "-sha256", "-verify", key, "-signature", proof, signed],
            check=True,
            capture_output=True,
        )
