"""What the operator remembers of the objects it watches: a few fields of each, not the objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from sys import intern  # names and UIDs stand in many views, and each is kept once
from typing import Any, Final

from modelconversion_api.base import API_VERSION, GROUP, KIND, readable
from modelconversion_api.fields.metrics import METRIC_CONTAINER
from modelconversion_api.sets import SET_KIND
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import (
    ModelConversionStatus,
    run_again_of,
    run_name,
)
from modelconversion_api.text import printable
from modelconversion_api.triggers import TRIGGER_KIND
from modelconversion_operator.errors import MalformedError

UID_LABEL = f"{GROUP}/conversion-uid"
NAME_LABEL = f"{GROUP}/conversion"
RUN_LABEL = f"{GROUP}/run-generation"
TRACEPARENT_ANNOTATION: Final = f"{GROUP}/traceparent"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "model-conversion-operator"
DEADLINE_EXCEEDED: Final = "DeadlineExceeded"
"""Reason of a Job that ran longer than its activeDeadlineSeconds."""
QUEUE_LABEL: Final = "kueue.x-k8s.io/queue-name"
OUR_CONTAINERS: Final = ("fetch", "convert", "measure", "publish")
"""The containers that the operator asks for, in their order: a Job converts or measures. Others were
injected."""

_HAS_SANDBOX: Final = "PodReadyToStartContainers"
_LONGEST_TRACEPARENT: Final = 256
_LONGEST_EVENT: Final = 2048
"""Characters of an event's message that are kept."""

Body = Mapping[str, Any]


@contextmanager
def reading(kind: str) -> Iterator[None]:
    """Make one exception of all that reading a body can raise which no API server sends."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"not a {kind}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Identity of a ModelConversion, also across deletion and re-creation under the same name."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ConversionView:
    """A ModelConversion."""

    key: Key
    generation: int
    resource_version: str
    deleting: bool
    spec: Body
    status: ModelConversionStatus
    raw_status: Body
    """The status as stored, for telling whether a new one differs."""
    queue: str | None = None
    """Kueue's queue that its Jobs are to wait in."""
    set_uid: str | None = None
    """UID of the ModelConversionSet that controls it."""
    trigger_uid: str | None = None
    """UID of the ModelConversionTrigger that controls it."""
    run_again: str | None = None
    """What its annotation says that asks for another run."""
    traceparent: str | None = None
    """What its annotation says of the trace that it belongs to, as it is."""

    @property
    def asks_for_another_run(self) -> bool:
        """Whether its annotation says what no run has answered yet."""
        return not self.status.has_answered(self.run_again)

    @property
    def next_run(self) -> str:
        """Name of the run that would begin now."""
        return run_name(self.generation, self.run_again)

    @classmethod
    def from_body(cls, body: Body) -> ConversionView:
        """Read the fields of a ModelConversion.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading(KIND):
            meta = body["metadata"]
            raw_status = body.get("status") or {}
            return cls(
                key=Key(intern(meta["namespace"]), str(meta["name"]), intern(meta["uid"])),
                generation=int(meta["generation"]),
                resource_version=str(meta["resourceVersion"]),
                deleting="deletionTimestamp" in meta,
                spec=body.get("spec") or {},
                status=readable(ModelConversionStatus, raw_status),
                raw_status=raw_status,
                queue=(meta.get("labels") or {}).get(QUEUE_LABEL),
                set_uid=controller_of(meta, SET_KIND, GROUP),
                trigger_uid=controller_of(meta, TRIGGER_KIND, GROUP),
                run_again=run_again_of(meta.get("annotations") or {}),
                traceparent=traceparent_of(meta),
            )


def traceparent_of(meta: Body) -> str | None:
    """Return what an object's annotation says of the trace that it belongs to, cut where it can be none."""
    text = (meta.get("annotations") or {}).get(TRACEPARENT_ANNOTATION)
    return None if text is None else str(text)[:_LONGEST_TRACEPARENT]


