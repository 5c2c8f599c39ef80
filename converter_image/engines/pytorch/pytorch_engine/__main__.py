"""``python -P -m pytorch_engine TASK FOLDER``: see :mod:`conversion_engine.serving`."""

from __future__ import annotations

import importlib.metadata

from conversion_engine.messages import About, Request, Task
from conversion_engine.process import Process
from conversion_engine.serving import serve

_PACKAGES = ("torch", "litert-torch", "litert-converter", "ai-edge-litert")


def versions() -> dict[str, str]:
    """Return the versions of what does the work."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def about(_request: Request, _process: Process) -> About:
    """Say what this engine is."""
    return About(engine="pytorch", formats=("PyTorch",), versions=versions())


def convert(request: Request, process: Process) -> object:
    """Make the float file."""
    from pytorch_engine.task import convert as work

    return work(request, process, versions())


def run(request: Request, process: Process) -> object:
    """Run the original on the samples."""
    from pytorch_engine.task import run as work

    return work(request, process)


if __name__ == "__main__":
    serve("PyTorch", {Task.ABOUT: about, Task.CONVERT: convert, Task.RUN: run})
