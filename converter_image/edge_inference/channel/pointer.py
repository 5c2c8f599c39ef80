"""Reads a channel's pointer: an envelope of DSSE, signed with an elliptic-curve key."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ..errors import ChannelUntrustedError

_TYPE: Final = "application/vnd.edgeml.channel.v1+json"
_HASHES: Final[dict[str, type[HashAlgorithm]]] = {
    "secp256r1": SHA256,
    "secp384r1": SHA384,
    "secp521r1": SHA512,
}
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_PATH: Final = re.compile(r"files/[0-9a-f]{64}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,200}")
"""A name of one's own beside the pointer: it leads nowhere else."""


@dataclass(frozen=True, slots=True)
class PointedFile:
    """A file beside the pointer."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Pointer:
    """The file that the devices of a channel are to run."""

    channel: str
    sequence: int
    """Grows with each move, also with one back to an earlier file."""
    model: PointedFile
    baseline: PointedFile | None


class Key:
    """The public key of whoever may say what a device runs.

    Args:
        pem: A key on P-256, P-384 or P-521, in PEM.

    Raises:
        ValueError: It is none.

    """

    def __init__(self, pem: bytes) -> None:
        words = "the public key is no elliptic-curve key (P-256, P-384 or P-521) in PEM format"
        try:
            key = load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError(words) from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
            raise ValueError(words)
        self._key = key
        self._algorithm = ec.ECDSA(_HASHES[key.curve.name]())

    def open(self, envelope: bytes) -> bytes:
        """Return the payload of a pointer that this key has signed.

        Raises:
            ChannelUntrustedError: It is something else.

        """
        try:
            document = json.loads(envelope)
            kind, payload = document["payloadType"], base64.b64decode(document["payload"], validate=True)
            signatures = [base64.b64decode(each["sig"], validate=True) for each in document["signatures"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ChannelUntrustedError("what is there is no signed pointer") from error
        if kind != _TYPE:
            raise ChannelUntrustedError("what is there is signed, and is no pointer")
        signed = b"DSSEv1 %d %b %d %b" % (len(_TYPE), _TYPE.encode(), len(payload), payload)
        for signature in signatures:
            try:
                self._key.verify(signature, signed, self._algorithm)
            except InvalidSignature:
                continue
            return payload
        raise ChannelUntrustedError("the pointer is not signed with the channel's key")


def read_pointer(envelope: bytes, key: Key, channel: str) -> Pointer:
    """Return what a pointer says, once it is clear who says so.

    Raises:
        ChannelUntrustedError: It is not signed by ``key``, is another channel's, or cannot be read.

    """
    payload = key.open(envelope)
    try:
        document = json.loads(payload)
        pointer = Pointer(
            channel=str(document["channel"]),
            sequence=int(document["sequence"]),
            model=_file(document["model"]),
            baseline=None if document.get("baseline") is None else _file(document["baseline"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ChannelUntrustedError(f"the pointer cannot be read by this version: {error!r}") from error
    if pointer.channel != channel:
        raise ChannelUntrustedError(f"the pointer is of channel {pointer.channel[:200]!r}, not {channel!r}")
    return pointer


def _file(document: Any) -> PointedFile:
    path, sha256, size = document["path"], document["sha256"], int(document["sizeBytes"])
    if not _PATH.fullmatch(path) or not _SHA256.fullmatch(sha256) or size < 1:
        raise ValueError(f"file {path!r}")
    return PointedFile(path, sha256, size)
