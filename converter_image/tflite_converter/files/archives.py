"""Archives from strangers: what is inside goes into one folder, as plain files, up to fixed limits.

Names, kinds and sizes are judged here, member by member while it is read; nothing is left to the extraction
functions of :mod:`zipfile` and :mod:`tarfile`, and no size that an archive declares is believed.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, NamedTuple

from modelconversion_api.limits import MAX_SOURCE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import shortened
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.files.damage import damage
from tflite_converter.files.names import for_shell, is_plain, readable

MAX_MEMBERS = 10_000
MAX_UNPACKED_BYTES = MAX_SOURCE_BYTES
"""All members together, and for a .tar.gz file all that it decompresses to."""
MAX_PATH_BYTES = 1024
"""As S3 has it for keys; it also keeps a path inside any work folder below the kernel's 4,096."""
MAX_NAME_BYTES = 255
"""What Linux file systems allow for one part of a path."""

_ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")  # the second is an archive without members
_GZIP_MAGIC = b"\x1f\x8b"
_TAR_MAGIC, _TAR_MAGIC_OFFSET = b"ustar", 257
_TAR_NAMES = (".tar.gz", ".tgz")
_CHUNK_BYTES = 1 << 20
_MAX_TAR_HEADER_BYTES = 1 << 20
"""Extended tar headers are read whole; real ones hold a path."""
_ZIP_ENCRYPTED = 0x1
_ZIP_UTF8 = 0x800
_DATA_STAGES = (Stage.CALIBRATE, Stage.EVALUATE, Stage.TRAIN)
_CORRUPT = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,  # zipfile, for compressions that it does not know
    ValueError,  # fields that make no sense, names that are not in their encoding
    OverflowError,
)


def safe_relative_path(
    path: str, stage: Stage, reason: FailureReason = FailureReason.UNSUPPORTED_FORMAT
) -> str:
    """``path`` as it is, where joined to a folder it can be a file in that folder and nothing else.

    Parts are divided by ``/``. Refused are absolute paths, the parts ``.``, ``..`` and the empty one,
    backslashes, control characters and bytes that are no UTF-8, parts over
    :data:`MAX_NAME_BYTES` and paths over :data:`MAX_PATH_BYTES`.

    Raises:
        ConverterError: ``reason``.

    """
    parts = path.split("/")
    if (
        "\\" in path
        or not is_plain(path)
        or any(part in ("", ".", "..") or len(part.encode()) > MAX_NAME_BYTES for part in parts)
        or len(path.encode()) > MAX_PATH_BYTES
    ):
        raise ConverterError(
            reason,
            stage,
            f"the path '{shortened(readable(path), 120)}' cannot be that of a file inside a folder",
            hint="use relative paths without '.', '..', backslashes and control characters",
        )
    return path


def is_archive(path: Path) -> bool:
    """Whether the file at ``path`` begins as a .zip, .tar.gz or .tar file does.

    .npz and .keras files are zip archives as well: it is for the caller to know which is meant.
    """
    with path.open("rb") as stream:
        head = stream.read(_TAR_MAGIC_OFFSET + len(_TAR_MAGIC))
    return head.startswith((*_ZIP_MAGICS, _GZIP_MAGIC)) or head[_TAR_MAGIC_OFFSET:] == _TAR_MAGIC


def unpack(path: Path, folder: Path, *, stage: Stage, what: str, whole: bool = False) -> Path:
    """Unpacks the .zip, .tar.gz or .tar file at ``path`` and returns the folder with its content.

    The content goes into a new folder inside ``folder``. If all of it lies in a single top folder, as it
    does when a folder was packed from outside, that one is returned. Modes, owners and times are not taken
    over. Nothing is written outside ``folder``, and nothing stays there after a failure.

    Args:
        path: The archive.
        folder: Where to unpack; it is made when it is not there.
        stage: The stage to blame. In those that read data every refusal is DataUnreadable.
        what: What the archive should hold, for messages, e.g. ``a SavedModel``.
        whole: Return all of it, also where there is a single top folder.

    Raises:
        ConverterError: UnreadableModel for a corrupt archive, UnsupportedFormat for one with members that
            are not plain files and folders with safe and different names, SourceTooLarge for one beyond
            :data:`MAX_MEMBERS` or :data:`MAX_UNPACKED_BYTES` (DataUnreadable for data); NoSpace.

    """
    complain = _Complaints(path.name, stage, what)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        root = Path(tempfile.mkdtemp(prefix="unpacked-", dir=folder))
    except OSError as error:
        raise from_os_error(error, stage, f"unpacking {path.name}") from error
    try:
        _unpack_into(_Writer(root, complain), path, complain)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return root if whole else _content(root)


