"""What comes back from the Job: the full report in the bucket, and its summary in the termination message."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from .base import ApiModel, Sha256
from .calibration_report import CalibrationReport, DataInfo
from .data import Task
from .measurements import (
    AgreementMetric,
    Attempt,
    ClassResult,
    Confusion,
    Fidelity,
    Inventory,
    Latency,
    LayerError,
    Performance,
    Scores,
    TargetCheck,
)
from .methods import Method
from .reasons import FailureReason, Stage
from .request import ConversionRequest
from .status import SourceInfo

REPORT_FILE_NAME: Final = "report.json"
HTML_REPORT_FILE_NAME: Final = "report.html"
SIGNATURE_FILE_NAME: Final = "model.sig"
TERMINATION_MESSAGE_LIMIT: Final = 4096
"""Kubernetes keeps this many bytes of a container's termination message."""


class ArtifactSummary(ApiModel):
    """One artifact, in the figures that fit into a resource's status."""

    method: Method
    file_name: Annotated[str, Field(max_length=160, pattern=r"^[A-Za-z0-9._-]+\.tflite$")]
    size_bytes: Annotated[int, Field(gt=0)]
    size_fraction: float
    """Size as a share of the source model's size."""
    sha256: Sha256
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    snr_db: float | None = None
    """Signal-to-noise ratio of the outputs against the original's, in dB; None where both are equal."""
    latency: Latency | None = None
    passed: bool
    operators: int | None = None
    """Operators in the file; None where no target was named."""
    fallback_operators: int | None = None
    """Those that the target has no kernel for."""
    message: Annotated[str, Field(max_length=512)] | None = None


class ArtifactReport(ArtifactSummary):
    """One artifact: the file and all that was measured on it."""

    fidelity: Fidelity | None = None
    scores: Scores | None = None
    worst_class: ClassResult | None = None
    """The class that lost most accuracy (agreement, where there are no labels)."""
    confusion: Confusion | None = None
    performance: Performance | None = None
    inventory: Inventory | None = None
    targets: tuple[TargetCheck, ...] = ()
    layers: tuple[LayerError, ...] = ()
    """Full integer only: the error of each activation, in the graph's order."""
    recipe: Annotated[str, Field(max_length=256)] | None = None
    """How it was quantized."""
    attempts: tuple[Attempt, ...] = ()
    """Full integer only: the recipes that were tried because the plain one missed its gates."""


class MethodFailure(ApiModel):
    """A method that gave no file, while others did."""

    method: Method
    reason: FailureReason
    message: Annotated[str, Field(max_length=2048)]


class Evaluation(ApiModel):
    """What the artifacts were compared on, and how the original did."""

    data: DataInfo
    task: Task
    task_is_given: bool = False
    """Whether the user said so; it is otherwise read from the outputs and labels."""
    agreement_metric: AgreementMetric
    original_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    original: Scores | None = None
    overlap: int = 0
    """Samples left out because they calibrate the model as well."""


class Alternative(ApiModel):
    """A neighbour of the recommendation on the Pareto front: better in one thing, worse in another."""

    method: Method
    trade: Annotated[str, Field(max_length=256)]
    """What it gains and what it costs."""


class RecommendedMethod(ApiModel):
    """The method to use, and why."""

    method: Method
    reason: Annotated[str, Field(max_length=512)]
    alternatives: tuple[Alternative, ...] = ()


class Provenance(ApiModel):
    """What else it takes to do it again."""

    base_name: str
    options: dict[str, str] = Field(default_factory=dict)
    """Every option that was not the default's or that has no place elsewhere, as text."""
    isolation: tuple[str, ...] = ()
    """What kept the model's code from the machine it ran on, e.g. ``no-network``."""
    platform: str = ""
    """Architecture and processor, which latency depends on."""


