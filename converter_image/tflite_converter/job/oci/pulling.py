"""Models out of a container registry: the manifest by its digest, then the blobs that are meant."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import StorageAccess, endpoint_of
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import REGISTRY_LOGINS_ENV
from modelconversion_api.text import human_size
from modelconversion_api.uris import InRegistry, in_registry
from tflite_converter.errors import ConverterError
from tflite_converter.job.oci.asking import MOST_BYTES, Asker, Asks
from tflite_converter.job.oci.logins import read_logins
from tflite_converter.job.oci.pulled import ACCEPTED, Chosen, Layer, choose, layers_of
from tflite_converter.job.stores.base import Limit, Meter, Stored, check_proxy, received, whole_or_not_at_all
from tflite_converter.job.stores.connections import again, chunks, trusted

_NOT_THERE: Final = "correct the repository and the digest"
_LOGIN: Final = (
    "check the repository, and the login for that host in the Secret of spec.storage.oci.secretRef; many"
    " registries answer so where there is no such repository, too"
)


class RegistryReader:
    """Downloads of ``oci`` URIs, each from its own registry."""

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        self._access, self._stage = access, stage
        # Taken out of the environment: nothing that this process may start later inherits it.
        text = os.environ.pop(REGISTRY_LOGINS_ENV, "")
        try:
            self._logins = read_logins(text) if text else {}
        except ValueError as error:
            cause = f"the Secret of spec.storage.oci.secretRef: {error}"
            hint = "make it with kubectl create secret docker-registry NAME --docker-server=HOST ..."
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, stage, cause, hint=hint) from error
        check_proxy(stage)
        self._trust = trusted(access, stage)
        self._askers: dict[str, Asker] = {}
        self._lock = threading.Lock()

    def chosen(self, uri: str) -> Chosen:
        """Return what a URI means: the layer of a file, or those of a SavedModel's folder.

        Raises:
            ConverterError: DigestMismatch, SourceTooLarge, UnsupportedFormat, SourceNotFound,
                StorageAccessDenied, StorageUnavailable.

        """
        named = in_registry(uri)
        name = f"oci://{named.host}/{named.repository}@{named.digest}"
        content = again(partial(self._manifest_once, self._asker(uri, named), named, name))
        return choose(layers_of(content, name), named.path, name)

    def pull(self, uri: str, layer: Layer, path: Path, limit: Limit, meter: Meter) -> Stored:
        """Download a layer to ``path``, whole and with its digest, or not at all.

        Raises:
            ConverterError: SourceTooLarge beyond ``limit``, DigestMismatch, NoSpace, SourceNotFound,
                StorageAccessDenied, StorageUnavailable.

        """
        if layer.size_bytes > limit.size_bytes:
            raise limit.exceeded(self._stage, f"{uri} has {human_size(layer.size_bytes)}")
        asker = self._asker(uri, in_registry(uri))
        with whole_or_not_at_all(path, self._stage) as part:
            stored = again(partial(self._layer_once, asker, uri, layer, part, limit, meter))
            if stored != Stored(layer.sha256, layer.size_bytes):
                cause = f"{uri}: a layer has the digest {stored.sha256}, expected {layer.sha256}"
                raise ConverterError(FailureReason.DIGEST_MISMATCH, self._stage, cause)
        return stored

    def _asker(self, uri: str, named: InRegistry) -> Asker:
        place = f"{named.host}/{named.repository}"
        with self._lock:  # one for each repository: it has the token that it was given
            if place not in self._askers:
                self._askers[place] = self._new_asker(uri, named, place)
            return self._askers[place]

    def _new_asker(self, uri: str, named: InRegistry, place: str) -> Asker:
        server = endpoint_of(uri, self._access)
        assert server is not None  # noqa: S101 - only S3 and Azure may have none
        asks = Asks(
            stage=self._stage,
            name=place,
            server=server,
            path=named.repository,
            actions="pull",
            login_hint=_LOGIN,
            missing=FailureReason.SOURCE_NOT_FOUND,
            missing_hint=_NOT_THERE,
        )
        return Asker(asks, self._logins, self._trust)

    def _manifest_once(self, asker: Asker, named: InRegistry, name: str) -> bytes:
        with asker.opened(f"{asker.url}/manifests/{named.digest}", ACCEPTED) as answer:
            content, limit = bytearray(), Limit(MOST_BYTES, "is it the digest of a manifest?")
            for chunk in chunks(answer):
                content += chunk
                if len(content) > limit.size_bytes:
                    raise limit.exceeded(self._stage, f"the manifest {name} has more")
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != named.digest:
            cause = f"{name}: the registry gives a manifest with the digest {found}"
            raise ConverterError(FailureReason.DIGEST_MISMATCH, self._stage, cause)
        return bytes(content)

    def _layer_once(
        self, asker: Asker, uri: str, layer: Layer, part: Path, limit: Limit, meter: Meter
    ) -> Stored:
        with asker.opened(f"{asker.url}/blobs/sha256:{layer.sha256}", "*/*") as answer:
            meter.expect(layer.size_bytes)
            return received(self._bounded(answer, uri, layer), part, limit, meter, self._stage, uri)

    def _bounded(self, answer: BaseHTTPResponse, uri: str, layer: Layer) -> Iterator[bytes]:
        """Yield a body that may not be longer than its manifest says."""
        size = 0
        for chunk in chunks(answer):
            size += len(chunk)
            if size > layer.size_bytes:
                cause = f"{uri}: a layer has more than the {layer.size_bytes} bytes that the manifest says"
                raise ConverterError(FailureReason.DIGEST_MISMATCH, self._stage, cause)
            yield chunk
