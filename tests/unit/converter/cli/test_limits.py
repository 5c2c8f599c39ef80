"""A value out of its limits is a wrong command line: exit code 2, with the flag's name, and never a bug."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from modelconversion_api.base import NumberText
from support.converter.command_lines import run
from tflite_converter.cli import benchmark, calibrate_check, compare, inspect, snippet
from tflite_converter.cli import compile as compile_command
from tflite_converter.cli.flags import Group, parts, spelling
from tflite_converter.cli.groups import CONVERT
from tflite_converter.cli.main import app

COMMANDS: dict[str, tuple[Group[Any], ...]] = {
    "convert": CONVERT,
    "compile": compile_command.GROUPS,
    "compare": compare.GROUPS,
    "benchmark": benchmark.GROUPS,
    "calibrate-check": calibrate_check.GROUPS,
    "inspect": inspect.GROUPS,
    "snippet": snippet.GROUPS,
}
NEEDED = {
    "convert": {
        "--model": "no-model.h5",
        "--data": "d.npy",
        "--validation-data": "v.npy",
        "--image-scaling": "None",
        "--train-data": "t.npy",
        "--prune": "0.5",
        "--distill": "0.5",
        "--qat": "1",
        "--ethos-u": "ethos-u55-128",
    },
    "compile": {"--ethos-u": "ethos-u55-128"},
    "compare": {"--data": "d.npy", "--image-scaling": "None"},
    "benchmark": {},
    "calibrate-check": {"--data": "d.npy", "--image-scaling": "None"},
    "inspect": {},
    "snippet": {},
}
"""What makes sense of every other flag of the command."""
BARE = {
    "convert": ["--edgetpu", "--c-array"],
    "compile": ["x.tflite", "--edgetpu"],
    "compare": ["a", "b"],
    "benchmark": ["x"],
    "inspect": ["x"],
    "snippet": ["x"],
}


def wrong_values(kind: Any, marks: tuple[object, ...]) -> Iterator[str]:
    """Values that a field of this type and these constraints must refuse."""
    if kind is int or any(isinstance(mark, NumberText) for mark in marks):
        yield from ("nan", "inf", "-inf", "", "x", "²", "1e30", "9" * 30)
        if not any(getattr(mark, "limits", "").startswith("-") for mark in marks):
            yield "-1"
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield from ("nonsense", "")
    if kind is Path or any(getattr(mark, "min_length", 0) for mark in marks):
        yield ""
    for mark in marks:
        if isinstance(mark, NumberText):
            yield from ("2000000", "0.12345678")
        elif hasattr(mark, "ge"):
            yield str(mark.ge - 1)
        elif hasattr(mark, "le"):
            yield str(mark.le + 1)
        elif hasattr(mark, "max_length") and kind is str:
            yield "x" * (mark.max_length + 1)
        elif getattr(mark, "pattern", None):
            yield "no match"
    if get_origin(kind) is list:
        (item,) = get_args(kind)
        yield from wrong_values(*_item(item))


def _item(item: Any) -> tuple[Any, tuple[object, ...]]:
    inner, *marks = get_args(item) or (item,)
    return inner, tuple(part for mark in marks for part in getattr(mark, "metadata", [mark]))


def cases() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    for command, groups in COMMANDS.items():
        wrong: dict[str, list[str]] = {}
        for group in groups:
            for name, declaration in group.flags.items():
                values = wrong_values(*parts(group.model.model_fields[name]))
                wrong.setdefault(spelling(declaration), []).extend(values)
        for flag, values in wrong.items():
            if values and flag.startswith("-"):
                yield command, flag, tuple(dict.fromkeys(values))


@pytest.mark.parametrize(("command", "flag", "values"), list(cases()))
def test_values_out_of_their_limits_are_refused_by_name(
    command: str, flag: str, values: tuple[str, ...]
) -> None:
    others = [word for name, value in NEEDED[command].items() if name != flag for word in (name, value)]
    for value in values:
        code, output = run(app, command, *BARE.get(command, []), *others, flag, value)
        assert code == 2, (value, output)
        assert flag in output, value
        assert "this is a bug" not in output


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "--model", "x.h5", "--runs", "20000"],
        ["convert", "--model", "x.h5", "--input-shape", "a=1,0"],
        ["convert", "--model", "x.h5", "--input-shape", "a"],
        ["convert", "--model", "x.h5", "--input-shape", "=1,2"],
        ["convert", "--model", "x.h5", "--input-shape", f"a={'9' * 30}"],
        ["convert", "--model", "x.h5", "--input-shape", "a=1x1x1x1x1x1x1x1x1"],
        ["convert", "--model", "x.h5", *(["--input-shape", "a=1"] * 17)],
        ["convert", "--model", "x.h5", "--edgetpu", "--edgetpu-predict"],
        ["convert", "--model", "x.h5", "--method", "all", "--target", "Mobile"],
        ["convert", "--model", "x.h5", "--data", "d.npy", "--image-resize", "Crop"],
        ["convert", "--model", "x.h5", "--ethos-u", "ethos-u55-32", "--ethos-u-system", "Ethos_U65_High_End"],
        ["compile", "x.tflite", "--c-array", "--max-arena", "99999999999999"],
        ["compile", "x.tflite", "--edgetpu-predict", "--edgetpu-segments", "2"],
        ["compile", "x.tflite", "--c-array", "--min-mapped", "0.5"],
        ["compile", "x.tflite"],
        ["compile", ""],
        ["benchmark", "x", "--threads", "1,65"],
        ["benchmark", "x", "--threads", "1,"],
        ["benchmark", ""],
        ["benchmark"],
        ["inspect", ""],
        ["inspect"],
        ["snippet", "", "--target", "browser"],
        ["snippet", "x"],
        ["compare", "a"],
        ["compare", "", "b"],
        ["convert", "--model", "x.h5", "--no-such-flag"],
        ["no-such-command"],
    ],
)
def test_what_cannot_be_carried_out_is_a_wrong_command_line(words: list[str]) -> None:
    code, output = run(app, *words)
    assert code == 2, output
    assert "this is a bug" not in output


def test_limits_themselves_are_allowed() -> None:
    """They get as far as the file, which is not there."""
    words = (
        "--min-agreement",
        "1",
        "--max-accuracy-drop",
        "0",
        "--max-latency",
        "999999.9999",
        "--runs",
        "10000",
    )
    more = ("--data", "d.npy", "--labels", "l.npy", "--samples", "100000", "--seed", "4294967295")
    code, output = run(app, "convert", "--model", "no-model.h5", *words, *more)
    assert (code, "File not found" in output) == (11, True)


def test_help_names_the_limits_of_every_number() -> None:
    _, shown = run(app, "convert", "--help")
    lines = {line.split()[1]: line for line in shown.splitlines() if " --" in line[:8]}
    for group in CONVERT:
        for name, declaration in group.flags.items():
            kind, marks = parts(group.model.model_fields[name])
            if kind is int or any(isinstance(mark, NumberText) for mark in marks):
                assert "x" in lines[spelling(declaration)].partition("[")[2].partition("]")[0]
