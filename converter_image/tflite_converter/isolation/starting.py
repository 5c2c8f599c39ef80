"""Starts a child process that touches models: its environment, what it is told, and its end."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from conversion_engine.process import PROGRESS_FD_ENV
from modelconversion_api.reasons import FailureReason
from tflite_converter.isolation import machine
from tflite_converter.isolation.child import JOB_FD_ENV, MOMENT, our_packages

_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"),
    "VK_DRIVER_FILES",
)


@dataclass(frozen=True)
class Launch:
    """How a child is started, and what is said of it."""

    name: str
    """Prefix of the files that it leaves."""
    words: str
    """Name in messages."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    request: bytes | None
    """What is on its standard input; None for a job that is given later."""
    crashed: FailureReason = FailureReason.CONVERTER_CRASHED
    """What it is when the child ends without saying why."""


def passed_on(folder: Path, parent: Mapping[str, str]) -> dict[str, str]:
    """Return what every child's environment has: a few names of the parent's, and so no secret."""
    return {name: parent[name] for name in _PASSED_ON if name in parent} | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def child_environment(folder: Path, parent: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child that is a program of this package."""
    return passed_on(folder, parent) | {
        "KERAS_HOME": str(folder),
        "KERAS_BACKEND": "tensorflow",
        "PYTHONPATH": os.pathsep.join(map(str, our_packages())),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
        # Its threads would not survive the forks of the LiteRT process, and nothing here multiplies matrices.
        "OPENBLAS_NUM_THREADS": "1",
    }


@dataclass
class Started:
    """A child that runs."""

    launch: Launch
    process: subprocess.Popen[bytes]
    progress: int
    """The reading end of its progress pipe."""
    log: IO[bytes]
    """What it prints."""
    kills_before: int
    """How often the kernel had killed for want of memory when it was started."""
    _request: IO[bytes]
    """Its standard input."""
    _waiting: int | None = None
    """The writing end of the pipe on which it waits for its job; None where it does not."""

    def give(self, request: bytes) -> None:
        """Hand over the job that the child waits for."""
        if self._waiting is None:
            raise ValueError(f"{self.launch.words} has its job already")
        self._request.write(request)
        self._request.seek(0)
        with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
            os.write(self._waiting, struct.pack(MOMENT, time.monotonic()))
        self._waiting = None

    def spare_bytes(self) -> int:
        """Return how much less memory it has now than it had at most."""
        return machine.spare_bytes(self.process.pid)

    def end(self) -> None:
        """End the child and all that it has started: none can leave its process group."""
        if self.process.returncode is None:  # afterwards its number can be another's
            kill_group(self.process)
            self.process.wait()


@contextlib.contextmanager
def started(launch: Launch, folder: Path) -> Iterator[Started]:
    """Start a child, and end it with the block. Its output is in a file beside ``folder``, without a name."""
    kills_before = machine.out_of_memory_kills()
    with (
        tempfile.TemporaryFile(dir=folder.parent) as log,
        tempfile.TemporaryFile(dir=folder.parent) as request,
        contextlib.ExitStack() as ours,
    ):
        waiting = None
        with contextlib.ExitStack() as theirs:
            progress, speaking = os.pipe()
            ours.callback(os.close, progress)
            theirs.callback(os.close, speaking)
            passed = {PROGRESS_FD_ENV: speaking}
            if launch.request is None:
                hearing, waiting = os.pipe()
                ours.callback(os.close, waiting)
                theirs.callback(os.close, hearing)
                passed[JOB_FD_ENV] = hearing
            else:
                request.write(launch.request)
                request.seek(0)
            process = subprocess.Popen(
                launch.command,
                env={**launch.environment, **{name: str(end) for name, end in passed.items()}},
                cwd=folder,
                stdin=request,
                stdout=log,
                stderr=log,
                pass_fds=tuple(passed.values()),
                start_new_session=True,
            )
        child = Started(launch, process, progress, log, kills_before, request, waiting)
        try:
            yield child
        finally:
            child.end()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a child and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
