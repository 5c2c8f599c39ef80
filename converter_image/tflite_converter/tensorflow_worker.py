"""The child process: the only place where TensorFlow and the model's own code run.

``python -m tflite_converter.tensorflow_worker FOLDER`` reads ``FOLDER/job.json``, writes its files beside it
and ends with ``result.json`` or ``error.json``. Whatever else ends it, the parent sees.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import resource
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from modelconversion_api.reasons import Stage
from modelconversion_api.status import TensorInfo

from .arrays import Array
from .datasets import Dataset, bind, random_inputs
from .errors import ConverterError
from .tensorflow_errors import classify
from .worker_protocol import (
    ERROR_FILE,
    FLOAT_FILE,
    FROZEN_FOLDER,
    INT8_FILE,
    JOB_FILE,
    PROGRESS_FD_ENV,
    REFERENCE_FILE,
    RESULT_FILE,
    WorkerFailure,
    WorkerJob,
    WorkerProgress,
    WorkerResult,
)

_PR_SET_PDEATHSIG = 1
_NEARLY = 0.8
"""Part of the memory limit from which on a failure is taken for want of memory."""


def main() -> None:
    """Does the job in the folder given as the only argument."""
    _die_with_parent()
    folder = Path(sys.argv[1])
    job = WorkerJob.model_validate_json((folder / JOB_FILE).read_text())
    if job.memory_limit_bytes is not None:
        # Data, not address space: TensorFlow reserves far more addresses than it uses memory.
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit_bytes, job.memory_limit_bytes))
    run = _Run(job)
    try:
        if job.task == "float":
            (folder / RESULT_FILE).write_text(run.make_float().model_dump_json())
        else:
            run.make_int8()
    except Exception as error:
        traceback.print_exc()
        failure = classify(error, run.stage, at_memory_limit=_at_memory_limit(job.memory_limit_bytes))
        written = WorkerFailure(
            reason=failure.reason, stage=failure.stage, cause=failure.cause, hint=failure.hint
        )
        (folder / ERROR_FILE).write_text(written.model_dump_json())
        sys.stderr.flush()
        os._exit(1)
    # TensorFlow's threads and destructors have nothing left to do that is worth waiting for.
    sys.stderr.flush()
    os._exit(0)


class _Run:
    """The steps of one job, and which of them is under way."""

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._seconds: dict[Stage, float] = {}
        self.stage = Stage.LOAD

    def make_float(self) -> WorkerResult:
        job = self._job
        self._begin(Stage.LOAD, "starting TensorFlow")
        started = time.monotonic()
        # Describes the file before TensorFlow is imported: a bad one is refused within a second.
        if job.format.value != "SavedModel":
            from .keras_files import describe

            describe(job.source, job.format)
        from .tensorflow_freezing import convert_float, freeze, pinned, run_original
        from .tensorflow_models import load_model

        self._begin(Stage.LOAD, "loading the model")
        model = load_model(job.source, job.format, job.folder)
        if job.calibration is not None:
            # Only a check: data that does not fit must not cost a conversion first.
            _samples(job.calibration, job.calibration_name, list(model.inputs), Stage.CALIBRATE)
        evaluation = self._evaluation(list(model.inputs))
        started = self._timed(Stage.LOAD, started)

        self._begin(Stage.CONVERT, "freezing the graph")
        outputs = freeze(model, job.folder / FROZEN_FOLDER)
        self._begin(Stage.CONVERT, "writing the float file")
        (job.folder / FLOAT_FILE).write_bytes(convert_float(job.folder / FROZEN_FOLDER))
        started = self._timed(Stage.CONVERT, started)

        self._begin(Stage.EVALUATE, "running the original model")
        np.savez(job.folder / REFERENCE_FILE, allow_pickle=False, **run_original(model, evaluation))
        self._timed(Stage.EVALUATE, started)
        return WorkerResult(
            inputs=pinned(model.inputs),
            outputs=outputs,
            writer=model.writer,
            seconds=self._seconds,
            tool_versions=_versions(),
        )

    def make_int8(self) -> None:
        from .tensorflow_freezing import convert_int8

        self._begin(Stage.QUANTIZE, "converting to int8 with TensorFlow's own quantizer")
        assert self._job.calibration is not None  # noqa: S101 - the parent never asks for int8 without
        with np.load(self._job.calibration, allow_pickle=False) as archive:
            samples = {name: archive[name] for name in archive.files}
        (self._job.folder / INT8_FILE).write_bytes(convert_int8(self._job.folder / FROZEN_FOLDER, samples))

    def _evaluation(self, inputs: list[TensorInfo]) -> dict[str, Array]:
        if self._job.evaluation is None:
            return random_inputs(inputs, self._job.random_samples, self._job.seed)
        return _samples(self._job.evaluation, self._job.evaluation_name, inputs, Stage.EVALUATE)

    def _begin(self, stage: Stage, text: str) -> None:
        self.stage = stage
        if fd := os.environ.get(PROGRESS_FD_ENV):
            os.write(int(fd), (WorkerProgress(stage=stage, text=text).model_dump_json() + "\n").encode())

    def _timed(self, stage: Stage, started: float) -> float:
        now = time.monotonic()
        self._seconds[stage] = now - started
        return now


def _samples(path: Path, name: str, inputs: list[TensorInfo], stage: Stage) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    return bind(Dataset(name, "", arrays), inputs, stage)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("tensorflow", "tensorflow-cpu", "keras", "tf-keras"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _at_memory_limit(limit_bytes: int | None) -> bool:
    """Whether this process has taken nearly all the data that it may.

    An allocation that fails inside a library can come up as anything: a SystemError, a file that "cannot be
    read", an import that finds nothing.
    """
    if limit_bytes is None:
        return False
    status = Path("/proc/self/status").read_text()
    (data,) = re.findall(r"^VmData:\s*(\d+) kB$", status, re.MULTILINE)
    return int(data) * 1024 > _NEARLY * limit_bytes


def _die_with_parent() -> None:
    """Asks the kernel to end this process with its parent, also when the parent is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    try:
        main()
    except ConverterError as error:
        raise SystemExit(error.message) from error
