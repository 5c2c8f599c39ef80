"""When a conversion came to each stage, and when it last left it: noted from its steps, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from modelconversion_api.reasons import Stage
from tflite_converter.progress import Event

_DECIMALS: Final = 3


class StageTimes:
    """Notes the stages' times. A stage goes on until the next one, and may come several times.

    Args:
        now: The time, in seconds since 1970.
        clock: Seconds that only go forward: a clock that is set meanwhile changes no length.

    """

    def __init__(
        self, now: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._offset = clock, now() - clock()
        self._stage: Stage | None = None
        self._spans: dict[Stage, tuple[float, float]] = {}
        """When each was first come to and last left, on the clock."""

    def __call__(self, event: Event) -> None:
        """Take the next step; a warning is none."""
        if not event.warning:
            self.enter(event.stage)

    def enter(self, stage: Stage) -> None:
        """Note that a stage begins, and with it that the one before ends."""
        now = self._leave()
        self._stage = stage
        begun, _ = self._spans.get(stage, (now, now))
        self._spans[stage] = begun, now

    def _leave(self) -> float:
        now = self._clock()
        if self._stage is not None:
            self._spans[self._stage] = self._spans[self._stage][0], now
        return now

    def until_now(self) -> dict[Stage, tuple[float, float]]:
        """Return when each stage was first come to, in seconds since 1970, and how long until it was left.

        The present one is left now.
        """
        self._leave()
        return {
            stage: (round(begun + self._offset, _DECIMALS), round(ended - begun, _DECIMALS))
            for stage, (begun, ended) in self._spans.items()
        }
