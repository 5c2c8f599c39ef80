"""``job-fetch``: downloads the source and its data, and checks what arrived. Has the credentials.

Archives are downloaded as they are: what is inside is for the container without credentials to look at.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelconversion_api.fields.data import Calibration, Validation
from modelconversion_api.fields.optimization import Training
from modelconversion_api.fields.recipes import MAX_RULES_BYTES, RulesFile
from modelconversion_api.fields.trust import SourceVerification
from modelconversion_api.limits import MAX_DATA_BYTES, MAX_SOURCE_BYTES, MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import SIGNATURE_FILE_NAME, StageResult
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Source, SourceFormat
from modelconversion_api.text import human_size
from modelconversion_api.uris import CLAIM_SCHEME, REGISTRY_SCHEME, bare, in_store
from tflite_converter.errors import ConverterError
from tflite_converter.files.source_signature import not_verified, verify
from tflite_converter.job import cache
from tflite_converter.job.downloads import (
    DownloadMeter,
    FolderRules,
    download_all,
    download_folder,
    list_folder,
)
from tflite_converter.job.environment import (
    CALIBRATION,
    CALIBRATION_LABELS,
    FETCH_RECORD,
    RULES,
    SOURCE,
    STUDENT,
    TRAINING,
    TRAINING_LABELS,
    VALIDATION,
    VALIDATION_LABELS,
    FetchedFile,
    FetchRecord,
    JobEnvironment,
)
from tflite_converter.job.metrics.sandbox import hand_over_sandbox
from tflite_converter.job.stored_reports import check_not_taken
from tflite_converter.job.stores.base import Limit, ObjectInfo, Store, Stored
from tflite_converter.job.stores.places import Places

if TYPE_CHECKING:
    from tflite_converter.job.oci.pulling import RegistryReader

_logger = logging.getLogger(__name__)

ARCHIVE_SUFFIXES: Final = (".zip", ".tar.gz", ".tgz", ".tar")
DATA_SUFFIXES: Final = (".npy", ".npz", ".csv", *ARCHIVE_SUFFIXES)
"""Kept on downloads: a CSV file has nothing else to be known by."""

SIGNATURE_LIMIT: Final = Limit(1 << 20, "is it a signature? They have a few KiB for each file")
TFLITE_LIMIT: Final = Limit(MAX_TFLITE_BYTES)
RULES_LIMIT: Final = Limit(MAX_RULES_BYTES, "is it a recipe? The longest of them have a few KiB")
SOURCE_RULES: Final = FolderRules(
    Limit(MAX_SOURCE_BYTES, "use a smaller model, or save it without its optimizer"),
    max_files=1000,
    bad_path=FailureReason.UNSUPPORTED_FORMAT,
)
DATA_RULES: Final = FolderRules(
    Limit(MAX_DATA_BYTES, "give fewer samples: a few hundred calibrate a model, a few thousand measure it"),
    max_files=100_000,
    bad_path=FailureReason.DATA_UNREADABLE,
)
_DATA_HINT: Final = (
    "correct the object key (keys are case-sensitive); the prefix of a folder of images must end in /"
)


def fetch(job: JobEnvironment) -> StageResult:
    """Fill the input folder under fixed names, ``fetch.json`` last.

    Raises:
        ConverterError: the store's failures, SourceTooLarge, UnsupportedFormat, DataUnreadable,
            DigestMismatch.

    """
    request, started = job.request, time.monotonic()
    store = Places(request.storage, Stage.FETCH)
    clear(job.input)
    if job.metrics:
        hand_over_sandbox()
    if not job.request.output.uri.startswith(CLAIM_SCHEME):  # which only ``publish`` has mounted
        check_not_taken(job, store, Stage.FETCH)
    source = fetch_source(store, request.source, job.input)
    if request.source.sha256 not in (None, source.sha256):
        raise ConverterError(
            FailureReason.DIGEST_MISMATCH,
            Stage.FETCH,
            f"{request.source.uri} has the digest {source.sha256}, expected {request.source.sha256}",
        )
    if request.source.verify is not None:
        _verify(store, request.source, request.source.verify, source, job.input)
        _logger.info("%s is signed by the key of spec.source.verify", request.source.uri)
    data = {name: _fetch_data(store, name, uri, job.input) for name, uri in _data(request).items()}
    data |= {
        f"{RULES}-{recipe.name}": _fetch_rules(store, recipe.rules, job.input / f"{RULES}-{recipe.name}.json")
        for recipe in request.recipes
        if recipe.rules is not None
    }
    record = FetchRecord(source=source, data=data)
    found = cache.take(store, request, record, job.input)
    record = record.model_copy(update={"cache": found, "seconds": time.monotonic() - started})
    (job.input / FETCH_RECORD).write_text(record.model_dump_json(by_alias=True))
    return StageResult()


def _verify(
    store: Places, source: Source, wanted: SourceVerification, fetched: FetchedFile, folder: Path
) -> None:
    """Check the signature of what was fetched, before anything looks into it."""
    if wanted.signature_uri is None and source.uri.startswith(REGISTRY_SCHEME):
        from tflite_converter.job.oci.verifying import verify_pulled  # those alone need it

        verify_pulled(store.registries, source.uri, wanted.public_key)
        return
    path = folder / fetched.path
    uri = bare(source.uri).rstrip("/")
    where = wanted.signature_uri or (f"{uri}/{SIGNATURE_FILE_NAME}" if path.is_dir() else f"{uri}.sig")
    with tempfile.TemporaryDirectory() as work:
        signature = Path(work) / SIGNATURE_FILE_NAME
        try:
            store.download(where, signature, SIGNATURE_LIMIT)
        except ConverterError as error:
            if error.reason is not FailureReason.SOURCE_NOT_FOUND:
                raise
            cause = f"{source.uri} has no signature: {where} is not there"
            raise not_verified(cause) from error
        verify(path, signature, wanted.public_key, source.uri)


def _data(request: ConversionRequest) -> dict[str, str]:
    """Return the URIs of a request's data by their role."""
    optimize = request.optimize
    parts: dict[tuple[str, str], Calibration | Validation | Training | None] = {
        (CALIBRATION, CALIBRATION_LABELS): request.calibration,
        (VALIDATION, VALIDATION_LABELS): request.validation,
        (TRAINING, TRAINING_LABELS): optimize.training if optimize else None,
    }
    student = optimize.distillation if optimize else None
    uris: dict[str, str | None] = {STUDENT: student.student_uri if student else None}
    for (name, labels_name), part in parts.items():
        if part is not None:
            uris |= {name: part.uri, labels_name: part.labels_uri}
    return {name: uri for name, uri in uris.items() if uri is not None}


