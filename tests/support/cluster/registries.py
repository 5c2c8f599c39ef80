"""A real registry with a login, and what others than this converter push into it."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx

from devcluster.services.registry import LocalRegistry
from support.cluster.registry_front import Asked, RegistryFront, Said

Json = dict[str, Any]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
HTPASSWD = "someone:$2y$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC"
"""Of the password ``right``."""
LOGIN = ("someone", "right")


def with_login(folder: Path) -> LocalRegistry:
    """A registry that knows one user."""
    (folder / "htpasswd").write_text(f"{HTPASSWD}\n")
    auth = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    return LocalRegistry(folder / "state", {"auth": auth})


def docker_config(host: str, login: str = "someone:right") -> str:
    """What a Secret of kubectl create secret docker-registry holds."""
    return json.dumps({"auths": {host: {"auth": base64.b64encode(login.encode()).decode()}}})


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Pushes:
    """Puts blobs and manifests into a repository, as any client does."""

    def __init__(self, host: str, name: str) -> None:
        self.name = name
        self._url = f"http://{host}/v2/{name}"
        self._client = httpx.Client(auth=LOGIN, trust_env=False)

    def blob(self, content: bytes, media_type: str, **annotations: str) -> Json:
        """Push a blob; gives its descriptor."""
        begun = self._client.post(f"{self._url}/blobs/uploads/").raise_for_status()
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": sha256(content)})
        self._client.put(place, content=content).raise_for_status()
        found: Json = {"mediaType": media_type, "digest": sha256(content), "size": len(content)}
        names = {name.replace("_", "."): text for name, text in annotations.items()}
        return found | ({"annotations": names} if names else {})

    def manifest(self, *layers: Json, **changes: Any) -> str:
        """Push a manifest; gives its digest."""
        config = self.blob(b"{}", "application/vnd.oci.empty.v1+json")
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)}
        return self.put(json.dumps(body | changes).encode(), (body | changes)["mediaType"])

    def put(self, content: bytes, media_type: str, reference: str | None = None) -> str:
        """Push bytes as a manifest, under a tag or their digest, which is returned."""
        url = f"{self._url}/manifests/{reference or sha256(content)}"
        self._client.put(url, content=content, headers={"Content-Type": media_type}).raise_for_status()
        return sha256(content)


def gives_manifest(front: RegistryFront, content: bytes) -> str:
    """Has a front give bytes as a manifest that no registry takes; gives their digest."""
    digest = sha256(content)

    def stop(asked: Asked) -> Said | None:
        return Said(200, {"Content-Type": MANIFEST}, content) if asked.path.endswith(digest) else None

    front.stop = stop
    return digest
