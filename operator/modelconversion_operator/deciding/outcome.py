"""What a finished Job gave: pure readings of its pods into the status's results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from modelconversion_api.base import fraction
from modelconversion_api.fields.compilers import c_array_names, edge_tpu_names, ethos_u_name, npu_name
from modelconversion_api.fields.metrics import MetricFigure, MetricResult
from modelconversion_api.fields.verification import VerificationFigures
from modelconversion_api.reports.conversion import (
    REPORT_FILE_NAME,
    ArtifactSummary,
    ConversionSummary,
    StageResult,
)
from modelconversion_api.status import (
    Artifact,
    EdgeTPUResult,
    EthosUResult,
    FailedMethod,
    MicrocontrollerResult,
    ModelConversionStatus,
    NPUResult,
    Recommended,
    VerificationResult,
)
from modelconversion_api.text import human_size
from modelconversion_operator.deciding.conditions import seconds_since
from modelconversion_operator.deciding.timing import BY_ITSELF_SECONDS, RESYNC_SECONDS
from modelconversion_operator.deciding.views import PodView


def newest(pods: Sequence[PodView]) -> PodView | None:
    """Return the Job's latest pod."""
    return max(pods, key=lambda p: (p.created, p.name), default=None)


def summary_of(pods: Sequence[PodView]) -> ConversionSummary | None:
    """Return the summary that ``publish`` left."""
    return next((r.summary for r in results_of_publish(pods) if r.summary is not None), None)


def results_of_publish(pods: Sequence[PodView]) -> Iterator[StageResult]:
    """Yield what ``publish`` said where it ended well.

    No other container is believed, for they run the model's code.
    """
    for pod in pods:
        for container in pod.containers:
            if container.name == "publish" and container.exit_code == 0:
                result = StageResult.decode(container.message)
                if result is not None:
                    yield result


def failure_of_publish(pods: Sequence[PodView]) -> str | None:
    """Return why a Job that only reads the report found none, in its own words."""
    results = (StageResult.decode(c.message) for p in pods for c in p.containers if c.name == "publish")
    return next((r.failure.message for r in results if r is not None and r.failure is not None), None)


def share(value: float | None) -> str | None:
    """Write a share as the status has it; None where there is none."""
    return None if value is None else fraction(value)


def artifacts_of(summary: ConversionSummary, output_uri: str) -> list[Artifact]:
    """Return the status's artifacts for a summary."""
    return [_artifact(a, output_uri) for a in summary.artifacts]


def _artifact(report: ArtifactSummary, output_uri: str) -> Artifact:
    return Artifact(
        method=report.method,
        recipe_name=report.recipe_name,
        uri=object_uri(output_uri, report.file_name),
        size_bytes=report.size_bytes,
        size_fraction=f"{report.size_fraction:.4f}",
        sha256=report.sha256,
        agreement=share(report.agreement),
        accuracy=share(report.accuracy),
        latency_millis=None if report.latency is None else f"{report.latency.median_millis:.4f}",
        passed=report.passed,
        usable=report.usable,
        min_runtime_version=report.min_runtime_version,
        operators=report.operators,
        fallback_operators=report.fallback_operators,
        message=report.message,
        metrics=[_metric(figure) for figure in report.metrics],
        edge_tpu=_edge_tpu(report, output_uri),
        ethos_u=_ethos_u(report, output_uri),
        microcontroller=_microcontroller(report, output_uri),
        npu=_npu(report, output_uri),
        verifications=[_verification(v) for v in report.verifications],
    )


def _metric(figure: MetricFigure) -> MetricResult:
    value = None if figure.value is None else f"{figure.value:.6g}"
    return MetricResult(name=figure.name, value=value, passed=figure.passed, message=figure.message)


def _verification(figures: VerificationFigures) -> VerificationResult:
    return VerificationResult(
        name=figures.name,
        outcome=figures.outcome,
        agreement=share(figures.agreement),
        accuracy=share(figures.accuracy),
        memory_bytes=figures.memory_bytes,
        identical=figures.identical,
        fallback_operators=figures.fallback_operators,
        message=figures.message,
    )


