"""The report's parts that compare the files: summary, plot, targets, inventory, attempts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.reports.measurements import Attempt, Inventory
from modelconversion_api.text import human_latency
from tflite_converter.report.charts import Point, pareto_plot
from tflite_converter.report.figures import (
    METHOD_NAMES,
    NOTHING,
    code,
    counted,
    decibels,
    method,
    name_of,
    percent,
    ratio,
    section,
    size,
    table,
    verdict,
    word_of,
)
from tflite_converter.report.svg import share_bar


def summary(report: ConversionReport) -> Markup:
    """One row for each file."""
    rows = [_summary_row(report, artifact) for artifact in report.artifacts]
    columns = ["Method", "Size", "Of the original", "Accuracy", "Agreement", "SNR", "Latency", "Result"]
    filled = table(columns, rows, caption="The files and what they are worth", numbers=(1, 3, 4, 5, 6))
    return section("summary", "Files", filled, lead=_lead(report))


def plot(report: ConversionReport) -> Markup | None:
    """Size against accuracy, or agreement where that is unknown; None where there is nothing to compare."""
    by_accuracy = all(a.accuracy is not None for a in report.artifacts)
    points = []
    for artifact in report.artifacts:
        quality = artifact.accuracy if by_accuracy else artifact.agreement
        if quality is not None:
            note = "" if artifact.latency is None else human_latency(artifact.latency.median_millis)
            points.append(
                Point(artifact.size_bytes, quality, note, artifact.method, artifact.passed, name_of(artifact))
            )
        points += _attempt_points(artifact.method, artifact.attempts, by_accuracy=by_accuracy)
    for trial in () if report.search is None else report.search.tries:
        points += _attempt_points(trial.method, [trial], by_accuracy=by_accuracy)
    if len(points) < 2 or all(p.attempt for p in points):
        return None
    quality_name = "accuracy" if by_accuracy else "agreement with the original"
    original = report.evaluation.original_accuracy if by_accuracy else None
    if original is not None and not math.isfinite(original):
        original = None
    lead = (
        "Smaller is to the left, better is up; the figure under a name is its latency. The line is the Pareto"
        " front: no file on it is beaten in both. Hollow marks missed their gates, diamonds are tries that"
        " were not kept."
    )
    return section("pareto", "Size and quality", pareto_plot(points, quality_name, original), lead=lead)


def targets(report: ConversionReport) -> Markup | None:
    """Where each file can run; None where nothing was checked."""
    checked = [a for a in report.artifacts if a.targets]
    if not checked:
        return None
    names = list(dict.fromkeys(check.target for a in checked for check in a.targets))
    rows: list[Sequence[Child]] = []
    reasons: dict[tuple[str, str], list[str]] = {}
    for name in names:
        row: list[Child] = [name.value]
        for artifact in checked:
            check = next((c for c in artifact.targets if c.target is name), None)
            row.append(NOTHING if check is None else verdict(check.suitable, "runs", "no"))
            for problem in () if check is None else check.problems:
                reasons.setdefault((name.value, problem), []).append(name_of(artifact))
        rows.append(row)
    # What is true on several targets of the same files is told once.
    answers: dict[tuple[str, str], list[str]] = {}
    for (place, problem), whom in reasons.items():
        answers.setdefault((problem, ", ".join(whom)), []).append(place)
    notes = [
        tag("li", tag("strong", f"{', '.join(where)} ({whom})"), ": ", problem)
        for (problem, whom), where in answers.items()
    ]
    grid = table(["Target", *(name_of(a) for a in checked)], rows, caption="Where each file can run")
    lead = "Operator by operator against what each runtime documents; nothing was run on these devices."
    listed = tag("ul", *notes, class_="reasons") if notes else None
    return section("targets", "Targets", grid, listed, lead=lead)


def inventory(report: ConversionReport) -> Markup | None:
    """Operators and constants of the files side by side; None where none was read."""
    read = [(a, a.inventory) for a in report.artifacts if a.inventory is not None]
    if not read:
        return None
    columns = [name_of(a) for a, _ in read]
    operators = list(dict.fromkeys(o.operator for _, contents in read for o in contents.operators))
    dtypes = sorted({dtype for _, contents in read for dtype in contents.constant_bytes})
    operator_rows = [
        [code(name), *(_operator_cell(contents, name) for _, contents in read)] for name in operators
    ]
    byte_rows = [
        [
            code(dtype),
            *(size(b) if (b := contents.constant_bytes.get(dtype)) else NOTHING for _, contents in read),
        ]
        for dtype in dtypes
    ]
    byte_rows.append(["Tensors by channel", *(f"{contents.per_channel_tensors:,}" for _, contents in read)])
    numbers = range(1, len(columns) + 1)
    return section(
        "inventory",
        "Operators and dtypes",
        table(["Operator", *columns], operator_rows, caption="Operators by the dtype of their output"),
        table(["Constants", *columns], byte_rows, caption="Bytes of constants by dtype", numbers=numbers),
    )


def attempts(report: ConversionReport) -> Markup | None:
    """Return the recipes and methods that were tried; None where there was nothing to choose from."""
    tried = [(a.method, attempt) for a in report.artifacts for attempt in a.attempts]
    if report.search is not None:
        tried += [(trial.method, trial) for trial in report.search.tries]
    if not tried:
        return None
    rows = [_attempt_row(which, attempt) for which, attempt in tried]
    columns = ["Recipe", "Size", "Accuracy", "Agreement", "SNR", "In float", "Time", "Result"]
    filled = table(columns, rows, caption="What each recipe gave", numbers=(1, 2, 3, 4, 5, 6))
    lead = "Each was made and measured like the file itself; the last column says which one became it."
    return section("attempts", "Recipes that were tried", filled, lead=lead)


def _lead(report: ConversionReport) -> str:
    passed = sum(a.passed for a in report.artifacts)
    gates = "passed" if report.evaluation.gated else "usable; no gates were set"
    text = f"{passed} of {counted(len(report.artifacts), 'file')} {gates}."
    if (original := report.evaluation.original_accuracy) is not None:
        text += f" The original's accuracy is {percent(original)}."
    return text


def _summary_row(report: ConversionReport, artifact: ArtifactReport) -> Sequence[Child]:
    latency = artifact.latency
    chosen = artifact.is_as(report.recommended)
    share = percent(artifact.size_fraction)
    return [
        joined(
            method(artifact.method, name_of(artifact)),
            tag("span", "recommended", class_="badge pick") if chosen else None,
        ),
        size(artifact.size_bytes),
        tag(
            "span",
            share_bar(artifact.size_fraction, f"{share} of the original's size"),
            share,
            class_="whole",
        ),
        percent(artifact.accuracy),
        percent(artifact.agreement),
        ratio(artifact),
        NOTHING if latency is None else human_latency(latency.median_millis),
        word_of(artifact, gated=report.evaluation.gated),
    ]


def _attempt_points(which: Method, attempts: Sequence[Attempt], *, by_accuracy: bool) -> list[Point]:
    return [
        Point(a.size_bytes, quality, "", which, False, METHOD_NAMES[which], attempt=a.recipe or "no name")
        for a in attempts
        if not a.chosen
        and a.size_bytes
        and (quality := a.accuracy if by_accuracy else a.agreement) is not None
        and math.isfinite(quality)
    ]


def _operator_cell(contents: Inventory, name: str) -> str:
    counts = [f"{o.count:,} {o.dtype}" for o in contents.operators if o.operator == name]
    return ", ".join(counts) or NOTHING


def _attempt_row(which: Method, attempt: Attempt) -> Sequence[Child]:
    result: list[Child] = [verdict(attempt.passed)]
    if attempt.chosen:
        result.append(tag("span", "kept", class_="badge pick"))
    if attempt.message:
        result.append(tag("small", attempt.message))
    return [
        joined(method(which), tag("small", attempt.recipe)) if attempt.recipe else METHOD_NAMES[which],
        NOTHING if attempt.size_bytes is None else size(attempt.size_bytes),
        percent(attempt.accuracy),
        percent(attempt.agreement),
        decibels(attempt.snr_db),
        NOTHING if attempt.float_operators is None else f"{attempt.float_operators:,}",
        f"{attempt.seconds:.1f} s",
        joined(result),
    ]
