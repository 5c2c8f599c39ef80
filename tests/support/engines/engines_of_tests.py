"""Engines for tests and benchmarks: each made once, in the cache folder."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from devcluster.cache import cache_dir
from support.engines.cuda_stand_ins import make_stand_ins
from support.paths import REPOSITORY
from tflite_converter.engines.finding import ENGINES, Engine
from tflite_converter.engines.installing import install
from tflite_converter.errors import ConverterError

ONNX, PYTORCH, JAX = (
    next(engine for engine in ENGINES if engine.name == name) for name in ("onnx", "pytorch", "jax")
)


def engine_python(engine: Engine) -> Path:
    """Return the Python of an environment with this tree's engine.

    Raises:
        ConverterError: EngineNotFound where there is no Python that is new enough, or no registry.

    """
    place = cache_dir() / "engines"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be at it
        settings = {**os.environ, "XDG_DATA_HOME": str(place)}
        # All from the package registry: its torch needs CUDA's libraries, or what stands in for them.
        python = install(engine, settings, lambda _text: None, whole_lock=True)
        for library in python.parents[1].glob("lib/python3.*/site-packages/torch/lib"):
            make_stand_ins(library)
        return python


def python_or_skip(engine: Engine) -> Path:
    """Return the Python of an engine; skip where this machine has no Python that is new enough.

    Raises:
        ConverterError: as :func:`engine_python`, for any other cause.

    """
    try:
        return engine_python(engine)
    except ConverterError as error:
        if "needs Python" in error.cause:
            pytest.skip(error.cause)
        raise


def write_models(python: Path, program: str, folder: Path, *arguments: str) -> None:
    """Run a program of ``tests/support/engines`` on an engine's Python."""
    path = REPOSITORY / "tests/support/engines" / program
    subprocess.run([python, path, folder, *arguments], check=True, capture_output=True)
