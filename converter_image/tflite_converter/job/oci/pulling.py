"""Models out of a container registry: the manifest by its digest, then the blobs that are meant."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote

from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import StorageAccess, endpoint_of
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import REGISTRY_LOGINS_ENV
from modelconversion_api.text import human_size
from modelconversion_api.uris import InRegistry, in_registry
from tflite_converter.errors import ConverterError
from tflite_converter.job.oci.asking import MOST_BYTES, Asker, Asks
from tflite_converter.job.oci.logins import read_logins
from tflite_converter.job.oci.pulled import ACCEPTED, Chosen, Layer, choose, layers_of, referrers_in
from tflite_converter.job.stores.base import Limit, Meter, Stored, check_proxy, received, whole_or_not_at_all
from tflite_converter.job.stores.connections import again, chunks, trusted

_MOST_ATTACHED: Final = 50
_LARGEST_ATTACHED: Final = 1 << 20
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
        content = again(partial(self._manifest_once, self._asker(uri, named), named.digest, name))
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

    def attached(self, uri: str, artifact_type: str) -> Iterator[bytes]:
        """Yield the files of one type that refer to a URI's manifest, of many the first.

        Raises:
            ConverterError: StorageAccessDenied, StorageUnavailable, DigestMismatch.

        """
        named = in_registry(uri)
        asker, name = self._asker(uri, named), uri
        places = (
            f"{asker.url}/referrers/{named.digest}?artifactType={quote(artifact_type, safe='')}",
            # Where a registry has no such list itself, the specification has a tag for it.
            f"{asker.url}/manifests/{named.digest.replace(':', '-')}",
        )
        found = (self._there(partial(self._bytes_once, asker, place, name)) for place in places)
        listed = next((content for content in found if content is not None), b"")
        for digest in referrers_in(listed, artifact_type)[:_MOST_ATTACHED]:
            content = again(partial(self._manifest_once, asker, digest, name))
            if (layer := _attached_in(content, name)) is None:
                continue
            place = f"{asker.url}/blobs/sha256:{layer.sha256}"
            yield again(partial(self._checked_once, asker, place, f"sha256:{layer.sha256}", name))

    def _there(self, work: Callable[[], bytes]) -> bytes | None:
        try:
            return again(work)
        except ConverterError as error:
            if error.reason is not FailureReason.SOURCE_NOT_FOUND:
                raise
            return None

    def _manifest_once(self, asker: Asker, digest: str, name: str) -> bytes:
        return self._checked_once(asker, f"{asker.url}/manifests/{digest}", digest, name)

    def _checked_once(self, asker: Asker, url: str, digest: str, name: str) -> bytes:
        content = self._bytes_once(asker, url, name)
        found = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if found != digest:
            cause = f"{name}: the registry gives something with the digest {found}, expected {digest}"
            raise ConverterError(FailureReason.DIGEST_MISMATCH, self._stage, cause)
        return content

    def _bytes_once(self, asker: Asker, url: str, name: str) -> bytes:
        with asker.opened(url, ACCEPTED) as answer:
            content, limit = bytearray(), Limit(MOST_BYTES, "is it the digest of a manifest?")
            for chunk in chunks(answer):
                content += chunk
                if len(content) > limit.size_bytes:
                    raise limit.exceeded(self._stage, f"a manifest of {name} has more")
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


def _attached_in(manifest: bytes, name: str) -> Layer | None:
    """Return the file of what refers to something; None for what others have attached that is none."""
    try:
        layers = layers_of(manifest, name)
    except ConverterError:
        return None
    return layers[0] if layers and layers[0].size_bytes <= _LARGEST_ATTACHED else None
