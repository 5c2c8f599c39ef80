"""How a table is written: what divides its cells, the sign before decimals, and what is no table at all."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

ROWS_TO_JUDGE_BY: Final = 32

_DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d+,\d+|,\d+|\d+)([eE][+-]?\d+)?\s*")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([., ']\d{3})+([.,]\d+)?")
_EITHER_DECIMAL = re.compile(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?")
_NEARLY: Final = 0.9
_UNEVEN: Final = 0.5
_WHOLE = re.compile(r"[+-]?\d+")


class Dialect(NamedTuple):
    """One way to write a table."""

    delimiter: str
    """What divides cells; a blank stands for any run of blanks and tabs."""
    decimal: str = "."
    """Sign between a number and its decimals."""

    def rows(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that are not blank: the line that each ends on, from 1, and its cells.

        Raises ``csv.Error``.
        """
        reader = csv.reader(self._prepared(lines), delimiter=self.delimiter, strict=True)
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row

    def cells_of(self, lines: Iterable[str]) -> list[list[str]]:
        """Return the rows of some lines, of which the last may end within quotation marks."""
        return [row for row in csv.reader(self._prepared(lines), delimiter=self.delimiter) if row]

    def numbers(self, cells: Sequence[str]) -> list[float]:
        """Return the cells' values.

        Raises:
            ValueError: for a cell that is not a number; ``1_000``, which Python takes, is none in a table. A
                decimal point is none where decimals have a comma: it may stand between thousands.

        """
        text = "".join(cells)
        if "_" in text or (self.decimal == "," and "." in text):
            raise ValueError(text)
        return [float(cell) for cell in self.plain(cells)]

    def are_numbers(self, cells: Sequence[str]) -> bool:
        """Whether every cell is a number."""
        try:
            self.numbers(cells)
        except ValueError:
            return False
        return True

    def plain(self, cells: Sequence[str]) -> list[str]:
        """Return the cells with decimal points in their numbers."""
        if self.decimal == ".":
            return list(cells)
        return [cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells]

    def _prepared(self, lines: Iterable[str]) -> Iterable[str]:
        return (f"{' '.join(line.split())}\n" for line in lines) if self.delimiter == " " else lines

    @property
    def words(self) -> str:
        """Name what divides the cells."""
        names = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "blanks", "|": "bars"}
        return names[self.delimiter]


_DELIMITERS: Final = (";", "\t", "|", ",", " ")
_DIALECTS: Final = (
    *(Dialect(delimiter) for delimiter in _DELIMITERS),
    *(Dialect(delimiter, ",") for delimiter in _DELIMITERS if delimiter != ","),
)
"""In the order of preference: a comma may be part of a number, and a blank of a name."""


def judge(lines: Sequence[str]) -> Dialect:
    """Guess the dialect: the one with most numeric cells, of several such the one with most cells.

    Rows of different lengths speak against one, and what another country takes for a number nearly counts.
    Where nothing but commas is there, they divide cells.
    """

    def fits(dialect: Dialect) -> tuple[float, int]:
        rows = dialect.cells_of(lines)
        cells = list(chain.from_iterable(rows))
        divides = len(cells) > len(rows)
        if dialect.decimal == "," and not divides:
            return 0, 0
        nearly = _NEARLY if divides else 0
        numeric = sum(dialect.are_numbers([cell]) or nearly * _is_foreign(cell) for cell in cells)
        evenly = 1 if len(set(map(len, rows))) <= 1 else _UNEVEN
        return evenly * numeric / max(1, len(cells)), len(cells)

    return max(_DIALECTS, key=fits)


def commas_divide_commas(lines: Sequence[str]) -> bool:
    """Whether commas seem to divide both cells and decimals, as in ``0,126,-0,041`` for 0.126 and -0.041.

    Then every row has an even number of whole numbers, the second of each pair without a sign, and some pair
    is one that two whole numbers would not make: ``-0`` before it, or a zero that begins it.
    """
    rows = [cells for line in lines if len(cells := Dialect(",").cells_of([line])[0]) > 1]
    if not rows or any(len(row) % 2 or not all(map(_WHOLE.fullmatch, row)) for row in rows):
        return False
    seconds = [cell for row in rows for cell in row[1::2]]
    if any(cell[0] in "+-" for cell in seconds):
        return False
    firsts = [cell for row in rows for cell in row[::2]]
    return "-0" in firsts or any(len(cell) > 1 and cell[0] == "0" for cell in seconds)


def what_is_wrong(cell: str) -> str | None:
    """Return a hint for a cell that is no number but looks like one of another country."""
    if _THOUSANDS.fullmatch(cell.strip()):
        return "write numbers without a sign between thousands, and with a decimal point: 1234.5"
    if _is_foreign(cell):
        return (
            "some numbers have decimal commas and others decimal points: give all of them a point, or all of"
            " them a comma with semicolons between the cells"
        )
    return None


def _is_foreign(cell: str) -> bool:
    """Whether a cell is a number with a decimal comma or with signs between thousands."""
    return bool(_THOUSANDS.fullmatch(cell.strip()) or _EITHER_DECIMAL.fullmatch(cell.strip()))
