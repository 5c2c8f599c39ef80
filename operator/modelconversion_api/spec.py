"""What a user asks for: the spec of a ModelConversion, with the rules checked at ``kubectl apply``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from .base import ApiModel, Sha256, cel
from .fields.boards import MAX_BOARDS, Board
from .fields.cache import CACHE_BESIDE_OUTPUT, Cache
from .fields.compilers import NPU, NPU_METHODS, EdgeTPU, EthosU, Microcontroller
from .fields.data import Calibration, Validation
from .fields.oci import OCIOutput
from .fields.optimization import Optimize, Training
from .fields.recipes import CALIBRATION_FOR_RECIPES, MAX_RECIPES, Recipe
from .fields.registration import NO_PLACES, Registration
from .fields.scheduling import JobSpec, Name
from .fields.storage import ACCOUNT_FOR_AZURE, Storage
from .fields.trust import SIGNATURE_IN_A_STORE, SourceVerification
from .fields.verification import Verifier
from .limits import OBJECT_NAME_LENGTH
from .methods import Method, Objective, Target, methods_for_target
from .uris import SourceUri, StoreUri, bare, ends_in

NAME_MAX_LENGTH = 52
"""Longest name of a ModelConversion: 63 less the suffix of the Job's name."""
DEFAULT_TUNING_SECONDS: Final = 300
"""How long other recipes are tried when the plain one misses its gates."""


class SourceFormat(StrEnum):
    """How the source model is stored."""

    AUTO = "Auto"
    KERAS_H5 = "KerasH5"
    KERAS = "Keras"
    SAVED_MODEL = "SavedModel"
    TFLITE = "TFLite"
    ONNX = "ONNX"
    PYTORCH = "PyTorch"
    STABLEHLO = "StableHLO"

    @property
    def is_keras(self) -> bool:
        """Whether it is a file that Keras wrote, with its layers."""
        return self in (SourceFormat.KERAS_H5, SourceFormat.KERAS)


ENGINE_FORMATS: Final = (SourceFormat.ONNX, SourceFormat.PYTORCH, SourceFormat.STABLEHLO)
"""Formats that an engine of its own reads; a Job's image is chosen before anybody has seen the bytes."""


