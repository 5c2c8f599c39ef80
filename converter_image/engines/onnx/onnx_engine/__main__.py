"""``python -P -m onnx_engine TASK FOLDER``: see :mod:`conversion_engine.serving`."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from conversion_engine.messages import About, Request, Task
from conversion_engine.process import Process
from conversion_engine.serving import serve

_PACKAGES = ("onnx2tf", "onnx", "onnxruntime", "onnxsim", "ai-edge-litert")


def versions() -> dict[str, str]:
    """Return the versions of what does the work."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def about(_request: Request, _process: Process) -> About:
    """Say what this engine is."""
    return About(engine="onnx", formats=("ONNX",), versions=versions())


def convert(request: Request, process: Process) -> object:
    """Make the float file."""
    from onnx_engine.task import convert as work  # its libraries take a second to start

    return work(request, process, versions())


def run(request: Request, process: Process) -> object:
    """Run the original on the samples."""
    from engine_tools.running import run as work
    from onnx_engine.original import Original

    return work(request, process, lambda asked, _: Original(Path(asked.source)), "onnxruntime")


if __name__ == "__main__":
    serve("ONNX", {Task.ABOUT: about, Task.CONVERT: convert, Task.RUN: run})
