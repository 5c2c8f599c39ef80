"""Why a conversion failed: pure readings of a Job and its pods into a failure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from pydantic import ValidationError

from modelconversion_api.limits import FAILURE_LENGTH, OBJECT_NAME_LENGTH
from modelconversion_api.reasons import FailureReason, Stage, known_of, reason_of_exit_code
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.status import FailureInfo
from modelconversion_operator.deciding.manifest import FINAL_EXIT_CODES, stage_of_container
from modelconversion_operator.deciding.outcome import newest
from modelconversion_operator.deciding.views import DEADLINE_EXCEEDED, ContainerView, JobView, PodView

_SIGKILL_EXIT_CODE: Final = 137

_DISRUPTIONS: Final = {
    "PreemptionByScheduler": FailureReason.PREEMPTED,
    "EvictionByEvictionAPI": FailureReason.EVICTED,
    "DeletionByTaintManager": FailureReason.NODE_LOST,
    "DeletionByPodGC": FailureReason.NODE_LOST,
}
"""Who gave a pod up, by the reason of its DisruptionTarget condition (TerminationByKubelet is too vague)."""
_VERDICTS: Final = {
    "Evicted": FailureReason.EVICTED,
    "Preempting": FailureReason.PREEMPTED,
    "NodeLost": FailureReason.NODE_LOST,
    "NodeShutdown": FailureReason.NODE_LOST,
    "Shutdown": FailureReason.NODE_LOST,
    "Terminated": FailureReason.NODE_LOST,
    "NodeAffinity": FailureReason.UNSCHEDULABLE,
    "UnexpectedAdmissionError": FailureReason.POD_REJECTED,
}
"""The kubelet's verdicts on a whole pod; OutOfcpu and its like are Unschedulable."""
_OWN_LIMIT: Final = re.compile(r"exceeds the (total )?limit|exceeded its local ephemeral storage limit")
_POLICY_CODE: Final = re.compile(r"^Container (\S+) for pod [^/]+/(\S+) failed with exit code (\d+) matching")


def failure(reason: FailureReason, message: str, now: datetime, stage: Stage | None = None) -> FailureInfo:
    """Describe a failure that the operator found itself, with the contract's hint."""
    return FailureInfo(stage=stage, reason=reason, message=_with_hint(message, reason), time=now)


