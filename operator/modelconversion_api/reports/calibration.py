"""What the report says about data: where it came from, what was drawn, whether it was enough."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from ..base import ApiModel, Sha256


class DataRole(StrEnum):
    """Which data the figures of a report come from."""

    VALIDATION = "Validation"
    HELD_OUT = "HeldOut"
    """The part of the calibration data that did not calibrate."""
    CALIBRATION = "Calibration"
    RANDOM = "Random"
    SYNTHETIC = "Synthetic"
    """Samples made up where full integer was asked for without calibration data."""


class DataInfo(ApiModel):
    """A data set that was used, and how: enough to draw the same samples again."""

    role: DataRole
    name: str | None = None
    format: str | None = None
    """E.g. ``npy``, ``csv``, ``images``."""
    sha256: Sha256 | None = None
    """Digest of the file, or over a folder's files; None for random inputs."""
    labels_sha256: Sha256 | None = None
    samples: int
    """How many were used."""
    available: int | None = None
    """How many there are."""
    seed: int
    stratified: bool = False
    """Whether samples were drawn evenly over the classes."""
    preprocessing: dict[str, str] = Field(default_factory=dict)
    """What became of each sample, e.g. ``{"resize": "Stretch", "scaling": "ZeroToOne"}``."""


class ClassCount(ApiModel):
    """How many samples of a class there are, and were drawn."""

    label: int
    name: str | None = None
    available: int
    drawn: int


class InputCoverage(ApiModel):
    """The values that calibrate one input, and how they stand to those it was not shown."""

    name: str
    minimum: float
    maximum: float
    mean: float
    deviation: float
    """Standard deviation."""
    constant_features: int = 0
    """Positions that have one value in every calibration sample."""
    outside: float | None = None
    """Share of the other samples' values beyond the calibration samples' range: they will be clipped."""


class UnstableTensor(ApiModel):
    """An activation whose range depends on which samples calibrate it."""

    tensor: str
    difference: float
    """Difference of the two halves' ranges as a share of the larger one."""


class Stability(ApiModel):
    """Calibration on two disjoint halves of the samples, compared tensor by tensor.

    Method and threshold after ai-edge-quantizer's auto_quant procedure: halves that differ by more than a
    fifth mean too few samples.
    """

    threshold: float
    tensors: int
    unstable: int
    worst: tuple[UnstableTensor, ...] = ()


class CalibrationReport(ApiModel):
    """The calibration data: manifest, coverage, stability."""

    data: DataInfo
    classes: tuple[ClassCount, ...] = ()
    inputs: tuple[InputCoverage, ...] = ()
    stability: Stability | None = None
    """None where full integer was not made, or there is one sample only."""
