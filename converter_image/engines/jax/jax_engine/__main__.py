"""``python -P -m jax_engine TASK FOLDER``: see :mod:`conversion_engine.serving`."""

from __future__ import annotations

import importlib.metadata
import os

from conversion_engine.messages import About, Request, Task
from conversion_engine.process import Process
from conversion_engine.serving import serve

_PACKAGES = ("jax", "litert-converter", "ai-edge-litert")


def versions() -> dict[str, str]:
    """Return the versions of what does the work."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def about(_request: Request, _process: Process) -> About:
    """Say what this engine is."""
    return About(engine="jax", formats=("StableHLO",), versions=versions())


def convert(request: Request, process: Process) -> object:
    """Make the float file."""
    _set_up()
    from jax_engine.task import convert as work  # its libraries take a second to start

    return work(request, process, versions())


def run(request: Request, process: Process) -> object:
    """Run the original on the samples."""
    _set_up()
    from engine_tools.running import run as work
    from jax_engine.original import load

    return work(request, process, load, "JAX")


def _set_up() -> None:
    """Set JAX up before it is imported: for the processor alone, and with types of 64 bits."""
    os.environ.update(JAX_PLATFORMS="cpu", JAX_ENABLE_X64="1", TF_CPP_MIN_LOG_LEVEL="2")


if __name__ == "__main__":
    serve("JAX", {Task.ABOUT: about, Task.CONVERT: convert, Task.RUN: run})
