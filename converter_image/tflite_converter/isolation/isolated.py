"""Runs a command's work on a model apart: without network, other programs and other files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from modelconversion_api.base import ApiModel
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import forked
from tflite_converter.isolation.protocol import ChildLimits, WorkerFailure

Found = TypeVar("Found", bound=ApiModel)

_WORDS = "the LiteRT process"
"""Most files that are opened this way are for LiteRT."""


def run_isolated(
    name: str,
    result_type: type[Found],
    readable: Iterable[Path],
    work: Callable[[], Found],
    *,
    who: str = _WORDS,
    devices: Iterable[Path] = (),
    most_seconds: float | None = None,
) -> Found:
    """Run ``work`` in a fork that may read ``readable`` and write nothing but ``devices``; return its result.

    To be called while this process has no other threads. ``name`` is what messages say it was doing, and
    ``who`` what they call the fork.

    Raises:
        ConverterError: what ``work`` raised; ConverterCrashed or OutOfMemory when the fork died;
            ConverterTimedOut after ``most_seconds``.

    """
    with tempfile.TemporaryDirectory(prefix="tflite-converter-") as folder:
        child = Child(Path(folder))
        limits = ChildLimits(readable=tuple(path.absolute() for path in readable), devices=tuple(devices))

        def restricted() -> Found:
            _leave_the_terminal()
            child.restrict(limits)
            tempfile.tempdir = folder  # the only place that can still be written
            return work()

        result = forked(child, who, name, result_type, restricted, most_seconds=most_seconds)
    if isinstance(result, WorkerFailure):
        raise ConverterError(result.reason, result.stage, result.cause, hint=result.hint)
    return result


def _leave_the_terminal() -> None:
    """Whoever shares a terminal may type into it (TIOCSTI), and so have the shell do what it likes."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
