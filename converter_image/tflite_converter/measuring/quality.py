"""How well a candidate file does on the evaluation data."""

from __future__ import annotations

from dataclasses import dataclass

from modelconversion_api.reports.measurements import OutputFidelity, Scores
from tflite_converter.measuring.metrics import SNR_LIMIT_DB

_AGREEMENT_COST = 0.005
_DECIBELS_COST = 3.0
"""What a form that more runtimes read may cost: half a point of agreement, and as much noise again."""


@dataclass(frozen=True)
class Quality:
    """How a candidate does on the evaluation data."""

    agreement: float
    accuracy: float | None
    snr_db: float | None
    missed: tuple[str, ...]
    """One sentence for each gate on quality that is missed, the floor among them."""
    outputs: tuple[OutputFidelity, ...] = ()
    """Each output by itself."""
    usable: bool = True
    """Whether every output is above the floor."""
    scores: Scores | None = None
    """All figures against the labels."""

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The better, the greater."""
        share = self.agreement if self.accuracy is None else self.accuracy
        return not self.missed, share, SNR_LIMIT_DB if self.snr_db is None else self.snr_db


def costs_nothing(candidate: Quality, other: Quality) -> bool:
    """Whether ``candidate`` does as well as ``other``, up to what a runtime more is worth."""
    mine = SNR_LIMIT_DB if candidate.snr_db is None else candidate.snr_db
    its = SNR_LIMIT_DB if other.snr_db is None else other.snr_db
    return (
        candidate.usable >= other.usable
        and candidate.agreement >= other.agreement - _AGREEMENT_COST
        and mine >= its - _DECIBELS_COST
    )
