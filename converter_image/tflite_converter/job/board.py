"""``job-board-fetch`` and ``job-board-publish``: what a board runs, and the figures and the page of it.

They have the credentials of the store; ``job-board-measure`` between them, which runs the files, has none
(:mod:`tflite_converter.job.board_measuring`).
"""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import from_json

from modelconversion_api.base import readable
from modelconversion_api.fields.boards import (
    BOARD_ENV,
    MAX_BOARDS,
    NODE_ENV,
    Accelerator,
    Board,
    board_report_name,
)
from modelconversion_api.limits import MAX_REPORT_BYTES, MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardFileReport, BoardReport
from modelconversion_api.reports.conversion import (
    HTML_REPORT_FILE_NAME,
    REPORT_FILE_NAME,
    ArtifactReport,
    ConversionReport,
    StageResult,
)
from modelconversion_api.request import ConversionRequest
from tflite_converter.errors import ConverterError
from tflite_converter.files.untrusted import read_report_file
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.fetch import clear
from tflite_converter.job.publish import HTML_CONTENT_TYPE
from tflite_converter.job.published_report import published_report
from tflite_converter.job.stores.base import Limit, Store, Stored
from tflite_converter.job.stores.places import Places
from tflite_converter.job.uploads import upload_bytes
from tflite_converter.measuring.board_samples import MOST_FILE_BYTES

_logger = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class BoardRun:
    """What a board runs of one artifact."""

    artifact: ArtifactReport
    file_name: str
    """The artifact, or what was compiled of it for the board's accelerator."""
    stored: Stored
    fits: bool = True
    """Whether there is a file for the accelerator."""


def files_on(board: Board, report: ConversionReport) -> list[BoardRun]:
    """Return what a board runs, in the order of the artifacts."""
    return [_run_of(board, artifact) for artifact in report.artifacts]


def _run_of(board: Board, artifact: ArtifactReport) -> BoardRun:
    plain = BoardRun(artifact, artifact.file_name, Stored(artifact.sha256, artifact.size_bytes))
    if board.accelerator is not Accelerator.EDGE_TPU:
        return plain
    files = () if artifact.edge_tpu is None else artifact.edge_tpu.files
    if len(files) != 1:
        return BoardRun(artifact, artifact.file_name, plain.stored, fits=False)
    (file,) = files
    return BoardRun(artifact, file.file_name, Stored(file.sha256, file.size_bytes))


def fetch_published(job: JobEnvironment) -> StageResult:
    """Fill the input folder with what this run has published: files and samples, ``report.json`` last.

    Raises:
        ConverterError: ReportLost where another run's report lies there, or a file is gone; DigestMismatch;
            the store's failures.

    """
    board = board_of(job.request)
    clear(job.input)
    store = Places(job.request.storage, Stage.FETCH)
    report = published_report(job, store, Stage.FETCH)
    runs = [run for run in files_on(board, report) if run.fits]
    wanted = {run.file_name: (run.stored, MAX_TFLITE_BYTES) for run in runs}
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


def _downloaded(store: Store, uri: str, path: Path, limit: Limit) -> Stored:
    try:
        return store.download(uri, path, limit)
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND:
            raise
        cause = f"{uri} is not there any more"
        raise ConverterError(FailureReason.REPORT_LOST, Stage.FETCH, cause, hint=_OWN_OUTPUT) from error


def publish_board(job: JobEnvironment) -> StageResult:
    """Check what ``measure`` has left, upload it, draw ``report.html`` anew, and tell the figures.

    Raises:
        ConverterError: ArtifactInvalid where it is not about this board and the published files; ReportLost
            where another run has published meanwhile; the store's failures; UploadCorrupted.

    """
    board, published = board_of(job.request), fetched_report(job, Stage.PUBLISH)
    report = _checked(job, board, published)
    store = Places(job.request.storage, Stage.PUBLISH)
    content = f"{report.to_json(indent=2)}\n".encode()
    uri = f"{job.request.output.uri.rstrip('/')}/{board_report_name(board.name)}"
    upload_bytes(store, uri, content, "application/json")
    redraw(job, store)
    return StageResult(board=report.summary)


