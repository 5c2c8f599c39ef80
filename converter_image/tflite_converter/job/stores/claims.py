"""Claims as a store: files on a volume that is mounted into the stages that read and write.

Whoever else writes to the volume may put links there. None is followed: every folder on the way is opened by
itself, and a file must be a regular one, so nothing outside of the volume can be read or written.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import CLAIM_ENV
from modelconversion_api.text import human_size
from modelconversion_api.uris import split_uri
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.job.stores.base import (
    CHUNK,
    Limit,
    Meter,
    ObjectInfo,
    Stored,
    corrupted,
    digest_of,
    received,
    whole_or_not_at_all,
)

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST: Final = 64
_NO_LINK: Final = "links are not followed: name the file itself"


class ClaimStore:
    """The claims that are mounted into this container.

    Args:
        stage: Whom failures are blamed on.
        environ: Names the folders, each called like its claim.

    """

    def __init__(self, stage: Stage, environ: Mapping[str, str] = os.environ) -> None:
        self._stage = stage
        folders = [Path(value) for name, value in environ.items() if name.startswith(CLAIM_ENV)]
        self._folders = {folder.name: folder for folder in folders}

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Copy a file to ``path``, whole or not at all, and compute its digest meanwhile.

        Raises:
            ConverterError: SourceNotFound, SourceTooLarge, StorageAccessDenied, StorageUnavailable, NoSpace.

        """
        with whole_or_not_at_all(path, self._stage) as part, self._errors(uri):
            with self._parent(uri) as (folder, name):
                stream = _regular(folder, name)
            with stream:
                size = os.fstat(stream.fileno()).st_size
                if size > limit.size_bytes:
                    raise limit.exceeded(self._stage, f"{uri} has {human_size(size)}")
                if meter is not None:
                    meter.expect(size)
                return received(iter(partial(stream.read, CHUNK), b""), part, limit, meter, self._stage, uri)

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """All regular files of a folder and those below it; links and devices are passed over."""
        _, prefix = split_uri(uri)
        with self._errors(uri):
            try:
                with self._parent(f"{uri.rstrip('/')}/.") as (folder, _):
                    yield from _files(folder, prefix.rstrip("/"), _DEEPEST)
            except FileNotFoundError:
                return

    def upload(self, uri: str, content: BufferedReader | BytesIO, stored: Stored, content_type: str) -> None:
        """Write a file in place of one that may be there, whole or not at all, and read it back.

        Raises:
            ConverterError: UploadCorrupted, StorageAccessDenied, StorageUnavailable, NoSpace.

        """
        del content_type  # files have none
        with self._errors(uri), self._parent(uri, make=True) as (folder, name):
            part = f".{uuid.uuid4().hex}.part"
            try:
                with os.fdopen(os.open(part, _NEW, 0o664, dir_fd=folder), "wb") as target:
                    content.seek(0)
                    while chunk := content.read(CHUNK):
                        target.write(chunk)
                    target.flush()
                    os.fsync(target.fileno())
                if _digest_of(folder, part) != stored:
                    raise corrupted(uri, self._stage)
                os.replace(part, name, src_dir_fd=folder, dst_dir_fd=folder)
                os.fsync(folder)
            finally:
                _removed(folder, part)

    def delete(self, uri: str) -> None:
        """Remove a file; one that is not there is no error."""
        with self._errors(uri):
            try:
                with self._parent(uri) as (folder, name):
                    _removed(folder, name)
            except FileNotFoundError:
                return

    @contextmanager
    def _parent(self, uri: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder of a file, each one on the way by itself; gives it with the file's name."""
        claim, key = split_uri(uri)
        if claim not in self._folders:
            cause = f"{uri}: claim {claim} is not mounted here: the operator does that"
            raise ConverterError(FailureReason.INVALID_REQUEST, self._stage, cause)
        *parts, name = [part for part in key.split("/") if part]
        folder = os.open(self._folders[claim], _FOLDER)
        try:
            for part in parts:
                if make:
                    _made(folder, part)
                inner = os.open(part, _FOLDER, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder, name
        finally:
            os.close(folder)

    @contextmanager
    def _errors(self, uri: str) -> Iterator[None]:
        """Turn what the system says about a file into reasons."""
        try:
            yield
        except (FileNotFoundError, IsADirectoryError) as error:
            what = "it is a folder" if isinstance(error, IsADirectoryError) else "there is no such file"
            raise ConverterError(FailureReason.SOURCE_NOT_FOUND, self._stage, f"{uri}: {what}") from error
        except (PermissionError, NotADirectoryError) as error:
            raise self._denied(uri, error) from error
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EROFS):
                raise self._denied(uri, error) from error
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise from_os_error(error, self._stage, f"writing {uri}") from error
            cause = f"{uri}: {error.strerror or type(error).__name__}"
            hint = "look at the volume behind the claim"
            raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, self._stage, cause, hint=hint) from error

    def _denied(self, uri: str, error: OSError) -> ConverterError:
        is_link = error.errno in (errno.ELOOP, errno.ENOTDIR)
        cause = (
            f"{uri}: {'a link, or a file that is no folder, is on the way' if is_link else error.strerror}"
        )
        hint = _NO_LINK if is_link else "the Job's user, 65532 by default, needs rights on the volume"
        return ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self._stage, cause, hint=hint)


def _regular(folder: int, name: str) -> BufferedReader:
    """Open a regular file.

    Raises:
        OSError: It is a link (ELOOP), a folder, or something else that is no file.

    """
    handle = os.open(name, _FILE, dir_fd=folder)
    kind = os.fstat(handle).st_mode
    if not stat.S_ISREG(kind):
        os.close(handle)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        raise PermissionError(errno.EPERM, "it is no regular file")
    return os.fdopen(handle, "rb")


def _files(folder: int, prefix: str, depth: int) -> Iterator[ObjectInfo]:
    """Yield the regular files of a folder and those below it, in the order of their names."""
    if depth == 0:
        raise OSError(errno.ELOOP, "folders are nested too deeply")
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        key = f"{prefix}/{entry.name}" if prefix else entry.name
        if entry.is_dir(follow_symlinks=False):
            inner = os.open(entry.name, _FOLDER, dir_fd=folder)
            try:
                yield from _files(inner, key, depth - 1)
            finally:
                os.close(inner)
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            yield ObjectInfo(
                key, status.st_size, f"{status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
            )


def _digest_of(folder: int, name: str) -> Stored:
    with _regular(folder, name) as stream:
        return digest_of(iter(partial(stream.read, CHUNK), b""))


def _made(folder: int, name: str) -> None:
    try:
        os.mkdir(name, 0o775, dir_fd=folder)
    except FileExistsError:
        return


def _removed(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
