"""The report's part on boards: what each file gave on nodes of the cluster, and on what of them it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from modelconversion_api.fields.boards import Accelerator, Board
from modelconversion_api.fields.verification import left_to_cpu
from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.board import BoardFileReport, BoardReport, Machine
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.text import human_latency
from tflite_converter.report.figures import NOTHING, counted, name_of, percent, section, size, table, verdict

Measured: TypeAlias = Mapping[str, BoardReport]
"""What boards gave, by their names."""

_LEAD = (
    "Each file ran on these nodes of the cluster after it was published. The time is the median of one"
    " inference, the share the agreement with the original on the samples that boards get."
)
_NOT_YET = "no figures when this page was drawn; status.measurements of the resource says what became of it"


def boards(report: ConversionReport, measured: Measured) -> Markup | None:
    """Return a row for each file and a column for each board; None where none was asked for."""
    asked = asked_boards(report)
    if not asked:
        return None
    rows: list[Sequence[Child]] = [
        [name_of(file), *(_cell(_of(measured.get(board.name), file)) for board in asked)]
        for file in report.artifacts
    ]
    filled = table(["File", *map(_heading, asked)], rows, caption="What the files gave on boards")
    reasons = [
        tag("li", tag("strong", f"{', '.join(files)} on {name}: "), text)
        for (name, text), files in _reasons(report, asked, measured).items()
    ]
    notes = [tag("li", tag("strong", f"{b.name}: "), _about(b, measured.get(b.name))) for b in asked]
    return section("boards", "On boards", filled, tag("ul", *reasons, *notes, class_="reasons"), lead=_LEAD)


def vetoes(report: ConversionReport, measured: Measured, chosen: ArtifactReport) -> list[str]:
    """Say on which boards with gates a file did not pass, and why."""
    found = []
    for board in asked_boards(report):
        file = _of(measured.get(board.name), chosen)
        if board.is_gated and file is not None and not file.passed:
            found.append(f"{board.name}: {file.message or 'it missed a gate'}")
    return found


def asked_boards(report: ConversionReport) -> list[Board]:
    """Return the boards that a conversion names."""
    return [] if report.request is None else report.request.benchmark.boards


def _heading(board: Board) -> str:
    return board.name if board.accelerator is Accelerator.CPU else f"{board.name}, {board.accelerator.value}"


def _of(measured: BoardReport | None, artifact: ArtifactReport) -> BoardFileReport | None:
    files = () if measured is None else measured.files
    return next((file for file in files if file.is_as(artifact)), None)


def _cell(file: BoardFileReport | None) -> Child:
    if file is None:
        return NOTHING
    if (latency := file.latency) is None:
        return joined(verdict(file.passed), tag("small", file.reason) if file.reason else None)
    lines = [f"p90 {human_latency(latency.p90_millis)}"]
    if file.peak_memory_bytes:
        lines[0] += f", {size(file.peak_memory_bytes)} of memory"
    shares = {"agreement": file.agreement, "accuracy": file.accuracy}
    words = [f"{percent(share)} {name}" for name, share in shares.items() if share is not None]
    lines += [", ".join(words)] if words else []
    if file.fallback_operators is not None:
        lines.append(left_to_cpu(file.fallback_operators))
    time = tag("strong", f"{human_latency(latency.median_millis)} ")
    return joined(time, verdict(file.passed), *(tag("small", line) for line in lines))


def _reasons(
    report: ConversionReport, asked: Sequence[Board], measured: Measured
) -> dict[tuple[str, str], list[str]]:
    """Return what was said of files on each board, once, with the names of the files."""
    found: dict[tuple[str, str], list[str]] = {}
    for artifact in report.artifacts:
        for board in asked:
            file = _of(measured.get(board.name), artifact)
            text = None if file is None else file.message or "; ".join(file.fallbacks)
            if text:
                found.setdefault((board.name, text), []).append(name_of(artifact))
    return found


def _about(board: Board, measured: BoardReport | None) -> Child:
    if measured is None:
        return _NOT_YET
    machine = measured.machine
    parts = [machine.node, machine.processor, machine.runtime, counted(board.threads, "thread")]
    parts += [counted(board.runs, "run"), counted(measured.samples, "sample"), _gates(board)]
    return joined(", ".join(filter(None, parts)), ".", *(f" {words}" for words in _warnings(machine)))


def _gates(board: Board) -> str:
    gates = []
    if board.max_latency_millis is not None:
        gates.append(f"at most {board.max_latency_millis} ms")
    if board.min_agreement is not None:
        gates.append(f"agreement of at least {board.min_agreement}")
    return f"gates: {' and '.join(gates)}" if gates else "no gates"


def _warnings(machine: Machine) -> list[str]:
    warnings = []
    if machine.is_software:
        warnings.append("The accelerator's driver is software on the processor: the times are no device's.")
    if machine.is_throttled:
        warnings.append("Its processors ran slower than they may.")
    return warnings
