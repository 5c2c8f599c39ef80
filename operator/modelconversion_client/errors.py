"""Every exception that the client raises.

ConversionClientError
├── AccessError            the kubeconfig cannot be used
├── UnreachableError       no answer from the API server
├── UnauthorizedError      401: the server does not know who asks
├── ForbiddenError         403: it knows, and does not allow it
├── NotFoundError          there is no such object
│   └── NotInstalledError  the cluster has no such kind of object: the CRDs are missing
├── ConflictError          409: it exists already, or changed meanwhile
├── RefusedError           400, 422, or an admission policy: the server will not have this object
├── ServerError            429, 5xx, or an answer that is none
│   ├── ExpiredError       410: the rest of a list can no longer be had
│   └── TooLargeError      the answer is larger than what is read
├── WaitTimeoutError       it did not come to an end in time
└── NotRetryableError      this conversion is not one that can be run again
"""

from __future__ import annotations

import json
from typing import Any

from modelconversion_api.text import printable, shortened

_MOST_WORDS = 2000


class ConversionClientError(Exception):
    """Base of the client's exceptions.

    Attributes:
        cause: What is wrong, on one line, without control characters.
        next_step: What to do about it.

    """

    def __init__(self, cause: str, next_step: str) -> None:
        self.cause = shortened(printable(cause), _MOST_WORDS)
        self.next_step = next_step
        super().__init__(f"{self.cause}: {next_step}")


class AccessError(ConversionClientError):
    """The kubeconfig cannot be used."""


class UnreachableError(ConversionClientError):
    """The API server does not answer."""


class UnauthorizedError(ConversionClientError):
    """The API server does not know who asks."""


class ForbiddenError(ConversionClientError):
    """Whoever asks may not do this."""


class NotFoundError(ConversionClientError):
    """There is no such object."""


class NotInstalledError(NotFoundError):
    """The cluster has no such kind of object."""


class ConflictError(ConversionClientError):
    """The object exists already, or changed meanwhile."""


class RefusedError(ConversionClientError):
    """The API server will not have this object; the cause has its words."""


class ServerError(ConversionClientError):
    """The API server cannot answer now."""


class ExpiredError(ServerError):
    """The rest of a list can no longer be had: it was begun too long ago."""


class TooLargeError(ServerError):
    """The answer is larger than what is read."""


class WaitTimeoutError(ConversionClientError):
    """It did not come to an end in time."""


class NotRetryableError(ConversionClientError):
    """The conversion is not one that can be run again."""


def refusal(status: int, body: bytes, what: str) -> ConversionClientError:
    """Return the error that an answer stands for.

    Args:
        status: HTTP status, 400 or more.
        body: The answer: a Status object in JSON, or a text that is none.
        what: What was asked for, e.g. ``get modelconversions gesture in namespace default``.

    """
    parsed = _status(body)
    words = str(parsed.get("message") or body.decode(errors="replace").strip() or f"HTTP {status}")
    if status == 404:
        return _missing(parsed, words, what)
    if status == 403 and "is forbidden: User" not in words:
        # A quota, a policy or a webhook: the user may ask, and is told no.
        return RefusedError(f"{what}: the API server refused it: {words}", "change what it speaks of")
    made: dict[int, tuple[type[ConversionClientError], str]] = {
        400: (RefusedError, "change what it speaks of"),
        401: (UnauthorizedError, "log in again: the kubeconfig's credentials are missing, wrong or too old"),
        403: (
            ForbiddenError,
            "ask for the right in this namespace: `kubectl auth can-i --list` shows those that you have",
        ),
        410: (ExpiredError, "begin the list again"),
        409: (ConflictError, "choose another name, or delete it first"),
        422: (
            RefusedError,
            "change what it speaks of: `kubectl explain modelconversion.spec` has every field",
        ),
    }
    kind, step = made.get(status, (ServerError, "try again in a moment"))
    verb = "the API server refused it: " if kind is RefusedError else ""
    return kind(f"{what}: {verb}{words}", step)


def _missing(parsed: dict[str, Any], words: str, what: str) -> ConversionClientError:
    details = parsed.get("details") or {}
    if details.get("kind") == "namespaces":
        return NotFoundError(
            f"{what}: {words}", "name another namespace: `kubectl get namespaces` lists them"
        )
    if not details.get("name"):
        # The server has no such path at all, and says so in plain text.
        return NotInstalledError(
            f"{what}: this cluster has no such kind of object",
            "install the operator with its CRDs (docs/INSTALL.md), or choose another --context",
        )
    return NotFoundError(
        f"{what}: {words}", "look for it in the other namespaces: `kubectl mconv list -A` shows them all"
    )


def _status(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}
