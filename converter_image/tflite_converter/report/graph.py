"""The report's drawing of a file's graph, and the same as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.reports.graph import DrawnNode, GraphReport
from modelconversion_api.text import printable, shortened
from tflite_converter.report.figures import (
    NOTHING,
    code,
    counted,
    decibels,
    first_of,
    more,
    name_of,
    section,
    size,
    table,
)
from tflite_converter.report.layout import Point, Sizes, lay_out
from tflite_converter.report.svg import WIDTH, text
from tflite_converter.targets.objections import LITERT, RUNTIMES

LOW_DB: Final = 20.0
"""Under this ratio a node is drawn as one with a large error: noise is a tenth of the signal."""

_SIZES: Final = Sizes(width=216, height=38, across=14, down=20, lane=10)
_MARGIN: Final = 12
_LABEL, _NUMBER, _OUTPUT = 19, 7, 24
"""Characters that fit: of the label, what a number beside it takes away, and of the line below."""


def graph(report: ConversionReport) -> Markup | None:
    """Draw the graph of the recommended file, with the others' folded; None where no file has one."""
    having = [(a, a.graph) for a in report.artifacts if a.graph is not None and a.graph.drawn]
    if not having:
        return None
    having.sort(key=lambda pair: not pair[0].is_as(report.recommended))  # stable: else in the files' order
    runtime = _runtime(report)
    (chosen, first), *rest = having
    lead = (
        f"{name_of(chosen)}, from top to bottom. Orange: the error measured there is large, under"
        f" {LOW_DB:g} dB. Dashed: {runtime} does not take it. The files *.graph.json beside this page have"
        " all details, for Model Explorer."
    )
    folded = [more(f"Graph of {name_of(a)}", _view(a, drawn, runtime)) for a, drawn in rest]
    return section("graph", "Graph", _view(chosen, first, runtime), *folded, lead=lead)


def _runtime(report: ConversionReport) -> str:
    """Return what will run the file: that of the target, if there is one."""
    named = "" if report.provenance is None else report.provenance.options.get("target", "")
    if report.request is not None and report.request.target is not None:
        named = report.request.target.value
    return next((runtime for target, runtime in RUNTIMES.items() if target.value == named), LITERT)


def _view(artifact: ArtifactReport, drawn: GraphReport, runtime: str) -> Markup:
    rows = [_row(place, node) for place, node in enumerate(drawn.drawn)]
    columns = ["", "Node", "Takes from", "Gives", "Constants", "Bits", "Error", "Not taken by"]
    caption = f"Graph of {name_of(artifact)}"
    return joined(
        _picture(artifact, drawn, runtime),
        more("The same as a table", table(columns, rows, caption=caption, numbers=(0, 4, 5, 6))),
    )


def _row(place: int, node: DrawnNode) -> Sequence[Child]:
    sources = [f"{source + 1}" for source in node.inputs]
    return [
        f"{place + 1}",
        joined(code(node.label), tag("small", _count(node)) if node.operators > 1 else None),
        first_of(sources, 8) or "input",
        code(node.output) if node.output else NOTHING,
        size(node.constant_bytes) if node.constant_bytes else NOTHING,
        NOTHING if node.bits is None else f"{node.bits}",
        decibels(node.snr_db),
        ", ".join(node.refused_by) or NOTHING,
    ]


def _picture(artifact: ArtifactReport, drawn: GraphReport, runtime: str) -> Markup:
    layout = lay_out([node.inputs for node in drawn.drawn], _SIZES)
    width = max(layout.width + 2 * _MARGIN, WIDTH)
    left = (width - layout.width) / 2
    edges = [tag("path", d=_curve(points, left), class_="edge") for points in layout.edges]
    nodes = [
        _node(node, Point(place.x + left, place.y + _MARGIN), runtime)
        for node, place in zip(drawn.drawn, layout.nodes, strict=True)
    ]
    height = layout.height + 2 * _MARGIN
    title = f"Graph of {name_of(artifact)}"
    kinds = Counter(node.label for node in drawn.drawn).most_common()
    many = [
        f"{shortened(label, 48)} ({count}x)" if count > 1 else shortened(label, 48) for label, count in kinds
    ]
    picture = tag(
        "svg",
        tag("title", title),
        tag("desc", f"{counted(len(drawn.drawn), 'node')} from top to bottom: {first_of(many, 12)}."),
        *edges,
        *nodes,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width),
        height=round(height),
        role="img",
        aria_label=title,
        class_="plot nodes",
    )
    return tag("div", picture, class_="scroll tall", tabindex=0, role="region", aria_label=title)


def _node(node: DrawnNode, top: Point, runtime: str) -> Markup:
    kinds = ["node"]
    if node.snr_db is not None and node.snr_db < LOW_DB:
        kinds.append("lossy")
    if runtime in node.refused_by:
        kinds.append("refused")
    left, right = top.x - _SIZES.width / 2, top.x + _SIZES.width / 2
    number = "" if node.snr_db is None else f"{node.snr_db:.1f} dB"
    room = _LABEL + (0 if number else _NUMBER)
    bits = "" if node.bits is None else f"{node.bits} bit"
    if node.operators > 1:
        bits = f"\N{MULTIPLICATION SIGN} {node.operators:,}"
    return tag(
        "g",
        tag("title", _about(node)),
        tag("rect", x=left, y=top.y, width=_SIZES.width, height=_SIZES.height, rx=7, class_=" ".join(kinds)),
        text(shortened(printable(node.label), room), left + 9, top.y + 16, anchor="start", kind="name"),
        text(number, right - 9, top.y + 16, anchor="end") if number else None,
        text(shortened(node.output or "", _OUTPUT), left + 9, top.y + 30, anchor="start"),
        text(bits, right - 9, top.y + 30, anchor="end") if bits else None,
    )


def _about(node: DrawnNode) -> str:
    parts = [node.label if node.operators == 1 else f"{node.label}: {_count(node)}"]
    if node.output:
        parts.append(f"gives {node.output}")
    if node.constant_bytes:
        parts.append(f"{size(node.constant_bytes)} of constants")
    if node.bits is not None:
        parts.append(f"weights in {node.bits} bits")
    if node.snr_db is not None:
        parts.append(f"signal-to-noise ratio {node.snr_db:.1f} dB")
    if node.refused_by:
        parts.append(f"not taken by {', '.join(node.refused_by)}")
    return "; ".join(parts)


def _count(node: DrawnNode) -> str:
    return counted(node.operators, "operator")


def _curve(points: Sequence[Point], left: float) -> str:
    """Draw through the points; the line leaves and reaches each of them upright."""
    moved = [Point(round(p.x + left, 1), round(p.y + _MARGIN, 1)) for p in points]
    steps = [f"M{moved[0].x:g} {moved[0].y:g}"]
    for one, other in pairwise(moved):
        if one.x == other.x:
            steps.append(f"V{other.y:g}")
        else:
            middle = (one.y + other.y) / 2
            steps.append(f"C{one.x:g} {middle:g} {other.x:g} {middle:g} {other.x:g} {other.y:g}")
    return "".join(steps)
