"""What became of a ModelConversion."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from .base import GROUP, ApiModel, Fraction, OpenReason, Sha256
from .fields.boards import MAX_BOARDS, Accelerator
from .fields.compilation import EdgeTPUFigures, EthosUFigures, MicrocontrollerFigures, NPUFigures
from .fields.compilers import MOST_SOCS
from .fields.metrics import MetricResults
from .fields.oci import OCIArtifact, OCIFormat
from .fields.optimization import OptimizationSummary
from .fields.recipes import OfMethod
from .fields.registration import RegistrationResult
from .fields.verification import VerificationOutcome, Verifier
from .limits import (
    ARTIFACT_URI_LENGTH,
    NAME_LENGTH,
    OBJECT_NAME_LENGTH,
    ConditionText,
    FailureText,
    MessageText,
    SentenceText,
    VersionText,
)
from .profiles import ResolvedProfile
from .reasons import Stage
from .spec import SourceFormat
from .text import printable

SUCCEEDED = "Succeeded"
"""The condition type that summarises a conversion: Unknown while it is under way, then True or False."""
OUTPUT_SHARED = "OutputShared"
"""The condition type that says that another conversion writes to the same place; there only while it is."""
READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
"""The condition types of kstatus, by which tools such as Flux tell whether an object is current."""


class Phase(StrEnum):
    """One word for the printer column; conditions are the API."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class Reason(StrEnum):
    """Reasons of the Succeeded condition other than :class:`~modelconversion_api.reasons.FailureReason`."""

    CREATED = "Created"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    RETRYING = "Retrying"
    CONVERTED = "Converted"


class Condition(ApiModel):
    """A standard Kubernetes condition."""

    type: Annotated[str, Field(max_length=316)]
    """What it speaks of: Succeeded, or one of those that Flux, Argo CD and kustomize read."""
    status: Literal["True", "False", "Unknown"]
    """Unknown while the conversion is under way."""
    reason: Annotated[str, Field(max_length=1024)]
    """One word for programs."""
    message: ConditionText = ""
    """The same for people."""
    observed_generation: int | None = None
    """The spec generation that this condition speaks of."""
    last_transition_time: datetime
    """When the status last changed."""


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=8,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]


class Progress(ApiModel):
    """How far the Job is."""

    stage: Stage
    """The stage under way."""
    percent: Annotated[int, Field(ge=0, le=100)]
    """About how much of the work is done; it never goes back while one pod runs."""
    pod: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] | None = None
    """The pod that does it."""
    time: datetime | None = None
    """When this was written; a conversion under way is written again after some seconds at the earliest."""


class TensorInfo(ApiModel):
    """An input or output of the model."""

    name: Annotated[str, Field(max_length=NAME_LENGTH)]
    """Name of the tensor, as spec.source.inputs takes it."""
    shape: Annotated[list[int], Field(max_length=16)]
    """Dimensions; -1 where the size is open."""
    dtype: Annotated[str, Field(max_length=32)]
    """Type of the elements, e.g. float32."""
    source_shape: Annotated[list[int], Field(max_length=16)] | None = None
    """Dimensions in the source model, where the files have them in another order."""
    axes: Annotated[list[Annotated[int, Field(ge=0, le=15)]], Field(max_length=16)] | None = None
    """Which dimension of the source model each of the files is, e.g. [0, 2, 3, 1] for channels that come
    first in the source and last in the files."""

    @property
    def layout(self) -> str | None:
        """The layout that the files have, and that of the source; None where both are one."""
        if self.axes is None:
            return None
        names = _LAYOUTS.get(tuple(self.axes))
        if names is not None:
            return f"{names[1]} (the source has {names[0]})"
        return f"dimensions {self.axes} of the source"


_LAYOUTS: Final = {
    (0, 2, 1): ("NCW", "NWC"),
    (0, 2, 3, 1): ("NCHW", "NHWC"),
    (0, 2, 3, 4, 1): ("NCDHW", "NDHWC"),
}


MOST_TENSORS: Final = 64
"""Inputs, and outputs, that are listed."""
_first_tensors = BeforeValidator(lambda value: value[:MOST_TENSORS] if isinstance(value, list) else value)
"""Cuts a list that a model, not a user, has made too long."""


class SourceInfo(ApiModel):
    """The source model as it was read."""

    sha256: Sha256
    """Digest of the file; of a SavedModel, the digest over its sorted relative paths and their digests."""
    size_bytes: int
    """Bytes of the file, or of a SavedModel's files together."""
    format: SourceFormat
    """How the model is stored."""
    inputs: Annotated[list[TensorInfo], Field(max_length=MOST_TENSORS), _first_tensors] = Field(
        default_factory=list
    )
    """The model's inputs; of more than 64 the first."""
    outputs: Annotated[list[TensorInfo], Field(max_length=MOST_TENSORS), _first_tensors] = Field(
        default_factory=list
    )
    """The model's outputs; of more than 64 the first."""


