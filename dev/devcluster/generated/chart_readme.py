"""Writes the chart's table of values: ``python -m devcluster.generated.chart_readme [--check]``.

The comment right above a value in values.yaml says what it is for; such a value is one row, with all in it.
``# @section TITLE`` begins a table, and the lines right after it go above that. The rest of the README is
written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from devcluster.cache import REPOSITORY
from devcluster.programs import generate

CHART: Final = REPOSITORY / "helm" / "model-conversion-operator"
README: Final = CHART / "README.md"
_VALUES: Final = CHART / "values.yaml"
_BEGIN: Final = "<!-- values: written by `python -m devcluster.generated.chart_readme` -->"
_END: Final = "<!-- end of values -->"
_SECTION: Final = re.compile(r"# @section (.+)")


@dataclass(frozen=True, slots=True)
class Value:
    """A documented value: where it is, what it is for, and what it is unless set."""

    path: str
    words: str
    default: Any


@dataclass(slots=True)
class Section:
    """Values that belong together."""

    title: str
    words: str
    values: list[Value] = field(default_factory=list)


def sections(text: str) -> list[Section]:
    """Return the documented values in ``text``, which is a values.yaml.

    Raises ValueError when a value has no comment, for nobody would know what it is for.
    """
    lines = text.splitlines()
    listed = [
        (number, Section(match[1], " ".join(_comment(lines[number + 1 :]))))
        for number, line in enumerate(lines)
        if (match := _SECTION.fullmatch(line))
    ]
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    for line, value in _values(root, yaml.safe_load(text), lines, ""):
        [section for begin, section in listed if begin < line][-1].values.append(value)
    return [section for _, section in listed]


def _values(
    node: yaml.Node | None, values: Any, lines: Sequence[str], prefix: str
) -> Iterator[tuple[int, Value]]:
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise ValueError(f"{prefix.rstrip('.')} in values.yaml has no comment that says what it is for")
    for key, child in node.value:
        path, line = prefix + key.value, key.start_mark.line
        if comment := _comment(reversed(lines[:line])):
            yield line, Value(path, " ".join(reversed(comment)), values[key.value])
        else:
            yield from _values(child, values[key.value], lines, f"{path}.")


def _comment(lines: Iterable[str]) -> list[str]:
    """Return the lines of a comment that ``lines`` begin with."""
    words: list[str] = []
    for line in lines:
        stripped = line.strip()
        if not stripped.startswith("# ") or _SECTION.fullmatch(stripped):
            break
        words.append(stripped.removeprefix("# "))
    return words


def table(section: Section) -> str:
    """``section`` as Markdown."""
    rows = [f"### {section.title}", ""]
    if section.words:
        rows += [section.words, ""]
    rows += ["| value | what it is for | default |", "| --- | --- | --- |"]
    for value in section.values:
        default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
        rows.append(f"| `{value.path}` | {value.words.replace('|', chr(92) + '|')} | `{default}` |")
    return "\n".join(rows)


def readme(current: str) -> str:
    """Return the page ``current`` with its tables of values brought up to date."""
    before, _, rest = current.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{README.name} has lost the lines {_BEGIN} and {_END}, between which the values go")
    tables = "\n\n".join(table(section) for section in sections(_VALUES.read_text()))
    return f"{before}{_BEGIN}\n\n{tables}\n\n{_END}{after}"


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    return generate(
        lambda: {README: readme(README.read_text())},
        program="devcluster.generated.chart_readme",
        words="Write the chart's table of values.",
        source="values.yaml",
    )


if __name__ == "__main__":
    sys.exit(main())
