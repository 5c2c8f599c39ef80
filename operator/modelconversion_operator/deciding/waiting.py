"""Why nothing of a conversion runs: pure readings of pods and of the Job controller's events.

Each cause has a reason, words, and a patience. What may pass by itself (a full cluster, a registry that is
down) is waited for until ``spec.job.pendingDeadlineSeconds``; what somebody has to put right gets a minute,
for a Secret is often applied a moment after what needs it; what can only be wrong gets none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from modelconversion_api.reasons import FailureReason
from modelconversion_api.status import ModelConversionStatus, Reason
from modelconversion_operator.deciding.conditions import seconds_since
from modelconversion_operator.deciding.failures import disruption_of
from modelconversion_operator.deciding.outcome import newest
from modelconversion_operator.deciding.views import EventView, JobView, PodView

GRACE_SECONDS: Final = 60.0
"""How long something that has to be put right may be missing."""
EVENTS_AFTER_SECONDS: Final = 3.0
"""A Job that has no pod for so long is asked why; usually it has one after a moment."""
UNSCHEDULABLE_AFTER_SECONDS: Final = 4.0
"""A busy cluster has no room for a moment very often, which is worth no write."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A cause for which nothing starts."""

    reason: FailureReason | Reason
    message: str
    patience_seconds: float | None = None
    """How long it is waited for; None: until the pending deadline."""
    is_vague: bool = False
    """Whether these words say less than those that came before them may have."""

    def limit(self, pending_deadline_seconds: float) -> float:
        """Seconds after which it is a failure."""
        if self.patience_seconds is None:
            return pending_deadline_seconds
        if self.patience_seconds == math.inf:
            return math.inf
        return min(self.patience_seconds, pending_deadline_seconds)


_IMAGE: Final = FailureReason.IMAGE_PULL_FAILED
_START: Final = FailureReason.CONTAINER_START_FAILED
_USUAL: Final = (None, "PodInitializing", "ContainerCreating")
_CAUSES: Final[dict[str, tuple[FailureReason, float | None]]] = {
    "ErrImagePull": (_IMAGE, None),
    "ImagePullBackOff": (_IMAGE, None),
    "RegistryUnavailable": (_IMAGE, None),
    "ImageInspectError": (_IMAGE, None),
    "SignatureValidationFailed": (_IMAGE, GRACE_SECONDS),
    "InvalidImageName": (_IMAGE, 0.0),
    "ErrImageNeverPull": (_IMAGE, 0.0),
    "CreateContainerConfigError": (_START, GRACE_SECONDS),
    "CreateContainerError": (_START, None),
    "RunContainerError": (_START, None),
}
"""The kubelet's reasons for a container that waits."""
_NO_SECRET: Final = re.compile(r'secret "[^"]*" not found|couldn\'t find key .* in Secret ')
_PULL_PREFIX: Final = re.compile(r'^(Back-off pulling image "[^"]*")?(: )?(ErrImagePull: )?')
_PASSING: Final = re.compile(
    r"timed out|timeout|failed to sync|failed calling webhook|Internal error|TooMany"
)


def wait_of_pod(pod: PodView, now: datetime) -> Wait | None:
    """Why a pod's next container does not start; None while it takes the usual moment, or one runs."""
    if pod.unscheduled_reason == "SchedulingGated":
        return Wait(Reason.QUEUED, "the pod is held back by a scheduling gate", math.inf)
    if pod.unscheduled_reason is not None:
        if (now - pod.created) < timedelta(seconds=UNSCHEDULABLE_AFTER_SECONDS):
            return None
        # What follows is about whom it could push away, which changes with every try.
        words = pod.unscheduled_message.partition(" preemption:")[0] or pod.unscheduled_reason
        return Wait(FailureReason.UNSCHEDULABLE, f"no node fits: {words}")
    if any(c.running for c in pod.containers):
        return None
    for container in (*pod.containers, *pod.injected):
        if container.waiting_reason not in _USUAL:
            return _wait_of_container(
                container.name, container.waiting_reason or "", container.waiting_message
            )
    return None


