"""The program that confines users' own metrics, compiled as the image's Dockerfile does."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.paths import REPOSITORY

SOURCE = REPOSITORY / "converter_image" / "metric_sandbox.c"


@functools.cache
def metric_sandbox() -> Path:
    """Return the program; skip the test where nothing compiles it."""
    if (compiler := shutil.which("gcc")) is None:
        pytest.skip("there is no compiler for the metrics' sandbox")
    program = Path(tempfile.mkdtemp()) / "metric-sandbox"
    strict = ("-Wall", "-Wextra", "-Werror")
    subprocess.run([compiler, *strict, "-O2", "-static", "-s", "-o", program, SOURCE], check=True)
    return program
