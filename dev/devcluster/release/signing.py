"""Signatures in the form that cosign reads, and attestations.

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md. An image's signature is an image of its
own beside it, with a tag that is made of the digest: ``sha256-....sig`` over a small document that names the
digest, ``sha256-....att`` with attestations, each in an envelope of DSSE
(https://github.com/secure-systems-lab/dsse). ECDSA on P-256 over SHA-256, as cosign's own keys.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from devcluster.errors import ReleaseError
from devcluster.release.registry import OCI_MANIFEST, Registry, sha256

Json = dict[str, Any]

_SIMPLE: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
_DSSE: Final = "application/vnd.dsse.envelope.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_SIGNATURE: Final = "dev.cosignproject.cosign/signature"
IN_TOTO: Final = "application/vnd.in-toto+json"
_MAKE_KEY: Final = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"


class Signer:
    """A private key.

    Args:
        file: The key in PEM; ECDSA on P-256.
        password: Of an encrypted key.

    Raises:
        ReleaseError: The file cannot be read, or holds another kind of key.

    """

    def __init__(self, file: Path, password: str | None = None) -> None:
        try:
            key = load_pem_private_key(file.read_bytes(), password.encode() if password else None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ReleaseError(
                f"SIGN_KEY={file} is no private key that can be read: {error}. One is made by `{_MAKE_KEY}`;"
                " the password of an encrypted one is read from SIGN_PASSWORD"
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ReleaseError(f"SIGN_KEY={file} is no key for ECDSA on P-256: make one by `{_MAKE_KEY}`")
        self._key = key

    @property
    def public_key(self) -> str:
        """What verifies its signatures, in PEM."""
        return self._key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, content: bytes) -> str:
        """Return the signature of a content, in base64."""
        return base64.b64encode(self._key.sign(content, ec.ECDSA(SHA256()))).decode()

    def envelope(self, statement: Json) -> bytes:
        """Return an in-toto statement in an envelope with its signature."""
        payload = json.dumps(statement, sort_keys=True).encode()
        signature = {"keyid": "", "sig": self.sign(pre_authentication(IN_TOTO, payload))}
        document = {
            "payloadType": IN_TOTO,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [signature],
        }
        return json.dumps(document, sort_keys=True).encode()


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return what an envelope's signature is over: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def simple_signing(reference: str, digest: str) -> bytes:
    """Return the document that an image's signature is over.

    Args:
        reference: Registry and repository of the image.
        digest: Digest of its manifest.

    """
    critical = {
        "identity": {"docker-reference": reference},
        "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }
    return json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()


def attach_signature(registry: Registry, repository: str, digest: str, signer: Signer) -> None:
    """Sign what has a digest in a repository."""
    payload = simple_signing(f"{registry.host}/{repository}", digest)
    _attach(
        registry, repository, _tag(digest, "sig"), [(_SIMPLE, payload, {_SIGNATURE: signer.sign(payload)})]
    )


def attach_attestations(
    registry: Registry, repository: str, digest: str, statements: Sequence[Json], signer: Signer
) -> None:
    """Attach signed statements about what has a digest in a repository."""
    layers = [
        (_DSSE, signer.envelope(statement), {_SIGNATURE: "", "predicateType": statement["predicateType"]})
        for statement in statements
    ]
    _attach(registry, repository, _tag(digest, "att"), layers)


def _tag(digest: str, kind: str) -> str:
    return f"{digest.replace(':', '-')}.{kind}"


def _attach(
    registry: Registry, repository: str, tag: str, layers: Sequence[tuple[str, bytes, Mapping[str, str]]]
) -> None:
    described = [
        {
            "mediaType": media_type,
            "size": len(content),
            "digest": registry.push_bytes(repository, content),
            "annotations": dict(annotations),
        }
        for media_type, content, annotations in layers
    ]
    # The configuration of an image without files, which registries take that know images only.
    config = {
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in described]},
    }
    written = json.dumps(config, sort_keys=True).encode()
    registry.push_bytes(repository, written)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(written), "digest": sha256(written)},
        "layers": described,
    }
    registry.push_manifest(repository, tag, OCI_MANIFEST, json.dumps(manifest, sort_keys=True).encode())
