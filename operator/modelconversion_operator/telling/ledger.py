"""What is to be told, and what has been: bounded, and pure but for what it remembers.

The API server has everything that has happened, so nothing that waits is kept anywhere else. What is kept
there beside it is one time, the mark: all that happened before it has been told, or was given up. A new
process looks at all conversions, and tells what happened since.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from modelconversion_operator.telling.events import Moment

_MOST_WAITING: Final = 1000
_MOST_TOLD: Final = 20_000
"""Ids of what was told since the mark, about 150 bytes each."""
UNSEEN_SECONDS: Final = 60.0
"""What is so old has been seen, unless a watch was silent: a time is at most 15 s older than its status."""


class Offer(Enum):
    """What became of a moment that was offered."""

    TAKEN = "taken"
    KNOWN = "known"
    NO_ROOM = "no room"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits for its turn."""

    moment: Moment
    body: bytes


class Ledger:
    """The events of one leader.

    Args:
        mark: What happened before has been told.
        most_waiting: Events that wait at a time; others are looked for again when there is room.
        most_told: Events since the mark that are remembered; of more, the oldest may be told twice.

    """

    def __init__(
        self, mark: datetime, most_waiting: int = _MOST_WAITING, most_told: int = _MOST_TOLD
    ) -> None:
        self._most_waiting, self._most_told = most_waiting, most_told
        self.mark = mark
        self._waiting: dict[str, Waiting] = {}
        self._told: dict[str, datetime] = {}
        self._behind: datetime | None = mark
        """When the earliest happened for which there was no room; of a new leader's, all since the mark."""
        self._listed_since: datetime | None = None
        """The same for what is just being offered again."""

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    @property
    def wants_listing(self) -> bool:
        """Whether there is room again for what there was none for."""
        return self._behind is not None and 2 * len(self._waiting) <= self._most_waiting

    def begin_listing(self) -> None:
        """Note that everything is being offered again; the mark stays until that is over."""
        self._listed_since, self._behind = self._behind, None

    def end_listing(self, *, complete: bool) -> None:
        """Note that everything has been offered again, or not."""
        since, self._listed_since = self._listed_since, None
        if since is not None and not complete:
            self.fall_behind(since)

    def fall_behind(self, since: datetime) -> None:
        """Note that something that happened at ``since`` or later has to be offered again."""
        self._behind = since if self._behind is None else min(self._behind, since)

    def offer(self, moment: Moment, encode: Callable[[], bytes]) -> Offer:
        """Take a moment, unless it is known, was told before the mark, or there is no room."""
        if moment.time < self.mark or moment.id in self._waiting or moment.id in self._told:
            return Offer.KNOWN
        if len(self._waiting) >= self._most_waiting:
            self.fall_behind(moment.time)
            return Offer.NO_ROOM
        self._waiting[moment.id] = Waiting(moment, encode())
        return Offer.TAKEN

    def waiting(self, event_id: str) -> Waiting | None:
        """Return an event that waits."""
        return self._waiting.get(event_id)

    def settle(self, event_id: str) -> None:
        """Note that an event was told, or given up."""
        event = self._waiting.pop(event_id, None)
        if event is None:
            return
        self._told[event_id] = event.moment.time
        if len(self._told) > self._most_told:
            del self._told[next(iter(self._told))]

    def advance(self, now: datetime, silent_seconds: float) -> bool:
        """Move the mark as far as may be.

        Args:
            now: The time.
            silent_seconds: For how long a watch has said nothing: what happened meanwhile may be unknown.

        Returns:
            Whether it has passed something that was told: only then is it worth writing down.

        """
        times = [event.moment.time for event in self._waiting.values()]
        times += [since for since in (self._behind, self._listed_since) if since is not None]
        mark = min([now - timedelta(seconds=UNSEEN_SECONDS + silent_seconds), *times])
        if mark <= self.mark:
            return False
        self.mark = mark
        passed = [event_id for event_id, time in self._told.items() if time < mark]
        for event_id in passed:
            del self._told[event_id]
        return bool(passed)
