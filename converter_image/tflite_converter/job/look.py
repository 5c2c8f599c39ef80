"""``job-look``: says which version of a source is there, for a trigger. Has the credentials, runs no model.

What the store says of the objects (ETag, generation or time) is a stamp: where it is the one that was seen
last, nothing is read. Else the source is fetched as for a conversion, for its digest is what decides.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
from typing import Final

from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import Look, StageResult
from modelconversion_api.triggers import STAMP_ENV
from modelconversion_api.uris import CLAIM_SCHEME, split_uri
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.fetch import clear, fetch_source
from tflite_converter.job.stores.base import Store
from tflite_converter.job.stores.places import Places

_logger = logging.getLogger(__name__)

_MOST_OBJECTS: Final = 10_000
"""Objects beside the source that are looked through; beyond them, its content alone decides."""


def look(job: JobEnvironment) -> StageResult:
    """Say which version of the source is there.

    Raises:
        ConverterError: As ``job-fetch`` does of the source.

    """
    store, source = Places(job.request.storage, Stage.FETCH), job.request.source
    clear(job.input)
    # Before it is read: what changes meanwhile has another stamp at the next look.
    stamp = _stamp(store, source.uri)
    if stamp is not None and stamp == os.environ.get(STAMP_ENV):
        _logger.info("%s: nothing has changed", source.uri)
        return StageResult(look=Look(stamp=stamp))
    found = fetch_source(store, source, job.input)
    clear(job.input)
    return StageResult(look=Look(stamp=stamp or "", sha256=found.sha256, size_bytes=found.size_bytes))


def _stamp(store: Store, uri: str) -> str | None:
    """Return a digest of what the store says of a file or folder; None where it says too much, or nothing.

    A file of a claim is found in the listing of its folder.
    """
    _, key = split_uri(uri)
    key = key.rstrip("/")
    prefix = f"{uri.rstrip('/').rpartition('/')[0]}/" if uri.startswith(CLAIM_SCHEME) else uri.rstrip("/")
    objects = list(itertools.islice(store.list(prefix), _MOST_OBJECTS + 1))
    own = [item for item in objects if item.key == key or item.key.startswith(f"{key}/")]
    if len(objects) > _MOST_OBJECTS or not own or not all(item.version for item in own):
        return None
    text = "\n".join(sorted(f"{item.key}\0{item.size_bytes}\0{item.version}" for item in own))
    return hashlib.sha256(text.encode()).hexdigest()
