"""Command lines without a process: what typer makes of words, and how a command would end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.testing import CliRunner

from tflite_converter.cli.flags import Group
from tflite_converter.cli.given import Given, takes


def program(*groups: Group[Any]) -> tuple[typer.Typer, list[Given]]:
    """A program with the flags of ``groups``, and what its runs were given, which this list fills with."""
    runs: list[Given] = []
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(takes(*groups)(runs.append))
    return app, runs


def run(app: typer.Typer, *words: str) -> tuple[int, str]:
    """Exit code, and all that is printed, on lines that are long enough for any message."""
    result = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
    return result.exit_code, result.output


def given(*words: str, groups: tuple[Group[Any], ...]) -> Given:
    """What a command is given for ``words``."""
    app, runs = program(*groups)
    code, output = run(app, *words)
    assert code == 0, output
    return runs[0]


def refusal(action: Callable[[Given], object], *words: str, groups: tuple[Group[Any], ...]) -> str:
    """The message with which ``action`` refuses ``words`` as a wrong command line."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(takes(*groups)(lambda values: action(values) and None))
    code, output = run(app, *words)
    assert code == 2, output
    return output
