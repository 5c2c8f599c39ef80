"""The containers of a board's Job: fetch what was published, measure it on this node, publish the figures.

``fetch`` and ``publish`` have the credentials of the store; ``measure``, which runs the files, has none.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from modelconversion_api.board_report import BoardFileReport, BoardReport, FileProfile, OperatorTime
from modelconversion_api.boards import BOARD_ENV, BOARD_SAMPLES_FILE, NODE_ENV, Board, board_report_name
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import REPORT_FILE_NAME, ArtifactReport, ConversionReport, StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Benchmark
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.files.untrusted import read_report_file
from tflite_converter.isolation.board_machine import look, machine_between
from tflite_converter.isolation.isolated import run_isolated
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.fetch import clear
from tflite_converter.job.publish import upload_bytes
from tflite_converter.job.published_report import published_report
from tflite_converter.job.storage import Limit, ObjectStore, Stored
from tflite_converter.measuring.board_samples import MOST_FILE_BYTES, read_board_samples
from tflite_converter.measuring.evaluation import Request, evaluate
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.profile import profile

_logger = logging.getLogger(__name__)

_RUNTIME = "ai-edge-litert"
_OWN_OUTPUT = "something else writes to this output, or clears it: give each conversion one of its own"


def board_of(request: ConversionRequest) -> Board:
    """Return the board that this Job is for.

    Raises:
        ConverterError: InvalidRequest.

    """
    name = os.environ.get(BOARD_ENV, "")
    for board in request.benchmark.boards:
        if board.name == name:
            return board
    cause = f"{BOARD_ENV} is {name!r}, which is none of the request's boards: the operator sets it"
    raise ConverterError(FailureReason.INVALID_REQUEST, Stage.FETCH, cause)


def fetch_published(job: JobEnvironment) -> StageResult:
    """Fill the input folder with what this run has published: files and samples, ``report.json`` last.

    Raises:
        ConverterError: ReportLost where another run's report lies there, or a file is gone; DigestMismatch;
            the store's failures.

    """
    board_of(job.request)
    clear(job.input)
    store = ObjectStore(job.request.storage, Stage.FETCH)
    report = published_report(job, store, Stage.FETCH)
    wanted = {a.file_name: (Stored(a.sha256, a.size_bytes), MAX_TFLITE_BYTES) for a in report.artifacts}
    if (samples := report.board_samples) is None:
        raise ConverterError(FailureReason.REPORT_LOST, Stage.FETCH, "the report speaks of no board samples")
    wanted[samples.file_name] = Stored(samples.sha256, samples.size_bytes), MOST_FILE_BYTES
    for name, (stored, limit) in wanted.items():
        uri = f"{job.request.output.uri.rstrip('/')}/{name}"
        if _downloaded(store, uri, job.input / name, Limit(limit)) != stored:
            cause = f"{uri} is not the file that was published: its digest or size is another"
            raise ConverterError(FailureReason.DIGEST_MISMATCH, Stage.FETCH, cause, hint=_OWN_OUTPUT)
        _logger.info("fetched %s: %d bytes, sha256 %s", uri, stored.size_bytes, stored.sha256)
    (job.input / REPORT_FILE_NAME).write_text(report.to_json())
    return StageResult()


def _downloaded(store: ObjectStore, uri: str, path: Path, limit: Limit) -> Stored:
    try:
        return store.download(uri, path, limit)
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND:
            raise
        cause = f"{uri} is not there any more"
        raise ConverterError(FailureReason.REPORT_LOST, Stage.FETCH, cause, hint=_OWN_OUTPUT) from error


def measure_on_board(job: JobEnvironment) -> StageResult:
    """Run each published file here, and write what it gave into the output folder.

    A file that does not run is a row without figures; the others are measured all the same.

    Raises:
        ConverterError: InternalError where ``fetch`` has left nothing that can be read.

    """
    board, report = board_of(job.request), _fetched_report(job, Stage.MEASURE)
    samples = job.input / BOARD_SAMPLES_FILE
    before = look()
    files = tuple(_measured(job, board, report, artifact, samples) for artifact in report.artifacts)
    runtime = f"LiteRT {importlib.metadata.version(_RUNTIME)}"
    measured = BoardReport(
        board=board.name,
        machine=machine_between(before, look(), os.environ.get(NODE_ENV, ""), runtime),
        run=job.request.run,
        settings=board,
        samples=report.board_samples.samples if report.board_samples else 0,
        files=files,
    )
    job.output.mkdir(parents=True, exist_ok=True)
    (job.output / f"{board.name}.json").write_text(measured.to_json())
    return StageResult()


def _measured(
    job: JobEnvironment, board: Board, report: ConversionReport, artifact: ArtifactReport, samples: Path
) -> BoardFileReport:
    path = job.input / artifact.file_name
    known = {"method": artifact.method, "recipe_name": artifact.recipe_name}
    known |= {"file_name": artifact.file_name, "sha256": artifact.sha256}
    work = partial(_evaluated, path, samples, report, job.request, board, artifact)
    try:
        found = run_isolated(f"measuring {path.name}", ArtifactReport, [path, samples], work)
    except ConverterError as error:
        _logger.warning("%s: %s", path.name, error.message)
        return BoardFileReport(**known, passed=False, message=error.cause)
    # A file that LiteRT alone cannot run misses no gate where there is none, and still has not run.
    passed = found.passed and found.latency is not None
    if found.latency is not None:
        _logger.info(
            "%s: median %.4f ms, agreement %.4f",
            path.name,
            found.latency.median_millis,
            found.agreement or 0.0,
        )
    return BoardFileReport(
        **known,
        operators=_profiled(path, samples, report, board) if board.profile and passed else (),
        latency=found.latency,
        performance=found.performance,
        peak_memory_bytes=found.performance.peak_memory_bytes if found.performance else None,
        agreement=found.agreement,
        accuracy=found.accuracy,
        passed=passed,
        message=None if passed else found.message,
    )


def _profiled(path: Path, samples: Path, report: ConversionReport, board: Board) -> tuple[OperatorTime, ...]:
    """Time each operator; none, and a line in the log, where that cannot be done."""

    def work() -> FileProfile:
        sample = read_board_samples(samples, report).first(1).samples
        try:
            found = profile(path.read_bytes(), sample, threads=board.threads, runs=board.runs)
        except (RuntimeError, ValueError, KeyError) as error:
            raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.MEASURE, first_line(error)) from error
        return FileProfile(operators=found)

    try:
        return run_isolated(f"profiling {path.name}", FileProfile, [path, samples], work).operators
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
) -> ArtifactReport:
    reference = read_board_samples(samples, report)
    gates = Gates.of_board(board, request.validation)
    # One sample at a time: that is what a device does, and what its gate speaks of.
    benchmark = Benchmark(threads=board.threads, runs=board.runs, batch_size=1)
    wanted = Request(artifact.method, artifact.file_name, gates, benchmark, target=None)
    return evaluate(path.read_bytes(), reference, wanted, lambda _done: None)


def publish_board(job: JobEnvironment) -> StageResult:
    """Check what ``measure`` has left, upload it, and tell its figures.

    Raises:
        ConverterError: ArtifactInvalid where it is not about this board and the published files; the store's
            failures; UploadCorrupted.

    """
    board, published = board_of(job.request), _fetched_report(job, Stage.PUBLISH)
    report = _checked(job, board, published)
    store = ObjectStore(job.request.storage, Stage.PUBLISH)
    content = f"{report.to_json(indent=2)}\n".encode()
    uri = f"{job.request.output.uri.rstrip('/')}/{board_report_name(board.name)}"
    upload_bytes(store, uri, content, "application/json")
    return StageResult(board=report.summary)


def _checked(job: JobEnvironment, board: Board, published: ConversionReport) -> BoardReport:
    """Return the figures, with what was asked for taken from the request: strangers' files ran there."""
    path = job.output / f"{board.name}.json"
    report = read_report_file(path, BoardReport, Stage.PUBLISH)
    expected = [(a.file_name, a.sha256, a.made_by) for a in published.artifacts]
    if report.board != board.name or [(f.file_name, f.sha256, f.made_by) for f in report.files] != expected:
        raise _invalid(f"{path.name} is not about the files that were published")
    machine = report.machine.changed(node=os.environ.get(NODE_ENV, ""))
    return report.changed(settings=board, run=job.request.run, machine=machine)


def _invalid(cause: str) -> ConverterError:
    return ConverterError(FailureReason.ARTIFACT_INVALID, Stage.PUBLISH, cause)


def _fetched_report(job: JobEnvironment, stage: Stage) -> ConversionReport:
    try:
        return ConversionReport.model_validate_json((job.input / REPORT_FILE_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        cause = f"job-board-fetch has left no report that can be read ({type(error).__name__})"
        raise ConverterError(FailureReason.INTERNAL_ERROR, stage, cause) from error
