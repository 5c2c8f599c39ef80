"""``.csv`` files: one row a sample, every column a feature but the one that holds the labels."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array
from tflite_converter.data.errors import labels_mismatch, not_finite, unreadable
from tflite_converter.data.labels import Labels, labels_from_text
from tflite_converter.errors import ConverterError

MAX_CSV_BYTES = 1 << 30
"""Files beyond this are refused: the same numbers in a .npy file are smaller and read at once."""

_DELIMITERS = (",", ";", "\t")
_ROWS_TO_JUDGE_BY = 32
_BLOCK_VALUES = 1 << 20

_Row = tuple[int, list[str]]
"""The line that a row ends on, from 1, and its cells."""


def read_table(path: Path, label_column: str | None, stage: Stage) -> tuple[Array, Labels | None]:
    """Features ``(n, columns)`` float32, and the labels where ``label_column`` says where they are.

    The text is UTF-8, with or without a byte order mark; cells are divided by commas, semicolons or tabs,
    whichever fits. The first row is a header unless its features are all numbers. ``label_column`` is a name
    in the header, or a number counted from 1; a row that has numbers everywhere else is no header for it.

    Raises:
        ConverterError: DataUnreadable, DataNotFinite, DataTooFew or LabelsMismatch, with line and column.

    """
    rows = _rows(path, stage)
    first_two = list(islice(rows, 2))
    if not first_two:
        raise unreadable(path.name, "it is empty", stage)
    names, label = _header(first_two, label_column, path.name, stage)
    features = _Features(names or [str(i + 1) for i in range(len(first_two[0][1]))], label, path.name, stage)
    for line, row in chain(first_two[1:] if names else first_two, rows):
        features.add(line, row)
    return features.finished()


def read_labels(path: Path, count: int, stage: Stage) -> Labels:
    """Read a file of labels: one column, or several numeric ones for several labels a sample.

    The first row is a header where there is one row more than the ``count`` samples and it is not numeric.

    Raises:
        ConverterError: DataUnreadable, LabelsMismatch.

    """
    rows = list(_rows(path, stage))
    if len(rows) == count + 1 and not _all_numbers(rows[0][1]):
        rows = rows[1:]
    if not rows:
        raise labels_mismatch(f"{path.name} has 0 labels for {count} samples", stage)
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise unreadable(
                path.name, f"line {line} has {len(row)} cells, expected {width}", stage, hint=_ROWS
            )
    lines = [line for line, _ in rows]
    columns = [labels_from_text([row[i] for _, row in rows], lines, path.name, stage) for i in range(width)]
    if width == 1:
        return columns[0]
    if any(column.class_names for column in columns):
        why = f"it has {width} columns, and not all are numbers"
        raise unreadable(path.name, why, stage, hint="give one column of labels")
    return Labels(np.stack([column.values for column in columns], axis=1))


class _Features:
    """Rows as they come, turned into float32 a block at a time."""

    def __init__(self, names: list[str], label: int | None, name: str, stage: Stage) -> None:
        self._names = names
        self._label = label
        self._columns = [column for i, column in enumerate(names) if i != label]
        if not self._columns:
            raise unreadable(name, "it has no column beside the labels", stage)
        self._name = name
        self._stage = stage
        self._blocks: list[Array] = []
        self._values = array("d")
        self._lines: list[int] = []
        """Of the rows in ``_values``."""
        self._label_cells: list[str] = []
        self._label_lines: list[int] = []

    def add(self, line: int, row: list[str]) -> None:
        if len(row) != len(self._names):
            why = f"line {line} has {len(row)} cells, expected {len(self._names)}"
            raise unreadable(self._name, why, self._stage, hint=_ROWS)
        if self._label is not None:
            self._label_cells.append(row.pop(self._label))
            self._label_lines.append(line)
        try:
            self._values.extend(_numbers(row))
        except ValueError:
            raise self._no_number(line, row) from None
        self._lines.append(line)
        if len(self._values) >= _BLOCK_VALUES:
            self._close_block()

    def finished(self) -> tuple[Array, Labels | None]:
        self._close_block()
        if not self._blocks:
            raise ConverterError(FailureReason.DATA_TOO_FEW, self._stage, f"{self._name} holds no sample")
        features = np.concatenate(self._blocks)
        if self._label is None:
            return features, None
        return features, labels_from_text(self._label_cells, self._label_lines, self._name, self._stage)

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

    def _no_number(self, line: int, row: list[str]) -> ConverterError:
        index = next(i for i, cell in enumerate(row) if not _all_numbers([cell]))
        place = f"line {line}, column {self._columns[index]!r}"
        if not row[index].strip():
            return unreadable(self._name, f"{place} is empty", self._stage, hint="give a number in each cell")
        hint = "every column must hold numbers with a decimal point, but for the label column if you name one"
        return unreadable(self._name, f"{place}: {row[index]!r} is not a number", self._stage, hint=hint)


_ROWS = "give every row the same number of cells"


def _header(
    rows: Sequence[_Row], label_column: str | None, name: str, stage: Stage
) -> tuple[list[str] | None, int | None]:
    """Return the columns' names, if the first row has them, and the index of the label column."""
    first = rows[0][1]
    names = None if _all_numbers(first) else [cell.strip() for cell in first]
    if label_column is None:
        return names, None
    numbered = _place(label_column, len(first))
    if names is None and numbered is not None:
        return None, numbered
    if numbered is not None and _all_numbers(first[:numbered] + first[numbered + 1 :]):
        # Only the label is text. It names its column where the labels themselves are numbers.
        second = rows[1][1] if len(rows) > 1 else []
        return names if _all_numbers(second[numbered : numbered + 1] or [""]) else None, numbered
    if names is not None and label_column in names:
        if names.count(label_column) > 1:
            raise labels_mismatch(f"{name} has more than one column {label_column!r}", stage, hint=_BY_NUMBER)
        return names, names.index(label_column)
    if numbered is not None:
        return names, numbered
    known = f"{len(first)} columns without names" if names is None else f"the columns {_listed(names)}"
    cause = f"{name} has no column {label_column!r}: it has {known}"
    raise labels_mismatch(cause, stage, hint=_BY_NUMBER)


