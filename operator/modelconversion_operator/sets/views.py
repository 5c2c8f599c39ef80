"""What is remembered of sets and their members: a few fields of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

from pydantic import ValidationError

from modelconversion_api.base import GROUP, readable
from modelconversion_api.sets import SET_KIND, ModelConversionSetStatus
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import SUCCEEDED, Phase
from modelconversion_api.triggers import TRIGGER_KIND
from modelconversion_operator.deciding.views import (
    Body,
    ConversionView,
    Key,
    controller_of,
    owner_reference,
    reading,
    spec_digest,
    traceparent_of,
)
from modelconversion_operator.known import OwnView

RETRY_ANNOTATION: Final = f"{GROUP}/retry-failed"
SET_LABEL: Final = f"{GROUP}/set"
_LONGEST_NONCE: Final = 64


@dataclass(frozen=True, slots=True)
class SetView(OwnView):
    """A ModelConversionSet."""

    status: ModelConversionSetStatus
    retry: str | None
    """Value of the annotation that asks for another try of what has failed."""
    trigger_uid: str | None = None
    """UID of the ModelConversionTrigger that controls it."""
    traceparent: str | None = None
    """What its annotation says of the trace that it belongs to, as it is."""

    @classmethod
    def from_body(cls, body: Body) -> SetView:
        """Read the fields of a set.

        Raises:
            MalformedError: It lacks what every object of an API server has.

        """
        with reading(SET_KIND):
            own, meta = cls.fields_of(body), body["metadata"]
            retry = (meta.get("annotations") or {}).get(RETRY_ANNOTATION)
            return cls(
                **own,
                status=readable(ModelConversionSetStatus, own["raw_status"]),
                retry=None if retry is None else str(retry)[:_LONGEST_NONCE],
                trigger_uid=controller_of(meta, TRIGGER_KIND, GROUP),
                traceparent=traceparent_of(meta),
            )


def owner_of(view: SetView) -> dict[str, Any]:
    """Return the owner reference by which what belongs to a set is its own, and goes with it."""
    return owner_reference(SET_KIND, view.key)


@dataclass(frozen=True, slots=True)
class MemberView:
    """A ModelConversion that belongs to a set."""

    key: Key
    set_uid: str
    resource_version: str
    deleting: bool
    digest: str
    """Of its spec, as :func:`spec_digest` has it; empty for one that cannot be read."""
    suspended: bool
    phase: Phase
    """Pending also where a newer spec has not been begun."""
    recommended: str | None
    size: str | None
    agreement: str | None
    reason: str | None
    message: str | None
    run: str
    """The run that its status speaks of, as a report names it."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.phase.is_final


def member_view(view: ConversionView, set_uid: str) -> MemberView:
    """Return what is remembered of a member."""
    status = view.status
    is_current = status.observed_generation == view.generation
    phase = (status.phase if is_current else None) or Phase.PENDING
    summary = next((c for c in status.conditions if c.type == SUCCEEDED), None)
    shows_why = summary is not None and phase is not Phase.SUCCEEDED
    best = status.recommended
    artifact = next((a for a in status.artifacts if best is not None and a.made_by == best.made_by), None)
    return MemberView(
        key=view.key,
        set_uid=intern(set_uid),
        resource_version=view.resource_version,
        deleting=view.deleting,
        digest=_digest(view.spec),
        suspended=view.spec.get("suspend") is True,
        phase=phase,
        recommended=best.made_by if best is not None else None,
        size=best.size if best is not None else None,
        agreement=artifact.agreement if artifact is not None else None,
        reason=intern(summary.reason) if shows_why and summary is not None else None,
        message=summary.message if phase is Phase.FAILED and summary is not None else None,
        run=f"{view.key.uid}/{status.run}",
    )


def _digest(spec: Mapping[str, Any]) -> str:
    try:
        return spec_digest(ModelConversionSpec.model_validate(spec, extra="ignore"))
    except ValidationError:
        return ""
