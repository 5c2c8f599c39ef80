"""``job-board-measure``: runs the published files on this node, each in a process of its own.

Its container has no credentials.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.boards import (
    BOARD_SAMPLES_FILE,
    BOARD_SECONDS_ENV,
    NODE_ENV,
    Accelerator,
    Board,
)
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardFileReport, BoardReport, FileProfile, OperatorTime, Taken
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport, StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Benchmark
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.isolation.board_machine import look, machine_between
from tflite_converter.isolation.isolated import run_isolated
from tflite_converter.job.board import BoardRun, board_of, fetched_report, files_on
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.measuring.board_samples import read_board_samples
from tflite_converter.measuring.evaluation import Request, evaluate
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.profile import profile
from tflite_converter.verifying.accelerators import ON_BOARD, AcceleratedLoad
from tflite_converter.verifying.drivers import devices_of, readable_for

_logger = logging.getLogger(__name__)

_RUNTIME: Final = "ai-edge-litert"
_OF_DEADLINE: Final = 0.9
"""Part of the Job's time that is for its files; the rest is for what comes before and after them."""
_MORE_TIME: Final = (
    "raise timeoutSeconds of the board, or job.activeDeadlineSeconds, which the files share; or lower runs"
)
_NO_FILE: Final = "no file of it was compiled for the Edge TPU"


class Measured(ApiModel):
    """What the process of one file found."""

    artifact: ArtifactReport
    taken: Taken


@dataclass(frozen=True, slots=True)
class SharedTime:
    """The time that the files of a board share."""

    deadline: float
    """By the clock that only goes forward, in seconds."""

    @classmethod
    def of(cls, environment: Mapping[str, str], now: float) -> SharedTime:
        """Return the time of this Job, which has just begun."""
        return cls(now + _OF_DEADLINE * float(environment.get(BOARD_SECONDS_ENV, "inf")))

    def share(self, board: Board, files_left: int, now: float) -> float:
        """Return the seconds of the next of so many files: what is left is shared alike, but has a limit."""
        return max(1.0, min(board.timeout_seconds, (self.deadline - now) / files_left))


def measure_on_board(job: JobEnvironment) -> StageResult:
    """Run each published file here, and write what it gave into the output folder.

    A file that does not run is a row without figures; the others are measured all the same.

    Raises:
        ConverterError: AcceleratorNotFound where the board has not what it was asked for; InternalError where
            ``fetch`` has left nothing that can be read.

    """
    board, report = board_of(job.request), fetched_report(job, Stage.MEASURE)
    shared = SharedTime.of(os.environ, time.monotonic())
    before, files = look(), files_on(board, report)

    def seconds(place: int) -> float:
        return shared.share(board, len(files) - place, time.monotonic())

    found = [_measured(job, board, report, run, partial(seconds, place)) for place, run in enumerate(files)]
    taken = next((each for _, each in found if each.device), Taken())
    runtime = f"LiteRT {importlib.metadata.version(_RUNTIME)}"
    machine = machine_between(before, look(), os.environ.get(NODE_ENV, ""), _with(runtime, taken))
    measured = BoardReport(
        board=board.name,
        accelerator=board.accelerator,
        machine=machine.changed(is_software=taken.is_software),
        run=job.request.run,
        settings=board,
        samples=report.board_samples.samples if report.board_samples else 0,
        files=tuple(file for file, _ in found),
    )
    job.output.mkdir(parents=True, exist_ok=True)
    (job.output / f"{board.name}.json").write_text(measured.to_json())
    return StageResult()


def _with(runtime: str, taken: Taken) -> str:
    software = ", a software driver" if taken.is_software else ""
    return f"{runtime} on {taken.device}{software}" if taken.device else runtime


