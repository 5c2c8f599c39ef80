"""The framing of TFRecord files: a length, its checksum, the record and its checksum, again and again.

See ``tensorflow/core/lib/io/record_writer.h``. A file may be compressed as a whole, by gzip or zlib.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import google_crc32c

from modelconversion_api.text import human_size

HEADER_BYTES: Final = 12
_LENGTH_BYTES: Final = 8
_CRC_BYTES: Final = 4
MAX_RECORD_BYTES: Final = 256 << 20
"""A record beyond this is refused before there is memory for it; it is one sample."""
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZLIB_METHOD: Final = 0x78
_CHUNK_BYTES: Final = 1 << 16
_MASK: Final = 0xA282EAD8
_Read = Callable[[int], bytes]


class FrameError(Exception):
    """What is wrong with the framing, in words, and in which record of the file."""

    def __init__(self, number: int, why: str) -> None:
        super().__init__(why)
        self.number = number
        self.why = why


def masked_crc(content: bytes) -> int:
    """Return the checksum as TFRecord has it: CRC-32C, turned and moved so that it is none of itself."""
    crc = int(google_crc32c.value(content))
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def begins_with_record(path: Path) -> bool:
    """Whether the file at ``path`` begins with the length of a record and its checksum, compressed or not."""
    with path.open("rb") as stream:
        return _is_header(stream.read(HEADER_BYTES)) or _is_header(_unpacked_head(path))


def is_tfrecord(path: Path) -> bool:
    """Whether a file holds records, or is a damaged one: then it begins as a ``tf.train.Example`` does."""
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES + 1)
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    looks_so = (
        head[HEADER_BYTES:] == b"\n" and 0 < length < path.stat().st_size and b"\0" in head[:_LENGTH_BYTES]
    )
    return looks_so or begins_with_record(path)


def _is_header(head: bytes) -> bool:
    if len(head) < HEADER_BYTES:
        return False
    return masked_crc(head[:_LENGTH_BYTES]) == int.from_bytes(head[_LENGTH_BYTES:HEADER_BYTES], "little")


def _unpacked_head(path: Path) -> bytes:
    try:
        with _opened(path) as read:
            return read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Read]:
    """Open a file; yield what reads it, decompressed."""
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
        stream.seek(0)
        if head.startswith(_GZIP_MAGIC):
            with gzip.open(stream, "rb") as plain:
                yield plain.read
        elif _begins_as_zlib(head) and not _is_header(head):
            yield _Inflated(stream).read
        else:
            yield stream.read


def _begins_as_zlib(head: bytes) -> bool:
    return len(head) > 1 and head[0] == _ZLIB_METHOD and int.from_bytes(head[:2]) % 31 == 0


def records(path: Path, most_bytes: int) -> Iterator[bytes]:
    """Yield the records of the file at ``path``, in their order.

    Raises:
        FrameError: for a record that is truncated, too large, or whose checksum is not that of its bytes;
            where the file decompresses to more than ``most_bytes``.

    """
    number, left = 0, most_bytes
    try:
        with _opened(path) as read:
            while head := read(HEADER_BYTES):
                length = _length(head, number)
                left -= HEADER_BYTES + length + _CRC_BYTES
                if left < 0:
                    raise FrameError(number, f"the file unpacks to more than {human_size(most_bytes)}")
                yield _record(read, length, number)
                number += 1
    except EOFError as error:
        raise FrameError(number, "it is truncated: the compressed data ends too early") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FrameError(number, "the compressed data is corrupt") from error


def _length(head: bytes, number: int) -> int:
    if len(head) < HEADER_BYTES:
        raise FrameError(number, "it is truncated: it ends within its header")
    if not _is_header(head):
        raise FrameError(number, "it is corrupt: the checksum of its length is wrong")
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if length > MAX_RECORD_BYTES:
        raise FrameError(number, f"it has {length} bytes, more than {human_size(MAX_RECORD_BYTES)}")
    return length


def _record(read: _Read, length: int, number: int) -> bytes:
    """Read a record in parts, so that memory is taken for what is there and not for what is promised."""
    parts, missing = [], length + _CRC_BYTES
    while missing and (part := read(min(missing, _CHUNK_BYTES))):
        parts.append(part)
        missing -= len(part)
    if missing:
        raise FrameError(number, f"it is truncated: {missing} of its {length} bytes are missing")
    content = b"".join(parts)
    record, crc = content[:length], content[length:]
    if masked_crc(record) != int.from_bytes(crc, "little"):
        raise FrameError(number, "it is corrupt: the checksum of its content is wrong")
    return record


class _Inflated:
    """A file in zlib's format, decompressed as it is read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._inflate = zlib.decompressobj()
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        """Return the next ``size`` bytes, or less at the end.

        Raises:
            EOFError: where the compressed data ends too early.

        """
        while len(self._ready) < size and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            if not packed:
                raise EOFError
            self._ready += self._inflate.decompress(packed, _CHUNK_BYTES)
        found, self._ready = self._ready[:size], self._ready[size:]
        return found
