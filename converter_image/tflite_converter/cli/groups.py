"""The models that the commands take their flags from: the contract's, and those of the command line alone.

Where the contract has the address of an object in a store, the command line has a file: the classes named
``...Files`` are the contract's models with that one difference. A field that is added to the contract is a
flag of ``convert`` without a line here; a name in ``names`` is for flags that are spelled in another way.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from modelconversion_api.base import ApiModel, Sha256
from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.compilers import NPU, EdgeTPU, EthosU, Microcontroller
from modelconversion_api.fields.data import Calibration, Images, Seed, Validation
from modelconversion_api.fields.detection import Detection
from modelconversion_api.fields.optimization import Distillation, Pruning, QuantizationAwareTraining, Training
from modelconversion_api.methods import Method
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Benchmark, InputShape, Source, Tuning
from tflite_converter.cli.flags import Group, Metavar
from tflite_converter.isolation.parent import DEFAULT_SILENCE_SECONDS

ALL_METHODS: Final = "all"
MethodName = StrEnum("MethodName", {m.name: m.cli_name for m in Method} | {"ALL": ALL_METHODS})  # type: ignore[misc]  # made from the contract's methods, which mypy cannot see

_DATA: Final = "Data"
_MODEL: Final = "Model"
_GATES: Final = "Gates: an artifact that misses one is marked; exit code 41 when none passes"
_MEASURING: Final = "Measuring and tuning"
_TRAINING: Final = "Training before the conversion (Keras models): distil, then prune, then train for int8"
_COMPILERS: Final = "Compilers and C source, of the full-integer file"
_LIMITS: Final = "Limits"
_SHOWN: Final = "What is shown"

_READING: Final = ("uri", "labels_uri", "label_column")


def _refuse_nothing(text: object) -> object:
    if text == "":
        raise ValueError("a file must have a name")
    return text


def _input_shape(text: object) -> object:
    """Return ``audio=1,16000`` (or ``audio=1x16000``) as the contract spells it."""
    name, _, sizes = str(text).partition("=")
    parts = sizes.replace("x", ",").split(",")
    if not name or not all(part.strip().isdecimal() for part in parts):
        raise ValueError("it is not NAME=SIZES, e.g. audio=1,16000")
    return {"name": name, "shape": parts}


File = Annotated[Path, BeforeValidator(_refuse_nothing)]
FileName = Annotated[str, Metavar("PATH"), BeforeValidator(_refuse_nothing)]
"""A file's path where the contract has an object's address."""


def _lower_case(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


class ModelFile(Source):
    """The trained model."""

    sha256: Annotated[Sha256, BeforeValidator(_lower_case), Metavar("DIGEST")] | None = None
    """Digest that the model's file must have, as sha256sum prints it."""

    uri: FileName
    """Keras .h5 or .keras file, SavedModel folder or its .zip or .tar.gz, .onnx file (with external data its
    folder or archive), PyTorch .pt2 file, what jax.export wrote, or float .tflite."""
    inputs: Annotated[
        list[Annotated[InputShape, BeforeValidator(_input_shape)]],
        Field(max_length=16),
        Metavar("NAME=SIZES"),
    ] = Field(default_factory=list)
    """Size of an input that the model leaves open, e.g. audio=1,16000; may be repeated. The batch is 1 unless
    it is given here."""


class CalibrationFiles(Calibration):
    """The representative dataset."""

    uri: FileName
    """Representative dataset, which full_integer needs: .npy, .npz (one array for each input), .csv, Parquet,
    TFRecord, or a folder (or .zip, .tar.gz) of images or sounds, with a folder for each class."""
    labels_uri: FileName | None = None
    """Class labels of --data (.npy or .csv): draws evenly over the classes."""


class ValidationFiles(Validation):
    """The data that the files are compared on."""

    uri: FileName | None = None
    """Samples that the artifacts are compared on; the part of --data that does not calibrate unless given."""
    labels_uri: FileName | None = None
    """Labels of --validation-data (.npy or .csv, for a detector COCO's instances as .json): measures
    accuracy."""


