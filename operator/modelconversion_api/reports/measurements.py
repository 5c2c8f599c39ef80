"""What is measured on a TFLite file: figures, inventory, tries. Parts of the report."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field

from ..base import ApiModel
from ..limits import MessageText, NameText, SentenceText
from ..methods import Method, Target
from ..status import TensorInfo


class AgreementMetric(StrEnum):
    """How an artifact's outputs are compared with the original's, 0 to 1."""

    TOP1 = "Top1"
    """Share of samples for which both put the same class first."""
    LABEL_MATCH = "LabelMatch"
    """Share of yes-or-no outputs (threshold 0.5), or of whole numbers, that are the same."""
    R2 = "R2"
    """Share of the original outputs' variance that the artifact keeps, clipped to [0, 1]: of the worst column
    where an output has few, or columns of different scales."""
    COSINE = "Cosine"
    """Mean cosine similarity of the flattened outputs, clipped to [0, 1]."""
    DETECTIONS = "Detections"
    """Average precision at an IoU of 0.5, mean of the classes; the truth are the original's sure boxes."""
    MEAN_IOU = "MeanIoU"
    """Intersection over union of both's masks, mean of the classes."""


class AccuracyMetric(StrEnum):
    """How outputs are compared with the labels, 0 to 1."""

    TOP1 = "Top1"
    """Share of samples for which the label's class comes first."""
    MACRO_F1 = "MacroF1"
    """Mean F1 of the classes, each as a yes or no (threshold 0.5)."""
    R2 = "R2"
    """Share of the true values' variance that the outputs explain, clipped to [0, 1]."""
    ROC_AUC = "RocAuc"
    """Area under the curve of the reconstruction error as a detector of label 1."""
    NEAREST_NEIGHBOUR = "NearestNeighbour"
    """Share of samples whose nearest other sample by cosine has the same label."""
    MEAN_AVERAGE_PRECISION = "MeanAveragePrecision"
    """COCO's mAP: average precision, mean of the classes and of the IoUs 0.5, 0.55 … 0.95."""
    MEAN_IOU = "MeanIoU"
    """Intersection over union of the masks over all samples, mean of the classes."""


Milliseconds = Annotated[float, Field(ge=0, le=1e9)]
"""A measured time, at most eleven days: what a process that ran a model claims has an end."""
ByteCount = Annotated[int, Field(ge=0, lt=1 << 63)]
"""Measured bytes, as far as a resource's status counts."""
Count = Annotated[int, Field(ge=0, lt=1 << 31)]
MOST_CLASS_SCORES: Final = 200
"""Classes that a report gives the score of."""


class Latency(ApiModel):
    """Milliseconds of one ``invoke`` on the exported file."""

    median_millis: Milliseconds
    p90_millis: Milliseconds
    p99_millis: Milliseconds | None = None
    runs: Count
    warm_up_runs: Count = 0
    threads: Count
    batch_size: Count = 1
    throughput_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Samples in a second, at the median."""


class Performance(ApiModel):
    """How the exported file runs on the machine that converted it."""

    single: Latency
    batch: Latency | None = None
    """None where the graph has the batch of 1 baked in."""
    load_millis: Milliseconds
    """From bytes to allocated tensors."""
    peak_memory_bytes: ByteCount | None = None
    """Most resident memory that loading and running added to the process."""


class Fidelity(ApiModel):
    """The artifact's outputs against the original's; only what fits the task."""

    top1: float | None = None
    top5: float | None = None
    """Mean share of the original's five best classes that are among the artifact's."""
    kl_divergence: float | None = None
    """Mean Kullback-Leibler divergence from the original's distribution, in nats."""
    confidence_drift: float | None = None
    """Mean absolute change of the first class's score."""
    label_match: float | None = None
    r2: float | None = None
    cosine: float | None = None
    mse: float | None = None
    """Mean squared difference."""
    mae: float | None = None
    """Mean absolute difference."""


class OutputFidelity(ApiModel):
    """One output of an artifact against the original's."""

    name: NameText
    metric: AgreementMetric
    agreement: Annotated[float, Field(ge=0, le=1)]
    """By ``metric``; of the worst column where the columns are judged one by one."""
    snr_db: float | None = None
    """Signal-to-noise ratio of the whole output in dB; None where both are equal."""
    worst_column: NameText | None = None
    """The column with the least agreement, e.g. ``[:, 2]``; None where columns are not judged one by one."""
    constant_columns: int = 0
    """Columns in which the artifact always gives the same, and the original does not."""


