"""Runs a child process that touches models, and makes a readable reason of however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, TypeVar

from conversion_engine.files import error_file, result_file
from conversion_engine.process import SPEECHLESS_EXIT_CODE
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size, printable
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.files.untrusted import open_regular
from tflite_converter.isolation import machine
from tflite_converter.isolation.bytecode import compile_imports
from tflite_converter.isolation.protocol import Preparation, WorkerFailure, WorkerProgress
from tflite_converter.isolation.starting import Launch, Started, child_environment, kill_group, started
from tflite_converter.progress import Event, Listener

_LOOK_SECONDS = 0.05
"""How often memory, silence and the child's end are looked at while it runs."""
_MOST_RESULT_BYTES = 64 << 20
"""A child's answer beyond this is none: real ones have a megabyte at most."""
_MOST_LINE_BYTES = 1 << 16
_TAIL_BYTES = 1 << 14
_SHORT_OF_MEMORY = re.compile(r"bad_alloc|[Cc]annot allocate memory|MemoryError|pthread_create\(\) failed")
"""What a child's output says of an allocation that failed; a thread needs memory for its stack."""
_NEARLY = 0.75
"""A crash of a process that had this share of the data that it may is an allocation that failed: much native
code goes on with the null pointer that it got. The rest is what it can take between two looks."""
_CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV})
_LAST_WORDS = re.compile(r"Check failed: .+|what\(\): .+|Assertion .+ failed")
"""What native code says before it aborts."""

Result = TypeVar("Result", bound=ApiModel)


@dataclass(frozen=True)
class Program:
    """A module of this package that runs as a child."""

    name: str
    """Prefix of the files that it leaves."""
    module: str
    """The module that ``python -m`` runs."""
    words: str
    """Name in messages, e.g. ``the TensorFlow process``."""
    packages: tuple[str, ...] = ()
    """Packages that take long to start where they are not compiled."""


DEFAULT_SILENCE_SECONDS: Final = 1800
"""How long a child may say nothing before it is taken for hung, unless the user says otherwise."""


@dataclass(frozen=True)
class Watch:
    """When a child is taken for hung, or for a glutton."""

    timeout_seconds: float
    """How long it may say nothing."""
    memory_limit_bytes: int | None
    """How much resident memory it may have; None for what the container or machine has."""
    most_seconds: float | None = None
    """How long it may take in all; None for as long as it speaks."""


def run_worker(
    program: Program,
    job: ApiModel,
    result: type[Result],
    folder: Path,
    watch: Watch,
    listener: Listener,
    begun: Started | None = None,
) -> Result:
    """Run ``program`` on ``job`` to its end; its files are then in ``folder``, as :func:`run_child` says.

    ``begun`` is the program where :func:`begin` has started it already, in the same folder.

    Raises:
        ConverterError: what :func:`run_child` raises; ConverterCrashed where the child left no result that
            can be read.

    """
    request = job.model_dump_json(by_alias=True).encode()
    if begun is None:
        stage = run_child(_launch(program, folder, listener, request), folder, watch, listener)
    else:
        begun.give(request)
        stage = _followed(begun, folder, watch, listener)
    answer = left_by_child(folder / result_file(program.name), result, stage)
    if answer is None:
        cause = f"{program.words} ended without a result that can be read"
        raise ConverterError(FailureReason.CONVERTER_CRASHED, stage, cause)
    return answer


@contextlib.contextmanager
def begin(program: Program, preparation: Preparation, folder: Path, listener: Listener) -> Iterator[Started]:
    """Start ``program`` before its job is known, and end it with the block.

    It confines itself to what ``preparation`` says, imports what it needs, and waits for :func:`run_worker`.
    """
    launch = _launch(program, folder, listener, None, preparation.model_dump_json(by_alias=True))
    with started(launch, folder) as child:
        yield child


def _launch(
    program: Program, folder: Path, listener: Listener, request: bytes | None, *arguments: str
) -> Launch:
    compile_imports(
        program.packages,
        child_environment(folder.parent, os.environ),
        lambda text: listener(Event(Stage.LOAD, text, warning=True)),
    )
    return Launch(
        program.name,
        program.words,
        # -P: the folder with the model's files must not be searched for modules.
        (sys.executable, "-P", "-m", program.module, str(folder), *arguments),
        child_environment(folder, os.environ),
        request,
    )


def run_child(launch: Launch, folder: Path, watch: Watch, listener: Listener) -> Stage:
    """Run a child to its good end; return the stage that it was in. Its files are then in ``folder``.

    Nothing in ``folder`` is believed, and nothing is written there: code that came with a model may have put
    links in the place of files. Its parent folder is for the job and the child's output, out of reach.

    Raises:
        ConverterError: what the child found; OutOfMemory, ConverterTimedOut, or what ``launch`` calls a
            crash, naming the signal, when the child did not end by itself.

    """
    with started(launch, folder) as child:
        return _followed(child, folder, watch, listener)


def _followed(child: Started, folder: Path, watch: Watch, listener: Listener) -> Stage:
    """Hear a child to its good end, as :func:`run_child` says."""
    launch, process, stage, seen = child.launch, child.process, Stage.LOAD, _Seen()
    for message in _messages(launch, process, child.progress, watch, seen):
        stage = message.stage
        listener(Event(stage, printable(message.text), message.fraction, warning=message.warning))
    child.end()
    if process.returncode != 0:
        short = machine.out_of_memory_kills() > child.kills_before or (
            seen.share_of_data_limit >= _NEARLY
            and (process.returncode > 0 or -process.returncode in _CRASHES)
        )
        raise _why(launch, folder, process.returncode, stage, tail(child.log), out_of_memory=short)
    return stage


