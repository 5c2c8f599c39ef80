"""``job-move``: has a channel's pointer name another file. Has the credentials and the key, runs no model.

The file is brought beside the pointer first, under its digest, and checked; the pointer is written last, in
one piece. Whatever is done twice, after a Job that was killed, gives the same pointer.
"""

from __future__ import annotations

import json
import logging
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from modelconversion_api.channels import MOVE_ENV, POINTER_FILE_NAME, Moved, MoveRequest
from modelconversion_api.pointer import POINTER_TYPE, PointedFile, PointedModel, Pointer, PointerOrigin
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ConversionReport, StageResult
from tflite_converter.errors import ConverterError
from tflite_converter.files.envelope import Sealer
from tflite_converter.job.environment import JobEnvironment, taken_signing_key, told
from tflite_converter.job.stored_reports import downloaded_report
from tflite_converter.job.stores.base import Limit, Store, Stored
from tflite_converter.job.stores.places import Places
from tflite_converter.job.uploads import upload, upload_bytes

_logger = logging.getLogger(__name__)

_ABSENT: Final = (FailureReason.SOURCE_NOT_FOUND, FailureReason.SOURCE_TOO_LARGE)
_FILES: Final = "files"
_BASELINE: Final = "baseline.json"
_LARGEST_POINTER: Final = Limit(64 << 10)
_LARGEST_BASELINE: Final = Limit(1 << 20)
_JSON: Final = "application/json"
_TFLITE: Final = "application/octet-stream"


def move(job: JobEnvironment) -> StageResult:
    """Have the pointer below the request's output name the file that the operator has chosen.

    Raises:
        ConverterError: SourceNotFound where the file is not there any more, DigestMismatch where it is
            another one, SigningFailed, InvalidRequest; the store's failures.

    """
    request, sealer = told(MOVE_ENV, MoveRequest, Stage.PUBLISH), _sealer(job)
    store, folder = Places(job.request.storage, Stage.PUBLISH), job.request.output.uri.rstrip("/")
    candidate = request.candidate
    with tempfile.TemporaryDirectory() as work:
        standing = _standing(store, f"{folder}/{POINTER_FILE_NAME}", Path(work), sealer, request.channel)
        if standing is not None and _is_done(standing, request):
            return StageResult(moved=_moved(standing))
        model = _brought(store, folder, request, Path(work))
        baseline = _baseline(store, folder, request, Path(work))
        last = 0 if standing is None else standing.sequence
        pointer = Pointer(
            channel=request.channel,
            sequence=max(request.sequence, last) + 1,
            time=datetime.now(UTC),
            model=model,
            baseline=baseline,
            origin=PointerOrigin(
                conversion=candidate.conversion, run=candidate.run, source_sha256=candidate.source_sha256
            ),
        )
        envelope = sealer.seal(pointer.to_json().encode(), POINTER_TYPE)
        upload_bytes(store, f"{folder}/{POINTER_FILE_NAME}", envelope, _JSON)
    _logger.info("%s names %s (number %d)", folder, model.path, pointer.sequence)
    return StageResult(moved=_moved(pointer))


def _sealer(job: JobEnvironment) -> Sealer:
    signing = job.request.output.signing
    if signing is None:
        raise ConverterError(FailureReason.INVALID_REQUEST, Stage.PUBLISH, "the channel names no signing key")
    return Sealer(taken_signing_key(signing.secret_ref))


def _standing(store: Store, uri: str, work: Path, sealer: Sealer, channel: str) -> Pointer | None:
    """Return the pointer that is there, where this key has signed it for this channel."""
    path = work / POINTER_FILE_NAME
    if _found(store, uri, path, _LARGEST_POINTER) is None:
        return None
    payload = sealer.opened(path.read_bytes(), POINTER_TYPE)
    if payload is None:
        _logger.warning("%s is no pointer of this key, and is written over", uri)
        return None
    try:
        pointer = Pointer.model_validate_json(payload, extra="ignore")
    except ValidationError:
        return None
    return pointer if pointer.channel == channel else None


