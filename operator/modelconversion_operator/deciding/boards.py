"""Boards after a conversion: one after another, what each gave, and which file is then recommended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from modelconversion_api.fields.boards import Accelerator, Board, board_report_name
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardFile, BoardSummary
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import (
    Artifact,
    FailureInfo,
    MeasuredFile,
    Measurement,
    ModelConversionStatus,
    Phase,
    Reason,
    Recommended,
)
from modelconversion_api.text import human_size
from modelconversion_operator.deciding.conditions import with_condition
from modelconversion_operator.deciding.decisions import Decision, Event, failed
from modelconversion_operator.deciding.failures import failure
from modelconversion_operator.deciding.following import Run
from modelconversion_operator.deciding.manifest import Part, job_name
from modelconversion_operator.deciding.outcome import (
    object_uri,
    results_of_publish,
    seconds_to_end_by_itself,
    share,
)
from modelconversion_operator.deciding.registering import with_registry
from modelconversion_operator.deciding.repairs import for_its_time_to_live
from modelconversion_operator.deciding.views import PodView

_THROTTLED = "its processors ran slower than they may: it was throttled, or its clock is not fixed"
_SOFTWARE = "the accelerator's driver is software that runs on the processor: the figures are no device's"


def on_boards(run: Run, with_job: Callable[[Run], Decision], foreign: str | None = None) -> Decision:
    """Have the published files measured on one board after another; none keeps the others from it.

    ``with_job`` decides about a Job that has not published, and ``foreign`` says that its name is taken.
    """
    board, job = run.board, run.seen.job
    if board is None or any(row.board == board.name for row in run.status.measurements):
        # The Job that has published ends by itself; what is still there of it afterwards goes as a stray.
        if job is not None and not job.finished and (left := seconds_to_end_by_itself(run.pods, run.now)) > 0:
            return Decision(run.status, recheck_seconds=left)
        return _to_next_board(run)
    if foreign is None and (summary := summary_of_board(run.pods)) is not None:
        return _after_board(run, measured(board, summary, run.spec.output.uri, run.now))
    if foreign is not None:
        why = failure(FailureReason.JOB_REJECTED, foreign, run.now)
    elif any(pod.published for pod in run.pods) or (job is not None and job.complete):
        why = failure(FailureReason.REPORT_LOST, "nobody saw what its Job has measured", run.now)
    else:
        decision = with_job(run)
        if decision.status.failure is None:
            return decision
        why = decision.status.failure
    event = Event("Warning", why.reason, f"board {board.name}: {why.message}")
    decision = _after_board(run, not_measured(board, why, run.now))
    return replace(decision, events=(event, *decision.events))


def _after_board(run: Run, row: Measurement) -> Decision:
    """Write what a board gave; its Job is let go only after that, or a crash between would lose it."""
    status = run.status.model_copy(update={"measurements": [*run.status.measurements, row]})
    is_last = next_board(run.spec, status) is None
    return _settled(run, status) if is_last else Decision(status, recheck_seconds=0)


def _to_next_board(run: Run) -> Decision:
    """Go on to the next board, or end where there is none; what the one before gave is in the status."""
    status, action = run.status, for_its_time_to_live(run.seen, run.spec)
    board = next_board(run.spec, status)
    if board is None:
        return replace(_settled(run, status), job_action=action)
    name = job_name(run.conversion.key, run.name, Part(board=board.name))
    update = {"job_name": name, "job_uid": None, "progress": None, "waiting_since": run.now}
    status = status.model_copy(update={"phase": Phase.PENDING, **update})
    words = f"converted; board {board.name} is next, the files are measured there"
    status = with_condition(status, run.conversion, "Unknown", Reason.CREATED, words, run.now)
    return Decision(status, action, recheck_seconds=0)


def _settled(run: Run, status: ModelConversionStatus) -> Decision:
    """End a conversion whose boards have all been asked."""
    if (row := unmeasured_gate(run.spec, status)) is not None:
        words = f"board {row.board} has gates, and nothing was measured there: {row.message or row.reason}"
        why = FailureInfo(
            stage=Stage.MEASURE, reason=row.reason or FailureReason.REPORT_LOST, message=words, time=run.now
        )
        return failed(run.conversion, status, why, run.now)
    recommended, vetoes = recommended_after(run.spec, status)
    status = status.model_copy(update={"recommended": recommended})
    if recommended is None:
        why = failure(FailureReason.GATES_NOT_MET, vetoes, run.now, Stage.MEASURE)
        return failed(run.conversion, status, why, run.now)
    return with_registry(run, status, recommended)


def boards_of(spec: Mapping[str, Any], status: ModelConversionStatus) -> dict[str, str]:
    """Return the accelerators of the boards of a conversion and its profile by name, as they are stored."""
    profile = status.profile.spec if status.profile else {}
    return {
        str(board["name"]): str(board.get("accelerator", Accelerator.CPU))
        for part in (profile, spec)
        for board in (part.get("benchmark") or {}).get("boards") or ()
    }


def next_board(spec: ModelConversionSpec, status: ModelConversionStatus) -> Board | None:
    """Return the first board of which the status says nothing yet."""
    known = {m.board for m in status.measurements}
    return next((board for board in spec.benchmark.boards if board.name not in known), None)


def summary_of_board(pods: Sequence[PodView]) -> BoardSummary | None:
    """Return what ``publish`` said of a board."""
    return next((r.board for r in results_of_publish(pods) if r.board is not None), None)


def measured(board: Board, summary: BoardSummary, output_uri: str, now: datetime) -> Measurement:
    """Return the status's row for a board that has run the files."""
    machine = summary.machine
    notes = {_SOFTWARE: machine.is_software, _THROTTLED: machine.is_throttled}
    return Measurement(
        board=board.name,
        message="; ".join(words for words, holds in notes.items() if holds) or None,
        accelerator=summary.accelerator,
        node=machine.node or None,
        processor=machine.processor or None,
        runtime=machine.runtime or None,
        files=[_file(file) for file in summary.files],
        report_uri=object_uri(output_uri, board_report_name(board.name)),
        time=now,
    )


