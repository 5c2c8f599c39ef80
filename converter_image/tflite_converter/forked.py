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

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason

from . import machine
from .child import Child, failure_of
from .errors import ConverterError
from .quantizer_errors import first_line
from .worker import LITERT, death
from .worker_protocol import WorkerFailure

_FAILED = 1

Found = TypeVar("Found", bound=ApiModel)


def forked(child: Child, name: str, found: type[Found], work: Callable[[], Found]) -> Found | WorkerFailure:
    """What ``work`` gives, or why it gave nothing: its exception, or the signal that ended it."""
    path = child.folder / f"{name}.json"
    path.unlink(missing_ok=True)
    kills_before = machine.out_of_memory_kills()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run(child, name, work)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        killed = machine.out_of_memory_kills() > kills_before
        reason, cause = death(LITERT.words, os.WTERMSIG(status), out_of_memory=killed)
        return WorkerFailure(reason=reason, stage=child.stage, cause=f"{cause} while {name}")
    content = path.read_bytes()
    if os.WEXITSTATUS(status) == _FAILED:
        return WorkerFailure.model_validate_json(content)
    return found.model_validate_json(content)


def _run(child: Child, name: str, work: Callable[[], ApiModel]) -> NoReturn:
    """In the fork: never returns, and never runs what its parent has yet to do."""
    code = 0
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            result: ApiModel = work()
        except ConverterError as error:
            result, code = failure_of(error), _FAILED
        except MemoryError:
            result, code = _out_of_memory(child), _FAILED
        except Exception as error:
            traceback.print_exc()
            result, code = _bug(child, error), _FAILED
        (child.folder / f"{name}.json").write_text(result.model_dump_json(by_alias=True))
        sys.stderr.flush()
    except BaseException:
        code = 2
    finally:
        os._exit(code)


def _out_of_memory(child: Child) -> WorkerFailure:
    return WorkerFailure(
        reason=FailureReason.OUT_OF_MEMORY, stage=child.stage, cause=f"{LITERT.words} ran out of memory"
    )


def _bug(child: Child, error: Exception) -> WorkerFailure:
    if child.at_memory_limit():
        return _out_of_memory(child)
    cause = f"{type(error).__name__}: {first_line(error)}"
    return WorkerFailure(reason=FailureReason.INTERNAL_ERROR, stage=child.stage, cause=cause)
