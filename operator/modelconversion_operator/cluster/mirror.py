"""What the cluster has of one kind of object, listed and then watched: our Jobs and their pods.

kopf watches the conversions. For Jobs and pods it would do much that is of no use here (a task, a memory and
a logger for each object), and it does not say two things that matter: when the first listing is complete,
before which nobody knows how many Jobs there are, and what went while a watch was broken.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic_core import from_json

from modelconversion_operator.clock import running_seconds
from modelconversion_operator.deciding.views import Body
from modelconversion_operator.errors import ApiError, MalformedError

logger = logging.getLogger(__name__)

WATCH_SECONDS: Final = 300
"""The server is asked to end each watch after so long, so that each has to be opened anew: a sign of life."""
_PAGE: Final = 500
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 8.0


class _OutdatedError(Exception):
    """The server cannot say what happened since the version that we know."""


class Item(Protocol):
    """What a view must have to be mirrored."""

    @property
    def uid(self) -> str:
        """UID of the object."""

    @property
    def owner_uid(self) -> str:
        """UID of the conversion that it belongs to."""


V = TypeVar("V", bound=Item)


@dataclass(frozen=True, slots=True)
class Shelf(Generic[V]):
    """Where the views of one kind are kept, and how they are read.

    Attributes:
        read: Makes a view of an object.
        put: Takes a view; gives whether anything changed that matters.
        drop: Forgets an object; gives whether it was known.
        retain: Forgets all but the UIDs given, unless newer than the version; gives their conversions' UIDs.

    """

    read: Callable[[Body], V]
    put: Callable[[V], bool]
    drop: Callable[[V], bool]
    retain: Callable[[set[str], str], set[str]]


class Server(Protocol):
    """The requests of a mirror."""

    async def request(self, method: str, path: str) -> Body:
        """Send one request."""

    def watch(self, path: str, silence_seconds: float) -> AsyncGenerator[bytes]:
        """Give the lines of a watch until it ends, or is silent for too long."""


class Mirror(Generic[V]):
    """Keeps a shelf in step with the API server.

    Args:
        server: The API server.
        path: Path of the objects.
        selector: Label selector, escaped for a query.
        shelf: Where the views go.
        wake: Called with the UID of each conversion of which something changed.
        silence_seconds: A watch that says nothing for so long is opened anew.
        clock: Seconds that only ever grow.

    """

    def __init__(
        self,
        server: Server,
        path: str,
        selector: str,
        shelf: Shelf[V],
        wake: Callable[[str], None],
        silence_seconds: float,
        clock: Callable[[], float] = running_seconds,
    ) -> None:
        self.path = path
        self._query = f"{path}?labelSelector={selector}"
        self._server = server
        self._shelf = shelf
        self._wake = wake
        self._silence_seconds = silence_seconds
        self._clock = clock
        self._moved = clock()
        self.listed = False
        """Whether everything that there is has been seen once."""

    def age_seconds(self) -> float:
        """Time since something was last asked or heard; the API server speaks about once a minute."""
        return self._clock() - self._moved

    async def run(self) -> None:
        """Follow the objects until cancelled."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                version = await self._list()
                while True:
                    version = await self._watch(version)
                    pause = _FIRST_PAUSE_SECONDS
                    await asyncio.sleep(pause)
            except _OutdatedError:
                logger.info("%s: listing everything again", self.path)
            except ApiError as error:
                logger.warning("%s: %s; trying again in about %.1f s", self.path, error, pause)
            # Several watches, or replicas, must not come back to a server in one instant.
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 - no secret
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _list(self) -> str:
        """Take everything that there is; gives the version to watch from."""
        seen: set[str] = set()
        token = ""
        while True:
            self._moved = self._clock()
            page = await self._server.request("GET", f"{self._query}&limit={_PAGE}&continue={token}")
            for body in page.get("items") or ():
                view = self._view(body)
                if view is not None:
                    seen.add(view.uid)
                    if self._shelf.put(view):
                        self._wake(view.owner_uid)
            meta = page.get("metadata") or {}
            token = meta.get("continue") or ""
            if not token:
                break
        version = str(meta.get("resourceVersion") or "0")
        for owner in self._shelf.retain(seen, version):
            self._wake(owner)
        self.listed = True
        return version

    async def _watch(self, version: str) -> str:
        """Take what happens after ``version`` until the watch ends; gives the version to go on from."""
        options = f"&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        self._moved = self._clock()
        lines = self._server.watch(f"{self._query}{options}&resourceVersion={version}", self._silence_seconds)
        try:
            async for line in lines:
                self._moved = self._clock()
                version = self._take(line) or version
        finally:
            await lines.aclose()
        return version

    def _take(self, line: bytes) -> str | None:
        """Take one line of a watch; gives the version that it brings us to."""
        try:
            event: dict[str, Any] = from_json(line)
            kind, body = event["type"], event["object"]
        except (ValueError, KeyError, TypeError) as error:
            raise _OutdatedError from error
        if kind == "ERROR":
            raise _OutdatedError
        if kind != "BOOKMARK":
            view = self._view(body)
            if view is not None and (self._shelf.drop if kind == "DELETED" else self._shelf.put)(view):
                self._wake(view.owner_uid)
        version = (body.get("metadata") or {}).get("resourceVersion")
        return None if version is None else str(version)

    def _view(self, body: Body) -> V | None:
        try:
            return self._shelf.read(body)
        except MalformedError as error:
            logger.warning("%s: an object is ignored: %s", self.path, error)
            return None