class ComparisonFiles(ValidationFiles):
    """The data of ``compare``."""

    uri: FileName | None = None
    """Samples, in the formats of convert's --data. Without them, random ones, which say little."""
    labels_uri: FileName | None = None
    """Labels of --data (.npy or .csv; for a detector COCO's instances, .json)."""


class TrainingFiles(Training):
    """The training data."""

    uri: FileName
    """Training samples, in the same formats as --data. Those that are measured on are left out."""
    labels_uri: FileName | None = None
    """Labels of --train-data (.npy or .csv). Without labels, the model's own outputs are learned."""


class Methods(ApiModel):
    """The choice of methods."""

    method: Annotated[list[MethodName], Field(max_length=len(MethodName))] = Field(default_factory=list)
    """Method of quantization; may be given several times. Without --target, the default is all, which is the
    first four. Without --data, full_integer and int16_activations are calibrated on made-up samples, and
    marked so."""
    recipe: Annotated[list[File], Field(max_length=8)] = Field(default_factory=list)
    """File with a recipe of your own, in JSON: what stands in spec.recipes of a ModelConversion, or a recipe
    of ai-edge-quantizer. May be given several times; each gives one more artifact."""
    require_data: bool = False
    """Refuse full_integer and int16_activations without --data, instead of calibrating them on made-up
    samples."""


TriedName = StrEnum("TriedName", {m.name: m.cli_name for m in Method})  # type: ignore[misc]  # as MethodName


class Search(Tuning):
    """The search for better recipes, and for the best file."""

    tried: Annotated[list[TriedName], Field(max_length=len(TriedName))] = Field(default_factory=list)
    """Method to make and measure beside those asked for, while the time for tuning lasts; may be given
    several times. The best one by the objective is kept, the others stand in the report."""


class Output(ApiModel):
    """The folder for the results."""

    output: File = Path("converted_models")
    """Folder for the files that are written."""


class Draws(ApiModel):
    """The seed of every draw: also of the random inputs that stand in for data."""

    seed: Seed = 0
    """Seed of every draw."""


class Student(ApiModel):
    """The student of a distillation, which one flag says: by its width or by its file."""

    distill: Annotated[str, Field(min_length=1), Metavar("WIDTH|FILE")] | None = None
    """Train a smaller model to do what this one does: a copy with this share of its filters and units, e.g.
    0.5, or a Keras file with the same inputs and outputs."""


class Checkpoint(ApiModel):
    """The state of a training that was interrupted."""

    checkpoint: File | None = None
    """File that keeps the state after each epoch (.npz); training goes on from it where it is there."""


class Compiling(ApiModel):
    """The questions that the contract's compilers answer with yes or no."""

    edgetpu: bool = False
    """Compile for Coral's Edge TPU; needs edgetpu_compiler on the PATH."""
    edgetpu_predict: bool = False
    """Do not compile for the Edge TPU: say what would map, by its documented limits."""
    c_array: bool = False
    """Write C source for TFLite Micro: NAME_int8.cc and .h, with arena size and operators."""
    dense_per_tensor: bool = False
    """One scale for the weights of each FULLY_CONNECTED: for TFLite Micro before October 2024."""
    npu_sdk: Annotated[Path, Metavar("FOLDER")] | None = None
    """Folder with the libraries of the NPU vendor's SDK; unless given, what TFLITE_CONVERTER_NPU_SDKS names,
    /opt/npu-sdk/VENDOR, or for Intel the package openvino."""


class Limits(ApiModel):
    """The limits of each process that touches the model."""

    memory_limit: Annotated[int, Field(ge=512, le=1 << 24)] | None = None
    """Memory of each process that touches the model, in MiB; nearly all there is unless given."""
    step_timeout: Annotated[int, Field(ge=1, le=604800)] = DEFAULT_SILENCE_SECONDS
    """Seconds without progress after which a step counts as hung."""


