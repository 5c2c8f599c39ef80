"""The child's side of :mod:`tflite_converter.isolation.parent`.

Limits come first, then the job, then its result or the reason why there is none.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import Stage
from tflite_converter.errors import ConverterError, reason_of
from tflite_converter.isolation import sandbox
from tflite_converter.isolation.protocol import (
    PROGRESS_FD_ENV,
    SPEECHLESS_EXIT_CODE,
    ChildLimits,
    WorkerFailure,
    WorkerProgress,
    error_file,
    result_file,
)

_PR_SET_PDEATHSIG = 1
_NEARLY = 0.8
"""Part of the memory limit from which on a failure is taken for want of memory."""

_LAST_WORDS_BYTES = 64 << 20
"""What a process that has used up its memory gets in addition to say so."""

Job = TypeVar("Job", bound=ApiModel)
Classify = Callable[[BaseException, Stage, bool], ConverterError]
"""From an exception, the stage under way, and whether memory was nearly used up, to the contract's reason."""


class Child:
    """What a child knows of itself, and how it speaks to its parent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stage = Stage.LOAD
        self.doing = ""
        self.isolation: tuple[str, ...] = ()
        self.memory_limit_bytes: int | None = None
        self._pipe = int(os.environ[PROGRESS_FD_ENV]) if PROGRESS_FD_ENV in os.environ else None

    def say(self, stage: Stage, text: str, fraction: float | None = None, *, warning: bool = False) -> None:
        """Tells the parent what is being done now; that it is told at all shows that nothing hangs."""
        self.stage, self.doing = stage, text
        if self._pipe is not None:
            message = WorkerProgress(stage=stage, text=text, fraction=fraction, warning=warning)
            # One write of less than PIPE_BUF (4,096) bytes arrives whole, also from several processes; the
            # message is shorter, for JSON takes six bytes for a character at most.
            os.write(self._pipe, message.model_dump_json().encode() + b"\n")

    def counter(self, stage: Stage, text: str, count: int) -> Callable[[int], None]:
        """Return a function that reports every twentieth part of ``count``."""
        every = max(1, count // 20)

        def step(done: int) -> None:
            if done % every == 0 or done == count:
                self.say(stage, text, done / count)

        return step

    def at_memory_limit(self) -> bool:
        """Whether this process has taken nearly all the data that it may.

        An allocation that fails inside a library can come up as anything: a SystemError, a file that
        "cannot be read", an import that finds nothing.
        """
        if self.memory_limit_bytes is None:
            return False
        # Asked by taking the rest: of /proc a fork may not even read what is its own.
        rest = int((1.0 - _NEARLY) * self.memory_limit_bytes)
        try:
            mmap.mmap(-1, rest, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
        except OSError:
            return True
        return False

    def may_finish(self) -> None:
        """Raise the memory limit a little, so that the failure can still be written."""
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    def restrict(self, limits: ChildLimits) -> None:
        """Drop every right that the job does not need, before the model is touched."""
        ends_with_its_parent()
        if limits.memory_limit_bytes is not None:
            # Data, not address space: TensorFlow reserves far more addresses than it uses memory.
            most = limits.memory_limit_bytes
            resource.setrlimit(resource.RLIMIT_DATA, (most, most + _LAST_WORDS_BYTES))
            self.memory_limit_bytes = most
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        self.isolation = sandbox.enter(limits.readable, [self.folder], limits.programs)


def ends_with_its_parent() -> None:
    """Has the kernel kill this process when its parent ends, however. A fork must ask for it again."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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
    code = 1
    try:
        try:
            result = work(job, child).model_dump_json(by_alias=True)
            (child.folder / result_file(program)).write_text(result)
            code = 0
        except (Exception, KeyboardInterrupt) as error:
            at_limit = child.at_memory_limit()
            child.may_finish()
            traceback.print_exc()
            failure = failure_of(classify(error, child.stage, at_limit))
            (child.folder / error_file(program)).write_text(failure.model_dump_json(by_alias=True))
        # Native threads and destructors have nothing left to do that is worth waiting for.
        sys.stdout.flush()
        sys.stderr.flush()
    except MemoryError:
        code = SPEECHLESS_EXIT_CODE
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


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
