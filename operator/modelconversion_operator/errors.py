"""Every exception that the operator raises.

OperatorError
├── SettingsError       a flag or an environment variable cannot be used
├── WatchError          the watches have ended
├── MalformedError      an object lacks what every object of an API server has
└── ApiError            the API server answered with an error
    ├── NotFoundError     404
    ├── ConflictError     409: the object exists, or changed meanwhile
    ├── RejectedError     400, 403, 422, or a webhook is down: the server will not have this object
    └── UnavailableError  429, 5xx, or no answer
        └── NotLeaderError  not sent: another replica leads, or may
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from modelconversion_api.text import printable

GONE: Final = 410
"""The server cannot say what happened since a version, or go on with a listing: it has to be listed again."""


class OperatorError(Exception):
    """Base of the operator's own exceptions."""


class SettingsError(OperatorError):
    """A setting cannot be used."""


class WatchError(OperatorError):
    """The watches have ended, and with them all news; the process ends, and a new one lists everything."""


class MalformedError(OperatorError):
    """An object lacks what every object of an API server has."""


class ApiError(OperatorError):
    """The API server answered with an error.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        message: The server's own words, on one line: a webhook, a quota's name or a proxy has a say in them.
        retry_after: Seconds that the server asks to wait before the next try; 0 where it does not.

    """

    def __init__(self, status: int, message: str, retry_after: float = 0.0) -> None:
        self.status = status
        self.message = printable(message)
        self.retry_after = retry_after
        super().__init__(f"{status}: {self.message}" if status else self.message)


class NotFoundError(ApiError):
    """There is no such object."""


class ConflictError(ApiError):
    """The object exists already, or changed since it was read."""


class RejectedError(ApiError):
    """The server refuses the object; 403 (a quota) and 500 (a webhook) may pass, 400 and 422 will not."""

    @property
    def is_permanent(self) -> bool:
        """Whether sending the same object again must fail again."""
        return self.status in (400, 422)


class UnavailableError(ApiError):
    """The server is overloaded, down or not reachable."""


class NotLeaderError(UnavailableError):
    """The request was not sent: another replica leads, or may do so by the time it arrives."""

    def __init__(self) -> None:
        super().__init__(0, "this replica does not lead")


def api_error(status: int, message: str, retry_after: float = 0.0) -> ApiError:
    """Make the exception that fits an HTTP status."""
    kind: type[ApiError] = UnavailableError
    if status == 404:
        kind = NotFoundError
    elif status == 409:
        kind = ConflictError
    elif status in (400, 403, 422):
        kind = RejectedError
    return kind(status, message, retry_after)


def error_of_status(status: Mapping[str, Any]) -> ApiError:
    """Make the exception that fits a Status, as a watch sends it in an ERROR event."""
    code, details = status.get("code"), status.get("details")
    seconds = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return api_error(
        code if isinstance(code, int) else 0,
        str(status.get("message") or status.get("reason") or "the watch ended with an error"),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
    )


def retry_after_seconds(headers: Mapping[str, str]) -> float:
    """Read the header Retry-After; 0 where there is none, or a date in it."""
    text = next((str(value) for name, value in headers.items() if name.lower() == "retry-after"), "")
    return float(text) if text.isdecimal() else 0.0
