"""The report's plots as SVG: no script, colours from the page's style sheet, each mark with its title."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from modelconversion_api.methods import Method
from modelconversion_api.text import human_size

from .html_figures import METHOD_NAMES
from .html_markup import Markup, tag

WIDTH = 760
_CHARACTER = 6.4
"""Width of a character of a label in px, for keeping labels apart."""
_LINE = 15.0

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Point:
    """One file in the plane of size and quality."""

    size_bytes: int
    quality: float
    """Share, 0 to 1."""
    label: str
    note: str
    """Second line of the label, e.g. its latency; may be empty."""
    method: Method
    passed: bool
    is_attempt: bool = False
    """A try that was not kept: drawn small, told in its title only."""


@dataclass(frozen=True)
class Axis:
    """A linear scale with round ticks."""

    low: float
    high: float
    start: float
    end: float
    step: float

    def at(self, value: float) -> float:
        """Where ``value`` lies, in px."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """The round values within the scale."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [i * self.step for i in range(first, last + 1)]


def axis(low: float, high: float, start: float, end: float, *, ticks: int = 5) -> Axis:
    """A scale from the round value below ``low`` to the one above ``high``."""
    span = max(high - low, abs(high) * 1e-6, 1e-9)
    magnitude = 10 ** math.floor(math.log10(span / ticks))
    step = magnitude * next(m for m in (1, 2, 5, 10) if m * magnitude * ticks >= span)
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(bottom, top if top > bottom else bottom + step, start, end, step)


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The passed files of which no other is both as small and as good, the smallest first."""
    front: list[Point] = []
    candidates = [p for p in points if p.passed and not p.is_attempt]
    for point in sorted(candidates, key=lambda p: (p.size_bytes, -p.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front


def pareto_plot(points: Sequence[Point], quality: str, original: float | None) -> Markup:
    """Size against quality; the front as a line, what failed hollow, ``original`` as a line across."""
    height, left, right, top, bottom = 380, 64, 24, 24, 52
    values = [p.quality for p in points] + ([] if original is None else [original])
    spread = max(max(values) - min(values), 0.01)
    scale = max(_unit(max(p.size_bytes for p in points)), 1)
    x = axis(0, max(p.size_bytes for p in points) / scale * 1.04, left, WIDTH - right)
    y = axis(
        max(0.0, min(values) - spread * 0.15),
        min(1.0, max(values) + spread * 0.15),
        height - bottom,
        top,
    )
    drawn = [*_grid(x, y, human=lambda v: human_size(round(v * scale)), share=True)]
    drawn.append(_text(f"Size of the file {chr(0x2192)}", WIDTH - right, height - 10, anchor="end"))
    drawn.append(_text(f"{chr(0x2191)} {quality}", left, 14, anchor="start"))
    if original is not None:
        at = y.at(original)
        drawn.append(tag("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="original"))
        drawn.append(_text(f"original {original:.1%}", x.end - 4, at - 6, anchor="end", kind="soft"))
    front = pareto_front(points)
    if len(front) > 1:
        line = " ".join(f"{x.at(p.size_bytes / scale):.1f},{y.at(p.quality):.1f}" for p in front)
        drawn.append(tag("polyline", points=line, class_="front"))
    taken: list[Box] = [
        _around(x.at(p.size_bytes / scale), y.at(p.quality), 9) for p in points if not p.is_attempt
    ]
    for point in sorted(points, key=lambda p: not p.is_attempt):
        at_x, at_y = x.at(point.size_bytes / scale), y.at(point.quality)
        drawn.append(_mark(point, at_x, at_y))
        if not point.is_attempt:
            drawn += _label(point, at_x, at_y, taken, (left, top, WIDTH - right, height - bottom))
    title = f"{quality} against size of {len(points)} files"
    return _figure(drawn, height, title)


def layers_plot(values: Sequence[tuple[str, float]], worst: Sequence[int]) -> Markup:
    """Signal-to-noise ratio by layer in the graph's order; ``worst`` are the positions that stand out."""
    height, left, right, top, bottom = 260, 64, 16, 24, 44
    finite = [v for _, v in values if math.isfinite(v)] or [0.0]
    y = axis(min(0.0, *finite), max(1.0, *finite), height - bottom, top)
    gap = (WIDTH - left - right) / len(values)
    x = Axis(-0.5, len(values) - 0.5, left, WIDTH - right, max(1, round(len(values) / 8)))
    drawn = [*_grid(x, y, human=lambda v: str(int(v) + 1), share=False)]
    drawn.append(_text(f"Layer, in the graph's order {chr(0x2192)}", WIDTH - right, height - 8, anchor="end"))
    drawn.append(_text(f"{chr(0x2191)} Signal-to-noise ratio, dB", left, 14, anchor="start"))
    width = min(18.0, max(1.0, gap * 0.62))
    for i, (name, value) in enumerate(values):
        end = y.at(min(max(value, y.low), y.high)) if not math.isnan(value) else y.at(0)
        kind = "bar worst" if i in worst else "bar"
        mark = tag(
            "rect",
            tag("title", f"{i + 1}. {name}: {value:.1f} dB"),
            x=x.at(i) - width / 2,
            y=min(end, y.at(0)),
            width=width,
            height=max(1.0, abs(end - y.at(0))),
            rx=min(2.0, width / 3),
            class_=kind,
        )
        drawn.append(mark)
    return _figure(drawn, height, f"Signal-to-noise ratio of {len(values)} layers")


def share_bar(share: float, label: str) -> Markup:
    """A small bar that fills ``share`` of its track."""
    filled = min(max(share, 0.0), 1.0) * 100
    return tag(
        "svg",
        tag("title", label),
        tag("rect", x=0, y=0, width=100, height=8, rx=4, class_="track"),
        tag("rect", x=0, y=0, width=max(filled, 1.0), height=8, rx=min(4.0, max(filled, 1.0) / 2), class_="fill"),
        viewBox="0 0 100 8",
        preserveAspectRatio="none",
        class_="share",
        role="img",
        aria_label=label,
    )


def _figure(drawn: Sequence[Markup], height: int, title: str) -> Markup:
    picture = tag(
        "svg",
        tag("title", title),
        *drawn,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=title,
        class_="plot",
    )
    return tag("div", picture, class_="scroll", tabindex=0, role="region", aria_label=title)
