"""The child's side of :mod:`tflite_converter.isolation.parent`.

Limits come first, then the job, then its result or the reason why there is none.
"""

from __future__ import annotations

import ctypes
import gc
import os
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import modelconversion_api
import tflite_converter
from conversion_engine.process import Process
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import Stage
from tflite_converter.errors import ConverterError, reason_of
from tflite_converter.isolation.protocol import ChildLimits, Preparation, WorkerFailure

JOB_FD_ENV: Final = "CONVERTER_JOB_FD"
"""Which file descriptor a child reads the moment from at which its job lies on standard input; it has it from
the start where this is not set."""
MOMENT: Final = "d"
"""How that is written: seconds of the monotonic clock, which is one for all processes."""

Job = TypeVar("Job", bound=ApiModel)
Classify = Callable[[BaseException, Stage, bool], ConverterError]
"""From an exception, the stage under way, and whether memory was nearly used up, to the contract's reason."""


class Child(Process):
    """What a child knows of itself, and how it speaks to its parent."""

    stage: Stage

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, Stage.LOAD)
        self.asked_at = time.monotonic()
        """When it was given its job: for one that had begun before, maybe while it was still preparing."""

    def give_back(self) -> None:
        """Give memory that nothing needs any more back to the system, as far as the C library can."""
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)

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
    prepare: Callable[[Preparation, Child], object] = lambda _preparation, _child: None,
) -> NoReturn:
    """Do the job on standard input in the folder given as the first argument, and end the process.

    Started before there is a job, it does what ``prepare`` does with the second argument, and waits for it.
    Leaves ``PROGRAM.result.json``, or ``PROGRAM.error.json`` and exit code 1.
    """
    child = Child(Path(sys.argv[1]))
    if JOB_FD_ENV in os.environ:
        preparation = Preparation.model_validate_json(sys.argv[2])
        child.restrict(preparation.limits)

        def told() -> Job:
            prepare(preparation, child)
            child.asked_at = _moment_of_job()
            return job_type.model_validate_json(sys.stdin.buffer.read())
    else:
        job = job_type.model_validate_json(sys.stdin.buffer.read())
        child.restrict(limits(job))

        def told() -> Job:
            return job

    child.finish(
        program,
        lambda: work(told(), child).model_dump_json(by_alias=True),
        lambda error, at_limit: failure_of(classify(error, child.stage, at_limit)).model_dump_json(
            by_alias=True
        ),
    )


def _moment_of_job() -> float:
    """Wait for the job; return the moment at which it was handed over."""
    told = os.read(int(os.environ[JOB_FD_ENV]), struct.calcsize(MOMENT))
    if not told:
        raise RuntimeError("there is no job any more")
    (moment,) = struct.unpack(MOMENT, told)
    return float(moment)


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
