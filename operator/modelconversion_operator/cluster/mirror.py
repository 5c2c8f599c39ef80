"""What the cluster has of one kind of object, listed and then watched: our Jobs and their pods.

kopf watches the conversions. For Jobs and pods it would do much that is of no use here (a task, a memory and
a logger for each object), and it does not say two things that matter: when the first listing is complete,
before which nobody knows how many Jobs there are, and what went while a watch was broken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from pydantic_core import from_json

from modelconversion_operator.cluster.watch_state import WATCH_SECONDS, WatchState
from modelconversion_operator.deciding.views import Body
from modelconversion_operator.errors import ApiError, MalformedError, UnavailableError, error_of_status

logger = logging.getLogger(__name__)

_PAGE: Final = 500
_BETWEEN_WATCHES_SECONDS: Final = 0.2


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
        presses: Whether a look at what a view shows must not wait for more news.

    """

    read: Callable[[Body], V]
    put: Callable[[V], bool]
    drop: Callable[[V], bool]
    retain: Callable[[set[str], str], set[str]]
    presses: Callable[[V], bool]


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
        selector: Label or field selector, as the part of a query.
        shelf: Where the views go.
        wake: Called with the UID of each conversion of which something changed, and whether that presses.
        silence_seconds: A watch that says nothing for so long is ended, and everything listed again.
        state: Where it is noted how the watch is doing.

    """

    def __init__(
        self,
        server: Server,
        path: str,
        selector: str,
        shelf: Shelf[V],
        wake: Callable[[str, bool], None],
        silence_seconds: float,
        state: WatchState,
    ) -> None:
        self._query = f"{path}?{selector}"
        self._server = server
        self._shelf = shelf
        self._wake = wake
        self._silence_seconds = silence_seconds
        self._state = state

    async def run(self) -> None:
        """Follow the objects until cancelled."""
        while True:
            version = None
            try:
                version = await self._list()
                while version is not None:
                    version = await self._watch(version)
                    await asyncio.sleep(_BETWEEN_WATCHES_SECONDS)
            except ApiError as error:
                await asyncio.sleep(self._state.failed(error, "watched" if version else "listed"))

    async def _list(self) -> str:
        """Take everything that there is; gives the version to watch from."""
        seen: set[str] = set()
        token = ""
        while True:
            self._state.asked()
            page = await self._server.request("GET", f"{self._query}&limit={_PAGE}&continue={token}")
            items, meta = page.get("items"), page.get("metadata")
            meta = meta if isinstance(meta, dict) else {}
            version = meta.get("resourceVersion")
            if not isinstance(version, str) or not version.isdecimal() or not isinstance(items, list | None):
                raise UnavailableError(0, "the answer is no listing; is there a proxy in between?")
            for body in items or ():
                view = self._view(body)
                if view is not None:
                    seen.add(view.uid)
                    if self._shelf.put(view):
                        self._wake(view.owner_uid, self._shelf.presses(view))
            token = meta.get("continue") or ""
            if not token:
                break
        if not self._state.take_listing(version):
            await asyncio.Event().wait()  # the process ends
        for owner in self._shelf.retain(seen, version):
            self._wake(owner, True)
        return version

    async def _watch(self, version: str) -> str | None:
        """Take what happens after ``version`` until the watch ends.

        Returns:
            The version to go on from; None where the server was silent. It may have been put back to an
            earlier version than ours, and would have nothing to say before it has come to ours again.

        """
        options = f"&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}"
        self._state.asked()
        lines = self._server.watch(f"{self._query}{options}&resourceVersion={version}", self._silence_seconds)
        try:
            async for line in lines:
                version = self._take(line) or version
                self._state.heard(version)
        finally:
            await lines.aclose()
        if self._state.age_seconds() >= self._silence_seconds:
            return None
        self._state.heard()
        return version

    def _take(self, line: bytes) -> str | None:
        """Take one line of a watch; gives the version that it brings us to."""
        try:
            event: dict[str, Any] = from_json(line)
            kind, body = event["type"], event["object"]
            meta = body.get("metadata") or {}
            version = meta.get("resourceVersion")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnavailableError(0, "a line of the watch is no event") from error
        if kind == "ERROR":
            raise error_of_status(body)
        if kind != "BOOKMARK":
            view = self._view(body)
            is_gone = kind == "DELETED"
            if view is not None and (self._shelf.drop if is_gone else self._shelf.put)(view):
                self._wake(view.owner_uid, is_gone or self._shelf.presses(view))
        return str(version) if str(version).isdecimal() else None

    def _view(self, body: Body) -> V | None:
        try:
            return self._shelf.read(body)
        except MalformedError as error:
            logger.warning("%s: an object is ignored: %s", self._state, error)
            return None