def _wait_of_container(name: str, why: str, message: str) -> Wait:
    reason, patience = _CAUSES.get(why, (Reason.CREATED, None))
    if reason is _IMAGE:
        # The kubelet changes between two states with the same cause: one text for both is one write.
        cause = _PULL_PREFIX.sub("", message)
        words = (
            f"{why}: {message}" if patience == 0 else f"the image cannot be pulled: {cause or message or why}"
        )
        return Wait(reason, words, patience, is_vague=not cause)
    if why == "CreateContainerConfigError":
        if _NO_SECRET.search(message):
            reason = FailureReason.SECRET_NOT_FOUND
        elif _PASSING.search(message):
            patience = None
    return Wait(reason, f"container {name} cannot start: {why}: {message}".rstrip(": "), patience)


def wait_for_departure(job: JobView, pods: Sequence[PodView]) -> Wait | None:
    """Say which departing pod keeps its successor waiting, and why; None when there is none.

    A pod that goes because its Job was suspended is what was asked for, and no attempt that is repeated.
    """
    leaving = newest([p for p in pods if p.deleting and p.phase not in ("Failed", "Succeeded")])
    if leaving is None:
        return None
    lost = disruption_of(leaving)
    if lost is FailureReason.NODE_LOST:
        why = leaving.disrupted or "its node does not answer"
        return Wait(
            lost, f"pod {leaving.name} is on a lost node, and counts until the node is back or removed: {why}"
        )
    if job.turned is not None and leaving.created <= job.turned and not leaving.disrupted:
        return None
    return Wait(Reason.RETRYING, f"pod {leaving.name} is being deleted: {leaving.disrupted}".rstrip(": "))


def events_count_in(
    job: JobView | None, pods: Sequence[PodView], status: ModelConversionStatus, now: datetime
) -> float | None:
    """Seconds until only the Job's events can say why nothing happens: it should have a pod, and has none.

    0 where they count now; None where it should have none, or has one.
    """
    if (
        job is None
        or job.finished
        or job.suspended
        or job.deleting
        or status.phase is None
        or status.phase.is_final
    ):
        return None
    if any(p.phase != "Failed" for p in pods):
        return None
    return max(0.0, EVENTS_AFTER_SECONDS - seconds_since(without_pod_since(job, pods, status, now), now))


def wants_events(
    job: JobView | None, pods: Sequence[PodView], status: ModelConversionStatus, now: datetime
) -> bool:
    """Whether the Job's events count now."""
    return events_count_in(job, pods, status, now) == 0


def without_pod_since(
    job: JobView, pods: Sequence[PodView], status: ModelConversionStatus, now: datetime
) -> datetime:
    """Return since when a Job that should have a pod has none."""
    return max([job.created, status.waiting_since or now, *(p.idle_since for p in pods)])


def wait_of_creation(events: Sequence[EventView], since: datetime | None) -> Wait | None:
    """Why the Job controller cannot create a pod, from its latest event after ``since``."""
    known = [e for e in events if e.time is not None and (since is None or e.time >= since)]
    latest = max(known, key=lambda e: e.time or datetime.min, default=None)  # noqa: DTZ901 - none lacks a time
    if latest is None:
        return None
    return wait_of_refusal(latest.message.removeprefix("Error creating: "), FailureReason.POD_REJECTED)


_REFUSED: Final = re.compile(r'^[A-Za-z.]+ "[^"]*" is (forbidden|invalid): ')
_REFUSALS: Final[tuple[tuple[re.Pattern[str], FailureReason, float | None], ...]] = (
    (re.compile(r"exceeded quota:"), FailureReason.QUOTA_EXCEEDED, None),
    (
        re.compile(r"error looking up service account|service account \S+ was not found"),
        FailureReason.SERVICE_ACCOUNT_NOT_FOUND,
        GRACE_SECONDS,
    ),
    (
        re.compile(r"denied (the )?request|violates PodSecurity"),
        FailureReason.ADMISSION_DENIED,
        GRACE_SECONDS,
    ),
)


def wait_of_refusal(message: str, otherwise: FailureReason) -> Wait:
    """Read the API server's words that refuse a pod or a Job."""
    # The object's name would be another one at each try, and the text with it.
    words = _REFUSED.sub("", message)
    for pattern, reason, patience in _REFUSALS:
        if pattern.search(words):
            return Wait(reason, words, patience)
    final = words != message and not _PASSING.search(words)
    return Wait(otherwise, words, GRACE_SECONDS if final else None)