class Printed(ApiModel):
    """The form of a result that is only printed."""

    as_json: bool = False
    """Print one JSON document; progress goes to stderr."""


class Shown(ApiModel):
    """The form of the results."""

    sign_key: File | None = None
    """Elliptic-curve private key (PEM) that signs the artifacts and reports: writes model.sig (OpenSSF model
    signing)."""
    as_json: bool = False
    """Print the report as one JSON document; progress goes to stderr."""
    quiet: bool = False
    """No progress, only warnings and results."""


SOURCE: Final = Group(
    ModelFile,
    panel=_MODEL,
    names={
        "uri": "--model",
        "inputs": "--input-shape",
        "select_tensorflow_ops": "--select-tf-ops",
    },
    panels={"uri": ""},
    by_hand={"verify": "of Jobs: who has the file has verified it, with model_signing"},
)
REQUEST: Final = Group(
    ConversionRequest,
    by_hand={
        "version": "the command line and the converter are of one version",
        "cache_scope": "of the operator, which keeps namespaces apart by it",
        "run": "of the operator, which tells by it whose report it is",
        "base_name": "taken from the model's file name",
        "methods": "--method, some of them or all",
        "recipes": "--recipe, files with them",
    },
)
METHODS: Final = Group(Methods)
CALIBRATION: Final = Group(
    CalibrationFiles,
    panel=_DATA,
    names={"uri": "--data", "labels_uri": "--labels"},
    panels={"uri": ""},
    asked_by=("--data",),
)
OUTPUT: Final = Group(Output)
VALIDATION_DATA: Final = Group(
    ValidationFiles,
    panel=_DATA,
    names={"uri": "--validation-data", "labels_uri": "--validation-labels"},
    by_hand=dict.fromkeys(Validation.model_fields.keys() - _READING, "a flag of VALIDATION"),
    asked_by=("--validation-data",),
)
IMAGES: Final = Group(
    Images, panel=_DATA, prefix="image-", asked_by=("--data", "--validation-data", "--train-data")
)
AUDIO_NAMES: Final = {
    "num_mel_bins": "--audio-mel-bins",
    "lower_edge_hertz": "--audio-lower-hertz",
    "upper_edge_hertz": "--audio-upper-hertz",
    "num_mfccs": "--audio-mfccs",
}
AUDIO: Final = Group(
    Audio,
    panel=_DATA,
    prefix="audio-",
    names=AUDIO_NAMES,
    asked_by=("--data", "--validation-data", "--train-data"),
)
DRAWS: Final = Group(Draws, panel=_DATA)
VALIDATION: Final = Group(
    Validation,
    panel=_GATES,
    names={
        "samples": "--evaluation-samples",
        "max_size_bytes": "--max-size",
        "max_latency_millis": "--max-latency",
    },
    panels={"samples": _DATA, "task": _MEASURING, "ignore_label": _MEASURING},
    by_hand={
        **dict.fromkeys(_READING, "a flag of VALIDATION_DATA"),
        "metrics": "containers, which only a cluster runs",
    },
)
DETECTION: Final = Group(
    Detection,
    panel=_MEASURING,
    prefix="detection-",
    names={"decoder": "--decoder", "unit": "--box-unit"},
    asked_by=("--decoder",),
    introduced=True,
)
NO_BOARDS: Final = {
    "boards": "they are nodes of a cluster; on a board itself, run tflite-converter benchmark"
}
BENCHMARK: Final = Group(Benchmark, panel=_MEASURING, by_hand=NO_BOARDS)
TUNING: Final = Group(
    Search,
    panel=_MEASURING,
    names={"budget_seconds": "--tuning-seconds", "tried": "--try"},
    by_hand={"tries": "--try, by the methods' names on the command line"},
)
STUDENT: Final = Group(Student, panel=_TRAINING)
CHECKPOINT: Final = Group(Checkpoint, panel=_TRAINING)
PRUNING: Final = Group(
    Pruning,
    panel=_TRAINING,
    prefix="prune-",
    names={"target_sparsity": "--prune", "epochs": "--epochs"},
    asked_by=("--prune",),
    introduced=True,
)
QAT: Final = Group(
    QuantizationAwareTraining,
    panel=_TRAINING,
    prefix="qat-",
    names={"epochs": "--qat"},
    asked_by=("--qat",),
    introduced=True,
)
DISTILLATION: Final = Group(
    Distillation,
    panel=_TRAINING,
    prefix="distill-",
    names={"epochs": "--epochs", "width": "--distill", "student_uri": "--distill"},
    by_hand={"student_uri": "--distill with a file", "width": "--distill with a number"},
    asked_by=("--distill",),
)
TRAINING: Final = Group(
    TrainingFiles,
    panel=_TRAINING,
    prefix="train-",
    names={
        "uri": "--train-data",
        "labels_uri": "--train-labels",
        "label_column": "--label-column",
        "alpha": "--alpha",
        "temperature": "--temperature",
        "batch_size": "--train-batch",
        "learning_rate": "--learning-rate",
        "seed": "--seed",
        "deadline_seconds": "--train-deadline",
    },
    asked_by=("--distill", "--prune", "--qat"),
)
COMPILING: Final = Group(Compiling, panel=_COMPILERS)
EDGE_TPU: Final = Group(
    EdgeTPU,
    panel=_COMPILERS,
    prefix="edgetpu-",
    names={
        "min_runtime_version": "--edgetpu-runtime",
        "timeout_seconds": "--edgetpu-timeout",
        "search_delegate": "--edgetpu-search",
        "num_segments": "--edgetpu-segments",
        "min_mapped_fraction": "--min-mapped",
    },
    by_hand={"compile": "--edgetpu for yes, --edgetpu-predict for no"},
    asked_by=("--edgetpu", "--edgetpu-predict"),
)
ETHOS_U: Final = Group(
    EthosU,
    panel=_COMPILERS,
    prefix="ethos-u-",
    names={
        "accelerator": "--ethos-u",
        "system_config": "--ethos-u-system",
        "memory_mode": "--ethos-u-memory",
        "timeout_seconds": "--ethos-u-timeout",
        "min_mapped_fraction": "--min-mapped",
    },
    asked_by=("--ethos-u",),
    introduced=True,
)
MICROCONTROLLER: Final = Group(
    Microcontroller,
    panel=_COMPILERS,
    names={"max_arena_bytes": "--max-arena"},
    by_hand={"c_array": "--c-array", "dense_weights": "--dense-per-tensor"},
)
NPU_CHIPS: Final = Group(
    NPU,
    panel=_COMPILERS,
    prefix="npu-",
    names={
        "vendor": "--npu",
        "socs": "--npu-soc",
        "min_delegated_fraction": "--min-delegated",
        "max_partitions": "--max-partitions",
    },
    asked_by=("--npu",),
    introduced=True,
)
PRINTED: Final = Group(Printed, names={"as_json": "--json"})
LIMITS: Final = Group(Limits, panel=_LIMITS)
SHOWN: Final = Group(Shown, panel=_SHOWN, names={"as_json": "--json", "quiet": "--quiet -q"})

CONVERT: Final = (
    *(SOURCE, METHODS, CALIBRATION, OUTPUT, REQUEST, VALIDATION_DATA, IMAGES, AUDIO, VALIDATION, DRAWS),
    *(DETECTION,),
    *(BENCHMARK, TUNING),
    *(STUDENT, DISTILLATION, PRUNING, QAT, TRAINING, CHECKPOINT),
    *(COMPILING, EDGE_TPU, ETHOS_U, MICROCONTROLLER, NPU_CHIPS),
    *(LIMITS, SHOWN),
)