class _Complaints(NamedTuple):
    """The errors of one archive."""

    name: str
    stage: Stage
    what: str

    def corrupt(self, why: str) -> ConverterError:
        hint = "copy it again, or pack it again"
        return self._error(FailureReason.UNREADABLE_MODEL, f"{self.name} cannot be unpacked: {why}", hint)

    def refused(self, why: str) -> ConverterError:
        hint = f"give a .zip or .tar.gz file of plain files and folders that holds {self.what}"
        return self._error(FailureReason.UNSUPPORTED_FORMAT, f"{self.name} is refused: {why}", hint)

    def too_large(self, why: str) -> ConverterError:
        hint = f"leave out all that does not belong to {self.what}"
        if self.stage in _DATA_STAGES:
            hint = (
                "give a part of it (a few hundred samples of each class are plenty), or the unpacked folder"
            )
        return self._error(FailureReason.SOURCE_TOO_LARGE, f"{self.name} is too large: {why}", hint)

    def _error(self, reason: FailureReason, cause: str, hint: str) -> ConverterError:
        if self.stage in _DATA_STAGES:
            reason = FailureReason.DATA_UNREADABLE
        return ConverterError(reason, self.stage, cause, hint=hint)


class _Writer:
    """Puts members under ``root``, each name once, and counts them and their bytes."""

    def __init__(self, root: Path, complain: _Complaints) -> None:
        self._root = root
        self._complain = complain
        self._members = 0
        self._bytes = 0
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add_folder(self, name: str) -> None:
        relative = self._checked(name.rstrip("/"))
        if relative is None:
            return
        if relative in self._files:
            raise self._complain.refused(f"{relative!r} is both a file and a folder in it")
        self._make_folders(relative)

    def add_file(self, name: str, content: IO[bytes]) -> None:
        relative = self._checked(name)
        if relative is None:
            raise self._complain.refused(f"it holds a file without a name ({name!r})")
        if relative in self._files or relative in self._folders:
            raise self._complain.refused(f"{relative!r} is in it more than once")
        self._make_folders(relative.rpartition("/")[0])
        self._files.add(relative)
        try:
            # "x": should anything be there already after all, it stays as it is.
            target = (self._root / relative).open("xb")
        except OSError as error:
            raise self._failed(error) from error
        with target:
            while chunk := content.read(_CHUNK_BYTES):
                self._bytes += len(chunk)
                if self._bytes > MAX_UNPACKED_BYTES:
                    raise self._complain.too_large(f"it unpacks to more than {MAX_UNPACKED_BYTES} bytes")
                try:
                    target.write(chunk)
                except OSError as error:
                    raise self._failed(error) from error

    def _checked(self, name: str) -> str | None:
        """Return the member's path, without the ``./`` that tar puts before each.

        None for the root itself.
        """
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise self._complain.too_large(f"it has more than {MAX_MEMBERS} members")
        relative = name.removeprefix("./")
        if relative in ("", "."):
            return None
        try:
            return safe_relative_path(relative, self._complain.stage)
        except ConverterError as error:
            raise self._complain.refused(error.cause) from error

    def _make_folders(self, relative: str) -> None:
        parts = relative.split("/") if relative else []
        for depth in range(1, len(parts) + 1):
            parent = "/".join(parts[:depth])
            if parent in self._files:
                raise self._complain.refused(f"{parent!r} is both a file and a folder in it")
            if parent not in self._folders:
                try:
                    (self._root / parent).mkdir()
                except OSError as error:
                    raise self._failed(error) from error
                self._folders.add(parent)

    def _failed(self, error: OSError) -> ConverterError:
        return from_os_error(error, self._complain.stage, f"unpacking {self._complain.name}")


def _unpack_into(writer: _Writer, path: Path, complain: _Complaints) -> None:
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_GZIP_MAGIC) + 2)
            stream.seek(0)
            if head.startswith(_ZIP_MAGICS):
                _unpack_zip(writer, stream, complain)
            elif head.startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=stream) as plain:
                    _check_tar(plain.read(tarfile.BLOCKSIZE), path, complain)
                    plain.seek(0)
                    _unpack_tar(writer, _TarStream(plain, complain), complain)
            else:
                _unpack_tar(writer, _TarStream(stream, complain), complain)
    except _CORRUPT as error:
        raise complain.corrupt(damage(error)) from error


