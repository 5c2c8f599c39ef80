"""Drift: how far what a model gives now is from what it gave on its validation data.

Drift is a property of the data, not of the file. What is compared is the confidence of a classifier, and the
level of any other output. Labels, which would show lost accuracy itself, are rarely there in production.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .baseline import Baseline
from .confidence import histogram
from .tensors import Array


def psi(expected: Array, observed: Array) -> float:
    """Return the population stability index of two histograms with the same bins, 0 for the same shares.

    ``sum((q - p) * ln(q / p))`` over the shares p and q of each bin. Half a count is added to every bin, so
    that an empty one does not make it infinite. Without drift it is about ``(bins - 1) * (1/n + 1/m)`` for
    n and m samples; from 0.2 on the usual reading is "has shifted".

    Source: N. Siddiqi, Credit Risk Scorecards (2006), where the thresholds 0.1 and 0.2 come from.
    """
    p, q = (_shares(counts) for counts in (expected, observed))
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(counts: Array) -> NDArray[np.float64]:
    smoothed: NDArray[np.float64] = counts.astype(np.float64) + 0.5
    return smoothed / float(smoothed.sum())


def levels(output: Array) -> NDArray[np.float64]:
    """Return the mean of each sample's values: shape ``(n,)`` from ``(n, ...)``."""
    means: NDArray[np.float64] = output.reshape(len(output), -1).mean(axis=1, dtype=np.float64)
    return means


@dataclass(frozen=True)
class Drift:
    """What was found in the window; NaN where there is nothing to compare, or too little."""

    samples: int
    psi: float = math.nan
    """Of the confidence's histogram."""
    confidence_drop: float = math.nan
    """Mean confidence on validation data less the mean now; positive when the model is less sure."""
    output_shift: float = math.nan
    """Distance of the output's mean level from validation's, in standard deviations; for no classifier."""


class DriftMonitor:
    """Compares the last predictions with a baseline. Not safe for several threads: its owner has the lock.

    ``window`` is how many of the last samples are kept (8 bytes each). Below ``least`` of them, nothing is
    said: a few samples always look odd.
    """

    def __init__(self, baseline: Baseline, *, window: int = 1000, least: int = 200) -> None:
        if not 0 < least <= window:
            raise ValueError(f"least ({least}) must lie between 1 and window ({window})")
        self.baseline = baseline
        self._least = least
        self._ring = np.full(window, np.nan)
        self._seen = 0

    def add(self, values: Array) -> None:
        """Take confidences (or levels), shape ``(n,)``, in the order in which they came."""
        size = len(self._ring)
        last = values[-size:]
        places = (self._seen + len(values) - len(last) + np.arange(len(last))) % size
        self._ring[places] = last
        self._seen += len(values)

    def add_one(self, value: float) -> None:
        """Take one confidence or level, in a fraction of the time that :meth:`add` needs."""
        self._ring[self._seen % len(self._ring)] = value
        self._seen += 1

    def drift(self) -> Drift:
        """Compare the window with the baseline."""
        values = self._ring[: min(self._seen, len(self._ring))]
        values = values[np.isfinite(values)]
        if len(values) < self._least:
            return Drift(len(values))
        confidence, level = self.baseline.confidence, self.baseline.level
        if confidence is not None:
            counts = np.asarray(confidence.counts)
            drop = confidence.mean - float(values.mean())
            return Drift(len(values), psi=psi(counts, histogram(values)), confidence_drop=drop)
        if level is not None and level.std > 0.0:
            return Drift(len(values), output_shift=abs(float(values.mean()) - level.mean) / level.std)
        return Drift(len(values))
