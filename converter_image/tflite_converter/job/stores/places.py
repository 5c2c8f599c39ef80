"""Where a conversion reads from and writes to: each URI by the store that its scheme names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import Stage
from modelconversion_api.uris import AZURE_SCHEME, CLAIM_SCHEME, GOOGLE_SCHEME, S3_SCHEME
from tflite_converter.job.stores.base import Limit, Meter, ObjectInfo, Reader, Store, Stored

if TYPE_CHECKING:
    from tflite_converter.job.oci.pulling import RegistryReader


# Each is imported where it is used: boto3 takes longer than the others together.
def _s3(access: StorageAccess, stage: Stage) -> Store:
    from tflite_converter.job.stores.s3 import ObjectStore

    return ObjectStore(access, stage)


def _google(access: StorageAccess, stage: Stage) -> Store:
    from tflite_converter.job.stores.google import GoogleStore

    return GoogleStore(access, stage)


def _azure(access: StorageAccess, stage: Stage) -> Store:
    from tflite_converter.job.stores.azure import AzureStore

    return AzureStore(access, stage)


def _claims(access: StorageAccess, stage: Stage) -> Store:
    from tflite_converter.job.stores.claims import ClaimStore

    del access  # a volume is mounted, or it is not
    return ClaimStore(stage)


_STORES: Final[dict[str, Callable[[StorageAccess, Stage], Store]]] = {
    S3_SCHEME: _s3,
    GOOGLE_SCHEME: _google,
    AZURE_SCHEME: _azure,
    CLAIM_SCHEME: _claims,
}
"""By scheme; web servers and registries, which are only read from, are not among them."""


class Places:
    """All stores, and web servers, as one :class:`Store`: each is set up when it is first asked."""

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        self._access, self._stage = access, stage
        self._stores: dict[str, Store] = {}
        self._lock = threading.Lock()
        self._web: Reader | None = None
        self._registries: RegistryReader | None = None

    def _store(self, uri: str) -> Store:
        scheme = f"{uri.partition('://')[0]}://"
        with self._lock:  # each is made once: it takes its credentials out of the environment
            if scheme not in self._stores:
                self._stores[scheme] = _STORES[scheme](self._access, self._stage)
            return self._stores[scheme]

    def _reader(self, uri: str) -> Reader:
        if uri.startswith(tuple(_STORES)):
            return self._store(uri)
        if self._web is None:
            from tflite_converter.job.stores.web import WebStore

            self._web = WebStore(self._access, self._stage)
        return self._web

    @property
    def registries(self) -> RegistryReader:
        """Where sources with oci URIs are read from, which are manifests and no files."""
        if self._registries is None:
            from tflite_converter.job.oci.pulling import RegistryReader

            self._registries = RegistryReader(self._access, self._stage)
        return self._registries

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download a file, from a store or a web server."""
        return self._reader(uri).download(uri, path, limit, meter)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """List the objects under a prefix, which web servers have none of."""
        return self._store(uri).list(uri)

    def upload(self, uri: str, content: BufferedReader | BytesIO, stored: Stored, content_type: str) -> None:
        """Upload an object to its store."""
        self._store(uri).upload(uri, content, stored, content_type)

    def delete(self, uri: str) -> None:
        """Remove an object from its store."""
        self._store(uri).delete(uri)
