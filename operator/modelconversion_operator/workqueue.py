"""A queue of keys: each stands in it once at most, has one worker at a time, and may be delayed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

_FIRST_BACKOFF_SECONDS: Final = 0.25
_MAX_BACKOFF_SECONDS: Final = 60.0
_STALE: Final = 64
"""Overtaken delays that may lie about beside those that count."""


class WorkQueue(Generic[K]):
    """Level-triggered: it says *that* a key needs a look, never why.

    A key that is added while it is worked on is handed out once more afterwards. Delays of one key do not add
    up: the earliest wins.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: dict[K, None] = {}  # a dict keeps the order of arrival and finds a key at once
        self._urgent: dict[K, None] = {}
        self._working: dict[K, float] = {}
        self._again: dict[K, bool] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = float("inf")

    def __len__(self) -> int:
        """Keys that wait for a worker; delayed ones do not count."""
        return len(self._ready) + len(self._urgent)

    def add(self, key: K, *, urgent: bool = False) -> None:
        """Ask for a look at ``key`` as soon as a worker is free; those that are urgent come first."""
        self._due.pop(key, None)
        if key in self._working:
            self._again[key] = urgent or self._again.get(key, False)
        elif key not in self._urgent:
            known = key in self._ready
            if urgent:
                self._ready.pop(key, None)
            (self._urgent if urgent else self._ready)[key] = None
            if not known:
                self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for a look at ``key`` in ``seconds``, unless one is due earlier."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if key in self._ready or key in self._urgent or due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        if len(self._heap) > 2 * len(self._due) + _STALE:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._set_timer()

    def add_failed(self, key: K) -> float:
        """Ask for another look after a failure, later each time; gives the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(_FIRST_BACKOFF_SECONDS * 2.0**failures, _MAX_BACKOFF_SECONDS)
        self.add_after(key, delay)
        return delay

    def forget_failures(self, key: K) -> None:
        """Let the next failure of ``key`` start with the shortest delay again."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """Take the next key; :meth:`done` gives it back."""
        while True:
            self._promote_due()
            lane = self._urgent or self._ready
            if lane:
                key = next(iter(lane))
                del lane[key]
                self._working[key] = self._clock()
                return key
            self._set_timer()
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()  # it was this one's turn
                raise

    def done(self, key: K) -> None:
        """Say that the work on ``key`` has ended."""
        self._working.pop(key, None)
        if key in self._again:
            self.add(key, urgent=self._again.pop(key))

    def longest_work_seconds(self) -> float:
        """How long the oldest piece of work has been under way; 0 when there is none."""
        return max((self._clock() - since for since in self._working.values()), default=0.0)

    def _wake_one(self) -> None:
        """Let one of those who wait in :meth:`get` look: there is one key more, not one for each."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _promote_due(self) -> None:
        """Make due keys ready."""
        now = self._clock()
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # overtaken by an earlier look
            elif due <= now:
                heapq.heappop(self._heap)
                self.add(key)
            else:
                return

    def _set_timer(self) -> None:
        """Look again when the next key is due."""
        if not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None and self._timer_due <= due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = due
        delay = max(0.0, due - self._clock())
        self._timer = asyncio.get_running_loop().call_later(delay, self._timer_rings)

    def _timer_rings(self) -> None:
        self._timer, self._timer_due = None, float("inf")
        self._promote_due()
        self._set_timer()