_SUFFIXES: Final = {
    ".onnx": SourceFormat.ONNX,
    ".pt2": SourceFormat.PYTORCH,
    ".jax": SourceFormat.STABLEHLO,
    ".stablehlo": SourceFormat.STABLEHLO,
    ".mlirbc": SourceFormat.STABLEHLO,
}
"""Ends of names that say that an engine is needed."""
_IS_ONNX: Final = f"(self.format == 'ONNX' || {ends_in('self.uri', 'onnx')})"
_IS_PYTORCH: Final = f"(self.format == 'PyTorch' || {ends_in('self.uri', 'pt2')})"
_IS_STABLEHLO: Final = f"(self.format == 'StableHLO' || {ends_in('self.uri', 'jax|stablehlo|mlirbc')})"


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
                SIGNATURE_IN_A_STORE,
                cel(
                    "!self.selectTensorFlowOps"
                    f" || !(self.format == 'TFLite' || {ends_in('self.uri', 'tflite')})",
                    "a TFLite file has its operations already: remove selectTensorFlowOps, or give the Keras"
                    " file or SavedModel that it was made from",
                ),
                cel(
                    f"!self.selectTensorFlowOps || !{_IS_ONNX}",
                    "an ONNX model has no operations of TensorFlow's that could stay: remove"
                    " selectTensorFlowOps",
                ),
                cel(
                    f"!has(self.signature) || !{_IS_ONNX}",
                    "an ONNX model has no signatures: remove signature",
                ),
                cel(
                    f"!self.selectTensorFlowOps || !{_IS_STABLEHLO}",
                    "a function of JAX has no operations of TensorFlow's that could stay: remove"
                    " selectTensorFlowOps",
                ),
                cel(
                    f"!has(self.signature) || !{_IS_STABLEHLO}",
                    "a function of JAX has no signatures: remove signature",
                ),
                cel(
                    f"!{_IS_PYTORCH} || !(self.selectTensorFlowOps || has(self.signature))",
                    "a PyTorch model has neither signatures nor operations of TensorFlow's: remove signature"
                    " and selectTensorFlowOps",
                ),
                cel(
                    "!has(self.signature) || !(self.format in ['KerasH5', 'Keras']"
                    f" || {ends_in('self.uri', 'h5|hdf5|keras')})",
                    "a Keras file has no signatures: remove signature, or give the SavedModel",
                ),
                cel(
                    "!self.uri.endsWith('/') || self.format in ['Auto', 'SavedModel', 'ONNX']",
                    "a uri that ends in / is the prefix of a SavedModel, or of an ONNX model with external"
                    " data: remove format, or give the object key of the file",
                ),
            ]
        }
    )

    uri: SourceUri
    """Object key of a .h5, .keras, .onnx, .pt2, .jax or float .tflite file, or of a .zip or .tar.gz file of a
    SavedModel or of an ONNX model with its external data, or the prefix under which a SavedModel folder
    lies, in a store: s3://bucket/key, gs://bucket/key or az://container/key. Or such a file on a web server,
    https://host/path#sha256=DIGEST, or on the Hugging Face Hub, hf://organisation/repository@COMMIT/path;
    data may lie there too. Or in a container registry, oci://host/repository@sha256:DIGEST, with /path of a
    file behind it where there are several."""
    sha256: Sha256 | None = None
    """Expected SHA-256 digest, as status.source.sha256 or an earlier report gives it. A mismatch fails the
    conversion."""
    verify: SourceVerification | None = None
    """A signature without which the model is not loaded, whatever its digest."""
    format: SourceFormat = SourceFormat.AUTO
    """Format of the source; Auto reads it from the bytes. An ONNX model whose uri does not end in .onnx needs
    it here, and a PyTorch one whose uri does not end in .pt2, for its Job gets an image of its own; so does a
    function of JAX whose uri does not end in .jax, .stablehlo or .mlirbc."""
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

    @property
    def engine_format(self) -> SourceFormat | None:
        """The format for which an engine is needed, as far as it is known without the bytes."""
        if self.format in ENGINE_FORMATS:
            return self.format
        if self.format is not SourceFormat.AUTO:
            return None
        uri = bare(self.uri).lower()
        return next((known for suffix, known in _SUFFIXES.items() if uri.endswith(suffix)), None)


class TokenRef(ApiModel):
    """A Secret in the ModelConversion's namespace, which its owner has released, that holds a token."""

    name: Name
    """Name of the Secret."""
    key: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = "HF_TOKEN"
    """Key in the Secret that holds the token."""


class HuggingFace(ApiModel):
    """How to read from the Hugging Face Hub what is not public."""

    secret_ref: TokenRef
    """An access token; only the container that fetches ever sees it, and only the Hub is shown it."""


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


class ProfileKind(StrEnum):
    """Where a profile lies."""

    NAMESPACE = "ConversionProfile"
    """In the conversion's namespace."""
    CLUSTER = "ClusterConversionProfile"
    """In the cluster."""


class ProfileRef(ApiModel):
    """The profile that a conversion follows."""

    kind: ProfileKind = ProfileKind.NAMESPACE
    """ConversionProfile, of the conversion's namespace, or ClusterConversionProfile."""
    name: Name
    """Its name."""


class Benchmark(ApiModel):
    """How latency is measured: in the Job's pod, and on boards."""

    threads: Threads = 1
    """Threads of the interpreter."""
    runs: Annotated[int, Field(ge=1, le=10000)] = 50
    """Inferences that are timed, after those that warm up."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    """Samples in one run of the batch measurement; 1 leaves it out."""
    boards: Annotated[
        list[Board],
        Field(
            max_length=MAX_BOARDS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Nodes on which the published files are run afterwards, one after another. A file that misses a gate of
    a board is not recommended."""


