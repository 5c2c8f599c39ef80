"""How a table is written: what divides its cells, the sign before decimals, and what is no table at all."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, NamedTuple

ROWS_TO_JUDGE_BY: Final = 32

_DECIMAL_COMMA = re.compile(r"\s*[+-]?(\d+,\d+|,\d+|\d+)([eE][+-]?\d+)?\s*")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}([., '\u2019\u00a0\u202f]\d{3})+([.,]\d+)?")
_EITHER_DECIMAL = re.compile(r"[+-]?\d*[.,]\d+([eE][+-]?\d+)?")
_NEARLY: Final = 0.9
_UNEVEN: Final = 0.5
_WHOLE = re.compile(r"[+-]?\d+")
_MISSING = re.compile(r"|[-?.]+|n/?a|<na>|nan|nat|null|nil|none|missing", re.IGNORECASE)
_SHEET_ERROR = re.compile(
    r"#(N/A( N/A)?|NA|DIV/0!|REF!|NAME\?|NUM!|VALUE!|NULL!|SPILL!|CALC!)", re.IGNORECASE
)
_YES_OR_NO = re.compile(r"true|false|yes|no", re.IGNORECASE)
_DATE = re.compile(
    r"\d{4}-\d\d?-\d\d?([ T]\d.*)?|\d{1,2}[./]\d{1,2}[./]\d{2,4}( \d.*)?|\d{1,2}:\d\d(:\d\d.*)?"
)
_BEGINS_AS_NUMBER = re.compile(r"[-+(\u2212]?\s*[$\u20ac\xa3\xa5]?\s*[.,]?\d")
_SHEET_SEPARATOR = re.compile(r'"?sep=.{1,2}"?\s*', re.IGNORECASE)


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
        reader = csv.reader(
            self._prepared(lines), delimiter=self.delimiter, strict=True, skipinitialspace=True
        )
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row

    def cells_of(self, lines: Iterable[str]) -> list[list[str]]:
        """Return the rows of some lines, of which the last may end within quotation marks."""
        prepared = self._prepared(lines)
        return [row for row in csv.reader(prepared, delimiter=self.delimiter, skipinitialspace=True) if row]

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


def judge(lines: Sequence[str], *, may_be_names: bool = False) -> Dialect:
    """Guess the dialect: the one with most numeric cells, of several such the one with most cells.

    Rows of different lengths speak against one, and what another country takes for a number nearly counts.
    Where nothing but commas is there, they divide cells. Blanks do not where nothing is a number then, and
    where the lines ``may_be_names`` not unless everything below the first row is: ``class 1`` is one name.
    """

    def fits(dialect: Dialect) -> tuple[float, int]:
        rows = dialect.cells_of(lines)
        cells = list(chain.from_iterable(rows))
        if dialect.delimiter == " " and not _divided_by_blanks(dialect, rows, may_be_names=may_be_names):
            return 0, 0
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


def without_preamble(lines: Iterable[str], *, may_be_names: bool = False) -> Iterator[str]:
    """Yield ``lines``, with blank ones in place of what stands above a table.

    That is the line ``sep=;`` that tells Excel what divides cells, and comments, which begin with a number
    sign. The last comment is kept, without its sign, where it can be a header: it has as many cells as the
    line below it, as ``numpy.savetxt`` writes it. Where the lines ``may_be_names``, ``#red`` is one.
    """
    comments: list[str] = []
    begun = is_named = False
    for line in lines:
        if begun:
            yield line
        elif not line.strip() or (_SHEET_SEPARATOR.fullmatch(line) and not comments and not is_named):
            is_named = is_named or bool(line.strip())
            comments.append("\n")
        elif is_comment(line) and not (may_be_names and line[1:2].strip("# \r\n")):
            comments.append(line)
        else:
            yield from _heading(comments, line)
            begun = True
            yield line
    if not begun:
        yield from _heading(comments, "")


def _heading(above: Sequence[str], line: str) -> Iterator[str]:
    """Yield a line for each of those ``above`` the first of a table: the header, or blank ones."""
    last = max((i for i, comment in enumerate(above) if comment.startswith("#")), default=-1)
    for i, comment in enumerate(above):
        text = comment[1:].lstrip(" ")
        yield text if i == last and _has_cells_of(text, line) else "\n"


def _has_cells_of(text: str, line: str) -> bool:
    """Whether a delimiter makes as many cells of ``text`` as of ``line``, and one of those is a number."""
    for dialect in _DIALECTS:
        rows = dialect.cells_of([text, line])
        if len(rows) == 2 and len(rows[0]) == len(rows[1]) > 1:
            return any(dialect.are_numbers([cell]) for cell in rows[1])
    return False


def is_comment(line: str) -> bool:
    """Whether a line, or the first cell of a row, begins as a comment does, and not with an error of Excel.

    Nor is it one where all other cells are numbers: ``#ff8800,0.5`` is a color and its value.
    """
    if not line.startswith("#") or _SHEET_ERROR.match(line):
        return False
    if not line[1:2].strip("# \r\n"):
        return True
    for delimiter in _DELIMITERS[:-1]:
        first, *others = Dialect(delimiter).cells_of([line])[0]
        if others and Dialect(delimiter).are_numbers(others):
            return Dialect(delimiter).are_numbers([first[1:]])
    return True


def is_missing(cell: str) -> bool:
    """Whether a cell stands for a value that is not there: an empty one, ``NA``, ``?``, ``#DIV/0!``."""
    return bool(_MISSING.fullmatch(cell.strip()) or _SHEET_ERROR.fullmatch(cell.strip()))


def is_value(cell: str) -> bool:
    """Whether a cell stands for a value and is no name, also where it is no number: ``5%``, ``true``."""
    cell = cell.strip()
    return bool(is_missing(cell) or _YES_OR_NO.fullmatch(cell) or _BEGINS_AS_NUMBER.match(cell))


def what_is_wrong(cell: str) -> str | None:
    """Return a hint for a cell that is no number but looks like a value; None for other text."""
    cell = cell.strip()
    if is_missing(cell):
        return "a value is missing there: fill it in, or leave out the row or the column"
    if _THOUSANDS.fullmatch(cell):
        return "write numbers without a sign between thousands, and with a decimal point: 1234.5"
    if _is_foreign(cell):
        return (
            "some numbers have decimal commas and others decimal points: give all of them a point, or all of"
            " them a comma with semicolons between the cells"
        )
    if _YES_OR_NO.fullmatch(cell):
        return "write 1 for true and 0 for false, as the model was trained"
    if _DATE.fullmatch(cell):
        return "leave dates and times out, or give them as numbers, as the model was trained"
    if _BEGINS_AS_NUMBER.match(cell):
        return "write the number alone, with digits, a decimal point and - before a negative one"
    return None


def _divided_by_blanks(dialect: Dialect, rows: Sequence[list[str]], *, may_be_names: bool) -> bool:
    numeric = [dialect.are_numbers([cell]) for row in rows[1:] or rows for cell in row]
    return all(numeric) if may_be_names else any(numeric)


def _is_foreign(cell: str) -> bool:
    """Whether a cell is a number with a decimal comma or with signs between thousands."""
    return bool(_THOUSANDS.fullmatch(cell.strip()) or _EITHER_DECIMAL.fullmatch(cell.strip()))