def not_measured(board: Board, why: FailureInfo, now: datetime) -> Measurement:
    """Return the status's row for a board that has given nothing."""
    return Measurement(board=board.name, reason=why.reason, message=why.message, time=now)


def _file(file: BoardFile) -> MeasuredFile:
    latency = file.latency
    return MeasuredFile(
        method=file.method,
        recipe_name=file.recipe_name,
        latency_millis=None if latency is None else f"{latency.median_millis:.4f}",
        p90_millis=None if latency is None else f"{latency.p90_millis:.4f}",
        peak_memory_bytes=file.peak_memory_bytes,
        agreement=share(file.agreement),
        accuracy=share(file.accuracy),
        accelerated_operators=file.accelerated_operators,
        fallback_operators=file.fallback_operators,
        passed=file.passed,
        reason=file.reason,
        message=file.message,
    )


def _gated(spec: ModelConversionSpec) -> set[str]:
    """Return the names of the boards with gates."""
    return {board.name for board in spec.benchmark.boards if board.is_gated}


def unmeasured_gate(spec: ModelConversionSpec, status: ModelConversionStatus) -> Measurement | None:
    """Return the first board with gates that nothing could be held against."""
    gated = _gated(spec)
    return next((m for m in status.measurements if m.reason is not None and m.board in gated), None)


def vetoes(spec: ModelConversionSpec, status: ModelConversionStatus, artifact: Artifact) -> list[str]:
    """Say on which boards with gates a file did not pass, and why."""
    gated = _gated(spec)
    found = []
    for measurement in status.measurements:
        if measurement.board not in gated:
            continue
        file = next((f for f in measurement.files if f.is_as(artifact)), None)
        if file is None:
            found.append(f"{measurement.board}: it was not run there")
        elif not file.passed:
            found.append(f"{measurement.board}: {file.message or 'it missed a gate'}")
    return found


def recommended_after(
    spec: ModelConversionSpec, status: ModelConversionStatus
) -> tuple[Recommended | None, str]:
    """Return the file to use in the light of the boards, and one sentence on what they changed.

    The conversion's own choice stays if it passed on every board with gates; else it is the smallest file
    that did.
    """
    refused = {artifact.made_by: vetoes(spec, status, artifact) for artifact in status.artifacts}
    chosen = status.recommended
    if chosen is not None and not refused.get(chosen.made_by):
        return chosen, ""
    sentence = "; ".join(f"{name}: {', '.join(why)}" for name, why in refused.items() if why)
    left = [artifact for artifact in status.artifacts if artifact.passed and not refused[artifact.made_by]]
    best = min(left, key=lambda artifact: artifact.size_bytes, default=None)
    if best is None:
        return None, sentence
    veto = f"{chosen.made_by} did not pass on {', '.join(refused[chosen.made_by])}" if chosen else sentence
    return Recommended(
        method=best.method,
        recipe_name=best.recipe_name,
        name=best.made_by,
        uri=best.uri,
        reason=f"the smallest that passes on every board; {veto}",
        size=human_size(best.size_bytes),
    ), sentence