def redraw(job: JobEnvironment, store: Store) -> None:
    """Publish the page with the figures of all boards of this run that are there.

    Two may do so at once, a try that was given up and the next one. Each looks again after it has written:
    whoever writes last has seen what all have uploaded before they drew. An upload is whole or is not there.
    """
    from tflite_converter.report.page import render  # what it takes to draw is for this stage only

    uri = f"{job.request.output.uri.rstrip('/')}/{HTML_REPORT_FILE_NAME}"
    drawn: dict[str, BoardReport] | None = None
    for _ in range(MAX_BOARDS + 1):
        published = published_report(job, store, Stage.PUBLISH)
        measured = _measured(job, store, published)
        if measured == drawn:
            return
        upload_bytes(store, uri, render(published, measured).encode(), HTML_CONTENT_TYPE)
        drawn = measured
    _logger.warning("%s: boards publish faster than it is drawn", uri)


def _measured(job: JobEnvironment, store: Store, published: ConversionReport) -> dict[str, BoardReport]:
    """Return what boards have published in this run about these files, by their names."""
    found = {}
    for board in job.request.benchmark.boards:
        report = _stored(job, store, board)
        if report is not None and report.run == job.request.run and is_about(report, board, published):
            found[board.name] = report
    return found


def _stored(job: JobEnvironment, store: Store, board: Board) -> BoardReport | None:
    """Return what lies in the store of a board; None where there is nothing, or nothing that can be read."""
    uri = f"{job.request.output.uri.rstrip('/')}/{board_report_name(board.name)}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "board.json"
        try:
            store.download(uri, path, Limit(MAX_REPORT_BYTES))
            return readable(BoardReport, from_json(path.read_bytes()))
        except (ValueError, AttributeError) as error:
            _logger.warning("%s does not follow the contract: %s", uri, type(error).__name__)
        except ConverterError as error:
            # Who may not list a bucket is not told that an object is missing.
            if error.reason not in (FailureReason.SOURCE_NOT_FOUND, FailureReason.STORAGE_ACCESS_DENIED):
                raise
    return None


def _checked(job: JobEnvironment, board: Board, published: ConversionReport) -> BoardReport:
    """Return the figures, with what was asked for taken from the request: strangers' files ran there."""
    path = job.output / f"{board.name}.json"
    report = read_report_file(path, BoardReport, Stage.PUBLISH)
    if not is_about(report, board, published):
        raise _invalid(f"{path.name} is not about the files that were published")
    if any(f.reason is not None and (f.passed or _has_figures(f)) for f in report.files):
        raise _invalid(f"{path.name} has figures of files that it says have none")
    if any(f.latency is not None and not _tells_what_ran(f, board) for f in report.files):
        raise _invalid(f"{path.name} does not say how much of a file ran on the {board.accelerator.value}")
    machine = report.machine.changed(node=os.environ.get(NODE_ENV, ""))
    return report.changed(settings=board, accelerator=board.accelerator, run=job.request.run, machine=machine)


def _has_figures(file: BoardFileReport) -> bool:
    figures = (file.latency, file.agreement, file.accuracy, file.performance, file.peak_memory_bytes)
    counts = (file.accelerated_operators, file.fallback_operators)
    return any(figure is not None for figure in (*figures, *counts))


def _tells_what_ran(file: BoardFileReport, board: Board) -> bool:
    """Whether figures are of the accelerator: it took something, and what it left is counted."""
    if board.accelerator is Accelerator.CPU:
        return file.accelerated_operators is None and file.fallback_operators is None
    return bool(file.accelerated_operators) and file.fallback_operators is not None


def is_about(report: BoardReport, board: Board, published: ConversionReport) -> bool:
    """Say whether figures are those of this board and of the published files."""
    expected = [(r.file_name, r.stored.sha256, r.artifact.made_by) for r in files_on(board, published)]
    return report.board == board.name and expected == [
        (f.file_name, f.sha256, f.made_by) for f in report.files
    ]


def _invalid(cause: str) -> ConverterError:
    return ConverterError(FailureReason.ARTIFACT_INVALID, Stage.PUBLISH, cause)


def fetched_report(job: JobEnvironment, stage: Stage) -> ConversionReport:
    """Return what ``fetch`` has left of ``report.json``.

    Raises:
        ConverterError: InternalError where there is none that can be read.

    """
    try:
        return ConversionReport.model_validate_json((job.input / REPORT_FILE_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        cause = f"job-board-fetch has left no report that can be read ({type(error).__name__})"
        raise ConverterError(FailureReason.INTERNAL_ERROR, stage, cause) from error
