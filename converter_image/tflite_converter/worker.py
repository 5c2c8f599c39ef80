"""Runs the TensorFlow child, and makes a readable reason of however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import modelconversion_api
from modelconversion_api.reasons import FailureReason, Stage

from .errors import ConverterError
from .progress import Event, Listener
from .worker_protocol import (
    ERROR_FILE,
    JOB_FILE,
    LOG_FILE,
    PROGRESS_FD_ENV,
    WorkerFailure,
    WorkerJob,
    WorkerProgress,
)

_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
_CGROUP_EVENTS = Path("/sys/fs/cgroup/memory.events")


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
    }


def run_worker(job: WorkerJob, listener: Listener) -> None:
    """Runs ``job`` to its end; its results are then in the job's folder.

    Raises:
        ConverterError: what the child found; OutOfMemory or ConverterCrashed, naming the signal, when the
            child died.

    """
    (job.folder / JOB_FILE).write_text(job.model_dump_json(by_alias=True))
    (job.folder / ERROR_FILE).unlink(missing_ok=True)
    killed_before = _out_of_memory_kills()
    reader, writer = os.pipe()
    with (job.folder / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(
            # -P: the folder with the model's files must not be searched for modules.
            [sys.executable, "-P", "-m", "tflite_converter.tensorflow_worker", str(job.folder)],
            env=child_environment(job.folder, os.environ) | {PROGRESS_FD_ENV: str(writer)},
            cwd=job.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(writer,),
            start_new_session=True,
        )
    os.close(writer)
    stage = Stage.LOAD
    try:
        with os.fdopen(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    progress = WorkerProgress.model_validate_json(line)
                    stage = progress.stage
                    listener(Event(stage, progress.text))
        code = process.wait()
    finally:
        _end(process)
    if code != 0:
        raise _why(job.folder, code, stage, out_of_memory=_out_of_memory_kills() > killed_before)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the child and whatever it started; it has a session, and so a process group, of its own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _why(folder: Path, code: int, stage: Stage, *, out_of_memory: bool) -> ConverterError:
    error = folder / ERROR_FILE
    if code > 0 and error.is_file():
        try:
            found = WorkerFailure.model_validate_json(error.read_text())
        except ValueError:
            pass
        else:
            return ConverterError(found.reason, found.stage, found.cause, hint=found.hint)
    log = _tail(folder / LOG_FILE)
    if code >= 0:
        cause = f"the TensorFlow process ended with exit code {code}: {log or 'without a word'}"
        return ConverterError(FailureReason.CONVERTER_CRASHED, stage, cause)
    name = _signal_name(-code)
    if out_of_memory or "bad_alloc" in log or "Cannot allocate memory" in log:
        cause = f"the TensorFlow process ran out of memory (it ended by {name})"
        return ConverterError(FailureReason.OUT_OF_MEMORY, stage, cause)
    if -code == signal.SIGKILL:
        cause = "the TensorFlow process was killed (SIGKILL), as the kernel does when memory runs out"
        return ConverterError(FailureReason.OUT_OF_MEMORY, stage, cause)
    return ConverterError(FailureReason.CONVERTER_CRASHED, stage, f"the TensorFlow process died of {name}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _out_of_memory_kills() -> int:
    """How often the kernel has killed in this container for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        fields = dict(line.split() for line in _CGROUP_EVENTS.read_text().splitlines())
        return int(fields["oom_kill"])
    return 0


def _tail(log: Path) -> str:
    """The last line of the child's log that says something."""
    with contextlib.suppress(OSError):
        lines = log.read_bytes()[-4096:].decode(errors="replace").splitlines()
        return next((line.strip()[:400] for line in reversed(lines) if line.strip()), "")
    return ""
