"""What a finished Job gave: pure readings of its pods into the status's results."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.base import fraction
from modelconversion_api.compilers import c_array_names, edge_tpu_names, ethos_u_name
from modelconversion_api.report import (
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
    Recommended,
)
from modelconversion_api.text import human_size
from modelconversion_operator.deciding.views import PodView


def newest(pods: Sequence[PodView]) -> PodView | None:
    """Return the Job's latest pod."""
    return max(pods, key=lambda p: (p.created, p.name), default=None)


def summary_of(pods: Sequence[PodView]) -> ConversionSummary | None:
    """Return the summary that ``publish`` left.

    No other container is believed, for they run the model's code.
    """
    for pod in pods:
        for container in pod.containers:
            if container.name == "publish" and container.exit_code == 0:
                result = StageResult.decode(container.message)
                if result is not None and result.summary is not None:
                    return result.summary
    return None


def failure_of_publish(pods: Sequence[PodView]) -> str | None:
    """Return why a Job that only reads the report found none, in its own words."""
    results = (StageResult.decode(c.message) for p in pods for c in p.containers if c.name == "publish")
    return next((r.failure.message for r in results if r is not None and r.failure is not None), None)


def artifacts_of(summary: ConversionSummary, output_uri: str) -> list[Artifact]:
    """Return the status's artifacts for a summary."""
    return [_artifact(a, output_uri) for a in summary.artifacts]


def _artifact(report: ArtifactSummary, output_uri: str) -> Artifact:
    return Artifact(
        method=report.method,
        uri=object_uri(output_uri, report.file_name),
        size_bytes=report.size_bytes,
        size_fraction=f"{report.size_fraction:.4f}",
        sha256=report.sha256,
        agreement=None if report.agreement is None else fraction(report.agreement),
        accuracy=None if report.accuracy is None else fraction(report.accuracy),
        latency_millis=None if report.latency is None else f"{report.latency.median_millis:.4f}",
        passed=report.passed,
        usable=report.usable,
        min_runtime_version=report.min_runtime_version,
        operators=report.operators,
        fallback_operators=report.fallback_operators,
        message=report.message,
        edge_tpu=_edge_tpu(report, output_uri),
        ethos_u=_ethos_u(report, output_uri),
        microcontroller=_microcontroller(report, output_uri),
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


def _microcontroller(report: ArtifactSummary, output_uri: str) -> MicrocontrollerResult | None:
    figures = report.microcontroller
    if figures is None:
        return None
    source, _ = c_array_names(report.file_name)
    uri = object_uri(output_uri, source) if figures.has_source else None
    return MicrocontrollerResult(**dict(figures), uri=uri)


def failed_methods_of(summary: ConversionSummary) -> list[FailedMethod]:
    """Return the status's failed methods for a summary."""
    return [FailedMethod(method=f.method, reason=f.reason, message=f.message) for f in summary.failed_methods]


def words_of_failed_methods(summary: ConversionSummary) -> str | None:
    """One sentence on the methods that gave no file; None where each gave one."""
    failed = ", ".join(f"{f.method} ({f.reason})" for f in summary.failed_methods)
    return f"no file by {failed}: see status.failedMethods" if failed else None


def words_of_compilers(summary: ConversionSummary) -> str | None:
    """One sentence on compilations that failed; None where there was none."""
    failed = [
        f"{name} ({figures.reason})"
        for artifact in summary.artifacts
        for name, figures in artifact.accelerators
        if figures.reason is not None
    ]
    return f"not compiled for {', '.join(failed)}: see status.artifacts" if failed else None


def words_of_optimization(summary: ConversionSummary) -> str | None:
    """One sentence on what training did; None where none was asked for."""
    optimization = summary.optimization
    return None if optimization is None else f"training: {optimization.message}"


def recommended_of(summary: ConversionSummary, output_uri: str) -> Recommended | None:
    """Return the status's recommendation for a summary; None when no artifact passed."""
    if summary.recommended is None:
        return None
    for artifact in summary.artifacts:
        if artifact.method == summary.recommended.method:
            return Recommended(
                method=artifact.method,
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
