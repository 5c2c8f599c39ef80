"""What every store is to the Job's stages, and what all of them share: limits, digests, whole files."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final, Protocol

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.job.stores.proxies import proxy_problem

CHUNK: Final = 1 << 20
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object of a listing."""

    key: str
    size_bytes: int
    version: str = ""
    """What the store changes with each write; empty where it does not say."""


@dataclass(frozen=True)
class Stored:
    """Bytes as they were read or written."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Limit:
    """How large a download may be, and what to do about one that is larger."""

    size_bytes: int
    hint: str | None = None
    """The contract's hint for SourceTooLarge where None."""

    def exceeded(self, stage: Stage, what: str) -> ConverterError:
        """Return the failure for ``what``, e.g. ``s3://b/k has 3.0GiB``."""
        cause = f"{what}, and {human_size(self.size_bytes)} is the limit"
        return ConverterError(FailureReason.SOURCE_TOO_LARGE, stage, cause, hint=self.hint)


class Meter(Protocol):
    """Who wants to know how a download goes."""

    def expect(self, size_bytes: int) -> None:
        """Take note of the object's size, again after a download has restarted."""

    def add(self, size_bytes: int) -> None:
        """So many bytes have arrived since the last call. May raise to end the download."""


class Reader(Protocol):
    """Where files are read from."""

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download a file to ``path``, whole or not at all, and compute its digest meanwhile.

        One that is too large is refused by the length that is named, before any of it is read. What breaks in
        the middle is tried again, a bounded number of times. Threads may download at the same time.

        Raises:
            ConverterError: SourceTooLarge beyond ``limit``, NoSpace, SourceNotFound, BucketNotFound,
                StorageAccessDenied, StorageUnavailable.

        """


class Store(Reader, Protocol):
    """Where files are read from in whole folders, and written to; each scheme has one."""

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """All objects whose keys begin with the URI's; one that ends in ``/`` may be a mark of a folder.

        Raises:
            ConverterError: BucketNotFound, StorageAccessDenied, StorageUnavailable.

        """

    def upload(self, uri: str, content: BufferedReader | BytesIO, stored: Stored, content_type: str) -> None:
        """Upload an object in place of one that may be there, and make sure that the store has what was sent.

        It is there whole or not at all. ``stored`` is the digest and size of ``content``.

        Raises:
            ConverterError: UploadCorrupted, BucketNotFound, StorageAccessDenied, StorageUnavailable.

        """

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            ConverterError: BucketNotFound, StorageAccessDenied, StorageUnavailable.

        """


@contextlib.contextmanager
def whole_or_not_at_all(path: Path, stage: Stage) -> Iterator[Path]:
    """Yield where a download is to be written; it becomes ``path`` only where all went well.

    Raises:
        ConverterError: NoSpace, and the other reasons of what cannot be written.

    """
    # A name of its own: beside ``a`` there may be an object called ``a.part``.
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)
    except OSError as error:
        raise from_os_error(error, stage, "writing the download") from error
    finally:
        part.unlink(missing_ok=True)


def received(
    chunks: Iterable[bytes], part: Path, limit: Limit, meter: Meter | None, stage: Stage, what: str
) -> Stored:
    """Write a download down as it arrives, and compute its digest meanwhile.

    Raises:
        ConverterError: SourceTooLarge for more than ``limit``; ``what`` is its name there.

    """
    digest, size = hashlib.sha256(), 0
    with part.open("wb") as stream:
        for chunk in chunks:
            size += len(chunk)
            if size > limit.size_bytes:
                raise limit.exceeded(stage, f"{what} has more than {human_size(size)}")
            digest.update(chunk)
            stream.write(chunk)
            if meter is not None:
                meter.add(len(chunk))
    return Stored(digest.hexdigest(), size)


def digest_of(chunks: Iterable[bytes]) -> Stored:
    """Return the digest and size of bytes that are read, and kept nowhere."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return Stored(digest.hexdigest(), size)


def trust_bundle(context: ssl.SSLContext, bundle: str) -> None:
    """Have ``context`` trust the certificates of ``spec.storage.caBundle`` as well.

    Raises:
        ValueError: There are none in it.

    """
    try:
        context.load_verify_locations(cadata=bundle)
    except (ValueError, ssl.SSLError) as error:
        raise ValueError("caBundle holds no certificates in PEM format") from error


def wrong_access(error: ValueError, stage: Stage) -> ConverterError:
    """Return the failure for what ``spec.storage`` says wrongly."""
    return ConverterError(
        FailureReason.INVALID_REQUEST, stage, f"spec.storage: {error}", hint="correct spec.storage"
    )


def corrupted(uri: str, stage: Stage) -> ConverterError:
    """Return the failure for an object that is not what was sent."""
    cause = f"{uri}: the store holds other bytes than were sent"
    return ConverterError(FailureReason.UPLOAD_CORRUPTED, stage, cause)


def md5_of(content: BufferedReader | BytesIO) -> hashlib._Hash:
    """Return the MD5 of all of ``content``, which stands at its beginning afterwards: all stores know it."""
    content.seek(0)
    md5 = hashlib.file_digest(content, _md5)
    content.seek(0)
    return md5


def _md5() -> hashlib._Hash:
    return hashlib.md5(usedforsecurity=False)


def check_proxy(stage: Stage) -> None:
    """Refuse a proxy that is none.

    Raises:
        ConverterError: StorageUnavailable.

    """
    if problem := proxy_problem(os.environ):
        hint = "correct it in the Secret or in converter.proxy of the operator's chart"
        raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, problem, hint=hint)