def _fetch_data(store: Store, name: str, uri: str, folder: Path) -> FetchedFile:
    try:
        if not uri.endswith("/"):
            path = folder / f"{name}{_suffix(uri, DATA_SUFFIXES)}"
            return _fetch_file(store, uri, path, DATA_RULES.limit)
        if objects := list_folder(store, uri, DATA_RULES):
            return _fetch_folder(store, uri, objects, folder / name, DATA_RULES.limit)
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND or not in_store(uri):
            raise
        raise ConverterError(error.reason, error.stage, error.cause, hint=_DATA_HINT) from error
    cause = f"nothing lies under {uri}"
    raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.FETCH, cause, hint=_DATA_HINT)


def _fetch_rules(store: Store, rules: RulesFile, path: Path) -> FetchedFile:
    """Fetch a recipe in ai-edge-quantizer's JSON, and check that it is the one that was meant."""
    fetched = _fetch_file(store, rules.uri, path, RULES_LIMIT)
    if rules.sha256 not in (None, fetched.sha256):
        cause = f"{rules.uri} has the digest {fetched.sha256}, expected {rules.sha256}"
        raise ConverterError(FailureReason.DIGEST_MISMATCH, Stage.FETCH, cause)
    return fetched


def fetch_source(store: Places, source: Source, folder: Path) -> FetchedFile:
    """Fetch a single object, every object under the prefix of a SavedModel, or what a manifest holds.

    Raises:
        ConverterError: The store's failures, SourceTooLarge, UnsupportedFormat.

    """
    uri, declared, path = source.uri, source.format, folder / SOURCE
    if uri.startswith(REGISTRY_SCHEME):
        return _pull_source(store.registries, uri, path)
    is_archive, has_folders = bool(_suffix(uri, ARCHIVE_SUFFIXES)), in_store(uri)
    if not uri.endswith("/") and (is_archive or not has_folders or declared is not SourceFormat.SAVED_MODEL):
        is_tflite = declared is SourceFormat.TFLITE or bool(_suffix(uri, (".tflite",)))
        try:
            return _fetch_file(store, uri, path, TFLITE_LIMIT if is_tflite else SOURCE_RULES.limit)
        except ConverterError as error:
            may_be_folder = has_folders and declared is SourceFormat.AUTO
            if not may_be_folder or error.reason is not FailureReason.SOURCE_NOT_FOUND:
                raise
    prefix = f"{uri.rstrip('/')}/"
    objects = list_folder(store, prefix, SOURCE_RULES)
    if not objects:
        cause = f"{uri}: there is no object, and no folder {prefix}"
        raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.FETCH, cause)
    if not {"saved_model.pb", "saved_model.pbtxt"} & objects.keys():
        cause = f"{prefix} holds {len(objects)} objects but no saved_model.pb, so it is not a SavedModel"
        raise ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.FETCH, cause)
    return _fetch_folder(store, prefix, objects, path, SOURCE_RULES.limit)


