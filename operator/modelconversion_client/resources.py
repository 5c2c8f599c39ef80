"""What the client gives back: the contract's models, with the name and the age of what they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from modelconversion_api.base import GROUP, readable
from modelconversion_api.channels import ModelChannelStatus
from modelconversion_api.profiles import ConversionProfileSpec
from modelconversion_api.sets import SET_KIND, ModelConversionSetSpec, ModelConversionSetStatus
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import (
    READY,
    SUCCEEDED,
    Condition,
    ModelConversionStatus,
    Phase,
    run_again_of,
)
from modelconversion_api.triggers import ModelConversionTriggerStatus

UID_LABEL: Final = f"{GROUP}/conversion-uid"
"""The operator's label on the Jobs and pods of a conversion."""
SET_LABEL: Final = f"{GROUP}/set"
"""The operator's label on the members of a set."""
RETRY_ANNOTATION: Final = f"{GROUP}/retry-failed"
"""A new value has the operator make a set's failed members again."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metadata:
    """What every object has.

    Attributes:
        name: Its name.
        namespace: Its namespace; empty where it has none.
        uid: Its identity: one that was deleted and made again is another one.
        generation: Counts changes of the spec.
        created: When it was made.
        labels: Its labels.
        annotations: Its annotations.

    """

    name: str
    namespace: str
    uid: str
    generation: int
    created: datetime | None
    labels: Mapping[str, str]
    annotations: Mapping[str, str]

    @classmethod
    def of(cls, body: Body) -> Metadata:
        """Read the metadata of an object."""
        meta = body["metadata"]
        return cls(
            name=meta["name"],
            namespace=meta.get("namespace", ""),
            uid=meta.get("uid", ""),
            generation=meta.get("generation", 0),
            created=_time(meta.get("creationTimestamp")),
            labels=meta.get("labels") or {},
            annotations=meta.get("annotations") or {},
        )


def _succeeded(conditions: list[Condition]) -> Condition | None:
    return next((condition for condition in conditions if condition.type == SUCCEEDED), None)


def _ready(conditions: list[Condition]) -> Condition | None:
    return next((condition for condition in conditions if condition.type == READY), None)


@dataclass(frozen=True, slots=True)
class Conversion:
    """A ModelConversion.

    Attributes:
        meta: Name, namespace, age.
        raw_spec: The spec as the server has it: every field, also those that this version does not know.
        status: What became of it; of a newer operator as far as this version understands it.

    """

    meta: Metadata
    raw_spec: Body
    status: ModelConversionStatus
    owner_set: str | None
    """The set that it is a member of."""

    @classmethod
    def of(cls, body: Body) -> Conversion:
        """Read an object of the API server."""
        owners = body["metadata"].get("ownerReferences") or []
        return cls(
            meta=Metadata.of(body),
            raw_spec=body.get("spec") or {},
            status=readable(ModelConversionStatus, body.get("status") or {}),
            owner_set=next((owner["name"] for owner in owners if owner.get("kind") == SET_KIND), None),
        )

    @property
    def name(self) -> str:
        """Its name."""
        return self.meta.name

    @property
    def spec(self) -> ModelConversionSpec:
        """The spec, as far as this version understands it.

        Raises:
            ValidationError: It understands nothing of it, e.g. not the model's address.

        """
        return readable(ModelConversionSpec, self.raw_spec)

    @property
    def phase(self) -> Phase:
        """Its phase; Pending until the operator has seen it, and while it is to run again."""
        phase = self.status.phase or Phase.PENDING
        is_answered = self.status.has_answered(run_again_of(self.meta.annotations))
        return phase if is_answered or not phase.is_final else Phase.PENDING

    @property
    def condition(self) -> Condition | None:
        """The condition Succeeded: reason and message of how things stand."""
        return _succeeded(self.status.conditions)

    @property
    def has_ended(self) -> bool:
        """Whether the run that was asked for last is over, by a changed spec or by the annotation."""
        return self.phase.is_final and (self.status.observed_generation or 0) >= self.meta.generation

    @property
    def profile(self) -> str | None:
        """The name of its profile."""
        reference = self.raw_spec.get("profileRef") or {}
        return reference.get("name")

    @property
    def percent(self) -> int | None:
        """About how much of the work is done."""
        if self.phase is Phase.SUCCEEDED:
            return 100
        return None if self.status.progress is None else self.status.progress.percent


@dataclass(frozen=True, slots=True)
class ConversionSet:
    """A ModelConversionSet.

    Attributes:
        meta: Name, namespace, age.
        raw_spec: The spec as the server has it.
        status: What became of it; its members are rows of the status.

    """

    meta: Metadata
    raw_spec: Body
    status: ModelConversionSetStatus

    @classmethod
    def of(cls, body: Body) -> ConversionSet:
        """Read an object of the API server."""
        return cls(
            meta=Metadata.of(body),
            raw_spec=body.get("spec") or {},
            status=readable(ModelConversionSetStatus, body.get("status") or {}),
        )

    @property
    def spec(self) -> ModelConversionSetSpec:
        """What is asked for, as far as this version understands it.

        Raises:
            ValidationError: It understands nothing of it, e.g. no address of a model.

        """
        return readable(ModelConversionSetSpec, self.raw_spec)

    @property
    def profiles(self) -> list[str]:
        """The names of its profiles."""
        return [profile["name"] for profile in self.raw_spec.get("profiles") or []]

    @property
    def phase(self) -> Phase:
        """Its phase; Pending until the operator has seen it."""
        return self.status.phase or Phase.PENDING

    @property
    def condition(self) -> Condition | None:
        """The condition Succeeded."""
        return _succeeded(self.status.conditions)


@dataclass(frozen=True, slots=True)
class Trigger:
    """A ModelConversionTrigger.

    Attributes:
        meta: Name, namespace, age.
        raw_spec: The spec as the server has it.
        status: What it has found and made.

    """

    meta: Metadata
    raw_spec: Body
    status: ModelConversionTriggerStatus

    @classmethod
    def of(cls, body: Body) -> Trigger:
        """Read an object of the API server."""
        status = readable(ModelConversionTriggerStatus, body.get("status") or {})
        return cls(Metadata.of(body), body.get("spec") or {}, status)

    @property
    def condition(self) -> Condition | None:
        """The condition Ready."""
        return _ready(self.status.conditions)


@dataclass(frozen=True, slots=True)
class Channel:
    """A ModelChannel.

    Attributes:
        meta: Name, namespace, age.
        raw_spec: The spec as the server has it.
        status: What its pointer names, and what it could name.

    """

    meta: Metadata
    raw_spec: Body
    status: ModelChannelStatus

    @classmethod
    def of(cls, body: Body) -> Channel:
        """Read an object of the API server."""
        status = readable(ModelChannelStatus, body.get("status") or {})
        return cls(Metadata.of(body), body.get("spec") or {}, status)

    @property
    def condition(self) -> Condition | None:
        """The condition Ready."""
        return _ready(self.status.conditions)


@dataclass(frozen=True, slots=True)
class Profile:
    """A ConversionProfile, or a ClusterConversionProfile, which has no namespace."""

    meta: Metadata
    kind: str
    spec: ConversionProfileSpec

    @classmethod
    def of(cls, body: Body, kind: str) -> Profile:
        """Read an object of the API server; in a list it does not say its kind."""
        spec = readable(ConversionProfileSpec, body.get("spec") or {})
        return cls(meta=Metadata.of(body), kind=kind, spec=spec)


@dataclass(frozen=True, slots=True)
class Event:
    """What was reported of an object."""

    time: datetime | None
    is_warning: bool
    reason: str
    message: str
    about: str
    """Kind and name, e.g. ``Pod/gesture-1-x8k2p``."""
    count: int

    @classmethod
    def of(cls, body: Body) -> Event:
        """Read an object of the API server."""
        about = body.get("involvedObject") or {}
        series = body.get("series") or {}
        stamps = (series.get("lastObservedTime"), body.get("lastTimestamp"), body.get("eventTime"))
        return cls(
            time=_time(next(filter(None, stamps), body["metadata"].get("creationTimestamp"))),
            is_warning=body.get("type") == "Warning",
            reason=body.get("reason") or "",
            message=body.get("message") or "",
            about=f"{about.get('kind', '')}/{about.get('name', '')}",
            count=series.get("count") or body.get("count") or 1,
        )


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod.

    Attributes:
        name: Its name.
        state: ``waiting``, ``running`` or ``terminated``.
        reason: Why it waits, or ended.
        message: The same in the node's words.
        exit_code: What it ended with.

    """

    name: str
    state: str
    reason: str
    message: str
    exit_code: int | None

    @property
    def is_in_trouble(self) -> bool:
        """Whether it failed, or waits for something that is not there."""
        if self.state == "waiting":
            return self.reason not in ("", "PodInitializing", "ContainerCreating")
        return self.exit_code not in (None, 0)


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of a conversion's Job, with its containers in the order in which they run."""

    meta: Metadata
    phase: str
    reason: str
    message: str
    node: str | None
    containers: tuple[Container, ...]

    @classmethod
    def of(cls, body: Body) -> Pod:
        """Read an object of the API server."""
        status, spec = body.get("status") or {}, body.get("spec") or {}
        names = [part["name"] for part in [*(spec.get("initContainers") or []), *spec.get("containers", [])]]
        rows = {
            row["name"]: row
            for row in [
                *(status.get("initContainerStatuses") or []),
                *(status.get("containerStatuses") or []),
            ]
        }
        return cls(
            meta=Metadata.of(body),
            phase=status.get("phase") or "",
            reason=status.get("reason") or "",
            message=status.get("message") or "",
            node=spec.get("nodeName"),
            containers=tuple(_container(name, rows.get(name, {})) for name in names),
        )

    @property
    def troubled(self) -> Container | None:
        """The first container that failed or cannot start."""
        return next((container for container in self.containers if container.is_in_trouble), None)


def _container(name: str, row: Body) -> Container:
    (state, details), *_ = (row.get("state") or {"waiting": {}}).items()
    return Container(
        name=name,
        state=state,
        reason=details.get("reason") or "",
        message=details.get("message") or "",
        exit_code=details.get("exitCode"),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
