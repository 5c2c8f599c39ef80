"""The S3 store as the Job's stages use it: bounded, checked, and with the contract's failures."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import boto3
import botocore.session
from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
)
from botocore.config import Config
from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

from modelconversion_api.fields.storage import ENDPOINT_KEY, AddressingStyle, ChecksumPolicy, StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import CREDENTIALS_ENDPOINT_ENV
from modelconversion_api.text import human_size
from modelconversion_api.uris import split_uri
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.base import (
    CHUNK,
    Limit,
    Meter,
    ObjectInfo,
    Stored,
    check_proxy,
    corrupted,
    digest_of,
    md5_of,
    received,
    trust_bundle,
    whole_or_not_at_all,
    wrong_access,
)
from tflite_converter.job.stores.connections import Looks
from tflite_converter.job.stores.proxies import is_direct
from tflite_converter.job.stores.s3_errors import storage_errors

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHECKSUMS: Final[dict[ChecksumPolicy, Literal["when_required", "when_supported"]]] = {
    ChecksumPolicy.WHEN_REQUIRED: "when_required",
    ChecksumPolicy.WHEN_SUPPORTED: "when_supported",
}
_STYLES: Final[dict[AddressingStyle, Literal["auto", "path", "virtual"]]] = {
    AddressingStyle.AUTO: "auto",
    AddressingStyle.PATH: "path",
    AddressingStyle.VIRTUAL: "virtual",
}
_DOWNLOAD_TRIES = 3
_CONNECT_SECONDS = 10
_READ_SECONDS = 60


class _Plain(Looks, AWSHTTPConnection):  # type: ignore[misc] # as botocore's own classes
    pass


class _Encrypted(Looks, AWSHTTPSConnection):  # type: ignore[misc] # as above
    pass


class _PlainPool(AWSHTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(AWSHTTPSConnectionPool):
    ConnectionCls = _Encrypted


class ObjectStore:
    """One S3 store, with credentials from the standard chain (``AWS_*``, web identity, instance profile)."""

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        self._stage = stage
        _check_endpoint(access.endpoint, stage)
        check_proxy(stage)
        # Making a client looks for credentials, where the cloud has some.
        with storage_errors(stage, access.endpoint or "AWS S3"):
            try:
                self._client = _client(access)
            except ValueError as error:
                raise wrong_access(error, stage) from error
        # botocore has no setting for it; its proxies keep their own, for whom they reach is theirs to decide.
        manager: Any = self._client._endpoint.http_session._manager  # type: ignore[attr-defined] # noqa: SLF001
        manager.pool_classes_by_scheme = {"http": _PlainPool, "https": _EncryptedPool}

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """All objects whose keys begin with the URI's."""
        bucket, prefix = split_uri(uri)
        with storage_errors(self._stage, uri):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for entry in page.get("Contents", []):
                    version = f"{entry.get('ETag', '')} {entry.get('LastModified', '')}"
                    yield ObjectInfo(entry["Key"], entry["Size"], version)

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download an object to ``path``, whole or not at all, and compute its digest meanwhile.

        An object that is too large is refused by the length that the store names, before any of it is read.
        A connection that breaks in the middle is tried again, :data:`_DOWNLOAD_TRIES` times in all. Threads
        may download at the same time.

        Raises:
            ConverterError: SourceTooLarge beyond ``limit``, NoSpace, and the store's failures.

        """
        with whole_or_not_at_all(path, self._stage) as part:
            for tries_left in reversed(range(_DOWNLOAD_TRIES)):
                try:
                    with storage_errors(self._stage, uri):
                        stored = self._download_once(uri, part, limit, meter)
                    break
                except ConverterError as error:
                    broken = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
                    if not (isinstance(error.__cause__, broken) and tries_left):
                        raise
        return stored

    def _download_once(self, uri: str, part: Path, limit: Limit, meter: Meter | None) -> Stored:
        bucket, key = split_uri(uri)
        answer = self._client.get_object(Bucket=bucket, Key=key)
        with contextlib.closing(answer["Body"]) as body:
            promised = answer["ContentLength"]
            if promised > limit.size_bytes:
                raise limit.exceeded(self._stage, f"{uri} has {human_size(promised)}")
            if meter is not None:
                meter.expect(promised)
            chunks = iter(partial(body.read, CHUNK), b"")  # botocore holds what arrives against the length
            return received(chunks, part, limit, meter, self._stage, uri)

    def upload(self, uri: str, content: BufferedReader | BytesIO, stored: Stored, content_type: str) -> None:
        """Upload an object and make sure that the store has what was sent.

        The digest goes along as metadata. The store's ETag is the MD5 of what it received where it neither
        encrypts nor splits; anywhere else the object is read back.

        Raises:
            ConverterError: UploadCorrupted, and the store's failures.

        """
        bucket, key = split_uri(uri)
        with storage_errors(self._stage, uri):
            md5 = md5_of(content)
            answer = self._client.put_object(
                Bucket=bucket,
                Key=key,
                Body=content,
                ContentLength=stored.size_bytes,
                ContentType=content_type,
                Metadata={"sha256": stored.sha256},
            )
            if answer.get("ETag", "").strip('"') != md5.hexdigest() and self._read_back(uri) != stored:
                raise corrupted(uri, self._stage)

    def _read_back(self, uri: str) -> Stored:
        bucket, key = split_uri(uri)
        body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
        return digest_of(iter(partial(body.read, CHUNK), b""))

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error."""
        bucket, key = split_uri(uri)
        with storage_errors(self._stage, uri):
            self._client.delete_object(Bucket=bucket, Key=key)


