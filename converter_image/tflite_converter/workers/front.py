"""What a front half says when it has ended: read also where no array is, as by the stage that keeps it."""

from __future__ import annotations

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.optimization import TrainedStep
from modelconversion_api.reasons import Stage
from modelconversion_api.status import TensorInfo


class TrainingOutcome(ApiModel):
    """What training did."""

    steps: tuple[TrainedStep, ...]
    samples: int
    held_out: int
    labelled: bool
    """Whether the labels were of use."""


class FrontResult(ApiModel):
    """What the front half of a conversion found, whichever process it was; the float file is there then."""

    inputs: list[TensorInfo]
    """As the files have them, the batch 1 unless the user said otherwise."""
    outputs: list[TensorInfo]
    writer: str
    """Who wrote the model, e.g. ``keras 2.4.0``."""
    seconds: dict[Stage, float] = Field(default_factory=dict)
    import_seconds: float = 0.0
    """Part of the time for loading that went into starting TensorFlow."""
    tool_versions: dict[str, str] = Field(default_factory=dict)
    isolation: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    """About the original: the signature taken, batch, precision, state, randomness."""
    random_outputs: tuple[str, ...] = ()
    """Outputs that are others each time that the original is run on the same samples."""

    @property
    def layouts(self) -> dict[str, str]:
        """Inputs and outputs that have another layout than in the source, and which."""
        return {info.name: info.layout for info in (*self.inputs, *self.outputs) if info.layout is not None}


class TensorFlowResult(FrontResult):
    """What the child with TensorFlow found."""

    training: TrainingOutcome | None = None
    fused_integers: bool = False
    """Whether there is a frozen graph with fused LSTM layers for full integer."""
    fake_quantized: bool = False
    """Whether the graph itself says its activations' ranges, as quantization-aware training leaves them."""
    own_ranges_fault: str | None = None
    """Why full integer cannot have these ranges."""
    control_flow: str | None = None
    """Why full integer starts from a float file with loops or branches, which it may fail on."""
