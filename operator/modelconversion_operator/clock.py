"""Two clocks: one that only ever runs, and the API server's time of day.

Every timestamp that the operator compares with is the API server's, so "now" has to be the API server's as
well: a machine whose own clock is wrong, or is set while the operator runs, must not end a conversion at a
deadline that has not come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

_LISTEN_EVERY_SECONDS: Final = 10.0
_TOLERANCE: Final = timedelta(seconds=2)
"""A Date header has whole seconds, and the answer was on its way: less than this is no difference."""


def running_seconds() -> float:
    """Seconds on a clock that nobody sets, and that goes on while the process or the machine is frozen."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _machine_time() -> datetime:
    return datetime.now(UTC)


class ServerClock:
    """The API server's time of day, from the ``Date`` of its answers; this machine's before the first one."""

    def __init__(
        self,
        running: Callable[[], float] = running_seconds,
        machine_time: Callable[[], datetime] = _machine_time,
    ) -> None:
        self._running = running
        self._machine_time = machine_time
        self._time: datetime | None = None
        self._at = -_LISTEN_EVERY_SECONDS

    def heard(self, date: str | None) -> None:
        """Take the ``Date`` header of an answer that has just come."""
        now = self._running()
        if date is None or (self._time is not None and now - self._at < _LISTEN_EVERY_SECONDS):
            return
        try:
            said = parsedate_to_datetime(date).astimezone(UTC)
        except ValueError:
            return
        # Time that is right already keeps running as it did: it must not step to and fro by a second.
        known = None if self._time is None else self._time + timedelta(seconds=now - self._at)
        self._time = said if known is None or abs(said - known) > _TOLERANCE else known
        self._at = now

    def now(self) -> datetime:
        """Return the time in whole seconds, as Kubernetes writes it."""
        if self._time is None:
            return self._machine_time().replace(microsecond=0)
        return (self._time + timedelta(seconds=self._running() - self._at)).replace(microsecond=0)
