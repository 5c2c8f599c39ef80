"""What the parent hands to its children (on standard input), and what it gets back (files in one folder)."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.data import Task
from modelconversion_api.fields.detection import Detection
from modelconversion_api.fields.recipes import Recipe
from modelconversion_api.fields.verification import Verification, Verifier
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.calibration import InputCoverage, Stability
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import AgreementMetric, Scores
from modelconversion_api.spec import Benchmark, SourceFormat
from modelconversion_api.status import TensorInfo
from tflite_converter.data.binding import SavedSamples
from tflite_converter.isolation.protocol import ChildLimits, WorkerFailure
from tflite_converter.measuring.gates import Gates
from tflite_converter.training.plan import TrainingPlan
from tflite_converter.verifying.guests import GuestRun

FUSED_FILE: Final = "fused.tflite"
UNROLLED_FILE: Final = "unrolled.tflite"
INTEGERS_FILE: Final = "float-for-integers.tflite"
INT8_FILE: Final = "int8.tflite"
CALIBRATION_FOLDER: Final = "calibration"
GUEST_SAMPLES_FILE: Final = "guest-samples.npz"
LABELS_FILE: Final = "labels.npy"
METRIC_DATA_FOLDER: Final = "metric-data"
"""What the user's own metrics get: the original's outputs, the labels, and files' outputs by their digest."""
TRAINING_LABELS_FILE: Final = "training-labels.npy"
FROZEN_FOLDER: Final = "frozen"
FUSED_INTEGERS_FOLDER: Final = "frozen-fused-integers"
CLIPPED_FOLDER: Final = "frozen-clipped"
OWN_RANGES_FOLDER: Final = "frozen-own-ranges"


class TrainingJob(ApiModel):
    """What the child with TensorFlow trains, and on what."""

    plan: TrainingPlan
    samples: SavedSamples
    task: Task
    student: Path | None = None
    """A Keras file; None for a narrowed copy of the original."""
    checkpoint: Path | None = None
    """Where an earlier run left off."""
    fingerprint: str
    """What a checkpoint must belong to."""


class TensorFlowJob(ApiModel):
    """What the child with TensorFlow is to do."""

    task: Literal["float", "int8", "optimize"]
    """``float``: load, freeze, write the float file and the reference outputs. ``int8``: TensorFlow's own
    full-integer conversion of what ``float`` froze. ``optimize``: ``float`` with a model that is trained in
    between; the reference outputs stay the original's."""
    limits: ChildLimits
    source: Path
    format: SourceFormat
    input_shapes: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    signature: str | None = None
    """Of a SavedModel; None for the usual one."""
    select_tensorflow_ops: bool = False
    frozen: str = FROZEN_FOLDER
    """For ``int8``: which of the folders that ``float`` left is quantized."""
    own_ranges: bool = False
    """For ``int8``: whether the graph's own ranges are taken, and no samples."""
    unroll: bool = False
    """Whether recurrent layers are also written with their time steps unrolled, for full integer."""
    calibration: SavedSamples | None = None
    evaluation: SavedSamples | None = None
    random_samples: int = 32
    seed: int = 0
    training: TrainingJob | None = None
    """For ``optimize``."""


class BindingJob(ApiModel):
    """Which samples are to be written for a float file that an engine has made."""

    limits: ChildLimits
    inputs: tuple[TensorInfo, ...]
    """As the float file has them."""
    group: int = 1
    """The first size that the model fixes for all inputs: of samples at once, where samples are rows."""
    calibration: SavedSamples | None = None
    evaluation: SavedSamples | None = None
    random_samples: int = 32
    seed: int = 0


class BindingResult(ApiModel):
    """What came of it."""

    isolation: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class RecipeJob(ApiModel):
    """A recipe of the user's own."""

    recipe: Recipe
    rules: str | None = None
    """What its file of rules holds."""


