"""What an ONNX file says of itself, read without packages for ONNX: protobuf is walked, nothing is built.

Field numbers: ``onnx.proto`` of ONNX 1.20. Constants are skipped: a file of gigabytes takes no memory.
"""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MODEL: Final = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
"""Fields of a ModelProto, and how each is written."""
_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSETS, _FUNCTIONS = 1, 2, 3, 7, 8, 25
_NEWEST_IR: Final = 100
_LONGEST_NAME: Final = 1 << 16
_DEEPEST: Final = 64
_MOST_NODES: Final = 1_000_000
_DTYPES: Final = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "string",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    14: "complex64",
    16: "bfloat16",
}

_Field = tuple[int, "int | memoryview"]


class _BrokenError(ValueError):
    """Bytes that are no protobuf message."""


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """An input or output."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None
    """A size, the name of an open one, or -1; None where the model does not say it."""

    @property
    def sizes(self) -> list[int]:
        """The shape as numbers, -1 where a size is open."""
        return [size if isinstance(size, int) else -1 for size in self.shape or ()]

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {"name": self.name, "shape": None if self.shape is None else self.sizes, "dtype": self.dtype}


@dataclass
class OnnxFile:
    """A file, as far as it can be told without its constants."""

    ir_version: int = 0
    opset: int = 0
    writer: str | None = None
    inputs: tuple[OnnxTensor, ...] = ()
    outputs: tuple[OnnxTensor, ...] = ()
    operators: Counter[str] = field(default_factory=Counter)
    """How often each is used, with its domain where that is not ONNX's own: ``Scaler (ai.onnx.ml)``."""
    external: tuple[str, ...] = ()
    """Paths of files with constants, as the model has them."""


def is_onnx(path: Path) -> bool:
    """Whether the file at ``path`` is an ONNX model, whole or cut off."""
    if not path.is_file() or not path.stat().st_size:
        return False
    return _is_model(_mapped(path))


def _mapped(path: Path) -> memoryview:
    """Map a file, which is let go of with the last view of it: one that lives on would forbid to close it."""
    with path.open("rb") as stream:
        return memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))


def _is_model(view: memoryview) -> bool:
    """Whether all fields at the top are those of a ModelProto, its graph among them."""
    place, version, seen = 0, 0, 0
    while place < len(view):
        try:
            number, kind, place = _tag(view, place)
            if _MODEL.get(number) != kind:
                return False
            value, place = _number(view, place)
        except _BrokenError:
            break  # cut off, or something else: what came before says it
        if number == _IR_VERSION:
            version = value
        if number == _PRODUCER:
            if not _is_name(view[place : place + value], value):
                return False
            seen += 1
        seen += number in (_GRAPH, _OPSETS)
        place += value if kind == _BYTES else 0
    return 0 < version <= _NEWEST_IR and seen > 0


def _is_name(view: memoryview, length: int) -> bool:
    """Whether a field of ``length`` bytes is whole, and a program's name: in other files it is a graph."""
    return len(view) == length <= _LONGEST_NAME and bytes(view).decode(errors="replace").isprintable()


def read_onnx(path: Path) -> OnnxFile:
    """Return what the file says.

    Raises:
        ConverterError: UnreadableModel for a file that is truncated or no ONNX.

    """
    try:
        return _Reader().model(_mapped(path))
    except (_BrokenError, RecursionError) as error:
        cause = f"{path.name} is a truncated or corrupt ONNX file: {error}"
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause) from error


