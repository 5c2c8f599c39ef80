"""The command line as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

from modelconversion_api.reasons import FailureReason, exit_code
from support.paths import REPOSITORY
from tflite_converter.cli.jobs import JOBS
from tflite_converter.cli.main import app


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.output) == (0, f"tflite-converter {project['version']}\n")


@pytest.mark.parametrize("module", ["fetch", "publish", "look", "move", "register"])
def test_a_jobs_container_starts_without_what_it_does_not_use(module: str) -> None:
    """Three start for each conversion; numpy and the commands for people would be half of their start."""
    program = f"import sys, tflite_converter.__main__, tflite_converter.job.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    unused = {"numpy", "typer", "rich", "ai_edge_litert", "tensorflow", "scipy"}
    assert not unused & set(done.stdout.split())


@pytest.mark.parametrize("name", JOBS)
def test_a_jobs_command_says_by_its_exit_code_what_is_missing(name: str) -> None:
    assert name in CliRunner().invoke(app, ["--help"]).output
    command = [sys.executable, "-m", "tflite_converter", name]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": os.defpath}, check=False)
    assert done.returncode == exit_code(FailureReason.INVALID_REQUEST), done.stderr
    assert "Traceback" not in done.stderr