class LiteRTJob(ApiModel):
    """What the child without TensorFlow is to do with the float file."""

    limits: ChildLimits
    base_name: str
    methods: tuple[Method, ...]
    recipes: tuple[RecipeJob, ...] = ()
    ready: dict[Method, str] = Field(default_factory=dict)
    """Files in the folder that are made already and only need measuring."""
    fused: bool = False
    """Whether the ready full-integer file has fused LSTM layers."""
    own_ranges: bool = False
    """Whether the ready full-integer file has the ranges of the graph's own fake quantization."""
    target: Target | None = None
    source: Path | None = None
    """A TFLite file to start from; None where TensorFlow's child has left the float file in the folder."""
    signature: str | None = None
    """Of a TFLite source; None for the usual one."""
    source_bytes: int
    calibration: SavedSamples | None = None
    evaluation: SavedSamples | None = None
    """Both for a TFLite source only: otherwise TensorFlow's child has bound them."""
    has_evaluation_data: bool = True
    """False where artifacts are compared on random inputs."""
    evaluation_name: str = "the evaluation data"
    random_samples: int = 32
    synthetic_samples: int = 0
    """How many samples are made up for full integer; 0 where there are calibration data."""
    seed: int = 0
    record: dict[str, object] = Field(default_factory=dict)
    """The conversion record that goes into each file."""
    task: Task | None = None
    detection: Detection | None = None
    """How a detector's outputs become boxes."""
    ignore_label: int | None = None
    """Value of pixels in masks that count for nothing; None for the usual one."""
    beside: int = 1
    """How many files may be made, or compared, beside each other."""
    threads: int = 1
    """How many threads run a file where nobody times it: what it gives does not depend on them."""
    verify_on: tuple[Verifier, ...] = ()
    """Runtimes that each file is run on as well, by this child."""
    has_guests: bool = False
    """Whether samples are written for runtimes that others run."""
    has_metrics: bool = False
    """Whether outputs and labels are written for the user's own metrics."""
    gates: Gates = Gates()
    benchmark: Benchmark = Benchmark()
    tuning_seconds: int = 0
    tried: tuple[Method, ...] = ()
    """Those of the methods that are made only while the tuning's seconds last."""
    dense_per_tensor: bool = False
    """Whether FULLY_CONNECTED gets one scale for all of its weights."""
    compiled: bool = False
    """Whether a compiler for the target comes afterwards."""
    class_names: tuple[str, ...] = ()
    label_array: str | None = None
    """The array of the evaluation data that was taken for the labels."""
    random_outputs: tuple[str, ...] = ()
    """Outputs of the original that are others each time."""
    layouts: dict[str, str] = Field(default_factory=dict)
    """Inputs and outputs that have another layout than in the source, and which."""

    @property
    def needs_calibration(self) -> bool:
        """Whether any file needs calibration samples."""
        methods = any(method.needs_calibration for method in self.methods)
        return methods or any(wanted.recipe.needs_calibration for wanted in self.recipes)


class EvaluationBasis(ApiModel):
    """How the artifacts were compared; the same for all of them."""

    task: Task
    task_is_given: bool
    agreement_metric: AgreementMetric
    original: Scores | None = None
    not_finite: int = 0
    """Samples left out because the original gives NaN or infinity on them."""
    metric_samples: int = 0
    """Samples that the user's own metrics get."""
    warnings: tuple[str, ...] = ()


class CalibrationBasis(ApiModel):
    """What calibration showed of its data."""

    inputs: tuple[InputCoverage, ...] = ()
    stability: Stability | None = None
    synthetic: dict[str, str] = Field(default_factory=dict)
    """How made-up samples were drawn, by input."""
    warnings: tuple[str, ...] = ()


class MethodResult(ApiModel):
    """What became of one method: a measured artifact, or why there is none."""

    artifact: ArtifactReport | None = None
    failure: WorkerFailure | None = None
    seconds: float = 0.0
    """How long it took to make and measure it."""


class LiteRTResult(ApiModel):
    """What the child without TensorFlow found."""

    inputs: tuple[TensorInfo, ...] = ()
    """Of a TFLite source."""
    outputs: tuple[TensorInfo, ...] = ()
    evaluation: EvaluationBasis
    calibration: CalibrationBasis | None = None
    methods: dict[Method, MethodResult]
    """Without those for which there was no time left."""
    recipes: dict[str, MethodResult] = Field(default_factory=dict)
    """By the recipe's name."""
    seconds: dict[Stage, float] = Field(default_factory=dict)
    isolation: tuple[str, ...] = ()


class GuestCheck(ApiModel):
    """One check that guests have made."""

    name: Verifier
    runs: tuple[GuestRun, ...]
    """Of each of its guests."""


class GuestFile(ApiModel):
    """A file that guests have run."""

    name: str
    gates: Gates
    checks: tuple[GuestCheck, ...]


class GuestsJob(ApiModel):
    """What guests gave that is to be judged."""

    limits: ChildLimits
    basis: LiteRTJob
    """What the files were measured by."""
    files: tuple[GuestFile, ...]


class GuestsResult(ApiModel):
    """The records of each file's checks, by the file's name."""

    verifications: dict[str, tuple[Verification, ...]]
    isolation: tuple[str, ...] = ()
