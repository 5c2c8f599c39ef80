"""Tables as text: one row a sample, every column a feature but the one that holds the labels."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import shortened
from tflite_converter.arrays import Array
from tflite_converter.data.errors import labels_mismatch, not_finite, unreadable
from tflite_converter.data.headers import INDEX_NAMES, Edges, Header, edges_of, expect_name, header_of
from tflite_converter.data.labels import Labels, labels_from_text
from tflite_converter.data.table_text import (
    ROWS_TO_JUDGE_BY,
    Dialect,
    commas_divide_commas,
    is_comment,
    is_missing,
    is_value,
    judge,
    what_is_wrong,
    without_preamble,
)
from tflite_converter.errors import ConverterError

MAX_CSV_BYTES = 1 << 30
"""Files beyond this are refused: the same numbers in a .npy file are smaller and read at once."""

_BLOCK_VALUES = 1 << 20

_Row = tuple[int, list[str]]
"""The line that a row ends on, from 1, and its cells."""
Progress = Callable[[float], None]
"""Hears how much is done, 0 to 1."""


class Table(NamedTuple):
    """The samples of a table."""

    features: Array
    """``(n, columns)`` float32."""
    labels: Labels | None
    notes: tuple[str, ...]
    """What in the file was taken for what."""


def read_table(
    path: Path, label_column: str | None, stage: Stage, after_part: Progress, *, name: str | None = None
) -> Table:
    """Read the samples, and the labels where ``label_column`` says where they are.

    The text is UTF-8, with or without a byte order mark; cells are divided by commas, semicolons, tabs, bars
    or blanks, and decimals have a point or a comma, whichever fits. The first row is a header unless its
    features are all numbers, or where they only count the columns. A first column without a name that counts
    the rows is left out. ``label_column`` is a name in the header, or a number counted from 1; a row that has
    numbers everywhere else is no header for it.

    Raises:
        ConverterError: DataUnreadable, DataNotFinite, DataTooFew or LabelsMismatch, with line and column.

    """
    name = name or path.name
    dialect, rows = _rows(path, name, stage, after_part)
    first = list(islice(rows, ROWS_TO_JUDGE_BY))
    if not first:
        raise unreadable(name, "it holds no row" if path.stat().st_size else "it is empty", stage)
    edges = edges_of([row for _, row in first], dialect)
    cut = [edges.cut(row) for _, row in first]
    if edges.has_row_names:
        expect_name(label_column, cut[0], name, stage)
    header = header_of(cut, dialect, label_column, name, stage)
    features = _Features(header, edges, dialect, name, stage)
    for line, row in chain(first[1:] if header.names else first, rows):
        features.add(line, row)
    table = features.finished()
    notes = header.notes + table.notes
    if edges.has_row_names:
        what = f"the rows of {name} have one cell more than the first row"
        notes = (f"{what}: their first cells were taken for names of the rows, and left out", *notes)
    if dialect.decimal == ",":
        notes = (f"numbers in {name} were read with decimal commas: 1,5 is 1.5", *notes)
    return table._replace(notes=notes)


def read_labels(path: Path, count: int, stage: Stage, *, name: str | None = None) -> Labels:
    """Read a file of labels: one column, or several numeric ones for several labels a sample.

    Where there is one row more than the ``count`` samples, the first is a header if it is not numeric, or
    counts the columns from 0, as pandas does, and is no row of labels. A first column without a name that
    counts the rows is left out.

    Raises:
        ConverterError: DataUnreadable, LabelsMismatch.

    """
    name = name or path.name
    dialect, lines_and_cells = _rows(path, name, stage, lambda _done: None, of_labels=True)
    rows = [(line, dialect.plain(cells)) for line, cells in lines_and_cells]
    if rows:
        edges = edges_of([row for _, row in rows], dialect)
        rows = [(line, edges.cut(row)) for line, row in rows]
        first, others = [cell.strip() for cell in rows[0][1]], [row for _, row in rows[1:]]
        if _names_labels(first, others, dialect, is_one_more=len(rows) == count + 1):
            rows = _without_index(rows)[1:]
    if not rows:
        raise labels_mismatch(f"{name} has 0 labels for {count} samples", stage)
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise unreadable(name, f"line {line} has {len(row)} cells, expected {width}", stage, hint=_ROWS)
    lines = [line for line, _ in rows]
    columns = [labels_from_text([row[i] for _, row in rows], lines, name, stage) for i in range(width)]
    if width == 1:
        return columns[0]
    if all(set(column.class_names) <= {"False", "True"} and column.class_names for column in columns):
        text = np.array([[cell.strip() == "True" for cell in row] for _, row in rows])
        return Labels(text.astype(np.int64))
    if any(column.class_names for column in columns):
        why = f"it has {width} columns, and not all are numbers"
        raise unreadable(name, why, stage, hint="give one column of labels")
    return Labels(np.stack([column.values for column in columns], axis=1))


def _names_labels(first: list[str], others: list[list[str]], dialect: Dialect, *, is_one_more: bool) -> bool:
    """Whether the first row is a header: names, or numbers that are no labels and one row too many.

    Names above numbers are one however many rows there are: a label may be missing.
    """
    if not any(dialect.are_numbers([cell]) or is_missing(cell) for cell in first):
        return is_one_more or (bool(others) and all(map(dialect.are_numbers, others)))
    if not is_one_more:
        return False
    if not dialect.are_numbers(first):
        return True
    counts = first == [str(i) for i in range(len(first))]
    return counts and (len(first) > 2 or not all(cell.strip().isdecimal() for row in others for cell in row))


def _without_index(rows: list[_Row]) -> list[_Row]:
    """Return rows below a header without a first column that has no name and counts them."""
    (_, first), *others = rows
    if len(first) < 2 or first[0].strip() not in INDEX_NAMES:
        return rows
    numbers = [row[0].strip() for _, row in others]
    if not any(numbers == [str(start + i) for i in range(len(numbers))] for start in (0, 1)):
        return rows
    return [(line, row[1:]) for line, row in rows]


class _Features:
    """Rows as they come, turned into float32 a block at a time."""

    def __init__(self, header: Header, edges: Edges, dialect: Dialect, name: str, stage: Stage) -> None:
        names = header.names or tuple(str(i + 1) for i in range(edges.width))
        self._edges = edges
        self._label = header.label
        self._columns = [column for i, column in enumerate(names) if i != header.label]
        if not self._columns:
            raise unreadable(name, "it has no column beside the labels", stage)
        self._dialect = dialect
        self._name = name
        self._stage = stage
        self._blocks: list[Array] = []
        self._values = array("d")
        self._lines: list[int] = []
        """Of the rows in ``_values``."""
        self._label_cells: list[str] = []
        self._label_lines: list[int] = []
        self._counts: set[int] = {0, 1} if header.has_index and len(self._columns) > 1 else set()
        """The first values from which the first column may count the rows."""
        self._has_index = header.has_index
        self._rows = 0

    def add(self, line: int, row: list[str]) -> None:
        cells, row = len(row), self._edges.cut(row)
        if len(row) != self._edges.width or (self._edges.has_row_names and cells == len(row)):
            raise self._wrong_width(line, cells, row)
        if self._label is not None:
            self._label_cells.append(row.pop(self._label))
            self._label_lines.append(line)
        if self._counts:
            self._counts = {start for start in self._counts if row[0].strip() == str(start + self._rows)}
        self._rows += 1
        try:
            self._values.extend(self._dialect.numbers(row))
        except ValueError:
            raise self._no_number(line, row) from None
        self._lines.append(line)
        if len(self._values) >= _BLOCK_VALUES:
            self._close_block()

    def finished(self) -> Table:
        self._close_block()
        if not self._blocks:
            raise ConverterError(FailureReason.DATA_TOO_FEW, self._stage, f"{self._name} holds no sample")
        features = np.concatenate(self._blocks)
        notes: tuple[str, ...] = ()
        first = f"the first column of {self._name} ({self._columns[0]!r})"
        if self._counts:
            features = np.ascontiguousarray(features[:, 1:])
            notes = (f"{first} counts the rows: it was left out {_PANDAS}",)
        elif self._has_index and self._columns[0] != "index":
            notes = (f"{first} was taken for a feature: if it numbers the rows, remove it {_PANDAS}",)
        if self._label is None:
            return Table(features, None, notes)
        cells = self._dialect.plain(self._label_cells)
        return Table(features, labels_from_text(cells, self._label_lines, self._name, self._stage), notes)

    def _close_block(self) -> None:
        if not self._lines:
            return
        exact = np.frombuffer(self._values, dtype=np.float64).reshape(-1, len(self._columns))
        with np.errstate(over="ignore"):  # what float32 has no place for is found below
            block = exact.astype(np.float32)
        if not (finite := np.isfinite(block)).all():
            row, column = np.argwhere(~finite)[0]
            raise not_finite(
                f"{self._name}, line {self._lines[row]}, column {self._columns[column]!r}:"
                f" {exact[row, column]} is not a finite number in float32",
                self._stage,
            )
        self._blocks.append(block)
        self._values, self._lines = array("d"), []

    def _wrong_width(self, line: int, cells: int, row: list[str]) -> ConverterError:
        why = f"line {line} has {cells} cells, expected {self._edges.width + self._edges.has_row_names}"
        hint = _ROWS
        if is_comment(row[0]):
            why, hint = f"line {line} is a comment", "leave out comments, but for those above the table"
        elif self._dialect.delimiter == ",":
            hint += ", and no commas within numbers: 1,5 is two cells"
        return unreadable(self._name, why, self._stage, hint=hint)

    def _no_number(self, line: int, row: list[str]) -> ConverterError:
        index = next(i for i, cell in enumerate(row) if not self._dialect.are_numbers([cell]))
        place = f"line {line}, column {self._columns[index]!r}"
        hint = what_is_wrong(row[index])
        if not row[index].strip():
            return unreadable(self._name, f"{place} is empty", self._stage, hint=hint)
        if hint is None and not any(map(is_value, row)):
            hint = "leave one row of names above the numbers, and only numbers below it"
        hint = hint or (
            "every column must hold numbers with a decimal point, but for the label column if you name one"
        )
        why = f"{place}: {shortened(row[index], _LONGEST_CELL)!r} is not a number"
        return unreadable(self._name, why, self._stage, hint=hint)


_ROWS = "give every row the same number of cells"
_LONGEST_CELL = 60
_PANDAS = "(index=False keeps pandas from writing it)"
_PART_CHARACTERS = 4 << 20


def _rows(
    path: Path, name: str, stage: Stage, after_part: Progress, *, of_labels: bool = False
) -> tuple[Dialect, Iterator[_Row]]:
    """Return how the file is written, and its rows that are not blank."""
    if (size := path.stat().st_size) > MAX_CSV_BYTES:
        why = f"it is {size} bytes long, more than {MAX_CSV_BYTES}"
        raise unreadable(name, why, stage, hint="save the numbers as a .npy file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = (line for line in without_preamble(stream, may_be_names=of_labels) if line.strip())
            head = list(islice(lines, ROWS_TO_JUDGE_BY))
        dialect = _checked_dialect(head, name, stage, of_labels=of_labels)
    except UnicodeDecodeError as error:
        raise _not_utf8(name, stage) from error
    except csv.Error as error:
        raise unreadable(name, str(error), stage, hint="save it as plain .csv") from error
    return dialect, _read_rows(path, dialect, name, stage, after_part, of_labels=of_labels)


def _checked_dialect(head: list[str], name: str, stage: Stage, *, of_labels: bool) -> Dialect:
    dialect = judge(head, may_be_names=of_labels)
    if dialect.delimiter == "," and commas_divide_commas(head):
        why = "its commas seem to divide both the cells and the decimals of the numbers"
        hint = "save it with semicolons between the cells, or with decimal points"
        raise unreadable(name, why, stage, hint=hint)
    return dialect


def _read_rows(
    path: Path, dialect: Dialect, name: str, stage: Stage, after_part: Progress, *, of_labels: bool
) -> Iterator[_Row]:
    size = max(1, path.stat().st_size)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            yield from dialect.rows(
                _counted(without_preamble(stream, may_be_names=of_labels), size, after_part)
            )
    except UnicodeDecodeError as error:
        raise _not_utf8(name, stage) from error
    except csv.Error as error:
        raise unreadable(name, str(error), stage, hint="save it as plain .csv") from error


def _counted(lines: Iterable[str], size: int, after_part: Progress) -> Iterator[str]:
    """Yield ``lines``, and tell of every few megabytes."""
    done, told = 0, 0
    for line in lines:
        yield line
        done += len(line)
        if done - told >= _PART_CHARACTERS:
            after_part(min(1.0, done / size))
            told = done


def _not_utf8(name: str, stage: Stage) -> ConverterError:
    return unreadable(name, "it is not UTF-8 text", stage, hint="save it as UTF-8")
