"""What to convert, and how: the input of the pipeline, from a command line or a Job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.fields.data import DEFAULT_CALIBRATION_SAMPLES, DEFAULT_EVALUATION_SAMPLES, Task
from modelconversion_api.fields.detection import Detection
from modelconversion_api.fields.recipes import Recipe
from modelconversion_api.fields.verification import Verifier
from modelconversion_api.methods import Method, Objective, Target
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import DEFAULT_TUNING_SECONDS, Benchmark, SourceFormat
from tflite_converter.compilers.options import Compilers
from tflite_converter.data.files import DataFiles
from tflite_converter.isolation.parent import DEFAULT_SILENCE_SECONDS
from tflite_converter.measuring.gates import Gates
from tflite_converter.training.plan import TrainingOptions


@dataclass(frozen=True)
class Options:
    """One conversion."""

    source: Path
    base_name: str
    """Stem of the artifacts' file names."""
    methods: Sequence[Method]
    source_format: SourceFormat = SourceFormat.AUTO
    expected_sha256: str | None = None
    inside: str | None = None
    """Where the model lies in a packed layer of an image or artifact; None for what is no such layer."""
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of inputs that the model leaves open, by input name, the batch first."""
    signature: str | None = None
    """Of a SavedModel or TFLite file; None for the usual one."""
    select_tensorflow_ops: bool = False
    """Whether operations that TFLite lacks may stay TensorFlow's own (Flex)."""
    target: Target | None = None
    verify_on: Sequence[Verifier] = ()
    """Runtimes that each file is run on as well; with that of the target."""
    calibration: DataFiles | None = None
    require_data: bool = True
    """Whether a method that needs calibration data is refused without, or calibrated on made-up samples."""
    validation: DataFiles | None = None
    samples: int = DEFAULT_CALIBRATION_SAMPLES
    """Calibration samples to draw."""
    evaluation_samples: int = DEFAULT_EVALUATION_SAMPLES
    """Most samples that artifacts are compared on."""
    seed: int = 0
    task: Task | None = None
    """What the model is for; read from its outputs and the labels where it is not given."""
    detection: Detection | None = None
    """How a detector's outputs become boxes; for task Detection."""
    ignore_label: int | None = None
    """Value of pixels in masks that count for nothing; None for the usual one."""
    gates: Gates = field(default_factory=Gates)
    benchmark: Benchmark = field(default_factory=Benchmark)
    tuning_seconds: int = DEFAULT_TUNING_SECONDS
    """How long other recipes are tried when the plain one misses its gates."""
    objective: Objective | None = None
    """What decides which file is recommended; None for the target, or size and agreement."""
    tries: Sequence[Method] = ()
    """Methods that are tried beside :attr:`methods`; the best one is published if it is better than they."""
    training: TrainingOptions | None = None
    """What to train before the conversion; None for nothing."""
    compilers: Compilers = field(default_factory=Compilers)
    """What is to be made of the full-integer file."""
    memory_limit_bytes: int | None = None
    """Limit of each child's data."""
    step_timeout_seconds: int = DEFAULT_SILENCE_SECONDS
    request: ConversionRequest | None = None
    """What the report says was asked for, where a Job asks."""
    metric_data: Path | None = None
    """Where outputs and labels go for the user's own metrics; None where there are none."""

    cache: CacheOutcome | None = None
    """What a look into a cache has given; None without a cache. All but a hit has the front half kept."""
    kept_front: Path | None = None
    """Folder with the front half of an earlier run."""
    recipes: Sequence[Recipe] = ()
    """Recipes of the user's own, made beside the methods."""
    rules: Mapping[str, bytes] = field(default_factory=dict)
    """What the recipes' files of rules hold, by the recipe's name."""

    @property
    def calibrated(self) -> tuple[str, ...]:
        """What needs calibration samples, in words of the command line."""
        methods = (method.cli_name for method in self.made if method.needs_calibration)
        recipes = (f"recipe {recipe.name}" for recipe in self.recipes if recipe.needs_calibration)
        return (*methods, *recipes)

    @property
    def made(self) -> tuple[Method, ...]:
        """Every method that is made: those asked for, then those that are tried beside them."""
        return tuple(dict.fromkeys((*self.methods, *self.tries)))
