"""Programs of this environment, and files for nobody else to read."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from devcluster.errors import ProcessError


def installed_program(name: str) -> str:
    """Path of a program that a Python package of this environment ships, else of the one on PATH."""
    scripts = str(Path(sys.executable).parent)
    program = shutil.which(name, path=os.pathsep.join([scripts, os.environ.get("PATH", "")]))
    if program is None:
        raise ProcessError(f"{name} is missing: run `uv sync --all-extras`, which installs it")
    return program


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)
