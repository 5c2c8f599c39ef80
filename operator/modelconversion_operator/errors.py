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

from modelconversion_api.text import printable


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

    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = printable(message)
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


def api_error(status: int, message: str) -> ApiError:
    """Make the exception that fits an HTTP status."""
    if status == 404:
        return NotFoundError(status, message)
    if status == 409:
        return ConflictError(status, message)
    if status in (400, 403, 422):
        return RejectedError(status, message)
    return UnavailableError(status, message)
