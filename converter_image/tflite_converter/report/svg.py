"""What the report's plots are drawn with: scales, grids, labels. SVG without script or inline styles."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from modelconversion_api.markup import Markup, tag

WIDTH = 760
"""Of a plot's coordinates; the page scales it."""


@dataclass(frozen=True)
class Axis:
    """A linear scale with round ticks."""

    low: float
    high: float
    start: float
    """Where ``low`` lies, in px."""
    end: float
    step: float

    def at(self, value: float) -> float:
        """Where ``value`` lies, in px; at the nearer end of the scale where it is beyond it."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    @property
    def ticks(self) -> list[float]:
        """The round values within the scale."""
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [i * self.step for i in range(first, last + 1)]


def axis(low: float, high: float, start: float, end: float, *, ticks: int = 5) -> Axis:
    """Return a scale from the round value below ``low`` to the one above ``high``; both are finite."""
    span = max(high - low, abs(high) * 1e-6, 1e-9)
    magnitude = 10.0 ** math.floor(math.log10(span / ticks))
    step = magnitude * next(m for m in (1, 2, 5, 10) if m * magnitude * ticks >= span * (1 - 1e-9))
    bottom, top = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Axis(bottom, top if top > bottom else bottom + step, start, end, step)


def grid(x: Axis, y: Axis, x_label: Callable[[float], str], y_label: Callable[[float], str]) -> list[Markup]:
    """Lines across at the ticks of ``y``, and both axes' labels."""
    marks = []
    for value in y.ticks:
        at = y.at(value)
        marks.append(tag("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        marks.append(text(y_label(value), x.start - 8, at + 4, anchor="end"))
    marks.append(tag("line", x1=x.start, x2=x.end, y1=y.start, y2=y.start, class_="axis"))
    marks += [text(x_label(value), x.at(value), y.start + 18, anchor="middle") for value in x.ticks]
    return marks


def text(content: str, x: float, y: float, *, anchor: str, kind: str = "soft") -> Markup:
    """Return a label; ``kind`` is its class in the style sheet."""
    return tag("text", content, x=x, y=y, text_anchor=anchor, class_=kind)


def figure(marks: Sequence[Markup], height: int, title: str) -> Markup:
    """Return a plot of ``marks`` that scrolls by itself where the page is narrow."""
    picture = tag(
        "svg",
        tag("title", title),
        *marks,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=title,
        class_="plot",
    )
    return tag("div", picture, class_="scroll", tabindex=0, role="region", aria_label=title)


def share_bar(share: float, label: str) -> Markup:
    """Return a small bar that fills ``share`` of its track."""
    filled = 100 * min(max(share, 0.0), 1.0) if math.isfinite(share) else 0.0
    return tag(
        "svg",
        tag("title", label),
        tag("rect", width=100, height=6, rx=3, class_="track"),
        tag("rect", width=max(filled, 2.0), height=6, rx=min(3.0, max(filled, 2.0) / 2), class_="fill"),
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
        class_="share",
    )