def problems_of_spec(error: ValidationError) -> str:
    """Say what this version cannot read of a spec: the first few places.

    What was given stays out of the message: somebody may have pasted a secret where it does not belong.
    """
    problems = error.errors(include_input=False, include_url=False, include_context=False)[:3]
    return "; ".join(f"spec.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in problems)


def disruption_of(pod: PodView) -> FailureReason | None:
    """Return the reason why a pod was taken away that had done nothing wrong; None when it was not."""
    verdict = _VERDICTS.get(pod.reason or "")
    if verdict is FailureReason.EVICTED and _OWN_LIMIT.search(pod.message):
        return FailureReason.NO_SPACE  # an eviction by name, but of a pod over its own limit
    if (pod.reason or "").startswith("OutOf"):
        return FailureReason.UNSCHEDULABLE
    if verdict is not None:
        return verdict
    if pod.disrupted_by == "TerminationByKubelet":
        return FailureReason.NODE_LOST if "shutdown" in pod.disrupted else FailureReason.EVICTED
    if pod.disrupted_by is not None:
        return _DISRUPTIONS.get(pod.disrupted_by, FailureReason.INTERRUPTED)
    return FailureReason.NODE_LOST if pod.phase == "Unknown" else None


def failure_of_pod(pod: PodView, now: datetime) -> FailureInfo | None:
    """Why a pod failed, or None when it did not."""
    failed = next((c for c in pod.containers if c.exit_code), None)
    disruption = disruption_of(pod)
    if pod.phase != "Failed" and failed is None:
        return None
    if failed is None:
        words = pod.message or pod.disrupted or pod.reason or _words_of_injected(pod) or "the pod failed"
        reason = disruption or FailureReason.INTERRUPTED
        return FailureInfo(reason=reason, message=_with_hint(words, reason), pod=pod.name, time=now)
    info = _failure_of_container(failed, pod)
    if disruption is not None and (info.reason in _SIDE_EFFECTS or failed.terminated_reason == _UNKNOWN):
        words = pod.message or pod.disrupted or pod.reason or "its node gave it up"
        message = _with_hint(f"container {failed.name} was stopped: {words}", disruption)
        info = info.model_copy(update={"reason": disruption, "message": message})
    return info.model_copy(update={"time": now})


def _words_of_injected(pod: PodView) -> str | None:
    """Say which injected container has failed: a pod fails with any of its containers."""
    return next(
        (
            f"container {c.name}, which was put beside the conversion's, ended with code {c.exit_code}"
            for c in pod.injected
            if c.exit_code
        ),
        None,
    )


_UNKNOWN: Final = "ContainerStatusUnknown"
"""The kubelet's reason for a container of which nobody knows how it ended."""
_SIDE_EFFECTS: Final = (
    FailureReason.INTERRUPTED,
    FailureReason.OUT_OF_MEMORY,  # a SIGKILL after the grace period looks like it
    FailureReason.CONVERTER_CRASHED,
    FailureReason.REPORT_LOST,
    FailureReason.NODE_LOST,
)
"""What a container seems to have died of when its whole pod was taken away."""


def _failure_of_container(container: ContainerView, pod: PodView) -> FailureInfo:
    code = container.exit_code or 0
    name, stage = container.name, stage_of_container(container.name)
    result = StageResult.decode(container.message)
    if result is not None and result.failure is not None:
        stage, reason, message = result.failure.stage, result.failure.reason, result.failure.message
    elif container.terminated_reason == "OOMKilled":
        reason = FailureReason.OUT_OF_MEMORY
        message = f"container {name} was killed for using more memory than its limit"
    elif container.terminated_reason == _UNKNOWN:
        reason = FailureReason.NODE_LOST
        message = f"it is not known how container {name} ended: {container.message or 'its node lost it'}"
    elif container.terminated_reason in ("StartError", "ContainerCannotRun"):
        reason = FailureReason.CONTAINER_START_FAILED
        message = f"container {name} could not be started: {container.message or f'code {code}'}"
    elif pod.deleting and code > 128:
        reason, message = FailureReason.INTERRUPTED, f"the pod was deleted while container {name} ran"
    elif (known := reason_of_exit_code(code)) is not None:
        reason, message = known, f"container {name} ended with code {code}"
    elif code == _SIGKILL_EXIT_CODE:
        # The kernel kills for memory; where it was the node's and not the container's, nobody notes why.
        reason = FailureReason.OUT_OF_MEMORY
        message = f"container {name} was killed (signal 9), most often because the node had no memory left"
    elif code > 128:
        reason = FailureReason.CONVERTER_CRASHED if name == "convert" else FailureReason.INTERRUPTED
        message = f"container {name} was ended by signal {code - 128}"
    else:
        reason = FailureReason.REPORT_LOST
        left = "a report that cannot be read" if container.message else "no report"
        message = f"container {name} ended with code {code} and left {left}"
    return FailureInfo(
        stage=stage,
        reason=reason,
        message=_with_hint(message, reason),
        exit_code=code,
        pod=pod.name,
        time=pod.created,
    )


def failures_of_pods(pods: Sequence[PodView], now: datetime) -> list[FailureInfo]:
    """Why each failed pod failed, the oldest first."""
    in_order = sorted((p for p in pods if p.phase == "Failed"), key=lambda p: (p.created, p.name))
    return [info for p in in_order if (info := failure_of_pod(p, now)) is not None]


def will_not_be_retried(pods: Sequence[PodView], backoff_limit: int) -> bool:
    """Whether the Job's policy allows no further pod: of a code that is permanent, or of too many failures.

    A disruption counts as neither, whatever the container's code: the policy ignores it.
    """
    counted = [p for p in pods if p.phase == "Failed" and p.disrupted_by is None]
    codes = {c.exit_code for p in counted for c in p.containers}
    return bool(codes & FINAL_EXIT_CODES) or len(counted) > backoff_limit


def failure_of_job(job: JobView, pods: Sequence[PodView], stage: Stage | None, now: datetime) -> FailureInfo:
    """Why a Job failed: from its last failed pod, else from the Job's own condition.

    ``stage`` is the one that its pod was last seen in.
    """
    ended = failures_of_pods(pods, now)
    if job.overdue or job.failed_reason == DEADLINE_EXCEEDED:
        pod = newest(pods)
        before = f"; {len(ended)} attempts failed, the last with {ended[-1].reason}" if ended else ""
        reason, words = FailureReason.ACTIVE_DEADLINE_EXCEEDED, "the conversion ran longer than allowed"
        info = failure(reason, words + before, now, stage or Stage.SCHEDULE)
        return info.model_copy(update={"pod": pod.name if pod else None})
    if ended:
        return ended[-1]
    for pod in sorted(pods, key=lambda p: (p.created, p.name), reverse=True):
        if (found_in_pod := failure_of_pod(pod, now)) is not None:
            return found_in_pod
    return _failure_without_pods(job, now)


def _failure_without_pods(job: JobView, now: datetime) -> FailureInfo:
    """Why a Job failed whose pods are gone: its condition may name the container and its exit code."""
    words = job.failed_message or job.failed_reason or "the Job failed"
    if match := _POLICY_CODE.match(words):
        name, pod, code = match[1], match[2], int(match[3])
        reason = reason_of_exit_code(code) or FailureReason.REPORT_LOST
        info = failure(reason, f"{words}; its pod is gone", now, stage_of_container(name))
        return info.model_copy(update={"exit_code": code, "pod": pod[:OBJECT_NAME_LENGTH]})
    return failure(FailureReason.REPORT_LOST, f"{words}; its pods are gone", now)


def _with_hint(message: str, reason: FailureReason) -> str:
    hint = known_of(reason).hint
    # The hint is the part that helps: a long message gives way to it.
    room = FAILURE_LENGTH - len(hint) - 2
    return message[:FAILURE_LENGTH] if hint in message else f"{message[:room].rstrip('. ')}; {hint}"