def _measured(
    job: JobEnvironment,
    board: Board,
    report: ConversionReport,
    run: BoardRun,
    seconds: Callable[[], float],
) -> tuple[BoardFileReport, Taken]:
    artifact, path, samples = run.artifact, job.input / run.file_name, job.input / BOARD_SAMPLES_FILE
    known = {"method": artifact.method, "recipe_name": artifact.recipe_name}
    known |= {"file_name": run.file_name, "sha256": run.stored.sha256}
    if not run.fits:
        return BoardFileReport(
            **known, passed=False, reason=FailureReason.NOTHING_MAPPED, message=_NO_FILE
        ), Taken()
    work = partial(_evaluated, path, samples, report, job.request, board, artifact)
    readable = [path, samples, *readable_for(board.accelerator, os.environ)]
    try:
        found = run_isolated(
            f"measuring {path.name}",
            Measured,
            readable,
            work,
            devices=devices_of(board.accelerator),
            most_seconds=seconds(),
        )
    except ConverterError as error:
        if error.reason is FailureReason.ACCELERATOR_NOT_FOUND:
            raise
        _logger.warning("%s: %s", path.name, error.message)
        return BoardFileReport(**known, passed=False, reason=error.reason, message=_words(error)), Taken()
    # A file that LiteRT alone cannot run misses no gate where there is none, and still has not run.
    figures, latency = found.artifact, found.artifact.latency
    passed = figures.passed and latency is not None
    if latency is not None:
        _logger.info(
            "%s: median %.4f ms, agreement %.4f", path.name, latency.median_millis, figures.agreement or 0.0
        )
    performance, taken = figures.performance, _of_compiler(found.taken, artifact, board)
    return BoardFileReport(
        **known,
        accelerated_operators=taken.accelerated_operators,
        fallback_operators=taken.fallback_operators,
        fallbacks=taken.fallbacks,
        operators=_profiled(path, samples, report, board, seconds()) if board.profile and passed else (),
        latency=latency,
        performance=performance,
        peak_memory_bytes=performance.peak_memory_bytes if performance else None,
        agreement=figures.agreement,
        accuracy=figures.accuracy,
        passed=passed,
        reason=FailureReason.EVALUATION_FAILED if latency is None else None,
        message=None if passed else figures.message,
    ), taken


def _words(error: ConverterError) -> str:
    """Return why a file has no figures; what to do about it where that is the board's and not the file's."""
    if error.reason is FailureReason.CONVERTER_TIMED_OUT:
        return f"{error.cause}: {_MORE_TIME}"
    return error.cause


def _of_compiler(taken: Taken, artifact: ArtifactReport, board: Board) -> Taken:
    """Return what was taken in operators of the model: the Edge TPU's compiler has made one of many."""
    if board.accelerator is not Accelerator.EDGE_TPU or (figures := artifact.edge_tpu) is None:
        return taken
    mapped = figures.mapped_operators
    return taken.changed(accelerated_operators=mapped, fallback_operators=figures.operators - mapped)


def _profiled(
    path: Path, samples: Path, report: ConversionReport, board: Board, seconds: float
) -> tuple[OperatorTime, ...]:
    """Time each operator; none, and a line in the log, where that cannot be done."""

    def work() -> FileProfile:
        sample = read_board_samples(samples, report).first(1).samples
        try:
            found = profile(path.read_bytes(), sample, threads=board.threads, runs=board.runs)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.MEASURE, first_line(error)) from error
        return FileProfile(operators=found)

    readable: Iterable[Path] = (path, samples)
    try:
        name = f"profiling {path.name}"
        return run_isolated(name, FileProfile, readable, work, most_seconds=seconds).operators
    except ConverterError as error:
        _logger.warning("%s was not profiled: %s", path.name, error.cause)
        return ()


def _evaluated(
    path: Path,
    samples: Path,
    report: ConversionReport,
    request: ConversionRequest,
    board: Board,
    artifact: ArtifactReport,
) -> Measured:
    reference = read_board_samples(samples, report)
    gates = Gates.of_board(board, request.validation)
    # One sample at a time: that is what a device does, and what its gate speaks of.
    benchmark = Benchmark(threads=board.threads, runs=board.runs, batch_size=1)
    wanted = Request(artifact.method, artifact.file_name, gates, benchmark, target=None)
    load = AcceleratedLoad(board.accelerator, Stage.MEASURE, ON_BOARD)
    figures = evaluate(path.read_bytes(), reference, wanted, lambda _done: None, load=load)
    return Measured(artifact=figures, taken=load.taken)
