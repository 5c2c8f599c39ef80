"""What the operator remembers of the objects it watches: a few fields of each, not the objects."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelconversion_api.base import GROUP
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import ModelConversionStatus

UID_LABEL = f"{GROUP}/conversion-uid"
NAME_LABEL = f"{GROUP}/conversion"
RUN_LABEL = f"{GROUP}/run-generation"

Body = Mapping[str, Any]


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

    @classmethod
    def from_body(cls, body: Body) -> ConversionView:
        """Read the fields of a ModelConversion."""
        meta = body["metadata"]
        raw_status = body.get("status") or {}
        return cls(
            key=Key(meta["namespace"], meta["name"], meta["uid"]),
            generation=meta["generation"],
            resource_version=meta["resourceVersion"],
            deleting="deletionTimestamp" in meta,
            spec=body.get("spec") or {},
            # A newer operator may have written fields that this one does not know.
            status=ModelConversionStatus.model_validate(raw_status, extra="ignore"),
            raw_status=raw_status,
        )


def spec_digest(spec: ModelConversionSpec) -> str:
    """Digest of what a run is made from: the spec without ``suspend`` and the TTL.

    Defaults are left out: a new CRD version with a new default must not run finished conversions again.
    """
    essence = spec.model_dump(
        mode="json",
        by_alias=True,
        exclude_defaults=True,
        exclude={"suspend": True, "job": {"ttl_seconds_after_finished"}},
    )
    given = {name: value for name, value in essence.items() if value != {}}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class JobView:
    """A Job of ours."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    resource_version: str
    created: datetime
    deleting: bool
    suspended: bool
    ttl_seconds: int | None
    complete: bool
    failed_reason: str | None
    """Reason of the Failed condition, e.g. BackoffLimitExceeded."""
    failed_message: str
    failed_pods: int

    @property
    def finished(self) -> bool:
        """Whether the Job has ended."""
        return self.complete or self.failed_reason is not None

    @classmethod
    def from_body(cls, body: Body) -> JobView:
        """Read the fields of a Job."""
        meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
        true = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
        failed = true.get("Failed")
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            owner_uid=(meta.get("labels") or {}).get(UID_LABEL, ""),
            resource_version=meta["resourceVersion"],
            created=parse_time(meta["creationTimestamp"]),
            deleting="deletionTimestamp" in meta,
            suspended=bool(spec.get("suspend")),
            ttl_seconds=spec.get("ttlSecondsAfterFinished"),
            complete="Complete" in true,
            failed_reason=(failed.get("reason") or "Failed") if failed else None,
            failed_message=(failed.get("message") or "") if failed else "",
            failed_pods=status.get("failed") or 0,
        )


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
    """The termination message."""

    @classmethod
    def from_status(cls, status: Body) -> ContainerView:
        """Read a container status."""
        state = status.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated") or {}
        return cls(
            name=status["name"],
            started="running" in state or "terminated" in state,
            waiting_reason=waiting.get("reason"),
            waiting_message=waiting.get("message") or "",
            exit_code=terminated.get("exitCode"),
            terminated_reason=terminated.get("reason"),
            message=terminated.get("message"),
        )


@dataclass(frozen=True, slots=True)
class PodView:
    """A pod of one of our Jobs."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    job_name: str
    resource_version: str
    created: datetime
    phase: str
    deleting: bool = False
    reason: str | None = None
    message: str = ""
    unschedulable: str | None = None
    """The scheduler's words when it found no node."""
    disrupted: str | None = None
    """Why the node gave the pod up: eviction, preemption, node loss."""
    containers: tuple[ContainerView, ...] = field(default=())

    @classmethod
    def from_body(cls, body: Body) -> PodView:
        """Read the fields of a pod."""
        meta, status = body["metadata"], body.get("status") or {}
        labels = meta.get("labels") or {}
        conditions: dict[str, Body] = {c["type"]: c for c in status.get("conditions") or ()}
        scheduled = conditions.get("PodScheduled", {})
        disrupted = conditions.get("DisruptionTarget", {})
        statuses = {
            s["name"]: s
            for s in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
        }
        return cls(
            namespace=meta["namespace"],
            name=meta["name"],
            uid=meta["uid"],
            owner_uid=labels.get(UID_LABEL, ""),
            job_name=labels.get("batch.kubernetes.io/job-name") or labels.get("job-name") or "",
            resource_version=meta["resourceVersion"],
            created=parse_time(meta["creationTimestamp"]),
            phase=status.get("phase") or "Pending",
            deleting="deletionTimestamp" in meta,
            reason=status.get("reason"),
            message=status.get("message") or "",
            unschedulable=scheduled.get("message") if scheduled.get("status") == "False" else None,
            disrupted=disrupted.get("message") if disrupted.get("status") == "True" else None,
            containers=_in_spec_order(body, statuses),
        )

    @property
    def started(self) -> bool:
        """Whether any container ever ran."""
        return any(c.started for c in self.containers)


def _in_spec_order(body: Body, statuses: Mapping[str, Body]) -> tuple[ContainerView, ...]:
    spec = body.get("spec") or {}
    named: Sequence[Body] = (*(spec.get("initContainers") or ()), *(spec.get("containers") or ()))
    return tuple(
        ContainerView.from_status(statuses[c["name"]]) if c["name"] in statuses else ContainerView(c["name"])
        for c in named
    )


def parse_time(text: str) -> datetime:
    """Read a Kubernetes timestamp."""
    return datetime.fromisoformat(text)