_Uri = Annotated[str, Field(max_length=ARTIFACT_URI_LENGTH)]


class EdgeTPUResult(EdgeTPUFigures):
    """The full-integer file on the Edge TPU."""

    uri: _Uri | None = None
    """Where the compiled file lies, of segments the first."""


class EthosUResult(EthosUFigures):
    """The full-integer file on an Ethos-U."""

    uri: _Uri | None = None
    """Where the compiled file lies."""


class NPUResult(NPUFigures):
    """The file on one chip with an NPU."""

    uri: _Uri | None = None
    """Where the compiled file lies."""


class MicrocontrollerResult(MicrocontrollerFigures):
    """The full-integer file under TFLite Micro."""

    uri: _Uri | None = None
    """Where the C source lies, its header beside it."""


class VerificationResult(ApiModel):
    """What came of one file on another runtime."""

    name: Verifier
    """The runtime, as ``verifyOn`` names it."""
    outcome: VerificationOutcome
    """Passed, Failed, or NotVerified where nothing came of it."""
    agreement: Fraction | None = None
    """Agreement with the original's outputs of what it gave there."""
    accuracy: Fraction | None = None
    """Accuracy there, on the labelled validation data."""
    memory_bytes: int | None = None
    """Working memory that it took there: the arena of TFLite Micro."""
    identical: bool | None = None
    """Whether every value is the one that LiteRT gives in the Job's pod."""
    fallback_operators: int | None = None
    """Operators that stay on the CPU."""
    message: MessageText | None = None
    """Why it failed, or why nothing came of it."""


class Artifact(OfMethod):
    """One converted file and what it is worth."""

    uri: _Uri
    """Where it lies."""
    size_bytes: int
    """Size of the file."""
    size_fraction: Annotated[str, Field(max_length=16)]
    """Size as a share of the source model's size, e.g. 0.2612."""
    sha256: Sha256
    """Digest of the file."""
    agreement: Fraction | None = None
    """Agreement with the original model's outputs; the report says by which metric and on which data."""
    accuracy: Fraction | None = None
    """Accuracy on the labelled validation data."""
    latency_millis: Annotated[str, Field(max_length=16)] | None = None
    """Median milliseconds of one inference in the Job's pod."""
    passed: bool
    """Whether the file is usable and every gate was met."""
    usable: bool = True
    """Whether it does what the original does at all: no output is under the floor."""
    min_runtime_version: VersionText | None = None
    """The first TensorFlow Lite that has every operator of the file, e.g. 2.3; LiteRT 1.0 is 2.18."""
    operators: int | None = None
    """Operators in the file, where a target was named."""
    fallback_operators: int | None = None
    """Those of them that the target has no kernel for."""
    message: MessageText | None = None
    """Which gate was missed, or what to know about this artifact."""
    metrics: MetricResults = Field(default_factory=list)
    """What the metrics of spec.validation gave for it."""
    edge_tpu: Annotated[EdgeTPUResult | None, Field(alias="edgeTPU")] = None
    """What the Edge TPU compiler made of it."""
    ethos_u: Annotated[EthosUResult | None, Field(alias="ethosU")] = None
    """What Vela made of it for an Ethos-U."""
    microcontroller: MicrocontrollerResult | None = None
    """What it takes on a microcontroller."""
    npu: Annotated[
        list[NPUResult],
        Field(
            max_length=MOST_SOCS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["soc"]},
        ),
    ] = Field(default_factory=list)
    """What the vendor's compiler made of it for each chip."""
    verifications: Annotated[
        list[VerificationResult],
        Field(
            max_length=len(Verifier),
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """What came of it on other runtimes."""


class Recommended(OfMethod):
    """The artifact to use."""

    name: Annotated[str, Field(max_length=32)] = ""
    """The recipe that gave it, or else the method: what kubectl get shows."""
    uri: _Uri
    """Where it lies."""
    reason: MessageText
    """Why this one."""
    size: Annotated[str, Field(max_length=32)]
    """Size for people, e.g. 23.4KiB."""


class FailedMethod(OfMethod):
    """A method or recipe that gave no file, while others did."""

    reason: OpenReason
    """One word for programs."""
    message: FailureText
    """The same for people, and what to do about it."""


class MeasuredFile(OfMethod):
    """One published file on one board."""

    latency_millis: Annotated[str, Field(max_length=16)] | None = None
    """Median milliseconds of one inference; not given where it did not run."""
    p90_millis: Annotated[str, Field(max_length=16)] | None = None
    """Nine of ten inferences took no longer."""
    peak_memory_bytes: int | None = None
    """What the process grew by."""
    agreement: Fraction | None = None
    """Agreement with the original model's outputs there."""
    accuracy: Fraction | None = None
    """Accuracy on the labelled validation data there."""
    accelerated_operators: int | None = None
    """Operators that the accelerator took; not given for the CPU, which takes all."""
    fallback_operators: int | None = None
    """Those that it left to the CPU."""
    passed: bool
    """Whether it ran, is usable and meets the board's gates."""
    reason: OpenReason | None = None
    """Why it has no figures, where it has none."""
    message: MessageText | None = None
    """Why it did not pass."""


class Measurement(ApiModel):
    """What one board gave."""

    board: Annotated[str, Field(max_length=32)]
    """Its name in spec.benchmark.boards."""
    reason: OpenReason | None = None
    """Why nothing was measured there; not given where something was."""
    message: FailureText | None = None
    """The same for people, or what to know about the figures."""
    accelerator: Accelerator | None = None
    """What ran the files: CPU, GPU or EdgeTPU; not given where nothing was measured."""
    node: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] | None = None
    """The node that ran the files."""
    processor: SentenceText | None = None
    """Its architecture and processor."""
    runtime: VersionText | None = None
    """The interpreter and its version, and the accelerator's device."""
    files: Annotated[list[MeasuredFile], Field(max_length=16)] = Field(default_factory=list)
    """Each published file."""
    cache_hit: bool | None = None
    """Whether the model did not have to be loaded, because of output.cache; not given without one."""
    report_uri: _Uri | None = None
    """Where everything lies that was measured there."""
    time: datetime
    """When it was written."""


class FailureInfo(ApiModel):
    """What went wrong."""

    stage: Stage | None = None
    """Where it happened; not given where the operator found it."""
    reason: OpenReason
    """One word for programs."""
    message: FailureText
    """The same for people, and what to do about it."""
    exit_code: int | None = None
    """Exit code of the container that failed."""
    pod: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] | None = None
    """The pod whose log says more."""
    time: datetime
    """When it was found."""


