"""Watches what a new file gives, and says when that is too far from what it gave on its validation data."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..baseline import Baseline
from ..drift import Drift, DriftMonitor, levels
from ..inference import Observation, Observer


@dataclass(frozen=True, slots=True)
class DriftLimits:
    """Beyond which of these a file counts as doing badly; see :class:`edge_inference.drift.Drift`."""

    psi: float = 0.25
    output_shift: float = 3.0
    """In standard deviations; for no classifier."""
    window: int = 1000
    """Samples that are looked at."""
    least: int = 200
    """Samples below which nothing is said."""

    def exceeded(self, drift: Drift) -> str | None:
        """Say which limit is exceeded; None where none is, or too little is known."""
        if drift.psi > self.psi:
            return f"the confidences have drifted: PSI {drift.psi:.2f} over {drift.samples} samples"
        if drift.output_shift > self.output_shift:
            return f"the output has shifted by {drift.output_shift:.1f} standard deviations"
        return None


class DriftGuard:
    """An observer that tells once when a limit is exceeded; what it saw goes on to the next one.

    May be told by several threads.
    """

    def __init__(
        self,
        baseline: Baseline,
        limits: DriftLimits,
        tell: Callable[[str], None],
        then: Observer | None = None,
    ) -> None:
        self._monitor = DriftMonitor(baseline, window=limits.window, least=limits.least)
        self._limits, self._tell, self._then = limits, tell, then
        self._lock = threading.Lock()
        self._until_look = limits.least
        self._told = False

    def observed(self, observation: Observation) -> None:
        """Take note of a call that gave outputs."""
        if self._then is not None:
            self._then.observed(observation)
        why = self._look(observation)
        if why is not None:
            self._tell(why)

    def failed(self) -> None:
        """Take note of a call that the interpreter did not carry out."""
        if self._then is not None:
            self._then.failed()

    def _look(self, observation: Observation) -> str | None:
        with self._lock:
            baseline = self._monitor.baseline
            if baseline.confidence is not None:
                if observation.confidences is None:
                    return None
                self._monitor.add(np.asarray(observation.confidences, dtype=np.float64))
            elif baseline.level is not None and baseline.level.output in observation.outputs:
                self._monitor.add(levels(observation.outputs[baseline.level.output]))
            self._until_look -= observation.samples
            if self._told or self._until_look > 0:
                return None
            # Comparing takes longer than an inference of a small model: not after each.
            self._until_look = max(1, self._limits.least // 4)
            why = self._limits.exceeded(self._monitor.drift())
            self._told = why is not None
            return why
