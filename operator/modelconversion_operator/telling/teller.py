"""Tells the sink what happens, beside the work and never in its way."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Protocol

from modelconversion_api.base import GROUP, PLURAL, VERSION
from modelconversion_api.sets import SET_PLURAL
from modelconversion_operator.deciding.views import Body, ConversionView, parse_time
from modelconversion_operator.errors import ApiError, MalformedError, NotFoundError, RejectedError
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.telling.events import Kind, Moment, View, encode, moments_of, times_of
from modelconversion_operator.telling.ledger import Ledger, Offer
from modelconversion_operator.telling.mark import Mark
from modelconversion_operator.telling.sink import AT_A_TIME, Outcome, Sink, Verdict
from modelconversion_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

OLDEST: Final = timedelta(hours=24)
"""What is older is told no more."""
EXPIRED: Final = "expired"
DEFERRED: Final = "deferred"
_PAGE: Final = 200
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 60.0
_LONGEST_WISH_SECONDS: Final = 600.0
"""A sink may ask to be left alone for so long."""
_SAY_AGAIN_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0
_MARK_SECONDS: Final = 30.0
_AFTER_FAILURE_SECONDS: Final = 15.0


class Server(Protocol):
    """The requests to the API server."""

    async def request(self, method: str, path: str) -> Body:
        """Send one request."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is told of.

    Attributes:
        kinds: The kinds of events.
        namespaces: The watched namespaces; empty for all.
        class_name: Class of the conversions and sets.

    """

    kinds: Collection[Kind]
    namespaces: Sequence[str]
    class_name: str


@dataclass(frozen=True, slots=True)
class Form:
    """What is made of news.

    Attributes:
        noun: What it is called, in the plural.
        moments: Gives what an object says has happened.
        encode: Gives what is sent of a moment of an object: of the same run the same, whenever it is asked.

    """

    noun: str
    moments: Callable[[View], Sequence[Moment]]
    encode: Callable[[View, Moment], bytes]


EVENTS: Final = Form("events", moments_of, encode)


class Teller:
    """Takes news of conversions and sets, and tells the sink of what is new in them.

    Args:
        sink: Where to.
        scope: Of what.
        count: Told of each outcome: delivered, refused, failed (and tried again), expired, or deferred.
        form: What is made of them.

    """

    def __init__(self, sink: Sink, scope: Scope, count: Callable[[str], None], form: Form = EVENTS) -> None:
        self._sink, self._scope, self._count, self._form = sink, scope, count, form
        self._ledger: Ledger | None = None
        """None while this replica does not work."""
        self._queue: WorkQueue[str] = WorkQueue()
        self._failures = 0
        """Failures since the sink last took something."""
        self._resume_at = 0.0
        self._said_at = -math.inf

    @property
    def noun(self) -> str:
        """What it tells is called, in the plural."""
        return self._form.noun

    def waiting(self) -> int:
        """Return how many events wait."""
        return 0 if self._ledger is None else len(self._ledger)

    def see(self, view: View) -> None:
        """Take news of a conversion or a set: quick, and without waiting for anything."""
        if self._ledger is not None:
            try:
                self._offer(self._ledger, view)
            except Exception:
                # Who brings the news has to go on, whatever a status has in it.
                logger.exception("%s/%s: bug in what is told", view.key.namespace, view.key.name)

    def _offer(self, ledger: Ledger, view: View) -> None:
        for moment in self._form.moments(view):
            if moment.kind not in self._scope.kinds:
                continue
            offer = ledger.offer(moment, partial(self._form.encode, view, moment))
            if offer is Offer.TAKEN:
                self._queue.add(moment.id)
            elif offer is Offer.NO_ROOM:
                self._count(DEFERRED)

    async def run(
        self, server: Server, mark: Mark, now: Callable[[], datetime], silent_seconds: Callable[[], float]
    ) -> None:
        """Tell until cancelled; nothing that goes wrong ends it.

        Args:
            server: The API server, which is asked for what happened before this began.
            mark: Since when that is.
            now: The API server's time.
            silent_seconds: For how long the API server has said nothing of what is watched.

        """
        self._queue = WorkQueue()
        try:
            ledger = await self._begin(mark, now)
            self._ledger = ledger
            async with self._sink, asyncio.TaskGroup() as group:
                logger.info("telling %s what happened since %s", self._sink.name, ledger.mark.isoformat())
                group.create_task(_again(_LOOK_SECONDS, partial(self._list, server, ledger)))
                group.create_task(
                    _again(_MARK_SECONDS, partial(_keep_mark, ledger, mark, now, silent_seconds))
                )
                for _ in range(AT_A_TIME):
                    group.create_task(_again(0.0, partial(self._send_next, ledger, now)))
        finally:
            self._ledger = None

    async def _begin(self, mark: Mark, now: Callable[[], datetime]) -> Ledger:
        while True:
            try:
                since = await mark.read(now())
            except (ApiError, MalformedError) as error:
                logger.warning(
                    "nothing is told before the Lease that says since when can be read: %s; trying again in"
                    " %.0f s",
                    error,
                    _AFTER_FAILURE_SECONDS,
                )
                await asyncio.sleep(_AFTER_FAILURE_SECONDS)
            else:
                return Ledger(max(since, now() - OLDEST))

    # What happened before, or when there was no room for it.

    async def _list(self, server: Server, ledger: Ledger) -> None:
        """Offer everything again that the API server has, where that is due."""
        if not ledger.wants_listing:
            return
        ledger.begin_listing()
        complete = False
        try:
            scopes: Sequence[str | None] = self._scope.namespaces or [None]
            for namespace in scopes:
                where = f"namespaces/{namespace}/" if namespace else ""
                folder = f"/apis/{GROUP}/{VERSION}/{where}"
                await self._list_one(server, ledger, folder + PLURAL, ConversionView.from_body)
                await self._list_one(server, ledger, folder + SET_PLURAL, SetView.from_body)
            complete = True
        except ApiError as error:
            logger.warning("what is to be told cannot be listed: %s; trying again", error)
            await asyncio.sleep(_AFTER_FAILURE_SECONDS)
        finally:
            ledger.end_listing(complete=complete)

    async def _list_one(
        self, server: Server, ledger: Ledger, path: str, read: Callable[[Body], View]
    ) -> None:
        token = ""
        while True:
            try:
                page = await server.request("GET", f"{path}?limit={_PAGE}&continue={token}")
            except NotFoundError:
                return  # sets, in a cluster that does not have them yet
            except RejectedError as error:
                logger.warning("what happens there is told from now on only: %s: %s", path, error)
                return
            for body in page.get("items") or ():
                if self._is_of_interest(body, ledger.mark):
                    self._see_body(body, read)
            token = (page.get("metadata") or {}).get("continue") or ""
            if not token:
                return
            await asyncio.sleep(0)

    def _is_of_interest(self, body: Any, since: datetime) -> bool:
        """Whether something happened there since a time: nearly all is older, and need not be read."""
        try:
            is_ours = str((body.get("spec") or {}).get("className") or "") == self._scope.class_name
            return is_ours and any(parse_time(text) >= since for text in times_of(body))
        except (AttributeError, TypeError, ValueError):
            return False

    def _see_body(self, body: Body, read: Callable[[Body], View]) -> None:
        try:
            self.see(read(body))
        except MalformedError as error:
            logger.warning("an object is not told of: %s", error)

    # The way to the sink.

    async def _send_next(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        """Send the next event, once the sink may be asked."""
        event_id = await self._queue.get()
        try:
            await self._pause()
            event = ledger.waiting(event_id)
            if event is None:
                return
            if event.moment.time < now() - OLDEST:
                logger.warning("%s: %s is given up: it is older than %s", self._form.noun, event_id, OLDEST)
                self._settle(ledger, event_id, EXPIRED)
                return
            self._take(ledger, event_id, await self._sink.deliver(event.body))
        except Exception:
            self._queue.add_failed(event_id)
            raise
        finally:
            self._queue.done(event_id)

    async def _pause(self) -> None:
        # Another event may put the time off meanwhile.
        while (pause := self._resume_at - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(pause)

    def _take(self, ledger: Ledger, event_id: str, verdict: Verdict) -> None:
        """Act on what came of sending an event."""
        if verdict.outcome is Outcome.FAILED:
            self._count(verdict.outcome)
            self._queue.add_failed(event_id)
            self._hold_on(verdict)
            return
        if verdict.outcome is Outcome.REFUSED:
            logger.warning(
                "%s: %s is given up: %s: %s", self._form.noun, event_id, self._sink.name, verdict.words
            )
        if self._failures:
            logger.info("%s answers again; %d %s wait", self._sink.name, len(ledger), self._form.noun)
        self._failures = 0
        self._settle(ledger, event_id, verdict.outcome)

    def _settle(self, ledger: Ledger, event_id: str, outcome: str) -> None:
        self._count(outcome)
        self._queue.forget_failures(event_id)
        ledger.settle(event_id)

    def _hold_on(self, verdict: Verdict) -> None:
        """Leave the sink alone for a while, longer each time."""
        now = time.monotonic()
        pause = min(verdict.wait_seconds, _LONGEST_WISH_SECONDS)
        if now >= self._resume_at:  # else another one of those under way has said so already
            by_itself = _FIRST_PAUSE_SECONDS * 2.0 ** min(self._failures, 10)
            pause = max(pause, min(by_itself, _LONGEST_PAUSE_SECONDS))
            self._failures += 1
        self._resume_at = max(self._resume_at, now + pause)
        if now - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = now
            logger.warning(
                "%s takes no %s: %s; %d wait, and are tried again",
                self._sink.name,
                self._form.noun,
                verdict.words,
                self.waiting(),
            )


async def _keep_mark(
    ledger: Ledger, mark: Mark, now: Callable[[], datetime], silent_seconds: Callable[[], float]
) -> None:
    """Write the mark down where it has passed something that was told."""
    if not ledger.advance(now(), silent_seconds()):
        return
    try:
        await mark.write(ledger.mark)
    except ApiError as error:
        # The old one only means that a process after this one tells more of it twice.
        logger.info("since when there is something to tell was not written: %s", error)


async def _again(seconds: float, do: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again until cancelled, and outlive a bug in it."""
    while True:
        try:
            await do()
        except Exception:
            logger.exception("bug in what is told; going on")
            await asyncio.sleep(_AFTER_FAILURE_SECONDS)
        await asyncio.sleep(seconds)
