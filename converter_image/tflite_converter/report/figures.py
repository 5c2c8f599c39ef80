"""Figures and small pieces that every part of the HTML report shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from modelconversion_api.fields.recipes import OfMethod
from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ArtifactReport, verdict_of
from modelconversion_api.text import human_size

NOTHING = "\N{EN DASH}"
"""What stands where nothing was measured."""

METHOD_NAMES = {
    Method.FLOAT32: "Float32",
    Method.DYNAMIC_RANGE: "Dynamic range",
    Method.FLOAT16: "Float16",
    Method.FULL_INTEGER: "Full integer",
    Method.INT16_ACTIVATIONS: "Int16 activations",
    Method.WEIGHT_ONLY_INT8: "Weight-only int8",
    Method.INT4: "Int4",
}


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share, e.g. ``94.5%``."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def number(value: float | None) -> str:
    """Three significant digits, e.g. ``0.00213``."""
    if value is None:
        return NOTHING
    return f"{value:.3g}" if math.isfinite(value) else str(value)


def size(size_bytes: int) -> str:
    """Return a size for people, e.g. ``23.4 KiB``."""
    text = human_size(min(max(size_bytes, 0), 1 << 62))
    return f"{text.rstrip('KMGiB')} {text.lstrip('-0123456789.')}"


def decibels(value: float | None, *, missing: str = NOTHING) -> str:
    """Return a ratio in dB, e.g. ``41.2 dB``."""
    return missing if value is None else f"{value:.1f} dB" if math.isfinite(value) else f"{value} dB"


def counted(count: int, noun: str) -> str:
    """``1 sample`` or ``1,000 samples``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def section(identifier: str, title: str, *children: Child, lead: Child = None) -> Markup:
    """Return a part of the page with its heading, and a sentence that says what is to be seen."""
    heading = tag("h2", title)
    intro = None if lead is None else tag("p", lead, class_="lead")
    return tag("section", heading, intro, *children, id=identifier)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[Child]], *, caption: str, numbers: Sequence[int] = ()
) -> Markup:
    """Return a table whose first column heads its rows.

    ``numbers`` are the columns that align to the right.
    """

    def cell(position: int, child: Child) -> Markup:
        kind = "num" if position in numbers else None
        if position == 0:
            return tag("th", child, scope="row", class_=kind)
        return tag("td", child, class_=kind)

    head = [
        tag("th", name, scope="col", class_="num" if i in numbers else None) for i, name in enumerate(columns)
    ]
    body = [tag("tr", *(cell(i, child) for i, child in enumerate(row))) for row in rows]
    filled = tag("table", tag("caption", caption), tag("thead", tag("tr", *head)), tag("tbody", *body))
    # A wide table scrolls by itself, also by keyboard, instead of widening the page.
    return tag("div", filled, class_="scroll", tabindex=0, role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Names and values in a definition list."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs))


def code(text: str) -> Markup:
    """Return a name or digest in fixed width, kept apart from the direction of the text around it."""
    return tag("code", text)


def word_of(artifact: ArtifactReport, *, gated: bool) -> Markup:
    """Return the badge for what became of a file."""
    word = verdict_of(artifact, gated=gated)
    return verdict(artifact.passed, word, word)


def verdict(passed: bool, yes: str = "passed", no: str = "failed") -> Markup:
    """Return a badge; its word says what its colour says."""
    return tag("span", yes if passed else no, class_="badge good" if passed else "badge bad")


def name_of(made_by: OfMethod) -> str:
    """Return the name of the user's recipe, or the method's."""
    return made_by.recipe_name or METHOD_NAMES[made_by.method]


def method(which: Method, name: str | None = None) -> Markup:
    """Return a method's name, or that of a recipe, after its colour."""
    return joined(
        tag("span", class_=f"dot {which.cli_name}", aria_hidden="true"), name or METHOD_NAMES[which]
    )


def more(title: str, *children: Child) -> Markup:
    """Return an element that is folded until somebody opens it."""
    return tag("details", tag("summary", title), *children)


def ratio(artifact: ArtifactReport) -> str:
    """Return the signal-to-noise ratio of the outputs; a file without any noise has none."""
    return decibels(artifact.snr_db, missing="identical" if artifact.agreement is not None else NOTHING)


def first_of(names: Sequence[str], most: int) -> str:
    """Return the first ``most`` names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest:,} more" if rest > 0 else "")
