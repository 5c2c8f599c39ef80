"""``compare.html``: what the members of a set came to, in one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.text import human_latency
from tflite_converter.report.charts import Point, pareto_plot
from tflite_converter.report.figures import (
    NOTHING,
    counted,
    first_of,
    method,
    name_of,
    percent,
    section,
    size,
    table,
)
from tflite_converter.report.shell import whole_page

_MOST_PLOTS = 24
"""More models than this have a table only."""
_LEAD = (
    "Each profile's recommended file of this model: smaller is to the left, better is up. The line is the"
    " Pareto front: no file on it is beaten in both."
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One member's recommended file, in figures."""

    method: Method
    made_by: str
    size_bytes: int
    agreement: float | None
    accuracy: float | None
    original_accuracy: float | None
    latency_millis: float | None


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a set."""

    model: str
    profile: str
    file: Compared | None
    reason: str = ""
    """Why there is none."""


def figures_of(report: ConversionReport) -> Compared | None:
    """Return the figures of what a report recommends; None where it recommends nothing."""
    chosen = next((a for a in report.artifacts if a.is_as(report.recommended)), None)
    if chosen is None:
        return None
    return Compared(
        method=chosen.method,
        made_by=name_of(chosen),
        size_bytes=chosen.size_bytes,
        agreement=chosen.agreement,
        accuracy=chosen.accuracy,
        original_accuracy=report.evaluation.original_accuracy,
        latency_millis=None if chosen.latency is None else chosen.latency.median_millis,
    )


def render_comparison(name: str, members: Sequence[Member]) -> str:
    """Return the page for the members of the set ``name``, as text to be written in UTF-8."""
    models = list(dict.fromkeys(member.model for member in members))
    with_file = sum(member.file is not None for member in members)
    header = tag(
        "header",
        tag("p", "Comparison of a set of conversions", class_="eyebrow"),
        tag("h1", name),
        tag(
            "p",
            f"{counted(len(models), 'model')}, {with_file} of {counted(len(members), 'member')} with a file",
        ),
    )
    plots = [_plot(model, members) for model in models[:_MOST_PLOTS]] if len(models) <= _MOST_PLOTS else []
    footer = tag(
        "footer", tag("p", "Each member's report.html lies in its folder, MODEL/PROFILE/, beside this page.")
    )
    return whole_page(f"{name}: comparison", header, tag("main", _all(members), *plots), footer)


def _all(members: Sequence[Member]) -> Markup:
    rows: list[Sequence[Child]] = [
        [joined(member.model, " ", tag("small", member.profile)), *_cells(member)] for member in members
    ]
    columns = ["Member", "Recommended", "Size", "Agreement", "Accuracy", "Latency"]
    filled = table(columns, rows, caption="The members of the set", numbers=(2, 3, 4, 5))
    lead = (
        "The file that each member recommends. Latency is that of the pod that converted it, not of a device."
    )
    return section("members", "Members", filled, _failures(members), lead=lead)


def _cells(member: Member) -> list[Child]:
    file = member.file
    if file is None:
        return [joined(NOTHING, tag("small", member.reason or "no report")), *[NOTHING] * 4]
    accuracy: Child = percent(file.accuracy)
    if file.accuracy is not None and file.original_accuracy is not None:
        accuracy = joined(accuracy, tag("small", f"original {percent(file.original_accuracy)}"))
    return [
        method(file.method, file.made_by),
        size(file.size_bytes),
        percent(file.agreement),
        accuracy,
        NOTHING if file.latency_millis is None else human_latency(file.latency_millis),
    ]


def _failures(members: Sequence[Member]) -> Markup | None:
    """Return the reasons, each with the members that have it; None where all have a file."""
    by_reason: dict[str, list[str]] = {}
    for member in members:
        if member.file is None:
            by_reason.setdefault(member.reason or "no report", []).append(
                f"{member.model} for {member.profile}"
            )
    items = [tag("li", tag("strong", f"{why}: "), first_of(who, 10)) for why, who in by_reason.items()]
    return tag("ul", *items, class_="reasons") if items else None


def _plot(model: str, members: Sequence[Member]) -> Markup | None:
    """Return the profiles' files of one model by size and quality; None where there are not two."""
    files = [(m.profile, m.file) for m in members if m.model == model and m.file is not None]
    by_accuracy = all(file.accuracy is not None for _, file in files)
    points = []
    for profile, file in files:
        quality = file.accuracy if by_accuracy else file.agreement
        if quality is not None:
            points.append(
                Point(file.size_bytes, quality, file.made_by, file.method, passed=True, name=profile)
            )
    if len(points) < 2:
        return None
    original = next((f.original_accuracy for _, f in files), None) if by_accuracy else None
    what = "accuracy" if by_accuracy else "agreement with the original"
    return section(f"model-{model}", model, pareto_plot(points, what, original), lead=_LEAD)
