"""One repository of a registry, as it is written to."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

from modelconversion_api.fields.oci import OCIOutput
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.job.oci.asking import Answer, Asker, Asks
from tflite_converter.job.oci.content import INDEX, MANIFEST, Blob
from tflite_converter.job.stores.connections import REDIRECTS, again

_LOGIN: Final = "check spec.output.oci: the repository, and the Secret's login for that host"
_NO_REPOSITORY: Final = (
    "create the repository where the registry does not do so by itself, or correct its name"
)


class Repository:
    """A repository that is pushed to.

    Args:
        oci: Which one.
        logins: ``Authorization: Basic`` by host, or by host and the beginning of a repository.
        trust: Whose certificates count.

    """

    def __init__(self, oci: OCIOutput, logins: Mapping[str, str], trust: ssl.SSLContext) -> None:
        self._name = oci.repository
        asks = Asks(
            stage=Stage.PUBLISH,
            name=oci.repository,
            server=oci.server,
            path=oci.path,
            actions="pull,push",
            login_hint=_LOGIN,
            missing=FailureReason.BUCKET_NOT_FOUND,
            missing_hint=_NO_REPOSITORY,
        )
        self._asker = Asker(asks, logins, trust)
        self._url, self._ask, self._refuse = self._asker.url, self._asker.ask, self._asker.refuse

    def push(self, blob: Blob) -> None:
        """Push a blob, unless it is there. What breaks off is tried again, a bounded number of times.

        Raises:
            ConverterError: StorageAccessDenied, BucketNotFound, StorageUnavailable, UploadCorrupted.

        """
        again(partial(self._push_once, blob))

    def _push_once(self, blob: Blob) -> None:
        there = self._ask("HEAD", f"{self._url}/blobs/{blob.digest}")
        # Some send one on to the store that has it, which is not followed.
        if there.status == HTTPStatus.OK or there.status in REDIRECTS:
            return
        if there.status != HTTPStatus.NOT_FOUND:
            self._refuse(there)
        begun = self._ask("POST", f"{self._url}/blobs/uploads/", {"Content-Length": "0"})
        if begun.status != HTTPStatus.ACCEPTED:
            self._refuse(begun)
        place = urljoin(begun.url, begun.headers.get("Location", ""))
        place = f"{place}{'&' if '?' in place else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)}
        put = self._ask("PUT", place, headers, blob)
        if put.status != HTTPStatus.CREATED:
            self._refuse(put)
        self._check(put.headers.get("Docker-Content-Digest"), blob.digest)

    def put(
        self,
        reference: str,
        content: bytes,
        media_type: str = MANIFEST,
        guard: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """Put a manifest or index under a tag or its digest, and make sure that the registry has it.

        Args:
            reference: The tag or digest.
            content: Byte by byte what its digest is of.
            media_type: What it is.
            guard: Headers that say what must be there before.

        Returns:
            The answer; None where ``guard`` says no.

        Raises:
            ConverterError: as :meth:`push`.

        """
        return again(partial(self._put_once, reference, content, media_type, guard or {}))

    def _put_once(
        self, reference: str, content: bytes, media_type: str, guard: Mapping[str, str]
    ) -> Answer | None:
        headers = {"Content-Type": media_type, "Content-Length": str(len(content)), **guard}
        put = self._ask("PUT", f"{self._url}/manifests/{reference}", headers, [content])
        if guard and put.status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT):
            return None
        if put.status != HTTPStatus.CREATED:
            self._refuse(put)
        digest = _digest(content)
        self._check(put.headers.get("Docker-Content-Digest"), digest)
        there = self._get_once(digest)
        self._check(None if there is None else _digest(there.content), digest, needed=True)
        return put

    def get(self, reference: str) -> Answer | None:
        """Return the manifest or index of a tag or digest; None for none. Raises as :meth:`push`."""
        return again(partial(self._get_once, reference))

    def _get_once(self, reference: str) -> Answer | None:
        found = self._ask("GET", f"{self._url}/manifests/{reference}", {"Accept": f"{INDEX}, {MANIFEST}"})
        if found.status == HTTPStatus.NOT_FOUND:
            return None
        if found.status != HTTPStatus.OK:
            self._refuse(found)
        return found

    def _check(self, told: str | None, digest: str, *, needed: bool = False) -> None:
        if told != digest and (needed or told is not None):
            cause = f"{self._name}: the registry holds other bytes than were sent ({digest})"
            raise ConverterError(FailureReason.UPLOAD_CORRUPTED, Stage.PUBLISH, cause)


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
