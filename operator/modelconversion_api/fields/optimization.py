"""Training-time optimisation: what is asked for, and what became of it. Parts of spec, request and report."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator

from ..base import ApiModel, Fraction, NumberText, Sha256, cel, number_text
from ..limits import MessageText, SentenceText
from ..methods import Method
from ..uris import DataUri
from .audio import Audio
from .data import Images, LabelColumn, Seed, Task, reading_rules

DEFAULT_BATCH_SIZE: Final = 32
DEFAULT_TRAINING_SECONDS: Final = 1800
"""How long all steps together may train."""
DEFAULT_VALIDATION_FRACTION: Final = "0.1"
DEFAULT_DISTILLATION_EPOCHS: Final = 30
DEFAULT_PRUNING_EPOCHS: Final = 6
DEFAULT_WIDTH: Final = "0.5"
DEFAULT_TEMPERATURE: Final = "3"
DEFAULT_ALPHA: Final = "0.3"


_BETWEEN = number_text(
    r"^0\.[0-9]{0,5}[1-9][0-9]{0,5}$",
    8,
    NumberText("0<x<1", 6, 'must be a number between "0" and "1" in quotes, e.g. "0.5"'),
)
Between = Annotated[str, _BETWEEN[0], _BETWEEN[1], _BETWEEN[2]]
"""A number greater than 0 and less than 1, in decimal notation."""

_FROM_ONE = number_text(
    r"^[1-9][0-9]{0,2}(\.[0-9]{1,4})?$",
    8,
    NumberText("1<=x<1000", 4, 'must be a number from "1" to "999" in quotes, e.g. "3"'),
)

Temperature = Annotated[str, _FROM_ONE[0], _FROM_ONE[1], _FROM_ONE[2]]
"""A number from 1 on, in decimal notation."""

Epochs = Annotated[int, Field(ge=1, le=10000)]


class Training(ApiModel):
    """The data and the limits of training."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*reading_rules()]})

    uri: DataUri
    """Training samples, in the same formats as calibration data. Those that are also measured on are left
    out."""
    labels_uri: DataUri | None = None
    """A .npy or .csv file of labels, as for validation. Without labels, the original's outputs are
    learned."""
    label_column: LabelColumn | None = None
    """Column of the .csv or Parquet file that holds the labels, by its name or its number from 1; or the
    feature of TFRecords."""
    images: Images | None = None
    """How images become samples; needed where the data are images, or have a column of them."""
    audio: Audio | None = None
    """How sounds become samples; needed where the data are WAV or FLAC files, or have a column of them."""
    alpha: Fraction = DEFAULT_ALPHA
    """Weight of the labels in the loss of every step; the rest is the distance to the original's outputs. "1"
    learns from the labels alone. For an autoencoder, the input is the label."""
    temperature: Temperature = DEFAULT_TEMPERATURE
    """Number that logits are divided by before they are compared with the original's. A higher one gives the
    wrong classes more weight."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = DEFAULT_BATCH_SIZE
    """Samples in one step of training."""
    learning_rate: Between | None = None
    """Highest learning rate of every step, e.g. "0.001"; it falls to zero along a cosine. Without it,
    distillation and pruning have 0.002, and quantization-aware training 0.0002."""
    seed: Seed = 0
    """Seed of every draw."""
    deadline_seconds: Annotated[int, Field(ge=1, le=604800)] = DEFAULT_TRAINING_SECONDS
    """Seconds that all steps together may train. Then the best weights so far are kept, and the report
    says so."""
    validation_fraction: Between = DEFAULT_VALIDATION_FRACTION
    """Share of the training data that is held out to choose each step's best epoch."""


class Pruning(ApiModel):
    """Set the smallest weights to zero, more and more of them, while the others learn to do without."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "double(self.initialSparsity) < double(self.targetSparsity)",
                    "initialSparsity must be less than targetSparsity, where pruning ends",
                )
            ]
        }
    )

    target_sparsity: Between
    """Share of zeros in each pruned kernel at the end, e.g. "0.8". The file stays as large, and
    compresses."""
    initial_sparsity: Fraction = "0"
    """Share of zeros when pruning begins."""
    epochs: Epochs = DEFAULT_PRUNING_EPOCHS
    """Passes over the data."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if float(self.initial_sparsity) >= float(self.target_sparsity):
            raise ValueError("initialSparsity must be less than targetSparsity")
        return self


class QuantizationAwareTraining(ApiModel):
    """Train with the rounding of int8 in place, so that the weights find values that survive it."""

    epochs: Epochs = 3
    """Passes over the data."""


