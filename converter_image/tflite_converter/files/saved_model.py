"""What a SavedModel says of itself, read from ``saved_model.pb`` without TensorFlow: signatures and writer.

The file is a protocol buffer (``tensorflow/core/protobuf/saved_model.proto``). Its graph, which is nearly all
of it, is skipped; field numbers and wire types are those of the documented encoding.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import name_of

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10
_INTERNAL: Final = "__saved_model"
"""Begins the names of signatures that TensorFlow calls by itself."""
_DTYPES: Final = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}


class SignatureTensor(NamedTuple):
    """An input or output of a signature."""

    name: str
    shape: tuple[int, ...] | None
    """Sizes, -1 where one is open; None where not even their number is known."""
    dtype: str


class Signature(NamedTuple):
    """One function of a SavedModel that can be called by its name."""

    name: str
    inputs: tuple[SignatureTensor, ...]
    outputs: tuple[SignatureTensor, ...]


class SavedModel(NamedTuple):
    """What ``saved_model.pb`` says."""

    writer: str | None
    """E.g. ``tensorflow 2.12.1``."""
    signatures: tuple[Signature, ...]
    """In the order of their names, of the graph for serving."""


def read_saved_model(folder: Path) -> SavedModel | None:
    """Read the SavedModel in ``folder``; None for one in text form, which has no ``saved_model.pb``.

    Raises:
        ConverterError: UnreadableModel.

    """
    path = folder / "saved_model.pb"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _saved_model(content)
    except (ValueError, IndexError) as error:
        cause = f"{name_of(folder)}/saved_model.pb is truncated or corrupt"
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause) from error


class _Message(NamedTuple):
    """A message inside a file: the bytes from ``start`` to ``stop``."""

    content: mmap.mmap
    start: int
    stop: int

    def fields(self) -> Iterator[tuple[int, int | _Message]]:
        """Yield numbers and values of the fields; fixed-size ones are left out.

        Raises ``ValueError`` or ``IndexError`` for what is no message.
        """
        place = self.start
        while place < self.stop:
            key, place = self._varint(place)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                value, place = self._varint(place)
                yield number, value
            elif kind == _BYTES:
                length, place = self._varint(place)
                if place + length > self.stop:
                    raise ValueError("a field reaches beyond its message")
                yield number, _Message(self.content, place, place + length)
                place += length
            elif kind in (_FIXED32, _FIXED64):
                place += 4 if kind == _FIXED32 else 8
            else:
                raise ValueError(f"no field is of the kind {kind}")

    def messages(self, number: int) -> Iterator[_Message]:
        """Yield the messages and texts in field ``number``."""
        return (value for field, value in self.fields() if field == number and isinstance(value, _Message))

    def numbers(self, number: int) -> list[int]:
        """Return the whole numbers in field ``number``."""
        return [value for field, value in self.fields() if field == number and isinstance(value, int)]

    def message(self, number: int) -> _Message | None:
        """Return the last message in field ``number``, which is the one that counts."""
        return next(iter([*self.messages(number)][-1:]), None)

    def text(self, number: int) -> str:
        """Return the text in field ``number``."""
        message = self.message(number)
        return "" if message is None else message.whole()

    def whole(self) -> str:
        """Return the bytes as text."""
        return self.content[self.start : self.stop].decode(errors="replace")

    def _varint(self, place: int) -> tuple[int, int]:
        value = 0
        for shift in range(_MOST_VARINT_BYTES):
            if place >= self.stop:
                raise ValueError("a number reaches beyond its message")
            byte = self.content[place]
            place += 1
            value |= (byte & 0x7F) << (7 * shift)
            if byte < 0x80:
                return value, place
        raise ValueError("a number is too long")


def _saved_model(content: mmap.mmap) -> SavedModel:
    graphs = list(_Message(content, 0, len(content)).messages(2))
    if not graphs:
        raise ValueError("it has no graph")
    graph = next((one for one in graphs if "serve" in _tags(one)), graphs[0])
    information = graph.message(1)
    version = "" if information is None else information.text(5)
    signatures = (_signature(entry) for entry in graph.messages(5))
    return SavedModel(
        f"tensorflow {version}" if version else None,
        tuple(sorted(one for one in signatures if not one.name.startswith(_INTERNAL))),
    )


def _tags(graph: _Message) -> list[str]:
    information = graph.message(1)
    return [] if information is None else [tag.whole() for tag in information.messages(4)]


def _signature(entry: _Message) -> Signature:
    definition = entry.message(2)
    if definition is None:
        return Signature(entry.text(1), (), ())
    inputs, outputs = (tuple(sorted(map(_tensor, definition.messages(number)))) for number in (1, 2))
    return Signature(entry.text(1), inputs, outputs)


def _tensor(entry: _Message) -> SignatureTensor:
    information = entry.message(2)
    if information is None:
        return SignatureTensor(entry.text(1), None, "unknown")
    number = next(iter(information.numbers(2)), 0)
    return SignatureTensor(entry.text(1), _shape(information), _DTYPES.get(number, f"dtype {number}"))


def _shape(information: _Message) -> tuple[int, ...] | None:
    shape = information.message(3)
    if shape is None or any(shape.numbers(3)):
        return None
    sizes = (next(iter(size.numbers(1)), 0) for size in shape.messages(2))
    return tuple(size - (1 << 64) if size >> 63 else size for size in sizes)
