"""What a user asks for: the spec of a ModelConversion, with the rules checked at ``kubectl apply``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from .base import ApiModel, S3Uri, Sha256, cel
from .compilers import EdgeTPU, EthosU, Microcontroller
from .data import Calibration, Validation
from .limits import OBJECT_NAME_LENGTH
from .methods import Method, Target, methods_for_target
from .optimization import Optimize
from .scheduling import JobSpec, Name
from .storage import Storage

NAME_MAX_LENGTH = 52
"""Longest name of a ModelConversion: 63 less the suffix of the Job's name."""
DEFAULT_TUNING_SECONDS: Final = 300
"""How long other ways to full integer are tried when the plain one misses its gates."""


class SourceFormat(StrEnum):
    """How the source model is stored."""

    AUTO = "Auto"
    KERAS_H5 = "KerasH5"
    KERAS = "Keras"
    SAVED_MODEL = "SavedModel"
    TFLITE = "TFLite"

    @property
    def is_keras(self) -> bool:
        """Whether it is a file that Keras wrote, with its layers."""
        return self in (SourceFormat.KERAS_H5, SourceFormat.KERAS)


TensorName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s]+$")]


SignatureName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s]+$")]


class InputShape(ApiModel):
    """The size that an input is to have where the model leaves it open."""

    name: TensorName
    """Name of the input, as the model or status.source.inputs has it."""
    shape: Annotated[list[Annotated[int, Field(ge=1, le=16777216)]], Field(min_length=1, max_length=8)]
    """Every dimension, the batch first, e.g. [1, 96, 96, 3]."""


class Source(ApiModel):
    """The trained model."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                cel(
                    "!self.selectTensorFlowOps"
                    " || !(self.format == 'TFLite' || self.uri.lowerAscii().endsWith('.tflite'))",
                    "a TFLite file has its operations already: remove selectTensorFlowOps, or give the Keras"
                    " file or SavedModel that it was made from",
                ),
                cel(
                    "!has(self.signature) || !(self.format in ['KerasH5', 'Keras']"
                    " || self.uri.lowerAscii().matches('[.](h5|hdf5|keras)$'))",
                    "a Keras file has no signatures: remove signature, or give the SavedModel",
                ),
                cel(
                    "!self.uri.endsWith('/') || self.format in ['Auto', 'SavedModel']",
                    "a uri that ends in / is the prefix of a SavedModel: remove format, or give the object"
                    " key of the file",
                ),
            ]
        }
    )

    uri: S3Uri
    """Object key of a .h5, .keras or float .tflite file, or of a .zip or .tar.gz file of a SavedModel, or the
    prefix under which a SavedModel folder lies."""
    sha256: Sha256 | None = None
    """Expected SHA-256 digest, as status.source.sha256 or an earlier report gives it. A mismatch fails the
    conversion."""
    format: SourceFormat = SourceFormat.AUTO
    """Format of the source; Auto reads it from the bytes."""
    inputs: Annotated[
        list[InputShape],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Sizes of inputs that the model leaves open. The batch is 1 unless it is given here."""
    signature: SignatureName | None = None
    """Signature of a SavedModel or TFLite file to convert. Unless given, it is serving_default, or else the
    first that takes numbers; the report lists the others."""
    select_tensorflow_ops: Annotated[bool, Field(alias="selectTensorFlowOps")] = False
    """Let operations that TFLite lacks stay TensorFlow's own (Flex). Devices then need the Flex delegate,
    which is megabytes larger; the report names the operations."""


class SigningKeyRef(ApiModel):
    """A Secret in the ModelConversion's namespace that holds a private key."""

    name: Name
    """Name of the Secret."""
    key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = "private.pem"
    """Key in the Secret: an elliptic-curve private key in PEM format, without a password."""


class Signing(ApiModel):
    """How artifacts are signed."""

    secret_ref: SigningKeyRef
    """The private key; only the container that publishes ever sees it."""


Threads = Annotated[int, Field(ge=1, le=64)]


class Benchmark(ApiModel):
    """How latency is measured, in the Job's pod."""

    threads: Threads = 1
    """Threads of the interpreter."""
    runs: Annotated[int, Field(ge=1, le=10000)] = 50
    """Inferences that are timed, after those that warm up."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    """Samples in one run of the batch measurement; 1 leaves it out."""


class Tuning(ApiModel):
    """What is tried when full integer misses its gates."""

    budget_seconds: Annotated[int, Field(ge=0, le=86400)] = DEFAULT_TUNING_SECONDS
    """Seconds for which other recipes are tried when full integer misses its gates; 0 tries none."""


class Output(ApiModel):
    """Where the artifacts go."""

    uri: S3Uri
    """Prefix for the artifacts, report.json and report.html, e.g. s3://models/converted/gesture/."""
    signing: Signing | None = None
    """Signs what is published (OpenSSF model signing); model.sig lies beside the artifacts."""


