"""Parquet files and TFRecords for tests, written apart from the product."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Feature = bytes | Sequence[bytes] | Sequence[int] | np.ndarray
_POLYNOMIAL = 0x82F63B78


def png(shade: int) -> bytes:
    """A PNG image of 8 x 8 pixels, all of the grey ``shade``."""
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def masked(content: bytes) -> bytes:
    """The checksum of TFRecord, bit by bit as RFC 3720 describes CRC-32C."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def framed(records: Iterable[bytes]) -> bytes:
    """Records as a TFRecord file has them."""
    parts = []
    for record in records:
        length = struct.pack("<Q", len(record))
        parts += [length, masked(length), record, masked(record)]
    return b"".join(parts)


def varint(value: int) -> bytes:
    """A number in the wire format of protocol buffers."""
    value &= (1 << 64) - 1
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes in the wire format of protocol buffers."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: Mapping[str, Feature]) -> bytes:
    """A ``tf.train.Example``: bytes, integers (int64_list) or an array of floats (float_list) by name."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            value = [value]
        if isinstance(value, np.ndarray):
            feature = field(2, field(1, value.astype("<f4").tobytes()))
        elif value and isinstance(value[0], bytes):
            feature = field(1, b"".join(field(1, each) for each in value))
        else:
            feature = field(3, field(1, b"".join(map(varint, value))))
        entries += field(1, field(1, name.encode()) + field(2, feature))
    return field(1, entries)


def write_tfrecord(path: Path, rows: Iterable[Mapping[str, Feature]]) -> Path:
    """Write a file of examples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(framed(map(example, rows)))
    return path