def _check_endpoint(endpoint: str | None, stage: Stage) -> None:
    """Refuse to send credentials to another endpoint than their Secret names, where it names one."""
    meant = os.environ.get(CREDENTIALS_ENDPOINT_ENV, "").strip().rstrip("/")
    if meant and meant != (endpoint or "").rstrip("/"):
        cause = f"the credentials are for another endpoint than {endpoint or 'AWS S3'}"
        hint = f"correct spec.storage.endpoint, or {ENDPOINT_KEY} in the Secret"
        raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, stage, cause, hint=hint)


def _client(access: StorageAccess) -> S3Client:
    checksums = _CHECKSUMS[access.checksums]
    style = _STYLES[access.addressing_style]
    if access.addressing_style is AddressingStyle.AUTO and access.endpoint is not None:
        style = "path"  # an endpoint of one's own rarely has a host name for every bucket
    options: dict[str, Any] = {}
    core = botocore.session.get_session()
    if access.ca_bundle is not None:
        options["verify"] = _ca_file(access.ca_bundle)
        if access.endpoint is None:
            # Of a proxy that opens what is said to AWS: credentials come from there as well.
            core.set_config_variable("ca_bundle", options["verify"])
    # A session of its own: boto3.client() remembers the first credentials it has seen.
    return boto3.session.Session(botocore_session=core).client(
        "s3",
        endpoint_url=access.endpoint,
        # Third-party stores accept any region, but signing needs one.
        region_name=access.region or os.environ.get("AWS_REGION") or "us-east-1",
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 4},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            s3={"addressing_style": style},
            user_agent_extra="tflite-converter",
            proxies={} if is_direct(access.endpoint, os.environ) else None,
        ),
        **options,
    )


def _ca_file(bundle: str) -> str:
    """Return the bundle as a file in memory.

    The container's root is read-only, and botocore takes only paths.
    """
    # Not create_default_context, which takes an empty text for none, and trusts the system's authorities.
    trust_bundle(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), bundle)
    fd = os.memfd_create("ca-bundle", flags=0)  # stays open as long as the process, as the client may
    os.write(fd, bundle.encode())
    return f"/proc/self/fd/{fd}"
