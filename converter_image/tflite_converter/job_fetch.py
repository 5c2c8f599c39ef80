"""``job-fetch``: downloads the source and its data, and checks what arrived. Has the credentials."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import SourceFormat

from .digests import folder_sha256
from .errors import ConverterError
from .job_environment import (
    CALIBRATION,
    CALIBRATION_LABELS,
    FETCH_RECORD,
    SOURCE,
    VALIDATION,
    VALIDATION_LABELS,
    FetchedFile,
    FetchRecord,
    JobEnvironment,
    log,
)
from .storage import ObjectInfo, ObjectStore, split_uri

MAX_SOURCE_BYTES = 6 << 30
"""TFLite files end at 2 GiB; a source may carry an optimizer's two slots for each weight as well."""
MAX_SOURCE_FILES = 1000
MAX_DATA_BYTES = 8 << 30


def fetch(job: JobEnvironment) -> StageResult:
    """Fills the input folder under fixed names, ``fetch.json`` last.

    Raises:
        ConverterError: the store's failures, SourceTooLarge, UnsupportedFormat, DigestMismatch.

    """
    request, started = job.request, time.monotonic()
    store = ObjectStore(request.storage, Stage.FETCH)
    _clear(job.input)
    source = _fetch_source(store, request, job.input / SOURCE)
    if request.source.sha256 not in (None, source.sha256):
        raise ConverterError(
            FailureReason.DIGEST_MISMATCH,
            Stage.FETCH,
            f"{request.source.uri} has the digest {source.sha256}, expected {request.source.sha256}",
        )
    data = {name: _fetch_file(store, uri, job.input / name, MAX_DATA_BYTES) for name, uri in _data(request)}
    record = FetchRecord(source=source, data=data, seconds=time.monotonic() - started)
    (job.input / FETCH_RECORD).write_text(record.model_dump_json(by_alias=True))
    return StageResult()


def _data(request: ConversionRequest) -> list[tuple[str, str]]:
    calibration, validation = request.calibration, request.validation
    wanted = [
        (CALIBRATION, calibration and calibration.uri),
        (CALIBRATION_LABELS, calibration and calibration.labels_uri),
        (VALIDATION, validation and validation.uri),
        (VALIDATION_LABELS, validation and validation.labels_uri),
    ]
    return [(name, uri) for name, uri in wanted if uri]


def _fetch_file(store: ObjectStore, uri: str, path: Path, limit_bytes: int) -> FetchedFile:
    stored = store.download(uri, path, limit_bytes)
    log(f"fetched {uri}: {stored.size_bytes} bytes, sha256 {stored.sha256}")
    return FetchedFile(sha256=stored.sha256, size_bytes=stored.size_bytes)


def _fetch_source(store: ObjectStore, request: ConversionRequest, path: Path) -> FetchedFile:
    """A single object, or every object under the prefix of a SavedModel."""
    uri, declared = request.source.uri, request.source.format
    is_prefix = declared is SourceFormat.SAVED_MODEL or uri.endswith("/")
    if not is_prefix:
        try:
            return _fetch_file(store, uri, path, MAX_SOURCE_BYTES)
        except ConverterError as error:
            if declared is not SourceFormat.AUTO or error.reason is not FailureReason.SOURCE_NOT_FOUND:
                raise
    prefix = f"{uri.rstrip('/')}/"
    objects = _members(store, prefix)
    if not objects:
        raise ConverterError(
            FailureReason.SOURCE_NOT_FOUND,
            Stage.FETCH,
            f"{uri}: there is no such object, and nothing lies under {prefix}",
        )
    if not {"saved_model.pb", "saved_model.pbtxt"} & set(objects):
        cause = f"{prefix} holds {len(objects)} objects but no saved_model.pb, so it is not a SavedModel"
        raise ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.FETCH, cause)
    bucket, _ = split_uri(uri)
    digests, left = {}, MAX_SOURCE_BYTES
    for name, found in sorted(objects.items()):
        stored = store.download(f"s3://{bucket}/{found.key}", path / name, left)
        digests[name] = stored.sha256
        left -= stored.size_bytes
    source = FetchedFile(sha256=folder_sha256(digests), size_bytes=MAX_SOURCE_BYTES - left)
    log(f"fetched {prefix}: {len(digests)} files, {source.size_bytes} bytes, sha256 {source.sha256}")
    return source


def _members(store: ObjectStore, prefix: str) -> dict[str, ObjectInfo]:
    """The objects of a SavedModel by their paths under ``prefix``, checked before anything is downloaded."""
    _, key_prefix = split_uri(prefix)
    found: dict[str, ObjectInfo] = {}
    total = 0
    for item in store.list(prefix):
        relative = item.key.removeprefix(key_prefix)
        if relative == "" or relative.endswith("/"):
            continue  # a marker that some tools leave for a folder
        found[safe_relative_path(relative)] = item
        total += item.size_bytes
        if len(found) > MAX_SOURCE_FILES or total > MAX_SOURCE_BYTES:
            cause = (
                f"{prefix} holds more than {MAX_SOURCE_FILES} objects or {MAX_SOURCE_BYTES >> 30} GiB:"
                " is it the SavedModel's own folder?"
            )
            raise ConverterError(FailureReason.SOURCE_TOO_LARGE, Stage.FETCH, cause)
    return found


def safe_relative_path(key: str) -> str:
    """``key`` where it can be a path inside a folder and nowhere else.

    Raises:
        ConverterError: UnsupportedFormat.

    """
    parts = key.split("/")
    bad = any(part in ("", ".", "..") or len(part.encode()) > 255 or not part.isprintable() for part in parts)
    if bad or "\\" in key:
        cause = f"the object key {key!r} cannot be a file of a SavedModel"
        raise ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.FETCH, cause)
    return key


def _clear(folder: Path) -> None:
    """Removes what an earlier try has left: its files may be half of something."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
