"""The end of a Parquet file, which says how much is in it: looked at before anything is decoded.

Layout and numbers are those of ``parquet.thrift`` of apache/parquet-format, in Thrift's compact protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

from modelconversion_api.limits import MAX_DATA_BYTES
from modelconversion_api.text import human_size

MAGIC: Final = b"PAR1"
ENCRYPTED_MAGIC: Final = b"PARE"
_TAIL_BYTES: Final = 8
_MAX_FOOTER_BYTES: Final = 16 << 20
_MAX_COLUMNS: Final = 100_000
_MAX_DEPTH: Final = 16
"""Of the schema: lists of lists have two levels for each dimension."""
_MAX_STRUCTS: Final = 64
"""Of Thrift's structures inside each other; a footer has seven."""
_WIDEST: Final = 8
"""Bytes of the widest number."""
_CODECS: Final = {1: "Snappy", 2: "gzip", 4: "Brotli", 5: "LZ4", 6: "Zstandard", 7: "LZ4"}
_UNCOMPRESSED: Final = 0
_LZO: Final = 3

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_FIXED: Final = {_BYTE: 1, _DOUBLE: 8}


class ParquetError(Exception):
    """What is wrong with a Parquet file, in words."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


class Footer(NamedTuple):
    """How much a Parquet file says that it holds."""

    rows: int
    unpacked_bytes: int
    """Of all pages, decompressed; less than what they decode to, where values repeat."""
    row_bytes: int
    """Bytes of a row, in the row group where rows are largest."""


COPY_AGAIN: Final = "copy it again, or write it again"


def read_footer(path: Path, most_bytes: int = MAX_DATA_BYTES) -> Footer:
    """Read what the file at ``path`` says of itself.

    Raises:
        ParquetError: for a file that is truncated, corrupt, encrypted, compressed in a way that is not known,
            or that holds more than ``most_bytes``.

    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        head = stream.read(len(MAGIC))
        stream.seek(max(0, size - _TAIL_BYTES))
        tail = stream.read(_TAIL_BYTES)
        if ENCRYPTED_MAGIC in (head, tail[4:]):
            raise ParquetError("it is encrypted", "write it without encryption")
        length = int.from_bytes(tail[:4], "little")
        if size < len(MAGIC) + _TAIL_BYTES or tail[4:] != MAGIC or length > size - len(MAGIC) - _TAIL_BYTES:
            raise ParquetError("it is truncated: its end, which says what it holds, is missing", COPY_AGAIN)
        if length > _MAX_FOOTER_BYTES:
            why = f"its footer has {human_size(length)}, more than {human_size(_MAX_FOOTER_BYTES)}"
            raise ParquetError(why, "write it with fewer row groups")
        stream.seek(size - _TAIL_BYTES - length)
        content = stream.read(length)
    try:
        return _judged(_Compact(content).struct(), size, most_bytes)
    except (ValueError, IndexError, TypeError, AttributeError, KeyError) as error:
        raise ParquetError(f"its footer is corrupt ({error or type(error).__name__})", COPY_AGAIN) from error


def _judged(footer: dict[int, Any], size: int, most_bytes: int) -> Footer:
    if 8 in footer:
        raise ParquetError("its columns are encrypted", "write it without encryption")
    _check_schema(footer[2])
    groups = footer.get(4, [])
    rows, unpacked, row_bytes, values = footer[3], 0, 1, 0
    for group in groups:
        columns = group[1]
        for chunk in columns:
            _check_codec(chunk)
            _check_place(chunk[3], size)
        sizes = [_count(chunk[3][6]) for chunk in columns]
        decoded = [_count(chunk[3][5]) * _WIDEST for chunk in columns]
        unpacked += sum(sizes)
        values += sum(decoded)
        in_group = _count(group[3])
        row_bytes = max(row_bytes, sum(map(max, zip(sizes, decoded, strict=True))) // max(1, in_group))
    if sum(group[3] for group in groups) != _count(rows):
        raise ValueError("its row groups have other numbers of rows than the whole")
    if max(unpacked, values) > most_bytes:
        why = f"it unpacks to {human_size(max(unpacked, values))}, more than {human_size(most_bytes)}"
        raise ParquetError(why, "give a part of it: calibration takes a few hundred samples")
    return Footer(rows, unpacked, row_bytes)


def _check_codec(chunk: dict[int, Any]) -> None:
    if 8 in chunk or 9 in chunk:
        raise ParquetError("its columns are encrypted", "write it without encryption")
    if 3 not in chunk:
        raise ParquetError("a column has no description", COPY_AGAIN)
    codec = chunk[3][4]
    if codec != _UNCOMPRESSED and codec not in _CODECS:
        name = "LZO" if codec == _LZO else f"codec {codec}, which is not known"
        raise ParquetError(f"it is compressed by {name}", "write it with compression 'snappy' or 'zstd'")


def _check_place(chunk: dict[int, Any], size: int) -> None:
    """Refuse pages that lie outside of the file: where they begin, and their compressed size."""
    if not 0 <= chunk[9] <= size or not 0 <= chunk.get(11, 0) <= size or not 0 <= chunk[7] <= size:
        raise ValueError("pages lie outside of the file")


def _check_schema(elements: list[dict[int, Any]]) -> None:
    """Refuse a schema whose columns lie in each other deeper than numbers do, or are too many."""
    if len(elements) > _MAX_COLUMNS:
        raise ParquetError(f"it has {len(elements)} columns", f"leave at most {_MAX_COLUMNS}")
    open_levels: list[int] = []
    for element in elements:
        while open_levels and open_levels[-1] == 0:
            open_levels.pop()
        if open_levels:
            open_levels[-1] -= 1
        if len(open_levels) > _MAX_DEPTH:
            raise ParquetError("its columns lie in each other too deeply", "give columns of numbers")
        if children := element.get(5, 0):
            open_levels.append(_count(children))
    if any(open_levels):
        raise ValueError("its schema lacks columns")


def _count(value: int) -> int:
    if value < 0:
        raise ValueError("a size is negative")
    return value


class _Compact:
    """Reads a structure of Thrift's compact protocol: ``{number of the field: value}``.

    Every size that the content declares is held against what is left of it.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _MAX_STRUCTS:
            raise ValueError("its parts lie in each other too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 0xF
            number = number + step if step else self._signed()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind in (_LIST, _SET):
            return self._list(depth)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _FIXED:
            return self._bytes(_FIXED[kind])
        if kind == _MAP:
            return self._map(depth)
        raise ValueError(f"there is a value of kind {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        kind = head & 0xF
        count = self._fitting(self._unsigned() if head >> 4 == 0xF else head >> 4)
        if kind in (_TRUE, _FALSE):
            return [self._byte() == _TRUE for _ in range(count)]
        return [self._value(kind, depth + 1) for _ in range(count)]

    def _map(self, depth: int) -> None:
        """Read past a map: no field of a footer is one."""
        count = self._fitting(self._unsigned())
        kinds = self._byte() if count else 0
        for _ in range(count):
            for kind in (kinds >> 4, kinds & 0xF):
                if kind in (_TRUE, _FALSE):
                    self._byte()
                else:
                    self._value(kind, depth + 1)

    def _byte(self) -> int:
        value = self._content[self._at]
        self._at += 1
        return value

    def _bytes(self, count: int) -> bytes:
        start, self._at = self._at, self._at + self._fitting(count)
        return self._content[start : self._at]

    def _fitting(self, count: int) -> int:
        if count > len(self._content) - self._at:
            raise ValueError("it ends within a value")
        return count

    def _unsigned(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number is longer than 64 bits")

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
