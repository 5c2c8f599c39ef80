"""The rows of tables, and the lines of progress, from what the client gives. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from modelconversion_api.status import Artifact, Phase
from modelconversion_api.text import human_latency, human_size, shortened
from modelconversion_client.resources import Channel, Conversion, ConversionSet

CONVERSION_HEADERS: Final = (
    *("NAMESPACE", "NAME", "PHASE", "PERCENT", "PROFILE", "RECOMMENDED", "SIZE", "AGE", "REASON"),
)
SET_HEADERS: Final = ("NAMESPACE", "SET", "PHASE", "ENDED", "FAILED", "PROFILES", "AGE", "REASON")
ARTIFACT_HEADERS: Final = (
    *("CONVERSION", "", "ARTIFACT", "SIZE", "OF SOURCE", "AGREEMENT", "ACCURACY", "LATENCY", "METRICS"),
    *("GATES", "NOTE"),
)
CHANNEL_HEADERS: Final = ("", "SHA256", "FILE", "SIZE", "CONVERSION", "NUMBER", "APPROVED BY", "AGE")
_NOTE: Final = 90


def age(since: datetime | None, now: datetime) -> str:
    """Return how long ago something was, in one unit as kubectl has it, e.g. ``5m`` or ``3d``."""
    if since is None:
        return ""
    seconds = max(0, int((now - since).total_seconds()))
    if seconds < 120:
        return f"{seconds}s"
    if seconds < 3 * 3600:
        return f"{seconds // 60}m"
    return f"{seconds // 3600}h" if seconds < 48 * 3600 else f"{seconds // 86400}d"


def conversion_row(found: Conversion, now: datetime, *, with_namespace: bool) -> list[str]:
    """Return the row of a conversion under :data:`CONVERSION_HEADERS`."""
    best, condition, percent = found.status.recommended, found.condition, found.percent
    return [
        found.meta.namespace if with_namespace else "",
        found.name,
        str(found.phase),
        "" if percent is None else f"{percent}%",
        found.profile or "",
        "" if best is None else best.name or best.made_by,
        "" if best is None else best.size,
        age(found.meta.created, now),
        "" if condition is None or found.phase is Phase.SUCCEEDED else condition.reason,
    ]


def channel_rows(found: Channel, now: datetime) -> list[list[str]]:
    """Return the rows of what a channel has released, and of what it could, under :data:`CHANNEL_HEADERS`."""
    status, rows = found.status, []
    for place, each in enumerate(status.releases):
        what = "released" if place == 0 else "before"
        row = [what, each.sha256[:12], each.name, human_size(each.size_bytes), each.conversion]
        rows.append([*row, str(each.sequence), each.approved_by or "", age(each.released, now)])
    known = {each.sha256 for each in status.releases}
    for candidate in status.candidates:
        if candidate.sha256 not in known:
            row = ["candidate", candidate.sha256[:12], candidate.name, human_size(candidate.size_bytes)]
            rows.append([*row, candidate.conversion, "", "", age(candidate.time, now)])
    return rows


def set_row(found: ConversionSet, now: datetime, *, with_namespace: bool) -> list[str]:
    """Return the row of a set under :data:`SET_HEADERS`."""
    condition, status = found.condition, found.status
    return [
        found.meta.namespace if with_namespace else "",
        found.meta.name,
        str(found.phase),
        status.progress or "",
        str(status.failed),
        ",".join(found.profiles),
        age(found.meta.created, now),
        "" if condition is None or found.phase is Phase.SUCCEEDED else condition.reason,
    ]


def artifact_rows(conversions: Sequence[Conversion]) -> list[list[str]]:
    """Return the rows of artifacts under :data:`ARTIFACT_HEADERS`; ``*`` marks the recommended ones."""
    return [
        _artifact_row(found, artifact, with_name=len(conversions) > 1)
        for found in conversions
        for artifact in found.status.artifacts
    ]


def _artifact_row(found: Conversion, artifact: Artifact, *, with_name: bool) -> list[str]:
    latency = artifact.latency_millis
    return [
        found.name if with_name else "",
        "*" if artifact.is_as(found.status.recommended) else "",
        artifact.made_by,
        human_size(artifact.size_bytes),
        f"{float(artifact.size_fraction):.0%}",
        artifact.agreement or "",
        artifact.accuracy or "",
        "" if latency is None else human_latency(float(latency)),
        ", ".join(f"{metric.name} {metric.value or 'none'}" for metric in artifact.metrics),
        "passed" if artifact.passed else "missed",
        shortened(artifact.message or "", _NOTE),
    ]


def recommendation(found: Conversion) -> str:
    """Return which artifact to use and why, in a sentence."""
    best = found.status.recommended
    if best is None:
        return "No artifact is recommended."
    return f"Use {best.name or best.made_by} ({best.size}): {best.reason}"


def progress_line(found: Conversion) -> str:
    """Return how things stand, on one line."""
    status, condition = found.status, found.condition
    if found.has_ended:
        took = f" after {status.duration}" if status.duration else ""
        return f"{found.name}: {found.phase}{took}"
    if not found.phase.is_final and status.progress is not None and found.phase is Phase.RUNNING:
        return f"{found.name}: {status.progress.percent:3d}% {status.progress.stage}"
    if status.queue_position is not None:
        return f"{found.name}: {found.phase}, place {status.queue_position} in the line"
    words = "not seen by the operator yet" if condition is None else condition.message or condition.reason
    return f"{found.name}: {found.phase}, {words}"


def conversion_json(found: Conversion) -> dict[str, Any]:
    """Return a conversion for programs: its name, and the status as the API has it."""
    return {
        "name": found.name,
        "namespace": found.meta.namespace,
        "created": None if found.meta.created is None else found.meta.created.isoformat(),
        "profile": found.profile,
        "status": found.status.to_wire(),
    }


def set_json(found: ConversionSet) -> dict[str, Any]:
    """Return a set for programs."""
    return {
        "name": found.meta.name,
        "namespace": found.meta.namespace,
        "created": None if found.meta.created is None else found.meta.created.isoformat(),
        "status": found.status.to_wire(),
    }
