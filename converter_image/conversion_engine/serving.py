"""The program of an engine: ``PYTHON -P -m ENGINE_PACKAGE TASK FOLDER``, with the request on standard input.

Limits come first, then the task, then its answer (``TASK.result.json`` in the folder) or the reason why there
is none (``TASK.error.json``, and exit code 1). Lines of progress go to the descriptor that
:data:`~conversion_engine.process.PROGRESS_FD_ENV` names.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from conversion_engine import CONTRACT, wire
from conversion_engine.messages import EngineError, Failure, Reason, Request, Stage, Task
from conversion_engine.process import Process

Work = Callable[[Request, Process], object]
"""From a request to the task's answer.

Raises:
    EngineError: for a reason of the contract.
"""
_DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT)
_MOST_WORDS = 400


def serve(engine: str, tasks: Mapping[Task, Work]) -> NoReturn:
    """Do the task that the command line names, and end the process.

    ``engine`` is its name in messages.
    """
    task, process = Task(sys.argv[1]), Process(Path(sys.argv[2]), Stage.LOAD)

    def work() -> str:
        request = _request(sys.stdin.buffer.read(), engine)
        process.confine(_readable(request), request.memory_limit_bytes)
        return wire.dumped(tasks[task](request, process))

    process.finish(
        task.value,
        work,
        lambda error, at_limit: wire.dumped(failure_of(error, process, engine, at_memory_limit=at_limit)),
        (Exception, KeyboardInterrupt, SystemExit),
    )


def failure_of(
    error: BaseException, process: Process, engine: str, *, at_memory_limit: bool = False
) -> Failure:
    """Return what to say of an exception: its own reason, or what it says of memory, disk or the engine."""
    stage = Stage(process.stage)
    if at_memory_limit or isinstance(error, MemoryError) or _number(error) == errno.ENOMEM:
        return Failure(Reason.OUT_OF_MEMORY, stage, f"the {engine} engine ran out of memory")
    if isinstance(error, EngineError):
        return error.failure
    if _number(error) in _DISK_IS_FULL:
        return Failure(Reason.NO_SPACE, stage, "writing files: the disk is full")
    if isinstance(error, KeyboardInterrupt):
        return Failure(Reason.INTERRUPTED, stage, "stopped by SIGINT")
    words = f"the {engine} engine failed while {process.doing or 'starting'}: {first_line(error)}"
    return Failure(Reason.ENGINE_FAILED, stage, words)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text that says something; its type where there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    text = next(filter(None, lines), type(error).__name__)
    return text if len(text) <= _MOST_WORDS else text[: _MOST_WORDS - 1] + "…"


def _number(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


def _request(content: bytes, engine: str) -> Request:
    contract = wire.contract_of(content)
    if contract != CONTRACT:
        cause = f"the {engine} engine speaks version {CONTRACT} of the contract, the converter {contract}"
        raise EngineError(Reason.ENGINE_TOO_OLD, Stage.LOAD, cause)
    try:
        return wire.read(Request, content)
    except wire.WireError as error:
        cause = f"the {engine} engine cannot read its request: {error}"
        raise EngineError(Reason.ENGINE_FAILED, Stage.LOAD, cause) from error


def _readable(request: Request) -> list[Path]:
    return [Path(request.source), *map(Path, request.readable)] if request.source else []
