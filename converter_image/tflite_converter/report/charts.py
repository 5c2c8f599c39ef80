"""The report's plots: size against quality, and the error of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from modelconversion_api.markup import Markup, tag
from modelconversion_api.methods import Method
from tflite_converter.report.figures import percent
from tflite_converter.report.svg import WIDTH, Axis, axis, figure, grid, text

_CHARACTER: Final = 6.6
"""Width of a label's character in px, for keeping labels apart."""
_MOST_DECIBELS: Final = 200.0
"""Where the scale of the layers ends; double precision ends there as well."""
_UNITS: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B"))
_RIGHTWARDS, _UPWARDS = "\N{RIGHTWARDS ARROW}", "\N{UPWARDS ARROW}"

_Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Point:
    """One file in the plane of size and quality."""

    size_bytes: int
    quality: float
    """A share, 0 to 1."""
    note: str
    """What stands under its name, e.g. its latency; may be empty."""
    method: Method
    passed: bool
    name: str
    """The method's, or that of the user's recipe."""
    attempt: str = ""
    """The recipe of a try that was not kept; such a point is small, and its title tells of it."""


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """Return the passed files that no other one beats in both size and quality, the smallest first."""
    front: list[Point] = []
    candidates = [p for p in points if p.passed and not p.attempt]
    for point in sorted(candidates, key=lambda p: (p.size_bytes, -p.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front


def pareto_plot(points: Sequence[Point], quality: str, original: float | None) -> Markup:
    """Size against quality: the front as a line, what missed its gates hollow, the original across."""
    height, left, right, top, bottom = 360, 66, 28, 32, 54
    values = [p.quality for p in points] + ([] if original is None else [original])
    spread = max(max(values) - min(values), 0.01)
    largest = max(p.size_bytes for p in points)
    unit, unit_name = next((size, name) for size, name in _UNITS if largest >= size)
    x = axis(0, largest / unit, left, WIDTH - right)
    y = axis(
        max(0.0, min(values) - spread * 0.15), min(1.0, max(values) + spread * 0.15), height - bottom, top
    )
    digits = max(0, -math.floor(math.log10(y.step) + 1e-9) - 2)
    marks = grid(x, y, lambda v: f"{v:g} {unit_name}", lambda v: percent(v, digits))
    marks.append(text(f"size of the file {_RIGHTWARDS}", WIDTH - right, height - 12, anchor="end"))
    marks.append(text(f"{_UPWARDS} {quality}", 4, 14, anchor="start"))
    if original is not None:
        at = y.at(original)
        marks.append(tag("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="original"))
    front = pareto_front(points)
    if len(front) > 1:
        corners = " ".join(f"{x.at(p.size_bytes / unit):.1f},{y.at(p.quality):.1f}" for p in front)
        marks.append(tag("polyline", points=corners, class_="front"))
    frame = (float(left), float(top) - 12, float(WIDTH - right), float(height - bottom))
    placed = [(p, x.at(p.size_bytes / unit), y.at(p.quality)) for p in points]
    taken = [(px - 9, py - 9, px + 9, py + 9) for _, px, py in placed]
    for point, px, py in sorted(placed, key=lambda item: not item[0].attempt):
        marks.append(_mark(point, px, py))
        if not point.attempt:
            marks += _label(point, px, py, taken, frame)
    if original is not None:
        marks += _original_label(original, x, y.at(original), taken)
    return figure(marks, height, f"{quality} against size of {len(points)} files")


def layers_plot(values: Sequence[tuple[str, float]], worst: set[int]) -> Markup:
    """Signal-to-noise ratio in dB by layer, in the graph's order; ``worst`` are positions that stand out."""
    height, left, right, top, bottom = 250, 66, 12, 32, 50
    finite = [min(max(v, -_MOST_DECIBELS), _MOST_DECIBELS) for _, v in values if math.isfinite(v)]
    y = axis(min(0.0, *finite), max(1.0, *finite), height - bottom, top)
    step = max(1, math.ceil(len(values) / 10))
    x = Axis(-0.5, len(values) - 0.5, left, WIDTH - right, step)
    marks = grid(x, y, lambda v: str(round(v) + 1), lambda v: f"{v:g} dB")
    marks.append(text(f"layer, in the graph's order {_RIGHTWARDS}", WIDTH - right, height - 10, anchor="end"))
    marks.append(text(f"{_UPWARDS} signal-to-noise ratio", 4, 14, anchor="start"))
    width = min(20.0, max(1.0, 0.66 * (WIDTH - left - right) / len(values)))
    for position, (name, value) in enumerate(values):
        # An infinite ratio is a layer without error; what is not a number is drawn as none.
        end = y.at(0.0 if math.isnan(value) else value)
        bar = tag(
            "rect",
            tag("title", f"{position + 1}. {name}: {value:.1f} dB"),
            x=x.at(position) - width / 2,
            y=min(end, y.at(0.0)),
            width=width,
            height=max(1.0, abs(end - y.at(0.0))),
            rx=min(2.0, width / 3),
            class_="bar worst" if position in worst else "bar",
        )
        marks.append(bar)
    return figure(marks, height, f"Signal-to-noise ratio of {len(values)} layers")


def _mark(point: Point, x: float, y: float) -> Markup:
    about = f"{point.name}, {point.size_bytes:,} bytes, {percent(point.quality, 2)}"
    if point.attempt:
        title = tag("title", f"Try that was not kept: {point.attempt}; {about}")
        corners = f"{x:.1f},{y - 5:.1f} {x + 5:.1f},{y:.1f} {x:.1f},{y + 5:.1f} {x - 5:.1f},{y:.1f}"
        return tag("polygon", title, points=corners, class_="try")
    title = tag("title", about if point.passed else f"{about}; missed its gates")
    kind = f"point {point.method.cli_name}" + ("" if point.passed else " missed")
    return tag("circle", title, cx=x, cy=y, r=7, class_=kind)


def _label(point: Point, x: float, y: float, taken: list[_Box], frame: _Box) -> list[Markup]:
    """Name and note where they cover nothing, or to the right of the mark where no place is free."""
    lines = [point.name + ("" if point.passed else " (missed its gates)")]
    lines += [point.note] if point.note else []
    width, height = max(map(len, lines)) * _CHARACTER, 15.0 * len(lines)
    around: list[tuple[str, float, float]] = [
        ("start", x + 13, y - height / 2),
        ("end", x - 13, y - height / 2),
        ("middle", x, y - 13 - height),
        ("middle", x, y + 13),
        ("start", x + 9, y + 11),
        ("start", x + 9, y - 11 - height),
        ("end", x - 9, y + 11),
        ("end", x - 9, y - 11 - height),
        ("start", x + 13, y + 30),
        ("end", x - 13, y + 30),
        ("start", x + 13, y - 34 - height),
        ("end", x - 13, y - 34 - height),
    ]
    boxes = [(place, _box(*place, width, height)) for place in around]
    free = [(p, box) for p, box in boxes if _inside(box, frame) and not any(_meet(box, t) for t in taken)]
    (anchor, at_x, at_y), box = (free or boxes)[0]
    taken.append(box)
    names = ("name", "soft")
    return [
        text(line, at_x, at_y + 12 + 15 * i, anchor=anchor, kind=names[i]) for i, line in enumerate(lines)
    ]


def _original_label(original: float, x: Axis, at: float, taken: list[_Box]) -> list[Markup]:
    label = f"original {percent(original)}"
    width = len(label) * _CHARACTER
    for anchor, at_x in (("end", x.end), ("start", x.start + 4), ("middle", (x.start + x.end) / 2)):
        for at_y in (at - 20, at + 4):
            box = _box(anchor, at_x, at_y, width, 15)
            if not any(_meet(box, t) for t in taken):
                return [text(label, at_x, at_y + 12, anchor=anchor)]
    return []


def _box(anchor: str, x: float, y: float, width: float, height: float) -> _Box:
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return left, y, left + width, y + height


def _inside(box: _Box, frame: _Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
