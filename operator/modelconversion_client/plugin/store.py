"""Files of this machine in the store, and back: whole, and checked by their digests."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from modelconversion_client.plugin.exits import StoreError, UsageProblem

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SCHEME: Final = "s3://"
_CHUNK: Final = 1 << 20
_STEPS: Final[dict[str, str]] = {
    "NoSuchBucket": "create the bucket, or name another --bucket",
    "NoSuchKey": "it was moved or deleted: convert again",
    "404": "see that bucket and key are there, and that --endpoint is the right store",
    "403": "see that AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY may read and write there",
    "AccessDenied": "see that these credentials may read and write there",
    "InvalidAccessKeyId": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of this store",
    "SignatureDoesNotMatch": "set AWS_SECRET_ACCESS_KEY of this store",
}
"""What to do about an error of the store."""


class Place(NamedTuple):
    """A bucket and a key, or a prefix of keys."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """As ``s3://bucket/key``."""
        return f"{_SCHEME}{self.bucket}/{self.key}"


def place_of(uri: str) -> Place:
    """Return what an S3 URI names.

    Raises:
        UsageProblem: It is none.

    """
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not uri.startswith(_SCHEME) or not bucket:
        raise UsageProblem(
            f"{uri} is not of the form s3://bucket/prefix", "name the bucket as s3://BUCKET/PREFIX"
        )
    return Place(bucket, key)


def sha256_of(path: Path) -> str:
    """Return the digest of a file.

    Raises:
        UsageProblem: It is no file, or cannot be read.

    """
    if path.is_dir():
        step = f"pack it: `cd {path} && zip -r ../{path.name}.zip .`, and give the .zip"
        raise UsageProblem(f"{path} is a folder, and whole files are uploaded", step)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageProblem(f"{path} cannot be read: {error.strerror}", "name a file that is there") from error


def upload_key(prefix: str, digest: str, name: str) -> str:
    """Return where a file goes: under its digest, so that no other file can be there."""
    return "/".join(filter(None, (prefix.strip("/"), "uploads", digest, name)))


def local_name(uri: str) -> str:
    """Return the file name at the end of a URI.

    Raises:
        StoreError: It could lead out of the folder.

    """
    name = place_of(uri).key.rpartition("/")[2]
    if name in ("", ".", "..") or not name.isprintable() or "\\" in name:
        raise StoreError(f"{uri} has no name that a file can have", "fetch it with a tool for the store")
    return name


@contextmanager
def _folder_in(parent: Path) -> Iterator[Path]:
    """Make a folder for what is not whole yet, on the disk where it will lie."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)


class Store:
    """An S3 store as this machine reaches it.

    Args:
        endpoint: Its URL; AWS S3 when not given.
        region: Region of the buckets, where the environment does not say it.

    Raises:
        StoreError: boto3 is not installed.

    """

    def __init__(self, endpoint: str | None, region: str | None = None) -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ImportError as error:
            step = "install it: `uv pip install 'model-conversion-client[s3]'`"
            raise StoreError("boto3 is not installed, which speaks with the store", step) from error
        config = Config(
            # What every S3-compatible store understands.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
            retries={"mode": "standard"},
            connect_timeout=10,
        )
        session = boto3.Session()
        where = region or session.region_name or ("us-east-1" if endpoint else None)
        try:
            self._client: S3Client = session.client(
                "s3", endpoint_url=endpoint, region_name=where, config=config
            )
        except (BotoCoreError, ValueError) as error:
            raise StoreError(f"the store cannot be used: {error}", "look at --endpoint") from error
        self._name = endpoint or "AWS S3"

    def upload(self, path: Path, digest: str, prefix: Place) -> tuple[Place, bool]:
        """Upload a file under its digest; gives where it is, and whether it had to be uploaded.

        Raises:
            StoreError: The store refuses it, or cannot be reached.

        """
        place = Place(prefix.bucket, upload_key(prefix.key, digest, path.name))
        with self._telling(f"upload {path.name} to {place.uri}"):
            if self._size(place) == path.stat().st_size:
                return place, False
            self._client.upload_file(str(path), place.bucket, place.key)
        return place, True

    def download(self, uri: str, into: Path, digest: str | None = None) -> Path:
        """Download an object; the file is there only when it is whole and has the digest.

        Raises:
            StoreError: It cannot be read, has another digest, or another file has its name.

        """
        place, target = place_of(uri), into / local_name(uri)
        with self._telling(f"download {uri}"), _folder_in(into) as folder:
            path = folder / "whole"
            found = hashlib.sha256()
            body = self._client.get_object(Bucket=place.bucket, Key=place.key)["Body"]
            with path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    found.update(chunk)
                    file.write(chunk)
            if digest is not None and found.hexdigest() != digest:
                step = "convert again: somebody has written over it since"
                raise StoreError(
                    f"{uri} has the SHA-256 {found.hexdigest()}, and the status says {digest}", step
                )
            if target.exists() and sha256_of(target) != found.hexdigest():
                raise StoreError(
                    f"{target} is there and is another file", "choose another folder, or remove it"
                )
            os.replace(path, target)  # noqa: PTH105 - replaces on every system, which rename does not
        return target

    def read(self, uri: str, most_bytes: int) -> bytes:
        """Return an object that has at most ``most_bytes``.

        Raises:
            StoreError: It cannot be read, or has more.

        """
        place = place_of(uri)
        with self._telling(f"read {uri}"):
            body = self._client.get_object(Bucket=place.bucket, Key=place.key)["Body"]
            with body:
                data = body.read(most_bytes + 1)
        if len(data) > most_bytes:
            raise StoreError(
                f"{uri} has more than {most_bytes >> 20} MiB", "look at it with a tool for the store"
            )
        return data

    def _size(self, place: Place) -> int | None:
        from botocore.exceptions import ClientError

        try:
            return self._client.head_object(Bucket=place.bucket, Key=place.key)["ContentLength"]
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        from boto3.exceptions import Boto3Error, S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            yield
        except NoCredentialsError as error:
            step = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            raise StoreError(f"{what}: there are no credentials for {self._name}", step) from error
        except (ClientError, S3UploadFailedError) as error:
            # An upload's error has the store's answer behind it.
            answer = error if isinstance(error, ClientError) else error.__context__
            found = answer.response["Error"].get("Code", "") if isinstance(answer, ClientError) else ""
            step = _STEPS.get(found, "look at --endpoint, the bucket and the credentials")
            raise StoreError(f"{what}: {self._name} answered: {answer or error}", step) from error
        except (BotoCoreError, Boto3Error) as error:
            step = "see that --endpoint is how this machine reaches the store, and see the credentials"
            raise StoreError(f"{what}: {error}", step) from error
        except OSError as error:
            raise StoreError(f"{what}: {error}", "see that the disk has room and may be written") from error