class StageName(StrEnum):
    """What a run spends its time on: the stages of the pipeline, and the waiting before them."""

    QUEUE = "Queue"
    SCHEDULE = "Schedule"
    START = "Start"
    FETCH = "Fetch"
    LOAD = "Load"
    CONVERT = "Convert"
    TRAIN = "Train"
    CALIBRATE = "Calibrate"
    QUANTIZE = "Quantize"
    EVALUATE = "Evaluate"
    COMPILE = "Compile"
    PUBLISH = "Publish"
    MEASURE = "Measure"


class StageTime(ApiModel):
    """When a stage was, as the cluster or the converter said it."""

    name: StageName
    """Queue is until the first pod was made, Schedule until it had a node, Start until a container ran;
    Convert is all of that container where nothing more is known of it."""
    start_time: datetime
    """When it began."""
    seconds: Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,9}(\.[0-9]{1,3})?$")]
    """How long until it was last left: stages that take turns, such as Quantize and Evaluate, overlap."""
    pod: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] | None = None
    """The pod that it was in: another one for each try."""
    board: Annotated[str, Field(max_length=32)] | None = None
    """The board that was measured on, where it is one's."""
    reason: OpenReason | None = None
    """Why it failed; not given where it did not."""

    @property
    def end_time(self) -> datetime:
        """When it was last left."""
        return self.start_time + timedelta(seconds=float(self.seconds))


MOST_STAGES: Final = 64
"""Stages whose times are kept; of more the last ones."""

RUN_AGAIN_ANNOTATION: Final = f"{GROUP}/run-again"
"""Annotation of a conversion: any new value, such as the time, asks for one more run after this one."""
RUN_AGAIN_LENGTH: Final = 63
"""Characters of its value that are kept; of a longer one its digest is."""


def run_again_of(annotations: Mapping[str, str]) -> str | None:
    """Return the word to run again as a status has it; a longer one by its digest."""
    word = annotations.get(RUN_AGAIN_ANNOTATION)
    if word is None or (len(word) <= RUN_AGAIN_LENGTH and word == printable(word)):
        return word
    return hashlib.sha256(word.encode()).hexdigest()[:RUN_AGAIN_LENGTH]


