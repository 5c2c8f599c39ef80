"""The cache in the tenant's bucket: what one run's front half has left, for the next run of the same model.

An entry is two objects: a file whose name is its own digest, and ``entry.json``, written after it, which
names it. So a reader finds a whole entry or none, also while two runs write at once. An entry's key is made
of what was fetched and asked for, never of what the container that runs the model says.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
from datetime import UTC, datetime, timedelta
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from modelconversion_api.base import ApiModel, Sha256
from modelconversion_api.fields.cache import Cache, CacheOutcome
from modelconversion_api.fields.data import Calibration, Validation
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import SourceFormat
from modelconversion_api.text import human_size
from tflite_converter.conversion.kept_front import (
    FRONT_FILE,
    FRONT_RESULT_FILE,
    MAX_RESULT_BYTES,
    MAX_TAR_BYTES,
    KeptResult,
)
from tflite_converter.errors import ConverterError
from tflite_converter.files.untrusted import open_regular, read_report_file
from tflite_converter.job.environment import (
    CALIBRATION,
    CALIBRATION_LABELS,
    VALIDATION,
    VALIDATION_LABELS,
    FetchRecord,
    JobEnvironment,
)
from tflite_converter.job.stores.base import Limit, Store, Stored, digest_of

_logger = logging.getLogger(__name__)

ENTRY_FILE: Final = "entry.json"
_LAYOUT: Final = 1
"""Counts changes of what a front half leaves, and of this file."""
_SKEW: Final = timedelta(minutes=5)
"""How far ahead another node's clock may be."""
_DATA: Final = (CALIBRATION, CALIBRATION_LABELS, VALIDATION, VALIDATION_LABELS)
_PLACES: Final = frozenset({"uri", "labels_uri"})
"""Their digests count."""
_GATES: Final = frozenset(
    {
        "max_accuracy_drop",
        "min_accuracy",
        "min_agreement",
        "floor",
        "max_size_bytes",
        "max_latency_millis",
        "metrics",
    }
)


class Entry(ApiModel):
    """``entry.json``."""

    layout: Literal[1] = 1
    key: Sha256
    made: datetime
    run: str | None = None
    """The run that made it, for people."""
    sha256: Sha256
    """Of the file, and its name."""
    size_bytes: int = Field(ge=1, le=MAX_TAR_BYTES)
    front: KeptResult


