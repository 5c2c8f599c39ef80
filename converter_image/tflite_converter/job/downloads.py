"""Folders out of an object store: listed and judged first, then downloaded by several threads."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size
from modelconversion_api.uris import split_uri
from tflite_converter.errors import ConverterError
from tflite_converter.files.archives import safe_relative_path
from tflite_converter.files.digests import folder_sha256
from tflite_converter.job.stores.base import Limit, ObjectInfo, Store, Stored

_logger = logging.getLogger(__name__)

WORKERS: Final = 8
"""Downloads at a time: small objects cost round trips, not bandwidth. boto3 pools 10 connections."""
_LINE_SECONDS: Final = 10.0
_QUIET_SECONDS: Final = 1.0
_LINE_PERCENT: Final = 10


@dataclass(frozen=True)
class FolderRules:
    """What a folder may be."""

    limit: Limit
    max_files: int
    bad_path: FailureReason
    """The reason where a key cannot be a path."""


def list_folder(store: Store, prefix: str, rules: FolderRules) -> dict[str, ObjectInfo]:
    """List the objects under ``prefix`` by their paths below it, checked before any download.

    Raises:
        ConverterError: SourceTooLarge, ``rules.bad_path``, and the store's failures.

    """
    _, key_prefix = split_uri(prefix)
    objects: dict[str, ObjectInfo] = {}
    total = 0
    for item in store.list(prefix):
        relative = item.key.removeprefix(key_prefix)
        if relative == "" or relative.endswith("/"):
            continue  # a marker that some tools leave for a folder
        objects[safe_relative_path(relative, Stage.FETCH, rules.bad_path)] = item
        total += item.size_bytes
        if len(objects) > rules.max_files:
            cause = f"{prefix} holds more than {rules.max_files} objects"
            hint = "is it the right prefix? Give one that holds nothing else"
            raise ConverterError(FailureReason.SOURCE_TOO_LARGE, Stage.FETCH, cause, hint=hint)
        if total > rules.limit.size_bytes:
            raise rules.limit.exceeded(Stage.FETCH, f"{prefix} holds at least {human_size(total)}")
    folders = {str(parent) for path in objects for parent in PurePosixPath(path).parents}
    if both := sorted(folders & objects.keys()):
        cause = f"{prefix}{both[0]} is an object, and the prefix of others: no folder can hold both"
        raise ConverterError(rules.bad_path, Stage.FETCH, cause, hint="remove or rename one of them")
    return objects


def download_folder(
    store: Store, prefix: str, objects: dict[str, ObjectInfo], folder: Path, limit: Limit
) -> Stored:
    """Download the objects of :func:`list_folder`; return the folder's digest and size.

    Raises:
        ConverterError: the first failure of any object; the downloads that have not begun are dropped.

    """
    _, key_prefix = split_uri(prefix)
    bucket = prefix.removesuffix(key_prefix)
    meter = DownloadMeter(prefix, sum(item.size_bytes for item in objects.values()))

    def one(path: str) -> Stored:
        return store.download(f"{bucket}{objects[path].key}", folder / path, limit, meter)

    stored = download_all(objects, one, meter)
    if stored.size_bytes > limit.size_bytes:  # an object that grew after it was listed
        raise limit.exceeded(Stage.FETCH, f"{prefix} has {human_size(stored.size_bytes)}")
    return stored


def download_all(paths: Iterable[str], one: Callable[[str], Stored], meter: DownloadMeter) -> Stored:
    """Download the files of a folder by several threads; return its digest and size.

    Raises:
        ConverterError: as :func:`download_folder`.

    """
    left = deque(paths)

    def work() -> dict[str, Stored]:
        stored: dict[str, Stored] = {}
        while True:
            try:
                path = left.popleft()
            except IndexError:
                return stored
            stored[path] = one(path)

    with ThreadPoolExecutor(WORKERS, thread_name_prefix="download") as pool:
        try:
            ended, _ = wait([pool.submit(work) for _ in range(WORKERS)], return_when=FIRST_EXCEPTION)
            stored = {path: item for worker in ended for path, item in worker.result().items()}
        except BaseException:
            # Whether an object failed or SIGTERM came: those under way end at their next chunk.
            left.clear()
            meter.stop()
            raise
    size = sum(item.size_bytes for item in stored.values())
    return Stored(folder_sha256({path: item.sha256 for path, item in stored.items()}), size)


class DownloadMeter:
    """Says how far a long download is: a line every tenth part or ten seconds. Short ones pass in silence."""

    def __init__(
        self,
        what: str,
        total_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] = _logger.info,
    ) -> None:
        self._what = what
        self._total = total_bytes
        self._fixed = total_bytes is not None
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._stopped = False
        self._done = self._percent = 0
        self._last = clock()

    def expect(self, size_bytes: int) -> None:
        """Count an object's size as the whole download, unless the whole is known."""
        with self._lock:
            if not self._fixed:
                self._total, self._done = size_bytes, 0

    def add(self, size_bytes: int) -> None:
        """Count bytes.

        Raises:
            ConverterError: Interrupted, after :meth:`stop`.

        """
        with self._lock:
            if self._stopped:
                raise ConverterError(FailureReason.INTERRUPTED, Stage.FETCH, f"{self._what}: stopped")
            self._done += size_bytes
            # What broke off and came again is counted twice.
            percent = min(100, 100 * self._done // self._total) if self._total else 100
            waited = self._clock() - self._last
            if waited >= _LINE_SECONDS or (
                waited >= _QUIET_SECONDS and percent >= self._percent + _LINE_PERCENT
            ):
                self._tell(f"fetching {self._what}: {percent} % of {human_size(self._total or self._done)}")
                self._last, self._percent = self._clock(), percent

    def stop(self) -> None:
        """End every download that reports here."""
        with self._lock:
            self._stopped = True
