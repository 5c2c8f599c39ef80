"""``job-publish``: distrusts what the conversion left, and uploads it. Has the credentials.

Untrusted model code ran where the output folder was written. So nothing there is believed: names, kinds and
sizes of files are checked without following links, artifacts are hashed again, and the report's account of
what was asked for and fetched is replaced by our own.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from pathlib import Path

from pydantic import ValidationError

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import (
    REPORT_FILE_NAME,
    ArtifactReport,
    ConversionReport,
    ConversionSummary,
    StageResult,
)
from modelconversion_api.request import ConversionRequest

from .errors import ConverterError
from .formats import is_tflite
from .gates import recommend
from .job_environment import FetchRecord, JobEnvironment, log
from .storage import ObjectStore, Stored

MAX_ARTIFACT_BYTES = 2 << 30
MAX_REPORT_BYTES = 1 << 20


def publish(job: JobEnvironment) -> StageResult:
    """Uploads the artifacts, then ``report.json``: where the report is, everything is.

    Raises:
        ConverterError: ArtifactInvalid before anything is uploaded; the store's failures; UploadCorrupted.

    """
    started, record = time.monotonic(), job.record(Stage.PUBLISH)
    report = checked_report(job.output, job.request, record)
    store = ObjectStore(job.request.storage, Stage.PUBLISH)
    prefix = f"{job.request.output.uri.rstrip('/')}/"
    _withdraw_report(store, f"{prefix}{REPORT_FILE_NAME}")
    for artifact in report.artifacts:
        uri = f"{prefix}{artifact.file_name}"
        with _open_regular(job.output / artifact.file_name, MAX_ARTIFACT_BYTES) as stream:
            stored = Stored(artifact.sha256, artifact.size_bytes)
            store.upload(uri, stream, stored, "application/octet-stream")
        log(f"published {uri}: {artifact.size_bytes} bytes, sha256 {artifact.sha256}")
    content = f"{report.to_json(indent=2)}\n".encode()
    stored = Stored(hashlib.sha256(content).hexdigest(), len(content))
    store.upload(f"{prefix}{REPORT_FILE_NAME}", io.BytesIO(content), stored, "application/json")
    log(f"published {prefix}{REPORT_FILE_NAME}")
    summary = ConversionSummary(
        source=report.source,
        artifacts=report.artifacts,
        recommended=report.recommended,
        stage_seconds=report.stage_seconds | {Stage.PUBLISH: round(time.monotonic() - started, 3)},
    )
    return StageResult(summary=summary)


def checked_report(output: Path, request: ConversionRequest, record: FetchRecord) -> ConversionReport:
    """The report of a folder that holds what ``request`` asked for and nothing else.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    expected = {method.file_name(request.base_name): method for method in request.methods}
    try:
        present = {entry.name for entry in os.scandir(output)}
    except OSError as error:
        raise _invalid(f"the output folder cannot be read: {error.strerror}") from error
    if present != {*expected, REPORT_FILE_NAME}:
        extra, missing = (
            sorted(present - {*expected, REPORT_FILE_NAME}),
            sorted({*expected, REPORT_FILE_NAME} - present),
        )
        raise _invalid(f"the output folder holds unexpected files {extra[:5]} and lacks {missing}")
    with _open_regular(output / REPORT_FILE_NAME, MAX_REPORT_BYTES) as stream:
        try:
            report = ConversionReport.model_validate_json(stream.read())
        except ValidationError as error:
            raise _invalid(f"{REPORT_FILE_NAME} does not follow the contract") from error
    if {a.file_name: a.method for a in report.artifacts} != expected or len(report.artifacts) != len(
        expected
    ):
        raise _invalid(f"{REPORT_FILE_NAME} does not list the artifacts that were asked for")
    artifacts = tuple(_checked(output / a.file_name, a, record) for a in report.artifacts)
    source = report.source.model_copy(
        update={"sha256": record.source.sha256, "size_bytes": record.source.size_bytes}
    )
    return report.model_copy(
        update={
            "request": request,
            "source": source,
            "artifacts": artifacts,
            "recommended": recommend(artifacts, request.target),
            "stage_seconds": report.stage_seconds | {Stage.FETCH: round(record.seconds, 3)},
        }
    )


def _checked(path: Path, artifact: ArtifactReport, record: FetchRecord) -> ArtifactReport:
    with _open_regular(path, MAX_ARTIFACT_BYTES) as stream:
        if not is_tflite(stream.read(8)):
            raise _invalid(f"{path.name} is no TFLite file")
        stream.seek(0)
        digest, size = hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()
    if (digest, size) != (artifact.sha256, artifact.size_bytes):
        raise _invalid(f"{path.name} is not the file that was measured: its digest or size is another")
    return artifact.model_copy(update={"size_fraction": round(size / record.source.size_bytes, 4)})


def _open_regular(path: Path, limit_bytes: int) -> io.BufferedReader:
    """Opens a plain file for reading; links, devices, pipes and giants are refused."""
    try:
        # Without NONBLOCK, opening a pipe would wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _invalid(f"{path.name} cannot be opened as a plain file: {error.strerror}") from error
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        os.close(fd)
        raise _invalid(f"{path.name} is no plain file")
    if found.st_size > limit_bytes:
        os.close(fd)
        raise _invalid(f"{path.name} is larger than {limit_bytes >> 20} MiB")
    return os.fdopen(fd, "rb")


def _withdraw_report(store: ObjectStore, uri: str) -> None:
    """Removes an earlier report while artifacts are replaced: it must not vouch for a mixture.

    Not every credential may delete. The digests in the old report then still tell it from the new files.
    """
    try:
        store.delete(uri)
    except ConverterError as error:
        if error.reason is not FailureReason.STORAGE_ACCESS_DENIED:
            raise
        log(f"warning: an earlier {REPORT_FILE_NAME} could not be removed first: no permission to delete")


def _invalid(cause: str) -> ConverterError:
    return ConverterError(FailureReason.ARTIFACT_INVALID, Stage.PUBLISH, cause)
