"""Whether a call is from who knows the secret: signatures over its body, or a token.

Two schemes sign, in the same way under other names: Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) and MLflow
(https://mlflow.org/docs/latest/ml/webhooks). Stores that cannot sign send ``Authorization: Bearer``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

TOLERANCE_SECONDS: Final = 300
"""How old, or how far ahead, a signed call may be: what Standard Webhooks recommends."""
_MOST_IDS: Final = 10_000
_SCHEMES: Final = (
    ("webhook-id", "webhook-timestamp", "webhook-signature"),
    ("x-mlflow-delivery-id", "x-mlflow-timestamp", "x-mlflow-signature"),
)
_ENCODED: Final = "whsec_"
"""What a secret of Standard Webhooks begins with whose rest is base64."""
_LONGEST_ID: Final = 256


@dataclass
class Replays:
    """The signed calls of the last minutes, of which each counts once."""

    _seen: OrderedDict[str, float] = field(default_factory=OrderedDict)

    def is_new(self, key: str, now: float) -> bool:
        """Whether a call has not been here, which it has been from now on; ``now`` is in seconds."""
        while self._seen and (
            len(self._seen) > _MOST_IDS or next(iter(self._seen.values())) < now - 2 * TOLERANCE_SECONDS
        ):
            self._seen.popitem(last=False)
        if key in self._seen:
            return False
        self._seen[key] = now
        return True


def problem_of(
    headers: Mapping[str, str], body: bytes, secret: str, now: float, replays: Replays
) -> str | None:
    """Say why a call is not believed; None for one that is.

    Args:
        headers: Its headers, whose names do not depend on case.
        body: The body, as it came.
        secret: What both sides know.
        now: Seconds since 1970.
        replays: The calls before it, to the same trigger.

    """
    if not secret:
        return "the Secret is empty"
    for names in _SCHEMES:
        identity, stamp, signatures = (headers.get(name, "") for name in names)
        if signatures:
            return _problem_of_signature(identity, stamp, signatures, body, secret, now, replays)
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return "it has neither a signature nor a bearer token"
    # A token says nothing of when: but all that a call can do twice is to have the source looked at twice.
    same = hmac.compare_digest(token.strip().encode(), secret.encode())
    return None if same else "its token is another one"


def _problem_of_signature(
    identity: str, stamp: str, signatures: str, body: bytes, secret: str, now: float, replays: Replays
) -> str | None:
    if not identity or len(identity) > _LONGEST_ID or not stamp.isascii() or not stamp.isdecimal():
        return "it is signed, and has no id or time"
    expected = hmac.new(_key(secret), f"{identity}.{stamp}.".encode() + body, hashlib.sha256).digest()
    given = [text.partition(",")[2] for text in signatures.split() if text.startswith("v1,")]
    # All are compared, so that the time tells nothing.
    if not any([hmac.compare_digest(base64.b64encode(expected), text.encode()) for text in given]):  # noqa: C419 - see above
        return "its signature is not by this secret, or of another body"
    if len(stamp) > len("9999999999") or abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return f"it was signed more than {TOLERANCE_SECONDS} s ago, or ahead"
    return None if replays.is_new(identity, now) else "it has been here before"


def _key(secret: str) -> bytes:
    if secret.startswith(_ENCODED):
        try:
            return base64.b64decode(secret.removeprefix(_ENCODED), validate=True)
        except binascii.Error:
            return secret.encode()
    return secret.encode()