def _place(label_column: str, columns: int) -> int | None:
    """Return the index for a column number counted from 1; None beyond the last of ``columns``."""
    if not (label_column.isascii() and label_column.isdecimal() and len(label_column) <= 9):
        return None
    return int(label_column) - 1 if 1 <= int(label_column) <= columns else None


_BY_NUMBER = "name the label column as the file's first row does, or give its number, counted from 1"


def _rows(path: Path, stage: Stage) -> Iterator[_Row]:
    """Yield the rows that are not blank."""
    if (size := path.stat().st_size) > MAX_CSV_BYTES:
        why = f"it is {size} bytes long, more than {MAX_CSV_BYTES}"
        raise unreadable(path.name, why, stage, hint="save the numbers as a .npy file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            head = [line for line in islice(stream, _ROWS_TO_JUDGE_BY) if line.strip()]
            stream.seek(0)
            reader = csv.reader(stream, delimiter=_delimiter(head), strict=True)
            for row in reader:
                if any(cell.strip() for cell in row):
                    yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise unreadable(path.name, "it is not UTF-8 text", stage, hint="save it as UTF-8") from error
    except csv.Error as error:
        raise unreadable(path.name, str(error), stage, hint="save it as plain .csv") from error


def _delimiter(lines: list[str]) -> str:
    """Guess the delimiter: the one with most numeric cells, of several such the one with most cells."""

    def fits(delimiter: str) -> tuple[float, int]:
        cells = [cell for row in csv.reader(lines, delimiter=delimiter) for cell in row]
        numbers = sum(_all_numbers([cell]) for cell in cells)
        return numbers / max(1, len(cells)), len(cells)

    return max(_DELIMITERS, key=fits)


def _numbers(cells: list[str]) -> list[float]:
    """Return the cells' values.

    Raises:
        ValueError: for a cell that is not a number; ``1_000``, which Python takes, is none in a .csv file.

    """
    if "_" in "".join(cells):
        raise ValueError("_")
    return [float(cell) for cell in cells]


def _all_numbers(cells: list[str]) -> bool:
    try:
        _numbers(cells)
    except ValueError:
        return False
    return True


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:8]))
    return f"{shown}, … ({len(names)} in all)" if len(names) > 8 else shown