def spec_digest(spec: ModelConversionSpec) -> str:
    """Digest of what a run is made from: the spec without ``suspend``, the class and the TTL.

    Defaults are left out: a new CRD version with a new default must not run finished conversions again.
    """
    essence = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        exclude={"suspend": True, "class_name": True, "job": {"ttl_seconds_after_finished"}},
    )
    fields = {name: value for name, value in essence.items() if value != {}}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job of ours."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    """UID of the conversion that controls it, by its owner reference; by its label where it has none."""
    resource_version: str
    created: datetime
    deleting: bool
    suspended: bool
    turned: datetime | None
    """When the Job controller last took its pods away for a suspension, or began again after one."""
    ttl_seconds: int | None
    complete: bool
    failed_reason: str | None
    """Reason of the Failed condition, e.g. BackoffLimitExceeded."""
    failed_message: str
    overdue: bool
    """Whether its time has run out; it fails once its pods have ended, which a lost node can put off."""
    labelled: bool
    """Whether it has the labels by which the operator finds it."""
    owned: bool
    """Whether it goes with its conversion."""
    queue: str | None
    """Kueue's queue that it waits in."""
    parallelism: int
    backoff_limit: int | None
    active_deadline_seconds: int | None

    @property
    def finished(self) -> bool:
        """Whether the Job has ended."""
        return self.complete or self.failed_reason is not None

    def belongs_to(self, key: Key) -> bool:
        """Whether it is a conversion's own: labels can be written by anybody in any namespace."""
        return (self.namespace, self.owner_uid) == (key.namespace, key.uid)

    @classmethod
    def from_body(cls, body: Body) -> JobView:
        """Read the fields of a Job.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading("Job"):
            meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
            labels = meta.get("labels") or {}
            conditions = {c["type"]: c for c in status.get("conditions") or ()}
            true = {name: c for name, c in conditions.items() if c.get("status") == "True"}
            failed = true.get("Failed")
            turned = conditions.get("Suspended", {}).get("lastTransitionTime")
            label = labels.get(UID_LABEL)
            owner = controller_of(meta, KIND, GROUP)
            is_free = not _has_controller(meta)
            return cls(
                namespace=intern(meta["namespace"]),
                name=meta["name"],
                uid=intern(meta["uid"]),
                # Somebody may have removed the reference; what another object controls is never ours.
                owner_uid=intern(owner or (str(label or "") if is_free else "")),
                resource_version=str(meta["resourceVersion"]),
                created=parse_time(meta["creationTimestamp"]),
                deleting="deletionTimestamp" in meta,
                suspended=bool(spec.get("suspend")),
                turned=parse_time(turned) if turned else None,
                ttl_seconds=spec.get("ttlSecondsAfterFinished"),
                complete="Complete" in true,
                failed_reason=str(failed.get("reason") or "Failed") if failed else None,
                failed_message=_words(failed.get("message")) if failed else "",
                overdue=true.get("FailureTarget", {}).get("reason") == DEADLINE_EXCEEDED,
                labelled=bool(label)
                and label == (owner or label)
                and labels.get(MANAGED_BY_LABEL) == MANAGED_BY,
                owned=owner is not None,
                queue=labels.get(QUEUE_LABEL),
                parallelism=1 if spec.get("parallelism") is None else int(spec["parallelism"]),
                backoff_limit=spec.get("backoffLimit"),
                active_deadline_seconds=spec.get("activeDeadlineSeconds"),
            )


def owner_reference(kind: str, key: Key) -> dict[str, Any]:
    """Return the reference by which what belongs to an object of ours is its own, and goes with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": key.name,
        "uid": key.uid,
        "controller": True,
        # Blocking the owner's deletion would need a right on its finalizers, and gains nothing here.
        "blockOwnerDeletion": False,
    }


def controller_of(meta: Body, kind: str, group: str) -> str | None:
    """UID of the object of this kind that controls an object; None where another one does, or none."""
    for reference in meta.get("ownerReferences") or ():
        is_kind = reference["kind"] == kind and str(reference["apiVersion"]).startswith(f"{group}/")
        if reference.get("controller") and is_kind:
            return str(reference["uid"])
    return None