def _pull_source(registries: RegistryReader, uri: str, path: Path) -> FetchedFile:
    """Fetch the layer of a file, a packed one as it is, or those of a folder."""
    chosen, limit = registries.chosen(uri), SOURCE_RULES.limit
    total = sum(layer.size_bytes for layer in chosen.files.values())
    if total > limit.size_bytes:
        raise limit.exceeded(Stage.FETCH, f"{uri} has {human_size(total)}")
    meter = DownloadMeter(uri, total)
    if (layer := chosen.file) is not None:
        stored = registries.pull(uri, layer, path, limit, meter)
    else:
        stored = download_all(
            chosen.files,
            lambda name: registries.pull(uri, chosen.files[name], path / name, limit, meter),
            meter,
        )
    _logger.info(
        "pulled %s: %d layers, %d bytes, sha256 %s", uri, len(chosen.files), stored.size_bytes, stored.sha256
    )
    return _fetched(uri, path, stored).model_copy(update={"inside": chosen.inside})


def _fetch_folder(
    store: Store, prefix: str, objects: dict[str, ObjectInfo], path: Path, limit: Limit
) -> FetchedFile:
    stored = download_folder(store, prefix, objects, path, limit)
    _logger.info(
        "fetched %s: %d files, %d bytes, sha256 %s", prefix, len(objects), stored.size_bytes, stored.sha256
    )
    return _fetched(prefix, path, stored)


def _fetch_file(store: Store, uri: str, path: Path, limit: Limit) -> FetchedFile:
    stored = store.download(uri, path, limit, DownloadMeter(bare(uri)))
    _logger.info("fetched %s: %d bytes, sha256 %s", bare(uri), stored.size_bytes, stored.sha256)
    return _fetched(uri, path, stored)


def _fetched(uri: str, path: Path, stored: Stored) -> FetchedFile:
    name = bare(uri).rstrip("/").rsplit("/", 1)[-1]
    return FetchedFile(path=path.name, name=name, sha256=stored.sha256, size_bytes=stored.size_bytes)


def _suffix(uri: str, known: tuple[str, ...]) -> str:
    """Return the suffix out of ``known`` that ``uri`` ends in, or an empty string."""
    return next((suffix for suffix in known if bare(uri).lower().endswith(suffix)), "")


def clear(folder: Path) -> None:
    """Remove the files of an earlier try: they may be incomplete."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
