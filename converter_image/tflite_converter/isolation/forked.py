"""Runs one piece of work in a fork of this process, so that whatever it does to itself stays there.

The fork has every import already and costs milliseconds. What it found comes back as a file.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn, TypeVar

from conversion_engine.process import ends_with_its_parent
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason
from tflite_converter.errors import ConverterError, reason_of
from tflite_converter.isolation import machine
from tflite_converter.isolation.child import Child, failure_of
from tflite_converter.isolation.parent import death, left_by_child
from tflite_converter.isolation.protocol import WorkerFailure

_FAILED = 1
_RESULT_FILE = "fork.json"
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)

Found = TypeVar("Found", bound=ApiModel)


def forked(
    child: Child,
    words: str,
    name: str,
    result_type: type[Found],
    work: Callable[[], Found],
    *,
    most_seconds: float | None = None,
) -> Found | WorkerFailure:
    """Run ``work`` in a fork; return its result, or its failure by exception, signal or time.

    ``most_seconds``: how long it may take, also where native code never comes back; None for as long as the
    parent bears it.
    """
    path = child.folder / _RESULT_FILE
    path.unlink(missing_ok=True)
    kills_before = machine.out_of_memory_kills()
    sys.stdout.flush()
    sys.stderr.flush()
    # An interruption during the fork itself would be lost, or would leave the fork at work.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    pid = os.fork()
    if pid == 0:
        _run(child, words, work, mask, most_seconds)
    code = os.waitstatus_to_exitcode(_ended(pid, mask))
    if code == -signal.SIGALRM and most_seconds is not None:
        cause = f"{words} was not done after {most_seconds:.0f} s, while {name}"
        return WorkerFailure(reason=FailureReason.CONVERTER_TIMED_OUT, stage=child.stage, cause=cause)
    if code < 0:
        killed = machine.out_of_memory_kills() > kills_before
        reason, cause = death(words, -code, out_of_memory=killed)
        return WorkerFailure(reason=reason, stage=child.stage, cause=f"{cause} while {name}")
    if code == _FAILED:
        result: Found | WorkerFailure | None = left_by_child(path, WorkerFailure, child.stage)
    else:
        result = left_by_child(path, result_type, child.stage)
    if result is not None:
        return result
    cause = f"{words} ended without a result that can be read while {name}"
    return WorkerFailure(reason=FailureReason.CONVERTER_CRASHED, stage=child.stage, cause=cause)


def _ended(pid: int, mask: set[int]) -> int:
    """Let interruptions through again, and return the wait status of the fork; an interruption kills it."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _, status = os.waitpid(pid, 0)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return status


def _run(
    child: Child, words: str, work: Callable[[], ApiModel], mask: set[int], most_seconds: float | None
) -> NoReturn:
    """In the fork: never returns, and never runs what its parent has yet to do."""
    code = 0
    try:
        ends_with_its_parent()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if most_seconds is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends it, whatever it is at
            signal.setitimer(signal.ITIMER_REAL, most_seconds)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            result: ApiModel = work()
        except ConverterError as error:
            result, code = failure_of(error), _FAILED
        except (Exception, KeyboardInterrupt) as error:
            at_limit = child.at_memory_limit()
            child.may_finish()
            traceback.print_exc()
            failure = reason_of(error, child.stage, words, at_memory_limit=at_limit)
            result, code = failure_of(failure), _FAILED
        (child.folder / _RESULT_FILE).write_text(result.model_dump_json(by_alias=True))
        sys.stderr.flush()
    except BaseException:
        code = 2
    finally:
        os._exit(code)
