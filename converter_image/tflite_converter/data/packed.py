"""Files of data that were compressed by gzip: unpacked into a folder, up to the limit of a data set."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from pathlib import Path
from typing import Final

from modelconversion_api.limits import MAX_DATA_BYTES
from modelconversion_api.reasons import Stage
from modelconversion_api.text import human_size
from tflite_converter.data.errors import unreadable
from tflite_converter.errors import first_line, from_os_error
from tflite_converter.files.names import for_shell, name_of

_MAGIC: Final = b"\x1f\x8b"
_TAR_MAGIC, _TAR_MAGIC_OFFSET = b"ustar", 257
_TAR_NAMES: Final = (".tar.gz", ".tgz", ".tar")
_CHUNK_BYTES: Final = 1 << 20
_MAX_BYTES: Final = MAX_DATA_BYTES


def is_gzip(path: Path) -> bool:
    """Whether the file at ``path`` begins as gzip's do."""
    with path.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC


def unpacked(path: Path, folder: Path, stage: Stage) -> Path | None:
    """Decompress a single file into ``folder``; None, and nothing is written, for a compressed tar archive.

    Raises:
        ConverterError: DataUnreadable for a file that is truncated, corrupt or too large; NoSpace.

    """
    name = name_of(path)
    try:
        with gzip.open(path, "rb") as stream:
            head = stream.read(_TAR_MAGIC_OFFSET + len(_TAR_MAGIC))
            if head[_TAR_MAGIC_OFFSET:] == _TAR_MAGIC or path.name.lower().endswith(_TAR_NAMES):
                return None
            target = _target(path, folder)
            with target.open("xb") as copy:
                size = 0
                chunk = head
                while chunk:
                    size += len(chunk)
                    if size > _MAX_BYTES:
                        why = f"it decompresses to more than {human_size(_MAX_BYTES)}"
                        raise unreadable(name, why, stage, hint=f"decompress it: {_command(path)}")
                    copy.write(chunk)
                    chunk = stream.read(_CHUNK_BYTES)
    except EOFError as error:
        why = "it is truncated: its compressed data ends too early"
        raise unreadable(name, why, stage, hint="copy or compress it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        why = f"its compressed data is corrupt ({first_line(error)})"
        raise unreadable(name, why, stage, hint="copy or compress it again") from error
    except OSError as error:
        raise from_os_error(error, stage, f"decompressing {name}") from error
    return target


def _target(path: Path, folder: Path) -> Path:
    """Return a place for the decompressed file, under its name without ``.gz``."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = path.name[:-3] if path.name.lower().endswith(".gz") else f"{path.name}.plain"
    return Path(tempfile.mkdtemp(prefix="decompressed-", dir=folder)) / stem


def _command(path: Path) -> str:
    return f"gunzip --keep {for_shell(path)}"
