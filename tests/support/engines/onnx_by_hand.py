"""ONNX files written byte by byte, so that no library is needed and none refuses."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: int) -> bytes:
    """Return a protobuf varint."""
    content = b""
    while value > 0x7F:
        content, value = content + bytes([value & 0x7F | 0x80]), value >> 7
    return content + bytes([value])


def field(place: int, content: bytes) -> bytes:
    """Return a field with a length."""
    return number(place << 3 | 2) + number(len(content)) + content


def _edge(name: bytes, sizes: Sequence[int | bytes]) -> bytes:
    dimensions = (b"\x08" + number(s) if isinstance(s, int) else field(2, s) for s in sizes)
    shape = b"".join(field(1, dimension) for dimension in dimensions)
    return field(1, name) + field(2, field(1, b"\x08\x01" + field(2, shape)))


def _external(location: str) -> bytes:
    entry = field(1, b"location") + field(2, location.encode())
    return b"\x08\x04\x10\x01" + field(8, b"w") + field(13, entry) + b"\x70\x01"


def model(*, externals: Sequence[str] = (), in_a_branch: bool = False) -> bytes:
    """Return a model of two operators, with constants in other files."""
    constants = b"".join(field(5, _external(location)) for location in externals)
    branch = field(5, field(1, b"then_branch") + field(6, constants)) if in_a_branch else b""
    relu = field(1, field(1, b"x") + field(2, b"r") + field(4, b"Relu") + branch)
    scaler = field(1, field(1, b"r") + field(2, b"y") + field(4, b"Scaler") + field(7, b"ai.onnx.ml"))
    edges = field(11, _edge(b"x", [b"N", 3, 224])) + field(12, _edge(b"y", [b"N", 5]))
    graph = relu + scaler + (b"" if in_a_branch else constants) + edges
    return b"\x08\x08" + field(2, b"made by hand") + field(7, graph) + field(8, b"\x10\x11")
