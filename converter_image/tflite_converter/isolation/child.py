"""The child's side of :mod:`tflite_converter.isolation.parent`.

Limits come first, then the job, then its result or the reason why there is none.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import modelconversion_api
import tflite_converter
from conversion_engine.process import Process
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import Stage
from tflite_converter.errors import ConverterError, reason_of
from tflite_converter.isolation.protocol import ChildLimits, WorkerFailure

Job = TypeVar("Job", bound=ApiModel)
Classify = Callable[[BaseException, Stage, bool], ConverterError]
"""From an exception, the stage under way, and whether memory was nearly used up, to the contract's reason."""


class Child(Process):
    """What a child knows of itself, and how it speaks to its parent."""

    stage: Stage

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Stage.LOAD)

    def restrict(self, limits: ChildLimits) -> None:
        """Drop every right that the job does not need, before the model is touched."""
        readable = [*our_packages(), *limits.readable]
        self.confine(readable, limits.memory_limit_bytes, limits.programs, limits.devices)


def our_packages() -> list[Path]:
    """Return the folders that a child imports us from."""
    return [
        Path(tflite_converter.__file__).parents[1],
        *(Path(p).parent for p in modelconversion_api.__path__),
    ]


def run(
    program: str,
    job_type: type[Job],
    limits: Callable[[Job], ChildLimits],
    work: Callable[[Job, Child], ApiModel],
    classify: Classify,
) -> NoReturn:
    """Do the job on standard input in the folder given as the only argument, and end the process.

    Leaves ``PROGRAM.result.json``, or ``PROGRAM.error.json`` and exit code 1.
    """
    child = Child(Path(sys.argv[1]))
    job = job_type.model_validate_json(sys.stdin.buffer.read())
    child.restrict(limits(job))
    child.finish(
        program,
        lambda: work(job, child).model_dump_json(by_alias=True),
        lambda error, at_limit: failure_of(classify(error, child.stage, at_limit)).model_dump_json(
            by_alias=True
        ),
    )


def classified_as(words: str) -> Classify:
    """Return how a child explains an exception whose library has no reasons of its own.

    ``words`` are the child's name in messages.
    """
    return lambda error, stage, at_memory_limit: reason_of(
        error, stage, words, at_memory_limit=at_memory_limit
    )


def failure_of(error: ConverterError) -> WorkerFailure:
    """Convert an error to the message that a child leaves."""
    return WorkerFailure(reason=error.reason, stage=error.stage, cause=error.cause, hint=error.hint)
