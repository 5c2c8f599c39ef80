"""The mark: the time before which everything has been told, kept in a Lease of the operator's own.

A Lease, since the operator writes one for its election already: no other right is needed, but for its name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from modelconversion_operator.deciding.views import Body, parse_time
from modelconversion_operator.errors import ConflictError, MalformedError, NotFoundError

EVENTS_SUFFIX: Final = "-told"
TRACES_SUFFIX: Final = "-traced"
"""What its name has beside that of the election's Lease: each sink has a mark of its own."""
_SECONDS: Final = 15.0


class LeaseApi(Protocol):
    """The requests. Every call may raise an ApiError."""

    async def get_lease(self, seconds: float) -> Body:
        """Read the lease."""

    async def create_lease(self, spec: Body, seconds: float) -> Body:
        """Create the lease."""

    async def patch_lease(self, resource_version: str, spec: Body, seconds: float) -> Body:
        """Change the lease, provided that it is still at ``resource_version``."""


class Mark:
    """The mark where it is kept.

    Args:
        lease: Requests about its Lease.
        permit: Gives the seconds that a write may take, or raises NotLeaderError.

    """

    def __init__(self, lease: LeaseApi, permit: Callable[[], float]) -> None:
        self._lease, self._permit = lease, permit
        self._version = ""

    async def read(self, now: datetime) -> datetime:
        """Return the mark; where there is none yet, what happened before ``now`` is not told.

        Raises:
            ApiError: It cannot be read or made.

        """
        try:
            return self._taken(await self._lease.get_lease(_SECONDS)) or now
        except NotFoundError:
            return self._taken(await self._lease.create_lease(_spec(now), self._permit())) or now

    async def write(self, mark: datetime) -> None:
        """Write the mark down.

        Raises:
            ApiError: It was not written: another replica leads, or the API server does not answer.

        """
        try:
            self._taken(await self._lease.patch_lease(self._version, _spec(mark), self._permit()))
        except ConflictError:
            self._taken(await self._lease.get_lease(_SECONDS))
            raise

    def _taken(self, body: Body) -> datetime | None:
        """Note the version of a Lease; gives the time in it."""
        try:
            self._version = str(body["metadata"]["resourceVersion"])
            text: Any = (body.get("spec") or {}).get("renewTime")
            return parse_time(str(text)) if text else None
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedError(f"the Lease of the mark cannot be read: {error}") from error


def _spec(mark: datetime) -> Body:
    return {"renewTime": mark.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
