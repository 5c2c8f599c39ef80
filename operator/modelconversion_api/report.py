"""What comes back from the Job: the full report in the bucket, and its summary in the termination message."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from .base import ApiModel, Sha256
from .methods import Method
from .reasons import FailureReason, Stage
from .request import ConversionRequest
from .status import SourceInfo

REPORT_FILE_NAME: Final = "report.json"
TERMINATION_MESSAGE_LIMIT: Final = 4096
"""Kubernetes keeps this many bytes of a container's termination message."""


class DataRole(StrEnum):
    """Which data the figures of a report come from."""

    VALIDATION = "Validation"
    CALIBRATION = "Calibration"
    RANDOM = "Random"


class AgreementMetric(StrEnum):
    """How an artifact's outputs are compared with the original's."""

    TOP1 = "Top1"
    """Share of samples for which both put the same class first."""
    COSINE = "Cosine"
    """Mean cosine similarity of the flattened outputs, clipped to [0, 1]."""


class Latency(ApiModel):
    """Milliseconds of one inference at batch size 1."""

    median_millis: float
    p90_millis: float
    runs: int
    threads: int


class ArtifactReport(ApiModel):
    """One artifact: the file and what was measured on it."""

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
    message: Annotated[str, Field(max_length=512)] | None = None


class DataInfo(ApiModel):
    """A data set that was used, and how."""

    role: DataRole
    sha256: Sha256 | None = None
    """Digest of the file; None for random inputs."""
    samples: int
    seed: int
    stratified: bool = False
    """Whether samples were drawn evenly over the classes."""


class Evaluation(ApiModel):
    """What the artifacts were compared on, and how the original did."""

    data: DataInfo
    agreement_metric: AgreementMetric
    original_accuracy: float | None = None


class RecommendedMethod(ApiModel):
    """The method to use, and why."""

    method: Method
    reason: Annotated[str, Field(max_length=512)]


class ConversionReport(ApiModel):
    """``report.json``, everything about one conversion; uploaded last, so where it is, everything is."""

    version: Literal["v1alpha1"] = "v1alpha1"
    request: ConversionRequest | None = None
    """What a Job was asked for; None for a conversion on the command line."""
    source: SourceInfo
    artifacts: Annotated[tuple[ArtifactReport, ...], Field(min_length=1, max_length=8)]
    recommended: RecommendedMethod | None = None
    """None when no artifact passed its gates."""
    calibration: DataInfo | None = None
    evaluation: Evaluation
    warnings: tuple[Annotated[str, Field(max_length=1024)], ...] = ()
    stage_seconds: dict[Stage, float] = Field(default_factory=dict)
    """Wall-clock seconds by stage; the only part that differs between runs of one request."""
    tool_versions: dict[str, str] = Field(default_factory=dict)


class StageFailure(ApiModel):
    """Why a stage ended without success."""

    stage: Stage
    reason: FailureReason
    message: Annotated[str, Field(max_length=2048)]


class ConversionSummary(ApiModel):
    """The part of the report that goes into the resource's status."""

    source: SourceInfo
    artifacts: tuple[ArtifactReport, ...]
    recommended: RecommendedMethod | None = None
    stage_seconds: dict[Stage, float] = Field(default_factory=dict)


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
    """``result`` with at most ``keep`` inputs and outputs, and with shorter texts."""
    texts = 120 + 8 * keep
    failure, summary = result.failure, result.summary
    if failure is not None:
        failure = failure.model_copy(update={"message": failure.message[: 4 * texts]})
    if summary is not None:
        source = summary.source.model_copy(
            update={"inputs": summary.source.inputs[:keep], "outputs": summary.source.outputs[:keep]}
        )
        artifacts = tuple(
            a.model_copy(update={"message": a.message[:texts] if a.message else None})
            for a in summary.artifacts
        )
        recommended = summary.recommended
        if recommended is not None:
            recommended = recommended.model_copy(update={"reason": recommended.reason[:texts]})
        summary = summary.model_copy(
            update={"source": source, "artifacts": artifacts, "recommended": recommended}
        )
    return StageResult(failure=failure, summary=summary)
