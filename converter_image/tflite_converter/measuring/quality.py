"""How well a candidate file does on the evaluation data."""

from __future__ import annotations

from dataclasses import dataclass

from modelconversion_api.measurements import OutputFidelity
from tflite_converter.measuring.metrics import SNR_LIMIT_DB


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

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The better, the greater."""
        share = self.agreement if self.accuracy is None else self.accuracy
        return not self.missed, share, SNR_LIMIT_DB if self.snr_db is None else self.snr_db
