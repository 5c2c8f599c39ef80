"""Which file a channel's source recommends now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from modelconversion_api.channels import Candidate, ChannelSource
from modelconversion_api.status import Phase
from modelconversion_operator.deciding.manifest import run_id
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.sets.views import SetView


@dataclass(frozen=True, slots=True)
class Found:
    """What a channel's source has to give."""

    candidate: Candidate | None = None
    words: str = ""
    """Why there is none."""


def member_of(view: SetView, source: ChannelSource) -> str | Found:
    """Return the name of the conversion that a channel means, or why none is meant."""
    rows = [row for row in view.status.members if source.profile is None or row.profile == source.profile]
    rows = [row for row in rows if source.model is None or row.model == source.model]
    if len(rows) == 1:
        return rows[0].conversion
    which = f"profile {source.profile}" if source.profile else "no profile named"
    which += f", model {source.model}" if source.model else ""
    return Found(words=f"{view.key.name} has {len(rows)} members where one is wanted ({which})")


def candidate_of(view: ConversionView, now: datetime) -> Found:
    """Return the recommended file of a conversion's present run."""
    status, name = view.status, view.key.name
    if status.observed_generation != view.generation or status.phase is not Phase.SUCCEEDED:
        return Found(words=f"{name} has not succeeded: {status.phase or Phase.PENDING}")
    best = status.recommended
    artifact = next((a for a in status.artifacts if best is not None and a.uri == best.uri), None)
    if best is None or artifact is None or status.run is None:
        return Found(words=f"{name} recommends no file")
    return Found(
        Candidate(
            sha256=artifact.sha256,
            size_bytes=artifact.size_bytes,
            name=best.made_by,
            conversion=name,
            run=run_id(view.key, status.run),
            source_sha256=status.source.sha256 if status.source is not None else None,
            uri=artifact.uri,
            report_uri=status.report_uri,
            time=now,
        )
    )
