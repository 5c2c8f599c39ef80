"""What is printed: lines, tables that align, and JSON. Nothing in it can steer the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from modelconversion_api.text import printable

_GAP: Final = 3
_STYLES: Final[Mapping[str, str]] = {
    "Succeeded": "green",
    "Failed": "red",
    "Running": "cyan",
    "Suspended": "yellow",
    "Warning": "yellow",
    "passed": "green",
    "missed": "red",
}
"""Words of a table that have a colour on a terminal."""

Row = Sequence[str]


def show(*lines: str, style: str = "") -> None:
    """Print lines to standard output; coloured on a terminal only."""
    for line in lines:
        _print(Console(), Text(printable(line), style))


def tell(line: str) -> None:
    """Print what is not the result, e.g. progress, to standard error."""
    _print(Console(stderr=True), Text(printable(line)))


def show_json(value: Any) -> None:
    """Print a value as JSON; control characters come out escaped."""
    sys.stdout.write(f"{json.dumps(value, indent=2)}\n")


def show_table(headers: Row, rows: Sequence[Row]) -> None:
    """Print a table as kubectl does: columns that align, nothing cut, no lines."""
    console = Console()
    for text in table(headers, rows):
        _print(console, text)


def table(headers: Row, rows: Sequence[Row]) -> list[Text]:
    """Return the lines of a table.

    An empty cell is ``-`` where its column has a header; a column in which all are empty is left out.
    """
    kept = [place for place in range(len(headers)) if any(row[place] for row in rows)] or [0]
    cells = [[headers[place] for place in kept]]
    cells += [[printable(row[place]) or ("-" if headers[place] else "") for place in kept] for row in rows]
    widths = [max(cell_len(row[place]) for row in cells) for place in range(len(kept))]
    return [_line(row, widths, is_header=number == 0) for number, row in enumerate(cells)]


def _line(row: Row, widths: Sequence[int], *, is_header: bool) -> Text:
    line = Text()
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        line.append(cell, "bold" if is_header else _STYLES.get(cell, ""))
        if place < len(row) - 1:
            line.append(" " * (width - cell_len(cell) + _GAP))
    return line


def _print(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True, highlight=False)