def _is_done(standing: Pointer, request: MoveRequest) -> bool:
    """Whether an earlier Job of this move has written the pointer, and nobody heard of it."""
    return standing.model.sha256 == request.candidate.sha256 and standing.sequence > request.sequence


def _moved(pointer: Pointer) -> Moved:
    baseline = None if pointer.baseline is None else pointer.baseline.sha256
    return Moved(sequence=pointer.sequence, sha256=pointer.model.sha256, baseline_sha256=baseline)


def _brought(store: Store, folder: str, request: MoveRequest, work: Path) -> PointedModel:
    """Bring the file beside the pointer, where it is not there whole already."""
    candidate = request.candidate
    name = candidate.uri.rsplit("/", 1)[-1]
    path = f"{_FILES}/{candidate.sha256}/{name}"
    limit, local = Limit(candidate.size_bytes), work / "model"
    if not _is_there(store, f"{folder}/{path}", local, limit, candidate.sha256):
        found = store.download(candidate.uri, local, limit)
        if found.sha256 != candidate.sha256:
            cause = f"{candidate.uri} has the digest {found.sha256}, and {candidate.sha256} was measured"
            hint = "another run has written there: release its file, or one that was released before"
            raise ConverterError(FailureReason.DIGEST_MISMATCH, Stage.PUBLISH, cause, hint=hint)
        with local.open("rb") as stream:
            upload(store, f"{folder}/{path}", stream, found, _TFLITE)
    return PointedModel(
        path=path, sha256=candidate.sha256, size_bytes=candidate.size_bytes, name=candidate.name
    )


def _is_there(store: Store, uri: str, local: Path, limit: Limit, sha256: str) -> bool:
    found = _found(store, uri, local, limit)
    return found is not None and found.sha256 == sha256


def _found(store: Store, uri: str, local: Path, limit: Limit) -> Stored | None:
    """Download what may be there; None where it is not, or is larger than it could be."""
    try:
        return store.download(uri, local, limit)
    except ConverterError as error:
        if error.reason in _ABSENT:
            return None
        raise


def _baseline(store: Store, folder: str, request: MoveRequest, work: Path) -> PointedFile | None:
    """Bring beside the file what it gave on its validation data; None where that is not known any more."""
    candidate = request.candidate
    path = f"{_FILES}/{candidate.sha256}/{_BASELINE}"
    known, local = request.baseline_sha256, work / _BASELINE
    if known is not None and _is_there(store, f"{folder}/{path}", local, _LARGEST_BASELINE, known):
        return PointedFile(path=path, sha256=known, size_bytes=local.stat().st_size)
    content = _record(store, request)
    if content is None:
        return None
    stored = upload_bytes(store, f"{folder}/{path}", content, _JSON)
    return PointedFile(path=path, sha256=stored.sha256, size_bytes=stored.size_bytes)


def _record(store: Store, request: MoveRequest) -> bytes | None:
    """Return the part of the run's report that devices compare with, in the report's own form."""
    candidate = request.candidate
    if candidate.report_uri is None:
        return None
    try:
        report = downloaded_report(candidate.report_uri, store)
    except (ValueError, AttributeError):
        return None
    except ConverterError as error:
        if error.reason in _ABSENT:
            return None
        raise
    if report.request is None or report.request.run != candidate.run:
        _logger.warning("%s is another run's report: the file gets no baseline", candidate.report_uri)
        return None
    return _part(report, candidate.sha256)


def _part(report: ConversionReport, sha256: str) -> bytes | None:
    artifact = next((each for each in report.artifacts if each.sha256 == sha256), None)
    if artifact is None or artifact.baseline is None:
        return None
    wire = artifact.to_wire()
    fields = {name: wire[name] for name in ("method", "fileName", "sha256", "baseline")}
    role = report.evaluation.data.to_wire()["role"]
    document = {"artifacts": [fields], "evaluation": {"data": {"role": role}}}
    return json.dumps(document, sort_keys=True).encode()
