"""A signed document in one file: an envelope of DSSE, signed with an elliptic-curve key.

https://github.com/secure-systems-lab/dsse: the signature is over the payload and its type, so that no
document of another kind that the same key has signed can stand for it.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError

_HASHES: Final[dict[str, type[HashAlgorithm]]] = {
    "secp256r1": SHA256,
    "secp384r1": SHA384,
    "secp521r1": SHA512,
}
_MOST_SIGNATURES: Final = 16


class Sealer:
    """Signs documents, and knows its own.

    Args:
        private_key_pem: A key on P-256, P-384 or P-521, in PEM, without a password.

    Raises:
        ConverterError: SigningFailed. No message holds anything of the key.

    """

    def __init__(self, private_key_pem: str) -> None:
        words = "the signing key is not an elliptic-curve private key (P-256, P-384 or P-521) in PEM format"
        try:
            key = load_pem_private_key(private_key_pem.encode(), None)
        # What a loader of keys raises tells of the key: it goes no further, not even as a cause.
        except TypeError:
            raise _failed("the signing key has a password") from None
        except (ValueError, UnsupportedAlgorithm):
            raise _failed(words) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
            raise _failed(words)
        self._key = key
        self._algorithm = ec.ECDSA(_HASHES[key.curve.name]())

    def seal(self, payload: bytes, payload_type: str) -> bytes:
        """Return an envelope."""
        signature = self._key.sign(_signed(payload_type, payload), self._algorithm)
        document = {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [{"sig": base64.b64encode(signature).decode()}],
        }
        return json.dumps(document, sort_keys=True).encode()

    def opened(self, envelope: bytes, payload_type: str) -> bytes | None:
        """Return the payload of an envelope of this key; None for anything else."""
        return opened(envelope, payload_type, self._key.public_key())


def opened(envelope: bytes, payload_type: str, key: ec.EllipticCurvePublicKey) -> bytes | None:
    """Return the payload of an envelope that a key has signed; None for anything else.

    ``key`` is on P-256, P-384 or P-521.
    """
    try:
        document = json.loads(envelope)
        if document["payloadType"] != payload_type:
            return None
        payload = base64.b64decode(document["payload"], validate=True)
        signatures = [base64.b64decode(each["sig"], validate=True) for each in document["signatures"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    algorithm = ec.ECDSA(_HASHES[key.curve.name]())
    for signature in signatures[:_MOST_SIGNATURES]:
        try:
            key.verify(signature, _signed(payload_type, payload), algorithm)
        except InvalidSignature:
            continue
        return payload
    return None


def public_key(pem: str) -> ec.EllipticCurvePublicKey:
    """Read a public key on P-256, P-384 or P-521.

    Raises:
        ValueError: It is none.

    """
    try:
        key = load_pem_public_key(pem.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError(str(error)) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        raise ValueError("no elliptic-curve key (P-256, P-384 or P-521)")
    return key


def _signed(payload_type: str, payload: bytes) -> bytes:
    """Return what the signature is over: DSSE's pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _failed(cause: str) -> ConverterError:
    return ConverterError(FailureReason.SIGNING_FAILED, Stage.PUBLISH, cause)