class ClassScore(ApiModel):
    """One class of a detector or a segmenting model."""

    label: int
    name: NameText | None = None
    score: Annotated[float, Field(ge=0, le=1)]
    """Average precision over the IoUs 0.5 to 0.95, or intersection over union."""
    count: Count
    """Objects, or pixels, of the class in the labels."""


class Scores(ApiModel):
    """Outputs against the labels; only what fits the task."""

    metric: AccuracyMetric
    accuracy: float
    """By ``metric``."""
    top5: float | None = None
    macro_f1: float | None = None
    mse: float | None = None
    mae: float | None = None
    map50: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of a detector: average precision at an IoU of 0.5, mean of the classes."""
    classes: Annotated[tuple[ClassScore, ...], Field(max_length=MOST_CLASS_SCORES)] = ()
    """Of a detector or a segmenting model, those with the lowest labels."""


class ClassResult(ApiModel):
    """One class of a classifier."""

    label: int
    name: str | None = None
    samples: int
    accuracy: float | None = None
    """None without labels; the class is then the one that the original gives."""
    original_accuracy: float | None = None
    agreement: float


class Confusion(ApiModel):
    """How often class ``row`` was taken for class ``column``."""

    against: Literal["Labels", "Original"]
    """What a row stands for: the true class, or the original's where there are no labels."""
    labels: tuple[int, ...]
    names: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...]


class LayerError(ApiModel):
    """How far quantization moved one tensor from the float file's."""

    tensor: str
    operator: str
    snr_db: float
    """Signal-to-noise ratio against the float file's tensor on calibration samples."""


class ConfidenceRecord(ApiModel):
    """How sure a classifier was: the probability of the class that it put first."""

    edges: Annotated[tuple[float, ...], Field(max_length=65)]
    """Bounds of the bins; a value belongs to the first bin whose upper bound it does not exceed."""
    counts: Annotated[tuple[int, ...], Field(max_length=64)]
    """Samples in each bin."""
    mean: float
    logits: bool = False
    """Whether the outputs are logits: the probabilities are then their softmax."""


class LevelRecord(ApiModel):
    """The level of an output, which is the mean of a sample's values, over the samples."""

    output: NameText
    mean: float
    std: float


class OutputRecord(ApiModel):
    """What a file gave on the data that it was compared on: drift in production is measured against it."""

    samples: int
    confidence: ConfidenceRecord | None = None
    """None for what is no classifier."""
    level: LevelRecord | None = None
    """Of the first output, for what is no classifier."""


class OperatorCount(ApiModel):
    """How often an operator occurs."""

    operator: NameText
    dtype: str
    """Of its first output."""
    count: int


class TensorDetail(TensorInfo):
    """An input or output with what a program must know to use it."""

    name: NameText
    scale: float | None = None
    zero_point: int | None = None
    """value = (stored - zero_point) * scale"""


class TargetCheck(ApiModel):
    """Whether the file can run on a target, operator by operator."""

    target: Target
    suitable: bool
    problems: tuple[str, ...] = ()
    """What keeps it from running there, or from running well."""
    operators: int = 0
    """Operators in the file."""
    fallback_operators: int = 0
    """Those that the target has no kernel for: they fall back to its CPU, or do not run at all."""


class Inventory(ApiModel):
    """What is in a TFLite file."""

    inputs: tuple[TensorDetail, ...]
    outputs: tuple[TensorDetail, ...]
    operators: tuple[OperatorCount, ...]
    tensor_dtypes: dict[str, int]
    """Number of tensors by dtype, constants included."""
    constant_bytes: dict[str, int] = Field(default_factory=dict)
    """Bytes of constants by dtype."""
    per_channel_tensors: int = 0
    """Tensors with a scale for each channel."""
    flex_operators: tuple[NameText, ...] = ()
    """TensorFlow's own operations: the device needs the Flex delegate for them."""
    custom_operators: tuple[NameText, ...] = ()


class Attempt(ApiModel):
    """One recipe that was tried, and what it gave."""

    recipe: SentenceText
    size_bytes: int | None = None
    agreement: float | None = None
    accuracy: float | None = None
    snr_db: float | None = None
    float_operators: int | None = None
    """Operators that stayed in float."""
    passed: bool
    chosen: bool = False
    seconds: float
    message: MessageText | None = None


class Trial(Attempt):
    """One way to the best file that was tried, of any method, and what it gave."""

    method: Method
    latency_millis: float | None = None
    """Median of one inference; None where it was not measured."""