def _edge_tpu(report: ArtifactSummary, output_uri: str) -> EdgeTPUResult | None:
    figures = report.edge_tpu
    if figures is None:
        return None
    name = edge_tpu_names(report.file_name, figures.segments)[0]
    return EdgeTPUResult(**dict(figures), uri=object_uri(output_uri, name) if figures.compiled else None)


def _ethos_u(report: ArtifactSummary, output_uri: str) -> EthosUResult | None:
    figures = report.ethos_u
    if figures is None:
        return None
    name = ethos_u_name(report.file_name)
    return EthosUResult(**dict(figures), uri=object_uri(output_uri, name) if figures.compiled else None)


def _npu(report: ArtifactSummary, output_uri: str) -> list[NPUResult]:
    return [
        NPUResult(
            **dict(figures),
            uri=object_uri(output_uri, npu_name(report.file_name, figures.vendor, figures.soc))
            if figures.compiled
            else None,
        )
        for figures in report.npu
    ]


def _microcontroller(report: ArtifactSummary, output_uri: str) -> MicrocontrollerResult | None:
    figures = report.microcontroller
    if figures is None:
        return None
    source, _ = c_array_names(report.file_name)
    uri = object_uri(output_uri, source) if figures.has_source else None
    return MicrocontrollerResult(**dict(figures), uri=uri)


def failed_methods_of(summary: ConversionSummary) -> list[FailedMethod]:
    """Return the status's failed methods for a summary."""
    return [FailedMethod(**dict(failed)) for failed in summary.failed_methods]


def remarks_of(status: ModelConversionStatus) -> str | None:
    """Say what went wrong or was done beside the files that were made; None where there is nothing to say."""
    failed = ", ".join(f"{f.made_by} ({f.reason})" for f in status.failed_methods)
    results = [
        (a, figures)
        for a in status.artifacts
        for figures in (("Edge TPU", a.edge_tpu), ("Ethos-U", a.ethos_u), *((n.name, n) for n in a.npu))
    ]
    uncompiled = ", ".join(
        f"{name} ({figures.reason})"
        for _, (name, figures) in results
        if figures is not None and figures.reason
    )
    remarks = (
        f"no file by {failed}: see status.failedMethods" if failed else None,
        f"training: {status.optimization.message}" if status.optimization else None,
        f"not compiled for {uncompiled}: see status.artifacts" if uncompiled else None,
        words_of_boards(status),
    )
    return "; ".join(filter(None, remarks)) or None


def words_of_boards(status: ModelConversionStatus) -> str | None:
    """Say in one sentence which boards gave figures; None where none was asked for."""
    if not status.measurements:
        return None
    ran = ", ".join(m.board for m in status.measurements if m.reason is None)
    away = ", ".join(f"{m.board} ({m.reason})" for m in status.measurements if m.reason is not None)
    words = (
        f"measured on {ran}" if ran else None,
        f"not on {away}: see status.measurements" if away else None,
    )
    return "; ".join(filter(None, words))


def recommended_of(summary: ConversionSummary, output_uri: str) -> Recommended | None:
    """Return the status's recommendation for a summary; None when no artifact passed."""
    if summary.recommended is None:
        return None
    for artifact in summary.artifacts:
        if artifact.is_as(summary.recommended):
            return Recommended(
                method=artifact.method,
                recipe_name=artifact.recipe_name,
                name=artifact.made_by,
                uri=object_uri(output_uri, artifact.file_name),
                reason=summary.recommended.reason,
                size=human_size(artifact.size_bytes),
            )
    return None


def object_uri(prefix: str, name: str) -> str:
    """URI of an object under an output prefix."""
    return f"{prefix.rstrip('/')}/{name}"


def report_uri(prefix: str) -> str:
    """URI of the report under an output prefix."""
    return object_uri(prefix, REPORT_FILE_NAME)


def seconds_to_end_by_itself(pods: Sequence[PodView], now: datetime) -> float:
    """How long a Job whose pod has published may go on; 0 where it did not, or has made another pod since.

    One whose pod has ended well ends when the Job controller comes to it, which can be minutes behind.
    """
    pod = newest(pods)
    if pod is None or pod.published is None:
        return 0.0
    if pod.phase == "Succeeded":
        return RESYNC_SECONDS
    return BY_ITSELF_SECONDS - seconds_since(pod.published, now)