_METHODS_XOR_TARGET = cel(
    "has(self.methods) != has(self.target)",
    "set either methods (e.g. [DynamicRange]) or target (e.g. RaspberryPi), and not both",
)
_CALIBRATION_FOR_METHODS = cel(
    "!has(self.methods) || !('FullInteger' in self.methods) || has(self.calibration)",
    "FullInteger needs calibration data: set calibration.uri to representative samples, e.g. a .npy file",
)
_CALIBRATION_FOR_TARGET = cel(
    "!has(self.target) || !(self.target in ['EdgeTPU', 'Microcontroller']) || has(self.calibration)",
    "this target runs full-integer models only, which need calibration data: set calibration.uri",
)
_FULL_INTEGER_FOR_COMPILERS = cel(
    "!(has(self.edgeTPU) || has(self.ethosU) || has(self.microcontroller)) || (has(self.calibration)"
    " && ((has(self.methods) && 'FullInteger' in self.methods)"
    " || (has(self.target) && self.target in ['EdgeTPU', 'Microcontroller', 'RaspberryPi'])))",
    "edgeTPU, ethosU and microcontroller take the full-integer file on: add FullInteger to methods, or a"
    " target that gets it, and calibration",
)
_LABELS_FOR_ACCURACY = cel(
    "!has(self.validation) || !has(self.validation.maxAccuracyDrop) || has(self.validation.uri)"
    " || (has(self.calibration) && (has(self.calibration.labelsUri) || has(self.calibration.labelColumn)"
    " || has(self.calibration.images)))",
    "validation.maxAccuracyDrop needs labelled data: set validation.uri and validation.labelsUri, or"
    " calibration.labelsUri, for without validation.uri the rest of the calibration data is measured on",
)

_KERAS_FOR_TRAINING = cel(
    "!has(self.optimize) || !(self.source.format in ['TFLite', 'SavedModel'] || self.source.uri.endsWith('/')"
    " || self.source.uri.lowerAscii().matches('[.](tflite|zip|tgz|tar|tar[.]gz)$'))",
    "optimize trains the model, which needs the Keras file (.h5 or .keras): a SavedModel and a TFLite file"
    " have no layers left to train",
)

_TRAINING_IN_TIME = cel(
    "!has(self.optimize) || self.optimize.training.deadlineSeconds < self.job.activeDeadlineSeconds",
    "training may take as long as the whole Job: raise job.activeDeadlineSeconds, or lower"
    " optimize.training.deadlineSeconds, so that there is time left to convert what was trained",
)


def _output_outside(field: str, *, optional: bool) -> JsonDict:
    """Return the rule that published files must not become a part of the next run's source."""
    unless_absent = f"!has(self.{field.split('.')[0]}) || !has(self.{field}) || " if optional else ""
    return cel(
        f"{unless_absent}!self.{field}.endsWith('/') || !(self.output.uri + '/').startsWith(self.{field})",
        f"output.uri lies inside {field}: the next run would read what this one publishes;"
        " choose a prefix beside it",
    )


class ModelConversionSpec(ApiModel):
    """What to convert, how, and where to put it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                _METHODS_XOR_TARGET,
                _CALIBRATION_FOR_METHODS,
                _CALIBRATION_FOR_TARGET,
                _FULL_INTEGER_FOR_COMPILERS,
                _LABELS_FOR_ACCURACY,
                _output_outside("source.uri", optional=False),
                _output_outside("calibration.uri", optional=True),
                _output_outside("validation.uri", optional=True),
                _output_outside("optimize.training.uri", optional=True),
                _KERAS_FOR_TRAINING,
                _TRAINING_IN_TIME,
            ]
        }
    )

    source: Source
    """The trained model."""
    output: Output
    """Where the artifacts go."""
    storage: Storage = Storage()
    """How to reach the S3 store."""
    methods: (
        Annotated[
            list[Method],
            Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Quantization methods, one artifact each."""
    target: Target | None = None
    """Where the model will run; chooses the methods."""
    calibration: Calibration | None = None
    """Representative dataset; FullInteger needs it."""
    validation: Validation | None = None
    """Data and gates. Without validation.uri, artifacts are compared with the original on the part of the
    calibration data that does not calibrate, or on random inputs; without gates, every artifact passes."""
    benchmark: Benchmark = Benchmark()
    """How latency is measured."""
    tuning: Tuning = Tuning()
    """What is tried when full integer misses its gates."""
    optimize: Optimize | None = None
    """Training before the conversion: distillation, pruning, quantization-aware training. Each optimised file
    is published only where it is better than the plain one."""
    edge_tpu: Annotated[EdgeTPU | None, Field(alias="edgeTPU")] = None
    """Compiles the full-integer file for Coral's Edge TPU."""
    ethos_u: Annotated[EthosU | None, Field(alias="ethosU")] = None
    """Compiles the full-integer file for an Arm Ethos-U."""
    microcontroller: Microcontroller | None = None
    """Writes the full-integer file as C source, and estimates its memory under TFLite Micro."""
    job: JobSpec = JobSpec()
    """How the Job runs."""
    class_name: Name | None = None
    """The operator that is to convert it, where a cluster has several: each acts on conversions of its own
    class only, and one without a class on those without one."""
    suspend: bool = False
    """Stops the Job and keeps the ModelConversion; false starts it again."""

    @model_validator(mode="after")
    def _check_methods_or_target(self) -> Self:
        # The CRD says so too; but without this nothing would run, and without a word.
        if (self.methods is None) == (self.target is None):
            raise ValueError("set either methods or target, and not both")
        return self

    def resolved_methods(self) -> tuple[Method, ...]:
        """Return the methods to run: those asked for, or those of the target, best first."""
        if self.target is not None:
            return methods_for_target(self.target, has_calibration=self.calibration is not None)
        return tuple(self.methods or ())
