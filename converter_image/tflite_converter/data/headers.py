"""The first row and the first column of a table: names and row numbers, or a sample and a feature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from modelconversion_api.reasons import Stage
from tflite_converter.data.errors import labels_mismatch
from tflite_converter.data.table_text import Dialect, is_missing, is_value

_COUNT = re.compile(r"0|[1-9]\d*")
INDEX_NAMES: Final = ("", "Unnamed: 0", "index")
"""What pandas and R write above the numbers of rows, and what pandas makes of that later."""
_CERTAIN_COLUMNS: Final = 4
"""A row that counts so many columns from 1, or one less from 0 as pandas does, is no sample by chance."""


class Header(NamedTuple):
    """What the first rows say of the columns."""

    names: tuple[str, ...] | None
    """Names of all columns; None where the first row is a sample."""
    label: int | None
    """The column of labels."""
    has_index: bool
    """Whether the first column is named like the numbers of rows. Its values decide."""
    notes: tuple[str, ...]
    """What was taken for what, where that could be another thing."""


@dataclass(frozen=True)
class Edges:
    """Cells before and behind the columns of a table, which belong to none of them."""

    width: int
    """Number of the columns."""
    has_row_names: bool = False
    """Each row but the first begins with its name, as ``write.table`` of R has them."""
    ends_blank: bool = False
    """A delimiter ends each row, but perhaps the first."""

    def cut(self, row: list[str]) -> list[str]:
        """Return a row without these cells; one that has not one cell more than the columns as it is."""
        if len(row) != self.width + 1:
            return row
        if self.has_row_names:
            return row[1:]
        return row[:-1] if self.ends_blank and not row[-1].strip() else row


def edges_of(rows: Sequence[list[str]], dialect: Dialect) -> Edges:
    """Judge by the first rows of a table."""
    first, *others = rows
    widths = {len(row) for row in others}
    width = max(widths, default=0)
    if len(widths) != 1 or width - len(first) not in (0, 1) or width < 2:
        return Edges(len(first))
    is_shorter = len(first) < width
    if all(not row[-1].strip() for row in others) and (is_shorter or not first[-1].strip()):
        return Edges(width - 1, ends_blank=True)
    if is_shorter and not any(dialect.are_numbers([cell]) for cell in first):
        return Edges(width - 1, has_row_names=True)
    return Edges(len(first))


def header_of(
    rows: Sequence[list[str]], dialect: Dialect, label_column: str | None, name: str, stage: Stage
) -> Header:
    """Judge by the first rows of a table, of which there is at least one.

    Args:
        rows: The cells of the first rows.
        dialect: How the table is written.
        label_column: Name of the column of labels, or its number from 1.
        name: What messages call the table.
        stage: The stage to blame.

    Raises:
        ConverterError: LabelsMismatch where there is no column ``label_column``, or more than one.

    """
    first = [cell.strip() for cell in rows[0]]
    numbered = None if label_column is None else _place(label_column, len(first))
    is_named = not dialect.are_numbers(first) and not _is_faulty_sample(first, rows[1:], numbered, dialect)
    notes: tuple[str, ...] = ()
    counting = _features(first, first, None)
    if not (counts := _counts_columns(counting)):
        counting = _features(first, first, numbered)
        counts = _counts_columns(counting)
    first_row = f"the first row of {name} ({_shown(counting)})"
    features = [_features(row, first, numbered) for row in rows[1:]]
    if counts and _is_header_above(features, _features(first, first, numbered), dialect):
        is_named = True
        notes = (f"{first_row} counts the columns: it was taken for a header, not for a sample",)
    elif counts and not is_named and len(counting) > 1 and len(rows) > 1:
        notes = (f"{first_row} was taken for a sample: if it counts the columns, remove it",)
    names = tuple(first) if is_named else None
    if names is not None and not notes and _only_label_is_text(rows, numbered, dialect):
        names = None
    label = _label_of(names, len(first), label_column, name, stage)
    if notes and label_column in (names or ()) and label_column != str((label or 0) + 1):
        notes += (f"the labels of {name} are the column that this header calls {label_column!r}",)
    has_index = names is not None and names[0] in INDEX_NAMES and len(names) > 1 and label != 0
    return Header(names, label, has_index, notes)


def _counts_columns(cells: Sequence[str]) -> bool:
    return bool(cells) and any(cells == [str(start + i) for i in range(len(cells))] for start in (0, 1))


def _features(row: Sequence[str], first: Sequence[str], label: int | None) -> list[str]:
    """Return a row without its number and its label."""
    start = 1 if first[0] in INDEX_NAMES else 0
    return [cell.strip() for i, cell in enumerate(row) if i >= start and i != label]


def _is_header_above(rows: Sequence[Sequence[str]], first: Sequence[str], dialect: Dialect) -> bool:
    """Whether a row that counts the columns differs in kind from the rows after it.

    pandas writes each column in one form. So the first row is no sample where it has a whole number and all
    the others have decimals; or where there are more than a few columns, and no other row counts up by one.
    """
    if not rows or any(len(row) != len(first) for row in rows):
        return False
    if any(_counts_up(row) for row in rows if len(row) > 1):
        return False
    has_decimals = any(
        all(dialect.are_numbers([cell]) and not cell.lstrip("+-").isdecimal() for cell in column)
        for column in zip(*rows, strict=True)
    )
    return has_decimals or len(first) >= _CERTAIN_COLUMNS - (first[0] == "0")


def _counts_up(row: Sequence[str]) -> bool:
    if not all(map(_COUNT.fullmatch, row)):
        return False
    values = [int(cell) for cell in row]
    return values == list(range(values[0], values[0] + len(values)))


def _is_faulty_sample(
    first: Sequence[str], others: Sequence[Sequence[str]], label: int | None, dialect: Dialect
) -> bool:
    """Whether the first row is a sample in which some cells are no numbers, for it has numbers beside them.

    Then they stand for values that are missing, or, beside numbers that no column is called by, are written
    like numbers in part. The empty corner of a header, above the numbers of the rows, is no missing value.
    """
    start = 1 if first[0] in INDEX_NAMES and _has_corner(first, others, dialect) else 0
    cells = [cell for i, cell in enumerate(first) if i >= start and i != label]
    numbers = [cell for cell in cells if dialect.are_numbers([cell])]
    words = [cell for cell in cells if not dialect.are_numbers([cell])]
    if not numbers or not words:
        return False
    has_fraction = any(not cell.isdecimal() for cell in numbers)
    return all(map(is_missing, words)) or (has_fraction and all(map(is_value, words)))


def _has_corner(first: Sequence[str], others: Sequence[Sequence[str]], dialect: Dialect) -> bool:
    """Whether an empty first cell is that of a header: names are beside it, or numbers of rows below it."""
    if any(not dialect.are_numbers([cell]) and not is_value(cell) for cell in first[1:]):
        return True
    below = [row[0].strip() for row in others if row]
    return any(below == [str(start + i) for i in range(len(below))] for start in (0, 1))


def _only_label_is_text(rows: Sequence[list[str]], numbered: int | None, dialect: Dialect) -> bool:
    """Whether the first row is a sample whose label is a name: then the next row has a name there too."""
    first = [cell.strip() for cell in rows[0]]
    if numbered is None:
        return False
    second = rows[1][numbered : numbered + 1] if len(rows) > 1 else []
    beside = first[:numbered] + first[numbered + 1 :]
    return dialect.are_numbers(beside) and not dialect.are_numbers(second or [""])


def _label_of(
    names: tuple[str, ...] | None, columns: int, label_column: str | None, name: str, stage: Stage
) -> int | None:
    """Return the index of the label column: of its name, or else of its number."""
    if label_column is None:
        return None
    if names is not None and label_column in names:
        if names.count(label_column) > 1:
            raise labels_mismatch(f"{name} has more than one column {label_column!r}", stage, hint=_BY_NUMBER)
        return names.index(label_column)
    if (numbered := _place(label_column, columns)) is not None:
        return numbered
    known = f"{columns} columns without names" if names is None else f"the columns {listed(names)}"
    cause = f"{name} has no column {label_column!r}: it has {known}"
    raise labels_mismatch(cause, stage, hint=_BY_NUMBER)


def expect_name(label_column: str | None, names: Sequence[str], name: str, stage: Stage) -> None:
    """Refuse a column of labels by number where the first row has one cell less than the others.

    Raises:
        ConverterError: LabelsMismatch.

    """
    if label_column is None or label_column in names or _place(label_column, len(names) + 1) is None:
        return
    cause = f"the first row of {name} is one cell shorter than the others: {label_column} may be two columns"
    raise labels_mismatch(cause, stage, hint="name the label column as the file's first row does")


def listed(names: Sequence[str]) -> str:
    """Return the first eight names, for a message."""
    shown = ", ".join(map(repr, names[:8]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > 8 else shown


def _place(label_column: str, columns: int) -> int | None:
    """Return the index for a column number counted from 1; None beyond the last of ``columns``."""
    if not (label_column.isascii() and label_column.isdecimal() and len(label_column) <= 9):
        return None
    return int(label_column) - 1 if 1 <= int(label_column) <= columns else None


def _shown(cells: Sequence[str]) -> str:
    return ", ".join(cells) if len(cells) <= _CERTAIN_COLUMNS else f"{cells[0]}, …, {cells[-1]}"


_BY_NUMBER: Final = "name the label column as the file's first row does, or give its number, counted from 1"
