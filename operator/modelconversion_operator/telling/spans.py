"""The trace of a run: which spans follow from a status at its end, and what is in them. Pure functions.

A span whose times the status does not know is left out. What is told follows from the object alone, so
whoever tells it again tells the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from modelconversion_api.sets import ModelConversionSetStatus
from modelconversion_api.status import SUCCEEDED, Condition, Phase, StageTime, run_name
from modelconversion_operator.deciding.views import ConversionView, Key
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.telling.events import Kind, Moment, View, moments_of
from modelconversion_operator.telling.trace_context import TraceContext, parse, span_id_of, trace_id_of

ENDS: Final = (Kind.SUCCEEDED, Kind.FAILED, Kind.SET_SUCCEEDED, Kind.SET_FAILED)
"""What a trace is told of: it is told once, when everything in it is over."""
_LONGEST_MESSAGE: Final = 1024
"""Characters of what a failure says that go into a span."""

Value = str | int | bool


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a run.

    Attributes:
        name: One of a few words.
        id: 8 bytes.
        parent: The span that it is a part of; None where it is of none.
        is_remote: Whether somebody else tells of that one.
        start: When it began.
        end: When it was over.
        attributes: What it was about.
        error: Why it failed, in one word; None where it did not.
        message: The same in more words.

    """

    name: str
    id: bytes
    parent: bytes | None
    is_remote: bool
    start: datetime
    end: datetime
    attributes: Mapping[str, Value] = field(default_factory=dict)
    error: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """What is told of one run.

    Attributes:
        id: 16 bytes.
        spans: The one of the whole run, and then those of its parts.

    """

    id: bytes
    spans: tuple[Span, ...]


def ends_of(view: View) -> list[Moment]:
    """Return the end of a run, where there is one, unless its trace is not to be recorded."""
    remote = _remote(view.traceparent)
    if remote is not None and not remote.sampled:
        return []
    return [moment for moment in moments_of(view) if moment.kind in ENDS]


def context_of(view: View) -> TraceContext:
    """Return the span of a whole run, as what belongs to it refers to it."""
    if isinstance(view, SetView):
        return _set_context(view, view.status.observed_generation, view.status.retried)
    return _context("conversion", view.key, view.status.run or "", view.traceparent)


def context_of_end(view: SetView, status: ModelConversionSetStatus) -> TraceContext:
    """Return the span that a set will have when it ends, which is about to get this status.

    By then it has followed the retry that it is asked for now.
    """
    retried = status.retried if view.retry is None else view.retry
    return _set_context(view, status.observed_generation, retried)


def _set_context(view: SetView, generation: int | None, retried: str | None) -> TraceContext:
    """Return a set's span; each try of what had failed ends once more, and has another."""
    return _context("set", view.key, run_name(generation or 0, retried), view.traceparent)


def _context(kind: str, key: Key, run: str, traceparent: str | None) -> TraceContext:
    names, remote = (kind, key.uid, run), _remote(traceparent)
    if remote is None:
        return TraceContext(trace_id_of(*names), span_id_of(*names))
    return replace(remote, span_id=span_id_of(*names))


def _remote(traceparent: str | None) -> TraceContext | None:
    """Return the span of somebody else's that an annotation names."""
    return None if traceparent is None else parse(traceparent)


def is_ignored(traceparent: str | None) -> bool:
    """Whether an annotation names a span in a way that nobody can read."""
    return traceparent is not None and parse(traceparent) is None


def trace_of(view: View) -> Trace:
    """Return the trace of a run that has ended.

    Raises:
        ValueError: It has not.

    """
    status, context = view.status, context_of(view)
    start, end = status.start_time, status.completion_time
    if start is None or end is None:
        raise ValueError("a run that has not ended has no trace")
    remote = _remote(view.traceparent)
    verdict = next((c for c in status.conditions if c.type == SUCCEEDED), None)
    has_failed = status.phase is Phase.FAILED
    whole = Span(
        name="set" if isinstance(view, SetView) else "conversion",
        id=context.span_id,
        parent=None if remote is None else remote.span_id,
        is_remote=remote is not None,
        start=start,
        end=max(start, end),
        attributes=_common(view) | _facts(view),
        error=_reason(verdict) if has_failed else None,
        message=_message(verdict) if has_failed else "",
    )
    parts = _parts(view, whole) if isinstance(view, ConversionView) else ()
    return Trace(context.trace_id, (whole, *parts))


def _parts(view: ConversionView, whole: Span) -> Iterator[Span]:
    """Yield the stages within the run: clocks of nodes may be ahead or behind."""
    for stage in view.status.stages:
        start, end = max(stage.start_time, whole.start), min(stage.end_time, whole.end)
        if start > end:
            continue  # wholly before or after the run: one of the clocks is wrong, and nobody knows which
        yield Span(
            name=stage.name.lower(),
            id=span_id_of(view.key.uid, view.status.run or "", *_names(stage)),
            parent=whole.id,
            is_remote=False,
            start=start,
            end=end,
            attributes=_common(view) | _of_stage(stage),
            error=None if stage.reason is None else str(stage.reason),
        )


def _names(stage: StageTime) -> tuple[str, ...]:
    return stage.name, stage.pod or "", stage.start_time.isoformat()


def _common(view: View) -> dict[str, Value]:
    """Return what every span of a run says, so that each can be found by it."""
    kind = "set" if isinstance(view, SetView) else "conversion"
    return {
        "k8s.namespace.name": view.key.namespace,
        f"edgeml.{kind}.name": view.key.name,
        f"edgeml.{kind}.uid": view.key.uid,
    }


def _of_stage(stage: StageTime) -> dict[str, Value]:
    facts: dict[str, Value | None] = {"k8s.pod.name": stage.pod, "edgeml.board.name": stage.board}
    return _without_none(facts)


def _facts(view: View) -> dict[str, Value]:
    """Return what a whole run says beside that."""
    facts = _facts_of_set(view.status) if isinstance(view, SetView) else _facts_of_conversion(view)
    return _without_none(facts | {"edgeml.traceparent.ignored": is_ignored(view.traceparent) or None})


def _facts_of_set(status: ModelConversionSetStatus) -> dict[str, Value | None]:
    return {
        "edgeml.set.generation": status.observed_generation,
        "edgeml.set.members": status.total,
        "edgeml.set.succeeded": status.succeeded,
        "edgeml.set.failed": status.failed,
    }


def _facts_of_conversion(view: ConversionView) -> dict[str, Value | None]:
    status = view.status
    profile, source, best, failure = status.profile, status.source, status.recommended, status.failure
    return {
        "edgeml.conversion.generation": status.run_generation,
        "edgeml.conversion.run_again": status.run_again,
        "edgeml.conversion.methods": status.methods,
        "edgeml.conversion.suspended_seconds": status.suspended_seconds,
        "edgeml.conversion.artifacts": len(status.artifacts) or None,
        "edgeml.conversion.cache_hit": status.cache_hit,
        "edgeml.conversion.recommended": None if best is None else best.made_by,
        "edgeml.conversion.failed_stage": None if failure is None else failure.stage,
        "edgeml.profile.name": None if profile is None else profile.name,
        "edgeml.source.format": None if source is None else source.format,
        "edgeml.source.size": None if source is None else source.size_bytes,
        "edgeml.set.uid": view.set_uid,
    }


def _reason(verdict: Condition | None) -> str:
    return "Failed" if verdict is None else str(verdict.reason)


def _message(verdict: Condition | None) -> str:
    return "" if verdict is None else verdict.message[:_LONGEST_MESSAGE]


def _without_none(facts: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in facts.items() if value is not None}