class Distillation(ApiModel):
    """Train a smaller model to do what the original does."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!has(self.studentUri) || !has(self.width)",
                    "set either studentUri or width: a student that is given has its width already",
                )
            ]
        }
    )

    epochs: Epochs = DEFAULT_DISTILLATION_EPOCHS
    """Passes over the data."""
    student_uri: DataUri | None = None
    """Object key of the student, a .h5 or .keras file with the original's inputs and outputs."""
    width: Between | None = None
    """Share of the original's filters and units that the student has, where none is given. 0.5 by default."""

    @model_validator(mode="after")
    def _check_student(self) -> Self:
        if self.student_uri is not None and self.width is not None:
            raise ValueError("set either studentUri or width")
        return self


class Optimize(ApiModel):
    """Training before the conversion, in this order: distillation, pruning, quantization-aware training."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "has(self.pruning) || has(self.quantizationAwareTraining) || has(self.distillation)",
                    "nothing to train for: set pruning, quantizationAwareTraining or distillation",
                )
            ]
        }
    )

    training: Training
    """The data and the limits."""
    pruning: Pruning | None = None
    """Zeros for the smallest weights."""
    quantization_aware_training: QuantizationAwareTraining | None = None
    """Weights that survive int8."""
    distillation: Distillation | None = None
    """A smaller model that learns from the original."""

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if not (self.pruning or self.quantization_aware_training or self.distillation):
            raise ValueError("set pruning, quantizationAwareTraining or distillation")
        return self


class OptimizationStep(StrEnum):
    """One kind of training."""

    DISTILLATION = "Distillation"
    PRUNING = "Pruning"
    QUANTIZATION_AWARE_TRAINING = "QuantizationAwareTraining"


class TrainedStep(ApiModel):
    """What one kind of training did, measured on the training data that was held out."""

    step: OptimizationStep
    epochs: int
    """How many were asked for."""
    epochs_run: int
    best_epoch: int
    """The epoch whose weights were kept; 0 where none was better than what the step began with."""
    loss_before: float | None = None
    """None where there was nothing before, as for a new student."""
    loss_after: float
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    """By the task's metric; None without labels."""
    sparsity: Annotated[float, Field(ge=0, le=1)]
    """Share of zeros in the kernels that pruning may touch."""
    parameters: int
    """Numbers in the model after it."""
    seconds: float
    message: MessageText | None = None
    """What to know, e.g. that the deadline ended it."""


class TrainingData(ApiModel):
    """What was trained on."""

    name: str
    sha256: Sha256
    labels_sha256: Sha256 | None = None
    samples: int
    """How many trained, without those that were held out."""
    held_out: int
    """How many chose the best epoch."""
    overlap: int = 0
    """How many were left out because the files are measured on them."""
    labelled: bool
    """Whether labels were learned; otherwise the original's outputs were."""
    task: Task
    seed: int


class Measured(ApiModel):
    """One file of a comparison."""

    size_bytes: int
    compressed_bytes: int
    """Size after DEFLATE at its strongest level, as in a .zip or .gz file."""
    sparsity: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of zeros in the file's weights (constants of two dimensions and more)."""
    accuracy: float | None = None
    agreement: float | None = None
    latency_millis: float | None = None
    passed: bool


class Comparison(ApiModel):
    """The plain file of a method against the optimised one."""

    method: Method
    plain: Measured | None = None
    """None where the plain conversion gave no file."""
    optimized: Measured | None = None
    """None where the optimised model gave no file."""
    published: bool
    """Whether the optimised file is the one that was published."""
    message: MessageText
    """Why."""


class OptimizationReport(ApiModel):
    """What training-time optimisation did."""

    data: TrainingData
    steps: tuple[TrainedStep, ...]
    comparisons: tuple[Comparison, ...]


class OptimizationSummary(ApiModel):
    """The part of it that goes into the resource's status."""

    steps: Annotated[tuple[OptimizationStep, ...], Field(max_length=8)]
    """The kinds of training, in their order."""
    methods: Annotated[tuple[Method, ...], Field(max_length=8)] = ()
    """Methods whose published file is the optimised one."""
    message: SentenceText
    """Where it helped and where it did not."""


def summary_of(report: OptimizationReport) -> OptimizationSummary:
    """Summarise where the optimised file was published, and where it did not help."""
    helped = tuple(c.method for c in report.comparisons if c.published)
    not_published = [c.method.value for c in report.comparisons if not c.published]
    if not helped:
        message = "it did not help: the plain files were published"
    elif not_published:
        message = f"it did not help {', '.join(not_published)}: the plain file was published"
    else:
        message = "every published file is the optimised one"
    return OptimizationSummary(steps=tuple(s.step for s in report.steps), methods=helped, message=message)
