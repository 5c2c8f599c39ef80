"""Why a conversion is as it is, and what to do next, from what the cluster says of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelconversion_api.reasons import FailureReason, known_of
from modelconversion_api.status import Reason
from modelconversion_client.resources import Container, Conversion, Event, Pod

_HINT: Final = " Hint: "
"""What stands in a failure's message before what to do, which is told apart here."""
_OPERATOR: Final = (
    "see that the operator runs: `kubectl get pods -A -l app.kubernetes.io/name=model-conversion-operator`"
)
_STEPS: Final[dict[str, str]] = {
    Reason.CREATED: "wait a moment: its Job is being made",
    Reason.QUEUED: "wait for its place in the line, or delete what runs before it",
    Reason.RUNNING: "wait for its end: `kubectl mconv list` shows how far it is",
    Reason.RETRYING: "wait: the Job tries again by itself",
    Reason.CONVERTED: "nothing: it has succeeded",
}
"""What to do about each reason that is no failure."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a conversion is as it is.

    Attributes:
        headline: Name and phase.
        reason: One word.
        stage: Where it happened, where that is known.
        message: The same for people.
        next_step: What to do.
        pod: The pod that it is about.
        container: The container that failed or cannot start.

    """

    headline: str
    reason: str
    stage: str | None
    message: str
    next_step: str
    pod: Pod | None
    container: Container | None


def explain(found: Conversion, pods: Sequence[Pod]) -> Explanation:
    """Explain a conversion with the pods that it has left."""
    failure, condition = found.status.failure, found.condition
    pod = _pod_of(found, pods)
    if failure is not None and found.phase.is_final:
        reason, message, stage = str(failure.reason), failure.message, failure.stage
    elif condition is not None:
        reason, message, stage = condition.reason, condition.message, None
    else:
        reason, message, stage = "NotSeen", "the operator has written nothing about it yet", None
    return Explanation(
        headline=f"{found.name} in namespace {found.meta.namespace}: {found.phase}",
        reason=reason,
        stage=None if stage is None else str(stage),
        message=message.partition(_HINT)[0],
        next_step=next_step(found, reason),
        pod=pod,
        container=None if pod is None else pod.troubled,
    )


def next_step(found: Conversion, reason: str) -> str:
    """Return what to do about a reason: the contract's hint for a failure."""
    if reason == "NotSeen":
        name = found.raw_spec.get("className")
        return _OPERATOR if name is None else f"{_OPERATOR}, and that one of them has the class {name}"
    if reason == Reason.SUSPENDED:
        what, patch = f"{found.name} -n {found.meta.namespace}", '{"spec":{"suspend":false}}'
        return f"let it go on: `kubectl patch mconv {what} --type=merge -p '{patch}'`"
    if reason in _STEPS:
        return _STEPS[reason]
    hint = _hint(reason)
    if not found.phase.is_final:
        return hint
    what = found.name if found.owner_set is None else f"--set {found.owner_set}"
    return f"{hint}; then `kubectl mconv retry {what} -n {found.meta.namespace}`"


def _hint(reason: str) -> str:
    try:
        return known_of(FailureReason(reason)).hint
    except ValueError:  # somebody else than the operator has written it: it is not even of the form
        return "see what the message says: this reason is none of the operator's"


def _pod_of(found: Conversion, pods: Sequence[Pod]) -> Pod | None:
    """Return the pod that the status speaks of, or else the newest."""
    failure, progress = found.status.failure, found.status.progress
    named = (failure and failure.pod) or (progress and progress.pod)
    return next((pod for pod in pods if pod.meta.name == named), pods[-1] if pods else None)


def container_words(container: Container) -> str:
    """Return what became of a container, for people."""
    ended = f" ended with exit code {container.exit_code}" if container.exit_code is not None else ""
    # The message of a stage that has ended is its report for the operator, in JSON.
    message = "" if container.message.startswith("{") else container.message
    words = ": ".join(filter(None, (container.reason, message)))
    return f"container {container.name}{ended or ' ' + container.state}{f' ({words})' if words else ''}"


def event_rows(events: Sequence[Event], ages: Sequence[str]) -> list[list[str]]:
    """Return the rows of events: age, type, reason, object, message."""
    return [
        [
            when if event.count == 1 else f"{when} (x{event.count})",
            "Warning" if event.is_warning else "Normal",
            event.reason,
            event.about,
            event.message,
        ]
        for event, when in zip(events, ages, strict=True)
    ]


def explanation_json(
    told: Explanation, events: Sequence[Event], log: Sequence[str], log_problem: str | None
) -> dict[str, Any]:
    """Return everything for programs."""
    return {
        "reason": told.reason,
        "stage": told.stage,
        "message": told.message,
        "nextStep": told.next_step,
        "pod": None if told.pod is None else told.pod.meta.name,
        "container": None if told.container is None else told.container.name,
        "exitCode": None if told.container is None else told.container.exit_code,
        "log": list(log),
        "logProblem": log_problem,
        "events": [
            {
                "time": None if event.time is None else event.time.isoformat(),
                "type": "Warning" if event.is_warning else "Normal",
                "reason": event.reason,
                "object": event.about,
                "message": event.message,
                "count": event.count,
            }
            for event in events
        ],
    }