@dataclass
class _Seen:
    """What was seen of a child while it ran."""

    share_of_data_limit: float = 0.0
    """The largest, of 1.0."""


def _messages(
    launch: Launch, process: subprocess.Popen[bytes], pipe: int, watch: Watch, seen: _Seen
) -> Iterator[WorkerProgress]:
    """Yield the child's messages until it ends, and watch its memory and its silences.

    Raises:
        ConverterError: OutOfMemory, ConverterTimedOut.

    """
    limit = watch.memory_limit_bytes or machine.memory_limit_bytes()
    started = last_heard = time.monotonic()
    doing, stage, rest = "starting", Stage.LOAD, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if ended := _has_ended(process):
                kill_group(process)  # what it has said is in the pipe; nobody is to say more
            seen.share_of_data_limit = max(seen.share_of_data_limit, machine.share_of_data_limit(process.pid))
            received = b""
            if selector.select(0 if ended else _LOOK_SECONDS):
                received = os.read(pipe, 1 << 16)
                if received:
                    last_heard = time.monotonic()
                    *lines, rest = (rest + received).split(b"\n")
                    rest = rest[-_MOST_LINE_BYTES:]
                    for line in lines:
                        with contextlib.suppress(ValueError):
                            message = WorkerProgress.model_validate_json(line)
                            doing, stage = message.text, message.stage
                            yield message
                else:
                    selector.unregister(pipe)  # it speaks no more, but may still have work to do
            if ended and not received:
                return
            why = _short_of_memory(launch, process, limit, doing) or _out_of_time(
                launch, watch, time.monotonic() - started, time.monotonic() - last_heard, doing
            )
            if why is not None:
                raise ConverterError(why[0], stage, why[1])


def _short_of_memory(
    launch: Launch, process: subprocess.Popen[bytes], limit: int | None, doing: str
) -> tuple[FailureReason, str] | None:
    """Say that the child has more memory than ``limit`` bytes; None where it has not."""
    if limit is None or (used := machine.resident_bytes(process.pid)) <= limit:
        return None
    cause = (
        f"{launch.words} took {human_size(used)} of memory while {printable(doing)}, "
        f"more than the {human_size(limit)} that it may"
    )
    return FailureReason.OUT_OF_MEMORY, cause


def _out_of_time(
    launch: Launch, watch: Watch, taken: float, silent: float, doing: str
) -> tuple[FailureReason, str] | None:
    """Say that the child has been silent, or at work, for too many seconds; None where it has not."""
    if silent > watch.timeout_seconds:
        cause = f"{launch.words} has said nothing for {silent:.0f} s while {printable(doing)}"
    elif watch.most_seconds is not None and taken > watch.most_seconds:
        cause = f"{launch.words} was not done after {taken:.0f} s, while {printable(doing)}"
    else:
        return None
    return FailureReason.CONVERTER_TIMED_OUT, cause


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the child is there no more; its id stays taken until it is waited for."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _why(
    launch: Launch, folder: Path, code: int, stage: Stage, log: str, *, out_of_memory: bool
) -> ConverterError:
    failure = left_by_child(folder / error_file(launch.name), WorkerFailure, stage) if code > 0 else None
    if failure is not None:
        hint = None if failure.hint is None else printable(failure.hint)
        return ConverterError(failure.reason, failure.stage, printable(failure.cause), hint=hint)
    if code == SPEECHLESS_EXIT_CODE or (code > 0 and (out_of_memory or _SHORT_OF_MEMORY.search(log))):
        return ConverterError(FailureReason.OUT_OF_MEMORY, stage, f"{launch.words} ran out of memory")
    if code >= 0:
        cause = f"{launch.words} ended with exit code {code}: {_last_line(log) or 'without a word'}"
        return ConverterError(launch.crashed, stage, cause)
    reason, cause = death(launch.words, -code, out_of_memory=out_of_memory, log=log)
    return ConverterError(
        launch.crashed if reason is FailureReason.CONVERTER_CRASHED else reason, stage, cause
    )


def left_by_child(path: Path, kind: type[Result], stage: Stage) -> Result | None:
    """Read the message that a child left at ``path``; None where it is not a valid one."""
    try:
        with open_regular(path, _MOST_RESULT_BYTES, stage) as stream:
            return kind.model_validate_json(stream.read())
    except (ConverterError, ValueError):
        return None  # not said why: a validation error repeats what was read


def death(words: str, number: int, *, out_of_memory: bool, log: str = "") -> tuple[FailureReason, str]:
    """Return the reason and words for a process that signal ``number`` ended."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if out_of_memory or _SHORT_OF_MEMORY.search(log):
        return FailureReason.OUT_OF_MEMORY, f"{words} ran out of memory (it ended by {name})"
    if number == signal.SIGKILL:
        return (
            FailureReason.OUT_OF_MEMORY,
            f"{words} was killed (SIGKILL), as the kernel does when memory runs out",
        )
    last = _LAST_WORDS.search(log)
    said = f": {quoted(printable(last[0]))}" if last else ""
    return FailureReason.CONVERTER_CRASHED, f"{words} died of {name}{said}"


def tail(log: IO[bytes]) -> str:
    """Return the end of a child's output."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _TAIL_BYTES))
    return log.read().decode(errors="replace")


def _last_line(text: str) -> str:
    """Return the last line that says something."""
    return quoted("\n".join(map(printable, reversed(text.splitlines()))))
