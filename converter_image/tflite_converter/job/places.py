"""Where a conversion reads from: each URI by the store that its scheme names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from modelconversion_api.reasons import Stage
from modelconversion_api.storage import StorageAccess
from modelconversion_api.uris import S3_SCHEME
from tflite_converter.job.storage import Limit, Meter, ObjectInfo, ObjectStore, Stored
from tflite_converter.job.web import WebStore


class Places:
    """The S3 store, and web servers: each is set up when it is first asked."""

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        self._access, self._stage = access, stage

    @cached_property
    def _s3(self) -> ObjectStore:
        return ObjectStore(self._access, self._stage)

    @cached_property
    def _web(self) -> WebStore:
        return WebStore(self._access, self._stage)

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download a file; what is raised is what :class:`ObjectStore` and :class:`WebStore` raise."""
        store = self._s3 if uri.startswith(S3_SCHEME) else self._web
        return store.download(uri, path, limit, meter)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """List the objects under a prefix, which only the S3 store has."""
        return self._s3.list(uri)
