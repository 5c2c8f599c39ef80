"""Data as JSON: called so, with a command that makes a file of it that is read."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import numpy as np

from modelconversion_api.limits import FAILURE_LENGTH
from modelconversion_api.reasons import Stage
from tflite_converter.data.errors import unreadable
from tflite_converter.data.packed import is_gzip
from tflite_converter.errors import ConverterError, first_line

_NUMBERS = re.compile(r"(-?\d[-+.\deE]*|-?\.\d[-+.\deE]*|null|true|false)\s*[,\]]")
_MOST_BYTES: Final = 256 << 20
"""Of text that is read only to say what is in it."""


_LONGEST_HINT: Final = FAILURE_LENGTH // 2


def is_json(head: str) -> bool:
    """Whether text begins as JSON with an array of numbers, or an object, in it does."""
    text = head.lstrip("\ufeff \t\r\n")
    if re.match(r"(\[\s*)*\{\s*(\"|\})", text):
        return True
    return text[:1] == "[" and _NUMBERS.match(text.lstrip("[ \t\r\n")) is not None


def json_refusal(path: Path, given: Path, name: str, stage: Stage) -> ConverterError:
    """Return what to say of JSON text in ``path``.

    Args:
        path: Where the text is.
        given: The file that the user named, which may be ``path`` compressed.
        name: What messages call it.
        stage: The stage to blame.

    """
    if path.stat().st_size > _MOST_BYTES:
        hint = "numpy.save the numbers as a .npy file"
        return unreadable(name, "it holds JSON, not a table", stage, hint=hint)
    try:
        document, by_line = _parsed(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        why = f"it begins as JSON, and is damaged or truncated ({first_line(error)})"
        return unreadable(name, why, stage, hint="copy it again, or save it again")
    python = _program(document, _content(given, by_line=by_line), _stem(given))
    if python is None:
        why = "it holds JSON whose rows have different lengths, or are no numbers"
        return unreadable(name, why, stage, hint="numpy.save the numbers of each sample as a .npy file")
    hint = f"make a data file of it: python3 -c {shlex.quote(python)}"
    if len(hint) > _LONGEST_HINT:  # a command that is cut is worse than none
        hint = "numpy.save the numbers as a .npy file"
    return unreadable(name, "it holds JSON, not a table", stage, hint=hint)


def _parsed(text: str) -> tuple[Any, bool]:
    """Return the document, or the documents of the lines, and whether it is so."""
    try:
        return json.loads(text), False
    except ValueError as whole:
        try:
            return [json.loads(line) for line in text.splitlines() if line.strip()], True
        except ValueError:
            raise whole from None


def _content(given: Path, *, by_line: bool) -> str:
    """Return the Python expression that reads the document."""
    opened = f'gzip.open({_quoted(given)}, "rt")' if is_gzip(given) else f"open({_quoted(given)})"
    return f"[json.loads(line) for line in {opened} if line.strip()]" if by_line else f"json.load({opened})"


def _stem(given: Path) -> str:
    text = str(given).removesuffix(".gz")
    return text[: -len(suffix)] if (suffix := Path(text).suffix) else text


def _program(document: Any, content: str, stem: str) -> str | None:
    """Return a Python program that saves the numbers of a document; None where it has no even rows."""
    if isinstance(document, dict):
        return _of_object(document, content, stem)
    rows = document if isinstance(document, list) else []
    if not rows or not all(isinstance(row, dict) for row in rows):
        return _save(f"numpy.array({content}, dtype=float)", stem) if _is_even(document) else None
    first = rows[0]
    if any(isinstance(value, list) for value in first.values()):
        if not all(_is_even([row.get(key) for row in rows]) for key in first):
            return None
        arrays = "{key: numpy.array([row[key] for row in rows]) for key in rows[0]}"
        target = _quoted(f"{stem}.npz")
        return f"import gzip, json, numpy; rows = {content}; numpy.savez({target}, **{arrays})"
    taken = "[[row.get(key) for key in rows[0]] for row in rows]"
    return _table(
        [[row.get(key) for key in first] for row in rows], list(first), taken, f"rows = {content}", stem
    )


def _of_object(document: dict[str, Any], content: str, stem: str) -> str | None:
    values = list(document.values())
    if isinstance(document.get("data"), list) and isinstance(document.get("columns"), list):
        return _table(
            document["data"], document["columns"], 'd["data"]', f"d = {content}", stem, 'd["columns"]'
        )
    if values and all(isinstance(value, dict) for value in values):
        if len(values) == 1 and all(isinstance(value, list) for value in values[0].values()):
            return _savez(values[0], f"{content}[{json.dumps(next(iter(document)))}]", stem)
        columns, taken = [list(value.values()) for value in values], "[each.values() for each in d.values()]"
    else:
        columns, taken = values, "d.values()"
    flat = all(isinstance(c, list) and not any(isinstance(v, list | dict) for v in c) for c in columns)
    if flat and len(columns) > 1 and len(set(map(len, columns))) == 1:
        rows = [list(row) for row in zip(*columns, strict=True)]
        return _table(rows, list(document), f"list(zip(*{taken}))", f"d = {content}", stem, "list(d)")
    return _savez(document, content, stem)


def _savez(arrays: dict[str, Any], content: str, stem: str) -> str | None:
    if not arrays or not all(isinstance(value, list) and _is_even(value) for value in arrays.values()):
        return None
    return f"import gzip, json, numpy; numpy.savez({_quoted(f'{stem}.npz')}, **{content})"


def _table(
    rows: list[Any], names: list[Any], taken: str, before: str, stem: str, header: str = "list(rows[0])"
) -> str | None:
    """Return a program for rows of single values: a .npy file of numbers, or a .csv file if some are text."""
    if _is_even(rows):
        return _save(f"numpy.array({taken}, dtype=float)", stem, before)
    if not all(isinstance(row, list) and len(row) == len(names) for row in rows):
        return None
    target = f'open({_quoted(f"{stem}_table.csv")}, "w", newline="")'
    return f"import csv, gzip, json; {before}; csv.writer({target}).writerows([{header}, *{taken}])"


def _save(array: str, stem: str, before: str = "") -> str:
    step = f"{before}; " if before else ""
    return f"import gzip, json, numpy; {step}numpy.save({_quoted(f'{stem}.npy')}, {array})"


def _is_even(values: Any) -> bool:
    """Whether NumPy makes an array of numbers of nested lists."""
    try:
        return np.array(values, dtype=float).ndim > 0
    except (ValueError, TypeError):
        return False


def _quoted(text: Path | str) -> str:
    """Return ``text`` as Python has it in double quotes, which a shell leaves alone within single ones."""
    return json.dumps(str(text))
