"""The confusion matrix as a table of tinted cells, cut to the classes that matter where there are many."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.measurements import Confusion
from tflite_converter.report.figures import percent, table

MOST_CLASSES = 16
"""Classes of a matrix that can be read."""
_MOST_PAIRS = 12
_SHORT_NAME = 12
_TINTS = 8
"""Tints of a cell; the style sheet has a class for each."""

_Counts = list[list[int]]
_Confused = list[tuple[int, int, int]]
"""Count, class, and what it was taken for."""


def confusion_view(confusion: Confusion) -> Markup:
    """Return the matrix, and the pairs that are confused most.

    With more than :data:`MOST_CLASSES` classes the matrix has those that are confused most, and says so.
    """
    counts = _square(confusion)
    labels = _names(confusion.labels, len(counts))
    names = _names(confusion.names, len(counts), labels)
    confused = _confused(counts)
    chosen = _most_confused(counts, confused)
    rows = "True class" if confusion.against == "Labels" else "The original's class"
    parts: list[Child] = []
    if len(chosen) < len(counts):
        note = f"{len(counts):,} classes: the matrix shows {len(chosen)}, those that are confused most."
        parts.append(tag("p", note, class_="note"))
    if chosen:
        parts.append(_matrix(counts, labels, names, chosen, rows))
    pairs: list[Sequence[Child]] = [
        [names[i], names[j], f"{count:,}", percent(count / sum(counts[i]))]
        for count, i, j in confused[:_MOST_PAIRS]
    ]
    if pairs:
        columns = [rows, "Taken for", "Samples", "Of the class"]
        parts.append(table(columns, pairs, caption="Most frequent confusions", numbers=(2, 3)))
    else:
        parts.append(tag("p", "No sample was taken for another class.", class_="note"))
    return joined(parts)


def _square(confusion: Confusion) -> _Counts:
    """Return the counts as a square without negative ones, whatever the report's numbers are."""
    size = len(confusion.counts)
    return [[max(0, n) for n in row[:size]] + [0] * (size - len(row)) for row in confusion.counts]


def _matrix(
    counts: _Counts, labels: Sequence[str], names: Sequence[str], chosen: Sequence[int], row_title: str
) -> Markup:
    # Long names head the rows only; the columns then have the classes' labels.
    short = max(len(names[i]) for i in chosen) <= _SHORT_NAME
    columns = [tag("th", names[i] if short else labels[i], scope="col", title=names[i]) for i in chosen]
    rows = []
    for i in chosen:
        total = sum(counts[i])
        head = tag("th", names[i] if short else f"{labels[i]} {names[i]}", scope="row", title=names[i])
        cells = [_cell(counts[i][j], total, right=i == j, names=(names[i], names[j])) for j in chosen]
        rows.append(tag("tr", head, *cells))
    matrix = tag(
        "table",
        tag("caption", f"Rows: {row_title.lower()}. Columns: what the file says. Numbers of samples."),
        tag("thead", tag("tr", tag("td"), *columns)),
        tag("tbody", *rows),
        class_="confusion",
    )
    return tag("div", matrix, class_="scroll", tabindex=0, role="region", aria_label="Confusion matrix")


def _cell(count: int, total: int, *, right: bool, names: tuple[str, str]) -> Markup:
    if not count:
        return tag("td", "\N{MIDDLE DOT}", class_="none")
    # Errors are few beside what is right, and are what one looks for.
    tint = min(_TINTS, (1 if right else 3) + count * _TINTS // total)
    return tag(
        "td",
        f"{count:,}",
        class_=f"{'right' if right else 'wrong'} tint{tint}",
        title=f"{names[0]} taken for {names[1]}: {count:,} ({percent(count / total)})",
    )


def _confused(counts: _Counts) -> _Confused:
    """Return the confusions, the most frequent first."""
    confusions = [
        (count, i, j) for i, row in enumerate(counts) for j, count in enumerate(row) if count and i != j
    ]
    return sorted(confusions, key=lambda pair: (-pair[0], pair[1], pair[2]))


def _most_confused(counts: _Counts, confused: _Confused) -> list[int]:
    """Return the classes of the most frequent confusions, in their order; all classes where they fit."""
    if len(counts) <= MOST_CLASSES:
        return list(range(len(counts)))
    chosen: set[int] = set()
    for _, *pair in confused:
        if len(chosen.union(pair)) <= MOST_CLASSES:
            chosen.update(pair)
    return sorted(chosen)


def _names(names: Sequence[object], size: int, otherwise: Sequence[str] | None = None) -> Sequence[str]:
    """``names`` as text where there is one for each class, else ``otherwise``, else positions."""
    if len(names) == size:
        return [str(name) for name in names]
    return [str(i) for i in range(size)] if otherwise is None else otherwise
