"""Runs a child process that touches models, and makes a readable reason of however it ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import modelconversion_api
from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size

from . import machine
from .errors import ConverterError
from .progress import Event, Listener
from .worker_protocol import (
    LOG_FILE,
    PROGRESS_FD_ENV,
    WorkerFailure,
    WorkerProgress,
    error_file,
    job_file,
    result_file,
)

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
_LOOK_SECONDS = 0.2
"""How often memory and silence are looked at while a child runs."""

Result = TypeVar("Result", bound=ApiModel)


@dataclass(frozen=True)
class Program:
    """A module of this package that runs as a child."""

    name: str
    words: str
    """What messages call it, e.g. ``the TensorFlow process``."""

    @property
    def module(self) -> str:
        """What ``python -m`` runs."""
        return f"tflite_converter.{self.name}"


TENSORFLOW = Program("tensorflow_worker", "the TensorFlow process")
LITERT = Program("litert_worker", "the LiteRT process")


@dataclass(frozen=True)
class Watch:
    """When a child is taken for hung, or for a glutton."""

    timeout_seconds: float
    """How long it may say nothing."""
    memory_limit_bytes: int | None
    """How much resident memory it may have; None for what the container or machine has."""


def child_environment(folder: Path, parent: Mapping[str, str]) -> dict[str, str]:
    """The child's environment: a few names of the parent's and our own, so that no secret is among them."""
    packages = [str(Path(__file__).parents[1]), *(str(Path(p).parent) for p in modelconversion_api.__path__)]
    return {name: parent[name] for name in _PASSED_ON if name in parent} | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "KERAS_HOME": str(folder),
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(packages),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        # Its threads would not survive the forks of the LiteRT process, and nothing here multiplies matrices.
        "OPENBLAS_NUM_THREADS": "1",
    }


def run_worker(
    program: Program, job: ApiModel, result: type[Result], folder: Path, watch: Watch, listener: Listener
) -> Result:
    """Runs ``program`` on ``job`` to its end; its files are then in ``folder``.

    Raises:
        ConverterError: what the child found; OutOfMemory, ConverterTimedOut, or ConverterCrashed naming the
            signal, when the child did not end by itself.

    """
    (folder / job_file(program.name)).write_text(job.model_dump_json(by_alias=True))
    for leftover in (error_file(program.name), result_file(program.name)):
        (folder / leftover).unlink(missing_ok=True)
    kills_before = machine.out_of_memory_kills()
    stage = Stage.LOAD
    with _started(program, folder) as (process, progress):
        for message in _messages(program, process, progress, watch):
            stage = message.stage
            listener(Event(stage, message.text, message.fraction, warning=message.warning))
        code = process.wait()
    if code != 0:
        killed = machine.out_of_memory_kills() > kills_before
        raise _why(program, folder, code, stage, out_of_memory=killed)
    return result.model_validate_json((folder / result_file(program.name)).read_bytes())


@contextlib.contextmanager
def _started(program: Program, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The child and the reading end of its progress pipe; afterwards neither is left."""
    reader, writer = os.pipe()
    try:
        with (folder / LOG_FILE).open("ab") as log:
            process = subprocess.Popen(
                # -P: the folder with the model's files must not be searched for modules.
                [sys.executable, "-P", "-m", program.module, str(folder)],
                env=child_environment(folder, os.environ) | {PROGRESS_FD_ENV: str(writer)},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                start_new_session=True,
            )
        os.close(writer)
        try:
            yield process, reader
        finally:
            _end(process)
    finally:
        os.close(reader)


def _messages(
    program: Program, process: subprocess.Popen[bytes], pipe: int, watch: Watch
) -> Iterator[WorkerProgress]:
    """What the child says until it closes the pipe, while its memory and its silences are watched.

    Raises:
        ConverterError: OutOfMemory, ConverterTimedOut.

    """
    limit = watch.memory_limit_bytes or machine.memory_limit_bytes()
    heard, doing, stage, rest = time.monotonic(), "starting", Stage.LOAD, b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if selector.select(_LOOK_SECONDS):
                received = os.read(pipe, 1 << 16)
                if not received:
                    return
                heard = time.monotonic()
                *lines, rest = (rest + received).split(b"\n")
                for line in lines:
                    with contextlib.suppress(ValueError):
                        message = WorkerProgress.model_validate_json(line)
                        doing, stage = message.text, message.stage
                        yield message
            if limit is not None and (used := machine.resident_bytes(process.pid)) > limit:
                cause = (
                    f"{program.words} took {human_size(used)} of memory while {doing}, "
                    f"more than the {human_size(limit)} that it may"
                )
                raise ConverterError(FailureReason.OUT_OF_MEMORY, stage, cause)
            if (silent := time.monotonic() - heard) > watch.timeout_seconds:
                cause = f"{program.words} has said nothing for {silent:.0f} s while {doing}"
                raise ConverterError(FailureReason.CONVERTER_TIMED_OUT, stage, cause)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the child and whatever it started; it has a session, and so a process group, of its own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _why(program: Program, folder: Path, code: int, stage: Stage, *, out_of_memory: bool) -> ConverterError:
    error = folder / error_file(program.name)
    if code > 0 and error.is_file():
        try:
            found = WorkerFailure.model_validate_json(error.read_bytes())
        except ValueError:
            pass
        else:
            return ConverterError(found.reason, found.stage, found.cause, hint=found.hint)
    log = _tail(folder / LOG_FILE)
    if code >= 0:
        cause = f"{program.words} ended with exit code {code}: {log or 'without a word'}"
        return ConverterError(FailureReason.CONVERTER_CRASHED, stage, cause)
    reason, cause = death(program.words, -code, out_of_memory=out_of_memory, log=log)
    return ConverterError(reason, stage, cause)


def death(words: str, number: int, *, out_of_memory: bool, log: str = "") -> tuple[FailureReason, str]:
    """The reason and words for a process that signal ``number`` ended."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    if out_of_memory or "bad_alloc" in log or "Cannot allocate memory" in log:
        return FailureReason.OUT_OF_MEMORY, f"{words} ran out of memory (it ended by {name})"
    if number == signal.SIGKILL:
        return (
            FailureReason.OUT_OF_MEMORY,
            f"{words} was killed (SIGKILL), as the kernel does when memory runs out",
        )
    return FailureReason.CONVERTER_CRASHED, f"{words} died of {name}"


def _tail(log: Path) -> str:
    """The last line of the child's log that says something."""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[-4096:].decode(errors="replace").splitlines()
        return next((line.strip()[:400] for line in reversed(lines) if line.strip()), "")
    return ""
