"""Records of ``tf.train.Example``, from the wire format of protocol buffers to numbers and bytes.

The message is that of ``tensorflow/core/example/example.proto`` and ``feature.proto``; protobuf.dev
describes the format ("Encoding"). Lists of numbers are packed; unpacked ones, as old writers have them,
are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from tflite_converter.arrays import Array

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES: Final = {_FIXED64: 8, _FIXED32: 4}
_FEATURES, _FEATURE_LISTS = 1, 2
_LONGEST_VARINT: Final = 10

Value = list[bytes] | Array
"""Of a feature: bytes, float32 of shape ``(n,)`` or int64 of shape ``(n,)``."""


class ExampleError(Exception):
    """What is wrong with a record, in words."""


class SequenceError(ExampleError):
    """The record is a ``tf.train.SequenceExample``."""


def parse(record: bytes) -> dict[str, Value]:
    """Return the features of a record by name.

    Raises:
        ExampleError: where it is no ``tf.train.Example``; SequenceError where it is a SequenceExample.

    """
    features: dict[str, Value] = {}
    for number, part in _fields(memoryview(record)):
        if number == _FEATURE_LISTS and isinstance(part, memoryview):
            raise SequenceError
        if number == _FEATURES:
            for entry_number, entry in _fields(_message(part)):
                if entry_number == 1:
                    name, value = _entry(_message(entry))
                    features[name] = value
    return features


def _entry(entry: memoryview) -> tuple[str, Value]:
    name, feature = "", memoryview(b"")
    for number, part in _fields(entry):
        if number == 1:
            try:
                name = bytes(_message(part)).decode()
            except UnicodeDecodeError as error:
                raise ExampleError("the name of a feature is not UTF-8") from error
        elif number == 2:
            feature = _message(part)
    value: Value = []
    for number, part in _fields(feature):
        match number:
            case 1:
                value = [bytes(_message(each)) for place, each in _fields(_message(part)) if place == 1]
            case 2:
                value = _numbers(_message(part), np.dtype(np.float32), _floats)
            case 3:
                value = _numbers(_message(part), np.dtype(np.int64), _integers)
            case _:
                pass
    return name, value


def _numbers(
    message: memoryview, dtype: np.dtype[np.generic], read: Callable[[memoryview | int], Array]
) -> Array:
    parts = [read(part) for number, part in _fields(message) if number == 1]
    return np.concatenate(parts) if parts else np.empty(0, dtype)


def _floats(part: memoryview | int) -> Array:
    content = _message(part)
    if len(content) % 4:
        raise ExampleError("a list of floats ends within one")
    return np.frombuffer(content, dtype="<f4").astype(np.float32, copy=False)


def _integers(part: memoryview | int) -> Array:
    if isinstance(part, int):
        return np.array([part], dtype=np.uint64).view(np.int64)
    if len(part) == 1 and part[0] < 0x80:  # most labels
        return np.array([part[0]], dtype=np.int64)
    return _varints(np.frombuffer(part, dtype=np.uint8))


def _varints(content: Array) -> Array:
    """Return numbers of seven bits a byte, the lowest first; all bytes but the last have the eighth bit."""
    ends = np.flatnonzero(content < 0x80)
    if not len(content):
        return np.empty(0, np.int64)
    if not len(ends) or ends[-1] != len(content) - 1:
        raise ExampleError("a list of integers ends within one")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    longest = int(lengths.max())
    if longest > _LONGEST_VARINT:
        raise ExampleError("an integer has more than ten bytes")
    values = np.zeros(len(ends), dtype=np.uint64)
    for place in range(longest):
        has_byte = lengths > place
        bits = (content[starts[has_byte] + place] & 0x7F).astype(np.uint64)
        values[has_byte] |= bits << np.uint64(7 * place)
    return values.view(np.int64)


def _message(part: memoryview | int) -> memoryview:
    if isinstance(part, int):
        raise ExampleError("there is a number where a message should be")
    return part


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield the fields of a message: their numbers, and a number or the bytes of each."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if not number:
            raise ExampleError("there is a field without a number")
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise ExampleError(f"there is a field of wire type {wire}")
        if size > end - at:
            raise ExampleError("it ends within a field")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    if at < len(message) and message[at] < 0x80:  # most numbers of fields, and most lengths
        return message[at], at + 1
    value = 0
    for place in range(_LONGEST_VARINT):
        if at == len(message):
            raise ExampleError("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise ExampleError("a number has more than ten bytes")