def _check_tar(head: bytes, path: Path, complain: _Complaints) -> None:
    """Refuse a compressed file that is no tar archive; very old archives have nothing but a checksum."""
    if head[_TAR_MAGIC_OFFSET : _TAR_MAGIC_OFFSET + len(_TAR_MAGIC)] == _TAR_MAGIC:
        return
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        if path.name.lower().endswith(_TAR_NAMES):
            raise
        command = f"gunzip --keep {for_shell(path)}"
        why = f"it is a single file that was compressed, and no archive: {command} gives the file"
        raise complain.refused(why) from error


def _unpack_zip(writer: _Writer, stream: IO[bytes], complain: _Complaints) -> None:
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            name = _zip_name(info, complain)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise complain.refused(f"{name!r} is {_KINDS.get(kind, 'a special file')}")
            if info.flag_bits & _ZIP_ENCRYPTED:
                raise complain.refused(f"{name!r} is encrypted")
            if name.endswith("/"):
                writer.add_folder(name)
                continue
            with archive.open(info) as content:
                writer.add_file(name, content)


def _zip_name(info: zipfile.ZipInfo, complain: _Complaints) -> str:
    """Return a member's name as it is stored: zipfile's own ends at the first NUL.

    Names are UTF-8, whether the archive says so or not: what is not could be of any of the old code pages.
    """
    name = info.orig_filename
    if info.flag_bits & _ZIP_UTF8 or name.isascii():
        return name
    stored = name.encode("cp437")  # as zipfile has decoded it
    try:
        return stored.decode()
    except UnicodeDecodeError:
        shown = readable(stored.decode("utf-8", "surrogateescape"))
        raise complain.refused(f"the name '{shown}' in it is not UTF-8") from None


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


def _unpack_tar(writer: _Writer, stream: _TarStream, complain: _Complaints) -> None:
    # "r:": tarfile takes the stream as it is, and never decompresses by itself.
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]  # a stream that only reads forward
        for info in archive:
            if info.isdir():
                writer.add_folder(info.name)
                continue
            content = archive.extractfile(info) if info.isreg() and not info.issparse() else None
            if content is None:
                raise complain.refused(f"{info.name!r} is {_tar_kind(info)}")
            writer.add_file(info.name, content)
    stream.finish()


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return f"a link (to {info.linkname!r})"
    if info.isdev():
        return "a device or a named pipe"
    return "not a regular file"


class _TarStream:
    """The bytes of a tar file, read forward only, in bounded pieces and up to a bounded total.

    :mod:`tarfile` reads an extended header as a whole, whatever size it declares, and takes a header that it
    cannot read for the end of the archive. Here the first is refused and the second is found out.
    """

    def __init__(self, source: IO[bytes] | gzip.GzipFile, complain: _Complaints) -> None:
        self._source = source
        self._complain = complain
        self._position = 0
        self._last = b""

    def read(self, size: int) -> bytes:
        """Read the next ``size`` bytes, fewer at the end."""
        if size > _MAX_TAR_HEADER_BYTES:
            raise self._complain.corrupt(f"a header in it is {size} bytes long")
        self._last = self._source.read(size)
        self._position += len(self._last)
        if self._position > MAX_UNPACKED_BYTES:
            raise self._complain.too_large(f"it decompresses to more than {MAX_UNPACKED_BYTES} bytes")
        return self._last

    def tell(self) -> int:
        """How many bytes were read or skipped."""
        return self._position

    def seek(self, position: int) -> int:
        """Read on to ``position``."""
        while self._position < position and self.read(min(position - self._position, _CHUNK_BYTES)):
            pass
        return self._position

    def finish(self) -> None:
        """Read the rest, which checks a .gz file's checksum; what was read last must be a tar file's end."""
        if any(self._last):
            raise self._complain.corrupt("a header in it is corrupt")
        while self.read(_CHUNK_BYTES):
            pass


def _content(root: Path) -> Path:
    """``root``, or the only folder in it; what macOS adds by itself and hidden entries do not count."""
    entries = [entry for entry in root.iterdir() if entry.name != "__MACOSX" and entry.name[0] != "."]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else root
