"""What a finished or failing Job means: pure readings of pods into a summary or a failure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from modelconversion_api.base import fraction
from modelconversion_api.reasons import FAILURES, FailureReason, Stage, reason_of_exit_code
from modelconversion_api.report import (
    REPORT_FILE_NAME,
    ArtifactSummary,
    ConversionSummary,
    StageResult,
)
from modelconversion_api.status import Artifact, FailedMethod, FailureInfo, Progress, Recommended
from modelconversion_api.text import human_size

from .manifest import CONTAINER_STAGES
from .views import ContainerView, JobView, PodView

_JOB_DEADLINE: Final = "DeadlineExceeded"
_SIGKILL_EXIT_CODE: Final = 137


def newest(pods: Sequence[PodView]) -> PodView | None:
    """The Job's latest pod."""
    return max(pods, key=lambda p: (p.created, p.name), default=None)


def summary_of(pods: Sequence[PodView]) -> ConversionSummary | None:
    """The summary that ``publish`` left; no other container is believed, for they run the model's code."""
    for pod in pods:
        for container in pod.containers:
            if container.name == "publish" and container.exit_code == 0:
                result = StageResult.decode(container.message)
                if result is not None and result.summary is not None:
                    return result.summary
    return None


def artifacts_of(summary: ConversionSummary, output_uri: str) -> list[Artifact]:
    """The status's artifacts for a summary."""
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
        message=report.message,
    )


def failed_methods_of(summary: ConversionSummary) -> list[FailedMethod]:
    """The status's failed methods for a summary."""
    return [FailedMethod(method=f.method, reason=f.reason, message=f.message) for f in summary.failed_methods]


def words_of_failed_methods(summary: ConversionSummary) -> str | None:
    """One sentence on the methods that gave no file; None where each gave one."""
    failed = ", ".join(f"{f.method} ({f.reason})" for f in summary.failed_methods)
    return f"no file by {failed}: see status.failedMethods" if failed else None


def recommended_of(summary: ConversionSummary, output_uri: str) -> Recommended | None:
    """The status's recommendation for a summary; None when no artifact passed."""
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


def progress_of(pod: PodView | None) -> Progress | None:
    """The stage under way, and the share of containers that have finished."""
    if pod is None:
        return None
    done = [c for c in pod.containers if c.exit_code == 0]
    running = [c for c in pod.containers if c.started and c.exit_code is None]
    if not running and not done:
        return None
    name = running[0].name if running else done[-1].name
    stage = CONTAINER_STAGES.get(name)
    if stage is None:
        return None
    return Progress(stage=stage, percent=100 * len(done) // max(1, len(pod.containers)))


def failure_of_pod(pod: PodView, now: datetime) -> FailureInfo | None:
    """Why a pod failed, or None when it did not."""
    for container in pod.containers:
        if container.exit_code:
            return _failure_of_container(container, pod, now)
    if pod.phase == "Failed":
        words = pod.message or pod.disrupted or pod.reason or "the pod failed"
        return FailureInfo(reason=FailureReason.INTERRUPTED, message=words, pod=pod.name, time=now)
    return None


def _failure_of_container(container: ContainerView, pod: PodView, now: datetime) -> FailureInfo:
    code = container.exit_code or 0
    stage = CONTAINER_STAGES.get(container.name)
    result = StageResult.decode(container.message)
    if result is not None and result.failure is not None:
        stage, reason, message = result.failure.stage, result.failure.reason, result.failure.message
    elif container.terminated_reason == "OOMKilled":
        reason = FailureReason.OUT_OF_MEMORY
        message = f"container {container.name} was killed for using more memory than its limit"
    elif pod.disrupted or (pod.deleting and code > 128):
        reason = FailureReason.INTERRUPTED
        message = pod.disrupted or f"the pod was deleted while container {container.name} ran"
    elif (known := reason_of_exit_code(code)) is not None:
        reason, message = known, f"container {container.name} ended with code {code}"
    elif code > 128:
        reason = FailureReason.CONVERTER_CRASHED if container.name == "convert" else FailureReason.INTERRUPTED
        killed = " (killed; out of memory is the usual cause)" if code == _SIGKILL_EXIT_CODE else ""
        message = f"container {container.name} was ended by signal {code - 128}{killed}"
    else:
        reason = FailureReason.REPORT_LOST
        message = f"container {container.name} ended with code {code} and left no report"
    return FailureInfo(
        stage=stage,
        reason=reason,
        message=_with_hint(message, reason),
        exit_code=code,
        pod=pod.name,
        time=now,
    )


def failure_of_job(job: JobView, pods: Sequence[PodView], now: datetime) -> FailureInfo:
    """Why a Job failed: from its last failed pod, else from the Job's own condition."""
    if job.failed_reason == _JOB_DEADLINE:
        pod = newest(pods)
        progress = progress_of(pod)
        return FailureInfo(
            stage=progress.stage if progress else Stage.SCHEDULE,
            reason=FailureReason.ACTIVE_DEADLINE_EXCEEDED,
            message=_with_hint(
                "the conversion ran longer than allowed", FailureReason.ACTIVE_DEADLINE_EXCEEDED
            ),
            pod=pod.name if pod else None,
            time=now,
        )
    for pod in sorted(pods, key=lambda p: (p.created, p.name), reverse=True):
        failure = failure_of_pod(pod, now)
        if failure is not None:
            return failure
    words = job.failed_message or job.failed_reason or "the Job failed"
    return FailureInfo(
        reason=FailureReason.REPORT_LOST,
        message=_with_hint(f"{words}; its pods are gone", FailureReason.REPORT_LOST),
        time=now,
    )


def pending_failure(job: JobView, pod: PodView | None, seconds: int, now: datetime) -> FailureInfo:
    """Why nothing started within the pending deadline."""
    return FailureInfo(
        stage=Stage.SCHEDULE,
        reason=FailureReason.PENDING_DEADLINE_EXCEEDED,
        message=f"no container started within {seconds} s: {waiting_words(job, pod)}",
        pod=pod.name if pod else None,
        time=now,
    )


def waiting_words(job: JobView, pod: PodView | None) -> str:
    """What a Job that has not started waits for."""
    if pod is None:
        return f"no pod was created; see kubectl describe job {job.name}"
    return noteworthy_wait(pod) or f"pod {pod.name} is waiting for its node"


def noteworthy_wait(pod: PodView | None) -> str | None:
    """Why a pod has not started, when it is more than the usual moment that a start takes."""
    if pod is None:
        return None
    if pod.unschedulable:
        return f"no node fits: {pod.unschedulable}"
    for container in pod.containers:
        if container.waiting_reason not in (None, "PodInitializing", "ContainerCreating"):
            return f"{container.waiting_reason}: {container.waiting_message}".rstrip(": ")
    return None


def _with_hint(message: str, reason: FailureReason) -> str:
    hint = FAILURES[reason].hint
    return message if hint in message else f"{message}; {hint}"


def failure(reason: FailureReason, message: str, now: datetime, stage: Stage | None = None) -> FailureInfo:
    """A failure that the operator found itself, with the contract's hint."""
    return FailureInfo(stage=stage, reason=reason, message=_with_hint(message, reason)[:2048], time=now)
