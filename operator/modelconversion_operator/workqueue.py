"""A queue of keys: each stands in it once at most, has one worker at a time, and may be delayed."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

_FIRST_BACKOFF_SECONDS: Final = 0.25
_MAX_BACKOFF_SECONDS: Final = 60.0


class WorkQueue(Generic[K]):
    """Level-triggered: it says *that* a key needs a look, never why.

    A key that is added while it is worked on is handed out once more afterwards. Delays of one key do not add
    up: the earliest wins.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: dict[K, None] = {}  # a dict keeps the order of arrival and finds a key at once
        self._working: dict[K, float] = {}
        self._again: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._failures: dict[K, int] = {}
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Keys that wait for a worker; delayed ones do not count."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Ask for a look at ``key`` as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._working:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._changed.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Ask for a look at ``key`` in ``seconds``, unless one is due earlier."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if key in self._ready or due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._order), key))
        self._changed.set()

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
            wait = self._promote_due()
            if self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                self._working[key] = self._clock()
                return key
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        """Say that the work on ``key`` has ended."""
        self._working.pop(key, None)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def longest_work_seconds(self) -> float:
        """How long the oldest piece of work has been under way; 0 when there is none."""
        return max((self._clock() - since for since in self._working.values()), default=0.0)

    def _promote_due(self) -> float | None:
        """Make due keys ready; gives the seconds until the next one."""
        now = self._clock()
        while self._heap:
            due, _, key = self._heap[0]
            if self._due.get(key) != due:
                heapq.heappop(self._heap)  # overtaken by an earlier look
            elif due <= now:
                heapq.heappop(self._heap)
                self.add(key)
            else:
                return due - now
        return None