def run_name(generation: int, run_again: str | None) -> str:
    """Name a run among those of its conversion: the same spec has another for each word to run again."""
    if run_again is None:
        return str(generation)
    return f"{generation}-{hashlib.sha256(run_again.encode()).hexdigest()[:12]}"


class ModelConversionStatus(ApiModel):
    """What became of the conversion; written by the operator only."""

    observed_generation: int | None = None
    """The spec generation that this status speaks of."""
    run_generation: int | None = None
    """The spec generation that started the present run; the Job is named after it."""
    run_again: Annotated[str, Field(max_length=RUN_AGAIN_LENGTH)] | None = None
    """The value of the annotation edgeml.dev/run-again that the present run has answered; another one starts
    another run once this one has ended."""
    phase: Phase | None = None
    """One word for the printer column; use the conditions in programs."""
    conditions: Conditions = Field(default_factory=list)
    """Succeeded is Unknown while the conversion is under way, then True or False. Beside it, as kstatus
    has it: Ready once it has succeeded, Reconciling while it is under way, Stalled once it has failed."""
    profile: ResolvedProfile | None = None
    """The profile that spec.profileRef names, as it was when this run began."""
    methods: Annotated[str, Field(max_length=128)] | None = None
    """The methods of this run, joined by commas for the printer column."""
    spec_digest: Annotated[str, Field(max_length=64)] | None = None
    """Digest of what this run was made from; a spec with another digest starts a new run after this one."""
    job_name: Annotated[str, Field(max_length=63)] | None = None
    """The Job of this run."""
    job_uid: Annotated[str, Field(max_length=64)] | None = None
    """UID of the Job, once it was created."""
    progress: Progress | None = None
    """How far the Job is."""
    queue_position: Annotated[int, Field(ge=1)] | None = None
    """Place in its namespace's line, where the operator limits how many conversions run; it is brought up to
    date now and then, not at each step."""
    start_time: datetime | None = None
    """When the run was first seen."""
    waiting_since: datetime | None = None
    """Since when nothing of the run runs; spec.job.pendingDeadlineSeconds counts from here."""
    suspended_since: datetime | None = None
    """Since when spec.suspend has stopped the run; not given while it has not."""
    suspended_seconds: Annotated[int, Field(ge=0)] | None = None
    """For how long it was stopped before; the duration is without it."""
    completion_time: datetime | None = None
    """When the run ended."""
    duration: Annotated[str, Field(max_length=32)] | None = None
    """From start to end without the time for which it was suspended, e.g. 1m12s."""
    stages: Annotated[list[StageTime], Field(max_length=MOST_STAGES)] = Field(default_factory=list)
    """What the run spent its time on, as far as that is known; written when a Job or the run ends. Of more
    than 64 the last."""
    source: SourceInfo | None = None
    """The source model as it was read."""
    artifacts: Annotated[list[Artifact], Field(max_length=16)] = Field(default_factory=list)
    """The converted files."""
    failed_methods: Annotated[list[FailedMethod], Field(max_length=16)] = Field(default_factory=list)
    """The methods that gave no file, and why."""
    recommended: Recommended | None = None
    """The artifact to use, and why."""
    oci: Annotated[
        list[OCIArtifact],
        Field(
            max_length=len(OCIFormat),
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["format"]},
        ),
    ] = Field(default_factory=list)
    """What was pushed to a container registry."""
    measurements: Annotated[
        list[Measurement],
        Field(
            max_length=MAX_BOARDS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["board"]},
        ),
    ] = Field(default_factory=list)
    """What the boards of spec.benchmark.boards gave, a row for each."""
    optimization: OptimizationSummary | None = None
    """What training before the conversion did; the report has the figures."""
    failure: FailureInfo | None = None
    """What went wrong."""
    cache_hit: bool | None = None
    """Whether the model did not have to be loaded, because of output.cache; not given without one."""
    registration: RegistrationResult | None = None
    """What became of the files in the model registry; not given without spec.register."""
    report_uri: _Uri | None = None
    """The full report; it is written last, so where it is, everything is."""

    @property
    def run(self) -> str | None:
        """The present run's name among those of this conversion; None before the first."""
        return None if self.run_generation is None else run_name(self.run_generation, self.run_again)

    def has_answered(self, word: str | None) -> bool:
        """Whether a run has answered a word to run again, or nobody asks for one."""
        return word in (None, self.run_again)

    def worked_seconds(self, until: datetime) -> float:
        """Return how long the run has gone on, in seconds, without the time for which it was suspended."""
        if self.start_time is None:
            return 0.0
        return max(0.0, (until - self.start_time).total_seconds() - (self.suspended_seconds or 0))
