"""Runs work in forks of this process, so that whatever it does to itself stays there.

A fork has every import already and costs milliseconds. What it found comes back as a file.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Generic, NoReturn, TypeVar

from conversion_engine.process import ends_with_its_parent
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason
from tflite_converter.errors import ConverterError, reason_of
from tflite_converter.isolation import machine
from tflite_converter.isolation.child import Child, failure_of
from tflite_converter.isolation.parent import death, left_by_child, tail
from tflite_converter.isolation.protocol import WorkerFailure

_FAILED = 1
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
_LOOK_SECONDS = 0.005
"""How often several forks are looked at."""

Found = TypeVar("Found", bound=ApiModel)


@dataclass(frozen=True)
class Task(Generic[Found]):
    """Work for a fork of its own."""

    name: str
    """What it does, e.g. ``measuring float32``."""
    result_type: type[Found]
    work: Callable[[], Found]
    lane: str | None = None
    """Of tasks in the same lane one runs at a time, in their order; None for any time."""
    most_seconds: float | None = None
    """How long it may take, even in native code that never comes back; None for as long as the parent bears
    it."""


@dataclass(frozen=True)
class Ended(Generic[Found]):
    """What became of a task."""

    answer: Found | WorkerFailure
    """What it found, or why it found nothing, by exception, signal or time."""
    seconds: float


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

    The parameters are those of :class:`Task`.
    """
    task = Task(name, result_type, work, most_seconds=most_seconds)
    (ended,) = forked_beside(child, words, [task], 1)
    return ended.answer


def forked_beside(
    child: Child, words: str, tasks: Sequence[Task[Found]], most: int
) -> tuple[Ended[Found], ...]:
    """Run each task in a fork of this process, at most ``most`` at once; return what became of each.

    An interruption ends them all. ``words`` are the process's name in messages.
    """
    waiting = list(enumerate(tasks))
    running: dict[int, _Fork[Found]] = {}
    ended: dict[int, Ended[Found]] = {}
    try:
        while waiting or running:
            chosen = _next(waiting, running.values()) if len(running) < most else None
            if chosen is not None:
                waiting.remove(chosen)
                _start(child, words, *chosen, running)
            else:
                pid, code = _first_to_end(running)
                fork = running.pop(pid)
                ended[fork.place] = fork.ended(code)
    except BaseException:
        for pid in running:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # its end was just noted
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        raise
    return tuple(ended[place] for place in range(len(tasks)))


def _first_to_end(pids: Collection[int]) -> tuple[int, int]:
    """Wait until one of the processes ends; return it with its exit code.

    Others that this process may have are not waited for: they belong to whoever started them.
    """
    while True:
        for pid in pids:
            ended, status = os.waitpid(pid, 0 if len(pids) == 1 else os.WNOHANG)
            if ended:
                return pid, os.waitstatus_to_exitcode(status)
        time.sleep(_LOOK_SECONDS)


def _next(
    waiting: list[tuple[int, Task[Found]]], running: Iterable[_Fork[Found]]
) -> tuple[int, Task[Found]] | None:
    """Return the first task whose lane is free; None where there is none."""
    taken = {fork.task.lane for fork in running} - {None}
    return next((pair for pair in waiting if pair[1].lane not in taken), None)


def _start(child: Child, words: str, place: int, task: Task[Found], running: dict[int, _Fork[Found]]) -> None:
    """Fork for ``task``, and note the fork in ``running``."""
    # Without a name, so that nothing that runs in a fork can put a link in its place.
    log = tempfile.TemporaryFile(dir=child.folder)  # noqa: SIM115 - open until the fork has ended
    fork = _Fork(child, words, place, task, log)
    fork.path.unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    # An interruption during the fork itself would be lost, or would leave the fork at work.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTIONS)
    pid = os.fork()
    if pid == 0:
        _run(fork, mask)
    running[pid] = fork
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@dataclass(frozen=True)
class _Fork(Generic[Found]):
    """A task that is under way."""

    child: Child
    words: str
    place: int
    """Which of the tasks it is."""
    task: Task[Found]
    log: IO[bytes]
    """What it prints."""
    parent: int = field(default_factory=os.getpid)
    kills_before: int = field(default_factory=machine.out_of_memory_kills)
    started: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The file with what it found. Forks have forks of their own in the same folder."""
        return self.child.folder / f"fork-{self.parent}-{self.place}.json"

    def ended(self, code: int) -> Ended[Found]:
        """Read what it left, once it has ended with ``code``; below zero, by a signal."""
        with self.log:
            return Ended(self._answer(code), time.monotonic() - self.started)

    def _answer(self, code: int) -> Found | WorkerFailure:
        name, stage, most = self.task.name, self.child.stage, self.task.most_seconds
        if code == -signal.SIGALRM and most is not None:
            cause = f"{self.words} was not done after {most:.0f} s, while {name}"
            return WorkerFailure(reason=FailureReason.CONVERTER_TIMED_OUT, stage=stage, cause=cause)
        if code < 0:
            killed = machine.out_of_memory_kills() > self.kills_before
            reason, cause = death(self.words, -code, out_of_memory=killed, log=tail(self.log))
            return WorkerFailure(reason=reason, stage=stage, cause=f"{cause} while {name}")
        result: Found | WorkerFailure | None
        if code == _FAILED:
            result = left_by_child(self.path, WorkerFailure, stage)
        else:
            result = left_by_child(self.path, self.task.result_type, stage)
        if result is not None:
            return result
        cause = f"{self.words} ended without a result that can be read while {name}"
        return WorkerFailure(reason=FailureReason.CONVERTER_CRASHED, stage=stage, cause=cause)


def _run(fork: _Fork[Found], mask: set[int]) -> NoReturn:
    """In the fork: never returns, and never runs what its parent has yet to do."""
    code = 0
    child = fork.child
    try:
        ends_with_its_parent()
        for standard in (1, 2):
            os.dup2(fork.log.fileno(), standard)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if fork.task.most_seconds is not None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends it, whatever it is at
            signal.setitimer(signal.ITIMER_REAL, fork.task.most_seconds)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            result: ApiModel = fork.task.work()
        except ConverterError as error:
            result, code = failure_of(error), _FAILED
        except (Exception, KeyboardInterrupt) as error:
            at_limit = child.at_memory_limit()
            child.may_finish()
            traceback.print_exc()
            failure = reason_of(error, child.stage, fork.words, at_memory_limit=at_limit)
            result, code = failure_of(failure), _FAILED
        fork.path.write_text(result.model_dump_json(by_alias=True))
        sys.stderr.flush()
    except BaseException:
        code = 2
    finally:
        os._exit(code)