def _has_controller(meta: Body) -> bool:
    return any(reference.get("controller") for reference in meta.get("ownerReferences") or ())


@dataclass(frozen=True, slots=True)
class ContainerView:
    """One container of a pod, in the order of the pod's spec."""

    name: str
    started: bool = False
    waiting_reason: str | None = None
    waiting_message: str = ""
    exit_code: int | None = None
    terminated_reason: str | None = None
    message: str | None = None
    """The termination message, as it is: only the contract's StageResult reads it."""
    begun: datetime | None = None
    """When it began to run."""
    finished: datetime | None = None

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.started and self.exit_code is None

    @classmethod
    def from_status(cls, status: Body) -> ContainerView:
        """Read a container status."""
        state = status.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        return cls(
            name=status["name"],
            started="running" in state or "terminated" in state,
            waiting_reason=waiting.get("reason"),
            waiting_message=_words(waiting.get("message")),
            exit_code=terminated.get("exitCode"),
            terminated_reason=terminated.get("reason"),
            message=terminated.get("message"),
            begun=parse_time(at) if (at := _begun(state)) else None,
            finished=parse_time(at) if (at := terminated.get("finishedAt")) else None,
        )


def _begun(state: Body) -> str | None:
    """Return when a container began to run."""
    for name in ("running", "terminated"):
        if at := (state.get(name) or {}).get("startedAt"):
            return str(at)
    return None


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of one of our Jobs."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    """UID of the conversion that its label names: enough to have a look, proof of nothing."""
    job_uid: str
    """UID of the Job that controls it; empty where none does."""
    resource_version: str
    created: datetime
    phase: str
    deleting: bool = False
    reason: str | None = None
    message: str = ""
    ip: str | None = None
    scheduled: datetime | None = None
    """When it got its node."""
    unscheduled_reason: str | None = None
    """Why it has no node yet, e.g. Unschedulable."""
    unscheduled_message: str = ""
    disrupted_by: str | None = None
    """Who gave the pod up, e.g. EvictionByEvictionAPI."""
    disrupted: str = ""
    """The same in their words."""
    containers: tuple[ContainerView, ...] = field(default=())
    """Ours."""
    injected: tuple[ContainerView, ...] = field(default=())
    """Those that a mesh, a vault or a person has put beside ours: nothing that they do is a stage's."""
    sandbox_lost: datetime | None = None
    """Since when its sandbox is gone although containers are to follow, as after a restart of its node."""
    result_taken: bool = False
    """Whether what its containers said stands in the conversion's status, and is not kept here."""

    @classmethod
    def from_body(cls, body: Body) -> PodView:
        """Read the fields of a pod.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading("Pod"):
            meta, status = body["metadata"], body.get("status") or {}
            labels, containers = meta.get("labels") or {}, _in_spec_order(body, status)
            return cls(
                namespace=intern(meta["namespace"]),
                name=meta["name"],
                uid=meta["uid"],
                owner_uid=intern(labels.get(UID_LABEL, "")),
                job_uid=intern(controller_of(meta, "Job", "batch") or ""),
                resource_version=str(meta["resourceVersion"]),
                created=parse_time(meta["creationTimestamp"]),
                phase=status.get("phase") or "Pending",
                deleting="deletionTimestamp" in meta,
                reason=str(status.get("reason") or "") or None,
                message=_words(status.get("message")),
                ip=status.get("podIP"),
                containers=tuple(c for c in containers if _is_ours(c.name)),
                injected=tuple(c for c in containers if not _is_ours(c.name)),
                sandbox_lost=_sandbox_lost(status),
                **_of_conditions(status),
            )

    def without_result(self) -> PodView:
        """Leave out what its containers said, which is most of it."""
        containers = tuple(replace(c, message=None) for c in self.containers)
        return replace(self, containers=containers, result_taken=True)

    @property
    def started(self) -> bool:
        """Whether any of our containers ever ran."""
        return any(c.started for c in self.containers)

    @property
    def published(self) -> datetime | None:
        """When everything was in the bucket, at the latest: ``publish`` had ended well."""
        for container in self.containers:
            if container.name == OUR_CONTAINERS[-1] and container.exit_code == 0:
                return container.finished or self.created
        return None

    @property
    def idle_since(self) -> datetime:
        """Since when it waits for its next container; it makes no sense of a pod in which one runs."""
        return max([self.created, *filter(None, [self.scheduled, *(c.finished for c in self.containers)])])


def _is_ours(name: str) -> bool:
    return name in OUR_CONTAINERS or name.startswith(METRIC_CONTAINER)


def _of_conditions(status: Body) -> dict[str, Any]:
    """Read the fields of a pod that its conditions hold."""
    conditions: dict[str, Body] = {c["type"]: c for c in status.get("conditions") or ()}
    fields: dict[str, Any] = {}
    placed = conditions.get("PodScheduled", {})
    if placed.get("status") == "False":
        fields["unscheduled_reason"] = str(placed.get("reason") or "Unschedulable")
        fields["unscheduled_message"] = _words(placed.get("message"))
    elif since := placed.get("lastTransitionTime"):
        fields["scheduled"] = parse_time(since)
    disrupted = conditions.get("DisruptionTarget", {})
    if disrupted.get("status") == "True":
        fields["disrupted_by"] = str(disrupted.get("reason") or "DisruptionTarget")
        fields["disrupted"] = _words(disrupted.get("message"))
    return fields


def _sandbox_lost(status: Body) -> datetime | None:
    """Since when a pod that has had a sandbox, for a container was made in it, is without one.

    The kubelet makes no other for a pod that is not to be restarted, and leaves it Pending:
    https://github.com/kubernetes/kubernetes/issues/118321.
    """
    lists = (status.get(name) or () for name in ("initContainerStatuses", "containerStatuses"))
    statuses = [container for containers in lists for container in containers]
    ready: Body = next((c for c in status.get("conditions") or () if c["type"] == _HAS_SANDBOX), {})
    if (
        status.get("phase") != "Pending"
        or ready.get("status") != "False"
        or not any(c.get("containerID") for c in statuses)
        or any("running" in (c.get("state") or {}) for c in statuses)
    ):
        return None
    return parse_time(ready["lastTransitionTime"])


def _in_spec_order(body: Body, status: Body) -> tuple[ContainerView, ...]:
    fields = ("initContainerStatuses", "containerStatuses")
    statuses = {s["name"]: s for name in fields for s in status.get(name) or ()}
    spec = body.get("spec") or {}
    named: Sequence[Body] = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    return tuple(
        ContainerView.from_status(statuses[c["name"]]) if c["name"] in statuses else ContainerView(c["name"])
        for c in named
    )


@dataclass(frozen=True, slots=True)
class EventView:
    """An event about a Job, by the Job controller."""

    message: str
    time: datetime | None
    namespace: str = ""
    uid: str = ""
    job_uid: str = ""
    """UID of the Job that it is about, which is one of its own namespace or none."""

    @property
    def owner_uid(self) -> str:
        """Namespace and UID of the Job: an event of another namespace is about none of ours."""
        return f"{self.namespace}/{self.job_uid}"

    @classmethod
    def from_body(cls, body: Body) -> EventView:
        """Read the fields of an event.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading("Event"):
            # Which of them is set depends on the writer's library.
            series = body.get("series") or {}
            times = (body.get("lastTimestamp"), series.get("lastObservedTime"), body.get("eventTime"))
            latest = next(filter(None, times), None)
            meta, job = body["metadata"], body.get("involvedObject") or {}
            return cls(
                message=_words(body.get("message"))[:_LONGEST_EVENT],
                time=parse_time(latest) if latest else None,
                namespace=str(meta["namespace"]),
                uid=str(meta["uid"]),
                job_uid=str(job.get("uid") or ""),
            )


def _words(message: Any) -> str:
    """Return a message on one line: registries, webhooks and tenants have a say in what they contain."""
    return printable(str(message or ""))


def parse_time(text: str) -> datetime:
    """Read a Kubernetes timestamp."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