class _Reader:
    """One walk through a file."""

    def __init__(self) -> None:
        self._found = OnnxFile()
        self._external: dict[str, None] = {}
        self._nodes = 0

    def model(self, view: memoryview) -> OnnxFile:
        """Return what a ModelProto says."""
        found, producer = self._found, ["", ""]
        for number, value in self._fields(view):
            if number == _IR_VERSION and isinstance(value, int):
                found.ir_version = value
            elif isinstance(value, int):
                continue
            elif number in (_PRODUCER, _PRODUCER_VERSION):
                producer[number - _PRODUCER] = _text(value)
            elif number == _OPSETS:
                self._opset(value)
            elif number == _GRAPH:
                self._graph(value, 0)
            elif number == _FUNCTIONS:
                for inner, node in self._messages(value):
                    if inner == 7:
                        self._node(node, 1)
        found.writer = " ".join(filter(None, producer)) or None
        found.external = tuple(self._external)
        return found

    def _opset(self, view: memoryview) -> None:
        domain, version = "", 0
        for number, value in self._fields(view):
            if number == 1 and not isinstance(value, int):
                domain = _text(value)
            elif number == 2 and isinstance(value, int):
                version = value
        if domain in ("", "ai.onnx"):
            self._found.opset = version

    def _graph(self, view: memoryview, depth: int) -> None:
        """Read a graph: that of the model at depth 0, else one of a branch or a loop."""
        if depth > _DEEPEST:
            raise _BrokenError(f"its graphs lie in one another more than {_DEEPEST} deep")
        inputs, outputs, constants = [], [], set()
        for number, value in self._messages(view):
            if number == 1:
                self._node(value, depth)
            elif number == 5:
                constants.add(self._tensor(value))
            elif number == 15:
                for _, part in self._messages(value):
                    self._tensor(part)
            elif number == 11 and depth == 0:
                inputs.append(self._edge(value))
            elif number == 12 and depth == 0:
                outputs.append(self._edge(value))
        if depth == 0:
            self._found.inputs = tuple(edge for edge in inputs if edge.name not in constants)
            self._found.outputs = tuple(outputs)

    def _node(self, view: memoryview, depth: int) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise _BrokenError(f"it has more than {_MOST_NODES} operators")
        kind = domain = ""
        for number, value in self._messages(view):
            if number == 4:
                kind = _text(value)
            elif number == 7:
                domain = _text(value)
            elif number == 5:
                self._attribute(value, depth)
        self._found.operators[kind if domain in ("", "ai.onnx") else f"{kind} ({domain})"] += 1

    def _attribute(self, view: memoryview, depth: int) -> None:
        for number, value in self._messages(view):
            if number in (5, 10):
                self._tensor(value)
            elif number in (6, 11):
                self._graph(value, depth + 1)

    def _tensor(self, view: memoryview) -> str:
        """Note where a constant's values lie; return its name."""
        name, entries = "", {}
        for number, value in self._messages(view):
            if number == 8:
                name = _text(value)
            elif number == 13:
                pair = {n: _text(v) for n, v in self._messages(value)}
                entries[pair.get(1, "")] = pair.get(2, "")
        if "location" in entries:
            self._external[entries["location"]] = None
        return name

    def _edge(self, view: memoryview) -> OnnxTensor:
        name, dtype, shape = "", "another kind", None
        for number, value in self._messages(view):
            if number == 1:
                name = _text(value)
            elif number == 2:
                for inner, tensor in self._messages(value):
                    if inner == 1:
                        dtype, shape = self._type(tensor)
        return OnnxTensor(name, dtype, shape)

    def _type(self, view: memoryview) -> tuple[str, tuple[int | str, ...] | None]:
        dtype: str = "unknown"
        shape: list[int | str] | None = None
        for number, value in self._fields(view):
            if number == 1 and isinstance(value, int):
                dtype = _DTYPES.get(value, f"type {value}")
            elif number == 2 and not isinstance(value, int):
                shape = [self._size(part) for inner, part in self._messages(value) if inner == 1]
        return dtype, None if shape is None else tuple(shape)

    def _size(self, view: memoryview) -> int | str:
        for number, value in self._fields(view):
            if number == 1 and isinstance(value, int) and 0 < value < 1 << 63:
                return value
            if number == 2 and not isinstance(value, int):
                return _text(value)
        return -1

    def _messages(self, view: memoryview) -> Iterator[tuple[int, memoryview]]:
        for number, value in self._fields(view):
            if not isinstance(value, int):
                yield number, value

    def _fields(self, view: memoryview) -> Iterator[_Field]:
        place = 0
        while place < len(view):
            number, kind, place = _tag(view, place)
            if kind == _VARINT:
                value, place = _number(view, place)
                yield number, value
                continue
            if kind == _BYTES:
                length, place = _number(view, place)
            else:
                length = {_FIXED64: 8, _FIXED32: 4}[kind]
            if length > len(view) - place:
                raise _BrokenError(f"a part of {length} bytes is cut off after {len(view) - place}")
            if kind == _BYTES:
                yield number, view[place : place + length]
            place += length


def _tag(view: memoryview, place: int) -> tuple[int, int, int]:
    """Return the number of the next field, how it is written, and where its value begins."""
    value, place = _number(view, place)
    if value & 7 not in (_VARINT, _FIXED64, _BYTES, _FIXED32) or not value >> 3:
        raise _BrokenError("it has a field that no protobuf message has")
    return value >> 3, value & 7, place


def _number(view: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            raise _BrokenError("it ends within a number")
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _BrokenError("it has a number that is too long")


def _text(view: memoryview) -> str:
    return bytes(view[:_LONGEST_NAME]).decode(errors="replace")
