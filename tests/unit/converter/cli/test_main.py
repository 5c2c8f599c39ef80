"""The command line as a whole."""

from __future__ import annotations

import tomllib

from typer.testing import CliRunner

from support.paths import REPOSITORY
from tflite_converter.cli.main import app


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.output) == (0, f"tflite-converter {project['version']}\n")