class ConversionReport(ApiModel):
    """``report.json``, everything about one conversion; uploaded last, so where it is, everything is."""

    version: Literal["v1alpha1"] = "v1alpha1"
    request: ConversionRequest | None = None
    """What a Job was asked for; None for a conversion on the command line."""
    source: SourceInfo
    artifacts: Annotated[tuple[ArtifactReport, ...], Field(min_length=1, max_length=8)]
    recommended: RecommendedMethod | None = None
    """None when no artifact passed its gates."""
    failed_methods: tuple[MethodFailure, ...] = ()
    """Methods that gave no file."""
    calibration: CalibrationReport | None = None
    evaluation: Evaluation
    provenance: Provenance | None = None
    warnings: tuple[Annotated[str, Field(max_length=1024)], ...] = ()
    stage_seconds: dict[Stage, float] = Field(default_factory=dict)
    """Wall-clock seconds by stage. Times are all that differs between runs of one request."""
    import_seconds: float | None = None
    """Part of Load that TensorFlow's import took; None where TensorFlow was not needed."""
    tool_versions: dict[str, str] = Field(default_factory=dict)


class StageFailure(ApiModel):
    """Why a stage ended without success."""

    stage: Stage
    reason: FailureReason
    message: Annotated[str, Field(max_length=2048)]


class ConversionSummary(ApiModel):
    """The part of the report that goes into the resource's status."""

    source: SourceInfo
    artifacts: tuple[ArtifactSummary, ...]
    recommended: RecommendedMethod | None = None
    failed_methods: tuple[MethodFailure, ...] = ()
    stage_seconds: dict[Stage, float] = Field(default_factory=dict)
    original_accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Of the model itself, on the data that the artifacts' accuracy was measured on."""


class StageResult(ApiModel):
    """A container's termination message: a failure, a summary (from ``publish``), or neither."""

    version: Literal["v1alpha1"] = "v1alpha1"
    failure: StageFailure | None = None
    summary: ConversionSummary | None = None

    def encode(self) -> str:
        """JSON of at most :data:`TERMINATION_MESSAGE_LIMIT` bytes; long tensor lists and texts are cut."""
        for result in (self, *(_shortened(self, keep) for keep in (64, 8, 2, 0))):
            text = result.to_json()
            if len(text.encode()) <= TERMINATION_MESSAGE_LIMIT:
                return text
        raise ValueError("a stage result cannot be cut to the termination message's limit")

    @classmethod
    def decode(cls, text: str | None) -> StageResult | None:
        """The result in a termination message; None when there is none that can be read."""
        try:
            return cls.model_validate_json(text or "")
        except ValidationError:
            return None


def _shortened(result: StageResult, keep: int) -> StageResult:
    """``result`` with at most ``keep`` inputs and outputs, and with shorter texts.

    With ``keep`` 0, four artifacts and four failures fit, whatever is in them.
    """
    texts = 120 + 8 * keep if keep else 56
    failure, summary = result.failure, result.summary
    if failure is not None:
        failure = failure.model_copy(update={"message": _cut(failure.message, 4 * texts)})
    if summary is not None:
        source = summary.source.model_copy(
            update={"inputs": summary.source.inputs[:keep], "outputs": summary.source.outputs[:keep]}
        )
        artifacts = tuple(_shortened_artifact(a, texts) for a in summary.artifacts)
        recommended = summary.recommended
        if recommended is not None:
            alternatives = tuple(
                a.model_copy(update={"trade": _cut(a.trade, texts)})
                for a in recommended.alternatives[: keep // 4]
            )
            recommended = recommended.model_copy(
                update={"reason": _cut(recommended.reason, texts), "alternatives": alternatives}
            )
        failed = tuple(
            f.model_copy(update={"message": _cut(f.message, 2 * texts)}) for f in summary.failed_methods
        )
        summary = summary.model_copy(
            update={
                "source": source,
                "artifacts": artifacts,
                "recommended": recommended,
                "failed_methods": failed,
            }
        )
    return StageResult(failure=failure, summary=summary)


def _shortened_artifact(artifact: ArtifactSummary, texts: int) -> ArtifactSummary:
    """``artifact`` with a shorter message, and of its latency only what the status and the metrics take."""
    latency = artifact.latency
    if latency is not None:
        latency = latency.model_copy(update={"p99_millis": None, "throughput_per_second": None})
    message = _cut(artifact.message, texts) if artifact.message else None
    return artifact.model_copy(update={"latency": latency, "message": message})


def _cut(text: str, limit_bytes: int) -> str:
    """The beginning of ``text`` that takes at most ``limit_bytes`` as a JSON string, without its quotes."""
    length = 0
    for index, character in enumerate(text):
        length += len(json.dumps(character, ensure_ascii=False).encode()) - 2
        if length > limit_bytes:
            return text[:index]
    return text