class Tuning(ApiModel):
    """What is tried when a method of integers misses its gates, or to find the best file."""

    budget_seconds: Annotated[int, Field(ge=0, le=86400)] = DEFAULT_TUNING_SECONDS
    """Seconds for which other recipes are tried when FullInteger or Int16Activations misses its gates, and in
    which Int4 looks for layers to store in 4 bits; 0 tries none. With try, the seconds are for all of it."""
    objective: Objective | None = None
    """What decides which file is recommended, of those that pass. Unless given, the target does, or else size
    and agreement together; with try it is SmallestThatPasses."""
    tries: Annotated[
        list[Method],
        Field(alias="try", max_length=len(Method), json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = Field(default_factory=list)
    """Methods that are made and measured beside those asked for, as long as the budget lasts. The best one is
    published, if none of the others is better by the objective; each stands in the report."""

    @property
    def resolved_objective(self) -> Objective | None:
        """The objective that counts; None where the target, or size and agreement, decide."""
        return self.objective or (Objective.SMALLEST_THAT_PASSES if self.tries else None)


class Retain(StrEnum):
    """What becomes of the files of earlier runs under the same output URI."""

    LATEST = "Latest"
    """A run writes over what an earlier one has left."""
    IMMUTABLE = "Immutable"
    """A run that finds another one's report fails, and changes nothing."""


class Output(ApiModel):
    """Where the artifacts go."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [CACHE_BESIDE_OUTPUT]})

    uri: StoreUri
    """Prefix for the artifacts, report.json and report.html, e.g. s3://models/converted/gesture/,
    or below gs://bucket/ or az://container/."""
    retain: Retain = Retain.LATEST
    """Latest writes over the files of an earlier run. Immutable fails where another run's report lies, before
    anything is converted and again before anything is written; it reads the report with the credentials that
    write the output."""
    cache: Cache | None = None
    """Keeps the float file and the original's outputs, so that the model is loaded once for several
    conversions."""
    signing: Signing | None = None
    """Signs what is published (OpenSSF model signing); model.sig lies beside the artifacts."""
    oci: OCIOutput | None = None
    """A container registry that gets artifacts as well, with report, signature and provenance."""


_METHODS_XOR_TARGET = cel(
    "has(self.methods) != has(self.target) || (has(self.profileRef) && !has(self.methods))",
    "set either methods (e.g. [DynamicRange]) or target (e.g. RaspberryPi), and not both; or a profileRef"
    " that chooses them",
)
_CALIBRATED: Final = [method.value for method in Method if method.needs_calibration]
_CALIBRATION_FOR_METHODS = cel(
    f"!has(self.methods) || !self.methods.exists(m, m in {_CALIBRATED}) || has(self.calibration)",
    "FullInteger and Int16Activations need calibration data: set calibration.uri to representative samples,"
    " e.g. a .npy file",
)
_CALIBRATION_FOR_TRIES = cel(
    "!has(self.tuning) || !has(self.tuning.try) || has(self.calibration)"
    f" || !self.tuning.try.exists(m, m in {_CALIBRATED})",
    "tuning.try names a method that needs calibration data: set calibration.uri, or leave FullInteger and"
    " Int16Activations out of try",
)
_TIME_FOR_TRIES = cel(
    "!has(self.tuning) || !has(self.tuning.try) || self.tuning.try.size() == 0"
    " || self.tuning.budgetSeconds > 0",
    "tuning.try without time: raise tuning.budgetSeconds, in which the methods are tried",
)
_CALIBRATION_FOR_TARGET = cel(
    "!has(self.target) || !(self.target in ['EdgeTPU', 'Microcontroller']) || has(self.calibration)",
    "this target runs full-integer models only, which need calibration data: set calibration.uri",
)
_FULL_INTEGER_FOR_COMPILERS = cel(
    "has(self.profileRef) || !(has(self.edgeTPU) || has(self.ethosU) || has(self.microcontroller))"
    " || (has(self.calibration) && ((has(self.methods) && 'FullInteger' in self.methods)"
    " || (has(self.target) && self.target in ['EdgeTPU', 'Microcontroller', 'RaspberryPi'])))",
    "edgeTPU, ethosU and microcontroller take the full-integer file on: add FullInteger to methods, or a"
    " target that gets it, and calibration",
)
_COMPILED_FOR_NPUS: Final = [method.value for method in NPU_METHODS]
_NONE_WITHOUT_DATA: Final = [
    target.value
    for target in Target
    if not set(methods_for_target(target, has_calibration=False)) & set(NPU_METHODS)
]
_FILES_FOR_NPUS = cel(
    "has(self.profileRef) || !has(self.npu)"
    f" || (has(self.methods) && self.methods.exists(m, m in {_COMPILED_FOR_NPUS}))"
    f" || (has(self.target) && (has(self.calibration) || !(self.target in {_NONE_WITHOUT_DATA})))",
    "npu compiles the files of FullInteger, Float32 and Float16: add one of them to methods, or calibration"
    " where the target has no other of them",
)
_LABELS_FOR_ACCURACY = cel(
    "!has(self.validation) || has(self.validation.uri)"
    " || !(has(self.validation.maxAccuracyDrop) || has(self.validation.minAccuracy))"
    " || (has(self.calibration) && (has(self.calibration.labelsUri) || has(self.calibration.labelColumn)"
    " || has(self.calibration.images) || has(self.calibration.audio)))",
    "maxAccuracyDrop and minAccuracy need labelled data: set validation.uri and validation.labelsUri, or"
    " calibration.labelsUri, for without validation.uri the rest of the calibration data is measured on",
)

_KERAS_FOR_TRAINING = cel(
    "!has(self.optimize) || !(self.source.format in ['TFLite', 'SavedModel'] || self.source.uri.endsWith('/')"
    f" || {ends_in('self.source.uri', 'tflite|zip|tgz|tar|tar[.]gz')})",
    "optimize trains the model, which needs the Keras file (.h5 or .keras): a SavedModel and a TFLite file"
    " have no layers left to train",
)

_COMPILED_FOR_BOARDS = cel(
    "has(self.profileRef) || !has(self.benchmark) || !has(self.benchmark.boards)"
    " || !self.benchmark.boards.exists(b, b.accelerator == 'EdgeTPU')"
    " || (has(self.edgeTPU) && self.edgeTPU.compile && self.edgeTPU.numSegments == 1)",
    "a board with accelerator EdgeTPU runs the file that the Edge TPU compiler makes: set edgeTPU, with"
    " compile true and numSegments 1",
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


Methods = Annotated[
    list[Method],
    Field(min_length=1, max_length=len(Method), json_schema_extra={"x-kubernetes-list-type": "set"}),
]
Recipes = Annotated[
    list[Recipe],
    Field(
        max_length=MAX_RECIPES,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    ),
]
Verifiers = Annotated[
    list[Verifier], Field(max_length=len(Verifier), json_schema_extra={"x-kubernetes-list-type": "set"})
]


class ModelConversionSpec(ApiModel):
    """What to convert, how, and where to put it."""

    model_config = ConfigDict(
        json_schema_extra={
            "x-kubernetes-validations": [
                _METHODS_XOR_TARGET,
                _CALIBRATION_FOR_METHODS,
                _CALIBRATION_FOR_TRIES,
                CALIBRATION_FOR_RECIPES,
                _TIME_FOR_TRIES,
                _CALIBRATION_FOR_TARGET,
                _FULL_INTEGER_FOR_COMPILERS,
                _FILES_FOR_NPUS,
                _COMPILED_FOR_BOARDS,
                _LABELS_FOR_ACCURACY,
                _output_outside("source.uri", optional=False),
                _output_outside("calibration.uri", optional=True),
                _output_outside("validation.uri", optional=True),
                _output_outside("optimize.training.uri", optional=True),
                _KERAS_FOR_TRAINING,
                _TRAINING_IN_TIME,
                ACCOUNT_FOR_AZURE,
                NO_PLACES,
            ]
        }
    )

    source: Source
    """The trained model."""
    output: Output
    """Where the artifacts go."""
    storage: Storage = Storage()
    """How to reach the stores."""
    profile_ref: ProfileRef | None = None
    """A profile that says how models are made ready for a kind of device: what the conversion leaves out is
    the profile's, and its own words may ask for more, never for less. It is read when the run begins."""
    methods: Methods | None = None
    """Quantization methods, one artifact each. Int16Activations has int16 inputs and outputs; Int4 stores the
    weights of as many layers in 4 bits as the gates allow, and those of the others in 8."""
    target: Target | None = None
    """Where the model will run; chooses the methods."""
    recipes: Recipes = Field(default_factory=list)
    """Recipes of your own, one artifact each, beside the methods: a method with other precision for certain
    layers, or rules in ai-edge-quantizer's JSON. They are not tuned, trained or compiled."""
    calibration: Calibration | None = None
    """Representative dataset; FullInteger and Int16Activations need it."""
    validation: Validation | None = None
    """Data and gates. Without validation.uri, artifacts are compared with the original on the part of the
    calibration data that does not calibrate, or on random inputs; without gates, every artifact passes."""
    benchmark: Benchmark = Benchmark()
    """How latency is measured."""
    tuning: Tuning = Tuning()
    """What is tried when a method of integers misses its gates, or to find the best file."""
    optimize: Optimize | None = None
    """Training before the conversion: distillation, pruning, quantization-aware training. Each optimised file
    is published only where it is better than the plain one."""
    edge_tpu: Annotated[EdgeTPU | None, Field(alias="edgeTPU")] = None
    """Compiles the full-integer file for Coral's Edge TPU."""
    ethos_u: Annotated[EthosU | None, Field(alias="ethosU")] = None
    """Compiles the full-integer file for an Arm Ethos-U."""
    microcontroller: Microcontroller | None = None
    """Writes the full-integer file as C source, and estimates its memory under TFLite Micro."""
    npu: NPU | None = None
    """Compiles the files of FullInteger, Float32 and Float16 that pass, for NPUs of one vendor."""
    verify_on: Verifiers = Field(default_factory=list)
    """Runtimes on which each file is run too, and what it gives there compared: Microcontroller is TFLite
    Micro, GPU is LiteRT's GPU accelerator on a software driver. With the target of that name it is done
    unasked, and a file that fails there fails. cortex-a53, cortex-a72, cortex-a76 and armv7 are emulated
    processors, OldestRuntime is tflite-runtime 2.14 and LiteRT 1.0: they are in the image that is built with
    --target verify, and what fails there is told."""
    hugging_face: HuggingFace | None = None
    """How hf uris are read that not everybody may read: of private repositories, and of gated ones."""
    registration: Annotated[Registration | None, Field(alias="register")] = None
    """A model registry that gets a version for each file that passes, with its figures and the report. A run
    whose files could not be registered has failed, with the files published."""
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
        if self.methods is not None and self.target is not None:
            raise ValueError("set either methods or target, and not both")
        if self.methods is None and self.target is None and self.profile_ref is None:
            raise ValueError("set either methods or target, or a profileRef that chooses them")
        return self

    def resolved_methods(self) -> tuple[Method, ...]:
        """Return the methods to run: those asked for, or those of the target, best first."""
        if self.target is not None:
            return methods_for_target(self.target, has_calibration=self.calibration is not None)
        return tuple(self.methods or ())


def read_uris(spec: ModelConversionSpec) -> list[str]:
    """Return everything that ``fetch`` reads: what the conversion is made of, and its cache."""
    cache = spec.output.cache
    return [*uris_of(spec).values(), *([] if cache is None else [cache.uri])]


def uris_of(spec: ModelConversionSpec) -> dict[str, str]:
    """Return everything that a conversion reads, by where in the spec it stands."""
    training = None if spec.optimize is None else spec.optimize.training
    student = None if spec.optimize is None else spec.optimize.distillation
    verify = spec.source.verify
    found: dict[str, str | None] = {
        "spec.source.uri": spec.source.uri,
        "spec.source.verify.signatureUri": None if verify is None else verify.signature_uri,
    }
    data: dict[str, Calibration | Validation | Training | None] = {
        "spec.calibration": spec.calibration,
        "spec.validation": spec.validation,
        "spec.optimize.training": training,
    }
    for place, part in data.items():
        if part is not None:
            found |= {f"{place}.uri": part.uri, f"{place}.labelsUri": part.labels_uri}
    if student is not None:
        found["spec.optimize.distillation.studentUri"] = student.student_uri
    for recipe in spec.recipes:
        if recipe.rules is not None:
            found[f"spec.recipes[{recipe.name}].rules.uri"] = recipe.rules.uri
    return {place: uri for place, uri in found.items() if uri is not None}