def key_of(request: ConversionRequest, record: FetchRecord) -> str:
    """Return the digest of everything that a front half's files depend on.

    The source and the data by their digests; how they are read; which samples are drawn, which depends on
    whether any method calibrates; the distributions that are installed here; and, as the operator's word, the
    namespace and the image.
    """
    source = request.source
    made = (*request.methods, *request.tuning.tries)
    calibrates = any(m.needs_calibration for m in made) or any(r.needs_calibration for r in request.recipes)
    parts = {
        "layout": _LAYOUT,
        "scope": request.cache_scope,
        "installed": sorted(f"{d.name}=={d.version}" for d in distributions()),
        "source": record.source.sha256,
        "inside": record.source.inside,
        "format": source.format,
        "inputs": [i.model_dump(mode="json") for i in source.inputs],
        "signature": source.signature,
        "selectTensorFlowOps": source.select_tensorflow_ops,
        "calibrates": calibrates,
        "data": {name: (d.sha256, d.path) for name in _DATA if (d := record.data.get(name)) is not None},
        CALIBRATION: _read_as(request.calibration),
        VALIDATION: _read_as(request.validation),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read_as(part: Calibration | Validation | None) -> dict[str, Any] | None:
    """Return how data are read: everything that is asked of them but places and gates."""
    return None if part is None else part.model_dump(mode="json", exclude=set(_PLACES | _GATES))


def wanted(request: ConversionRequest) -> Cache | None:
    """Return the cache that a run uses; None without one, and for a TFLite file, which has no front half."""
    is_tflite = request.source.format is SourceFormat.TFLITE or request.source.uri.endswith(".tflite")
    return None if is_tflite or request.cache_scope is None else request.output.cache


def take(store: Store, request: ConversionRequest, record: FetchRecord, folder: Path) -> CacheOutcome | None:
    """Put the entry for a run into its input folder, if there is a good one. Never fails for its sake.

    Raises:
        ConverterError: NoSpace, as the run itself would soon.

    """
    cache = wanted(request)
    if cache is None:
        return None
    outcome, words = _look(store, cache, key_of(request, record), folder)
    if outcome is not CacheOutcome.HIT:
        for name in (FRONT_FILE, FRONT_RESULT_FILE):
            (folder / name).unlink(missing_ok=True)
    _logger.info("cache: %s: %s", outcome, words)
    return outcome


def _look(store: Store, cache: Cache, key: str, folder: Path) -> tuple[CacheOutcome, str]:
    prefix = _prefix(cache, key)
    try:
        entry = _entry(store, prefix)
        if entry.key != key:
            return CacheOutcome.DAMAGED, f"{prefix}{ENTRY_FILE} is of another key"
        now = datetime.now(UTC)
        if entry.made > now + _SKEW or now - entry.made > timedelta(days=cache.max_age_days):
            return CacheOutcome.EXPIRED, f"{prefix} is of {entry.made:%Y-%m-%d}"
        stored = store.download(f"{prefix}{entry.sha256}.tar", folder / FRONT_FILE, Limit(entry.size_bytes))
    except (ValueError, AttributeError):
        return CacheOutcome.DAMAGED, f"{prefix}{ENTRY_FILE} does not follow the contract"
    except ConverterError as error:
        if error.reason is FailureReason.NO_SPACE:
            raise
        if error.reason is FailureReason.SOURCE_TOO_LARGE:
            return CacheOutcome.DAMAGED, error.cause
        is_missing = error.reason is FailureReason.SOURCE_NOT_FOUND
        return CacheOutcome.MISSING if is_missing else CacheOutcome.UNREADABLE, error.cause
    if stored != Stored(entry.sha256, entry.size_bytes):
        return CacheOutcome.DAMAGED, f"{prefix} has other bytes than its entry says"
    (folder / FRONT_RESULT_FILE).write_text(entry.front.model_dump_json(by_alias=True))
    return CacheOutcome.HIT, f"{prefix}, {human_size(stored.size_bytes)}, made {entry.made:%Y-%m-%d %H:%M}Z"


def _entry(store: Store, prefix: str) -> Entry:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ENTRY_FILE
        store.download(f"{prefix}{ENTRY_FILE}", path, Limit(2 * MAX_RESULT_BYTES))
        return Entry.model_validate_json(path.read_bytes())


def keep(store: Store, job: JobEnvironment, record: FetchRecord) -> None:
    """Upload what the run has left to be kept, its entry last. Never fails: the run has succeeded without."""
    cache = wanted(job.request)
    if cache is None or not (job.output / FRONT_FILE).exists():
        return
    prefix = _prefix(cache, key := key_of(job.request, record))
    try:
        front = read_report_file(job.output / FRONT_RESULT_FILE, KeptResult, Stage.PUBLISH)
        with open_regular(job.output / FRONT_FILE, MAX_TAR_BYTES, Stage.PUBLISH) as stream:
            sha256, size = hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()
            stream.seek(0)
            store.upload(f"{prefix}{sha256}.tar", stream, Stored(sha256, size), "application/x-tar")
        entry = Entry(
            key=key, made=datetime.now(UTC), run=job.request.run, sha256=sha256, size_bytes=size, front=front
        )
        text = entry.to_json().encode()
        store.upload(f"{prefix}{ENTRY_FILE}", io.BytesIO(text), digest_of([text]), "application/json")
    except (ConverterError, OSError, ValueError) as error:
        _logger.warning("the model was not kept in the cache: %s", error)
    else:
        _logger.info("kept in the cache: %s, %s", prefix, human_size(size))


def _prefix(cache: Cache, key: str) -> str:
    return f"{cache.uri.rstrip('/')}/{key}/"
