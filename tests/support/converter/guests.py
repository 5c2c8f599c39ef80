"""The roots that files are verified in, and a copy of one with a runtime that does harm."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from devcluster.errors import BinariesError
from devcluster.tools.guests import ensure_guests


def guests() -> Path:
    """Return the folder of the roots; skip the test where they cannot be made."""
    try:
        return ensure_guests(Console(stderr=True))
    except BinariesError as error:
        pytest.skip(str(error))


def with_runtime(source: Path, into: Path, interpreter: str) -> Path:
    """Return roots whose one root has ``interpreter`` for the module of that name: a stand-in for a runtime.

    Everything else is the real thing, Python, numpy and the sandbox around them.
    """
    shutil.copytree(source / "amd64", into / "amd64", copy_function=_linked, symlinks=True)
    for package in ("ai_edge_litert", "tflite_runtime"):
        folder = into / "amd64/opt/site" / package
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)
        module = folder / "interpreter.py"
        module.unlink()  # a link to the real one
        module.write_text(interpreter)
    return into


def _linked(source: str, target: str) -> str:
    try:
        Path(target).hardlink_to(source)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target
