"""What a file of ``jax.export`` says of itself, read without JAX: a FlatBuffer is walked, nothing is built.

Field numbers: ``serialization.fbs`` of JAX 0.12. Every offset is checked before it is followed. The module
itself, StableHLO as MLIR bytecode, is one field of bytes; nothing here looks into it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MODULE: Final = b"ML\xefR"
"""How MLIR bytecode begins."""
_FEWEST_FIELDS, _MOST_FIELDS = 15, 64
_TREES: Final = ("leaf", "none", "tuple", "list", "dict", "custom")
_DTYPES: Final = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128", "bfloat16", "int4", "uint4"),
)
_MOST_TENSORS: Final = 4096
_MOST_DIMENSIONS: Final = 32
_MOST_NODES: Final = 1 << 16
_DEEPEST: Final = 64
_LONGEST_TEXT: Final = 1 << 12

Path = tuple["str | int", ...]
"""Keys and places that lead to a leaf of a pytree."""


class ExportedError(ValueError):
    """A file that is truncated, corrupt, or none of ``jax.export``; says where."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An input or output of the function."""

    path: Path
    """Of inputs, the first is the argument's place or, of keyword arguments, its name."""
    dtype: str
    """As numpy has it, or another word where it has none."""
    shape: tuple[int | str, ...]
    """A size, or the expression of an open one."""

    @property
    def sizes(self) -> list[int]:
        """The shape as numbers, -1 where a size is open."""
        return [size if isinstance(size, int) else -1 for size in self.shape]

    @property
    def place(self) -> str:
        """What an input is called where nothing else names it, e.g. ``args_0.image``."""
        first, *rest = self.path
        return ".".join([f"args_{first}" if isinstance(first, int) else first, *map(str, rest)])


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A function, as far as it can be told without its module."""

    function: str
    jax_version: str | None
    """Of JAX that wrote it; None of one before July 2026, which did not say."""
    calling_convention: int
    platforms: tuple[str, ...]
    devices: int
    effects: tuple[str, ...]
    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    kept: tuple[int, ...]
    """Places of the inputs that the module takes; the others are used by nothing."""
    refines: bool
    """Whether shapes or platforms are chosen when the module is called."""
    module: memoryview


def is_exported(head: bytes | memoryview) -> bool:
    """Whether a file that has, or begins with, these bytes is one of ``jax.export``, whole or cut off."""
    view = memoryview(head)
    try:
        root = _Table.root(view)
        if not _FEWEST_FIELDS <= root.count <= _MOST_FIELDS or not all(map(root.place, (1, 2, 4, 9, 13, 14))):
            return False
    except ExportedError:
        return False
    try:
        start, _ = root.vector(13, 1)
    except ExportedError:
        return True  # cut off before its module, or within it
    return bytes(view[start : start + len(MODULE)]) == MODULE


def read_exported(content: bytes | memoryview) -> ExportedFile:
    """Return what the file says.

    Raises:
        ExportedError: it is none, truncated or corrupt.

    """
    if not is_exported(content):
        raise ExportedError("it does not begin as such a file does")
    root = _Table.root(memoryview(content))
    start, length = root.vector(13, 1)
    inputs, outputs = _avals(root, 3, 22), _avals(root, 5, 23)
    ways = _Tree()
    arguments = ways.paths(root.table(2))
    if any(len(path) < 2 for path in arguments):
        raise ExportedError("its inputs are no arguments")
    results = ways.paths(root.table(4))
    if len(arguments) != len(inputs) or len(results) != len(outputs):
        raise ExportedError("its trees have other leaves than its inputs and outputs")
    return ExportedFile(
        function=root.text(1),
        jax_version=root.text(26) or None,
        calling_convention=root.number(14, "<H"),
        platforms=tuple(root.texts(9)),
        devices=root.number(18, "<I") or root.number(6, "<h"),
        effects=tuple(table.text(0) for table in (*root.tables(10), *root.tables(11))),
        # The first key says whether it is an argument by its place (0) or by its name (1).
        inputs=tuple(Leaf(path[1:], *aval) for path, aval in zip(arguments, inputs, strict=True)),
        outputs=tuple(Leaf(path, *aval) for path, aval in zip(results, outputs, strict=True)),
        kept=tuple(root.numbers(15, "<H")),
        refines=bool(root.number(16, "<B")),
        module=root.view[start : start + length],
    )


def _avals(root: _Table, own: int, numbered: int) -> list[tuple[str, tuple[int | str, ...]]]:
    """Return types and shapes: from the list that files since April 2026 have, or from the one before it."""
    if root.place(numbered):
        unique = [_aval(table) for table in root.tables(19)]
        places = root.numbers(numbered, "<I")
        if any(place >= len(unique) for place in places):
            raise ExportedError("an input or output has a type that is not there")
        return [unique[place] for place in places]
    return [_aval(table) for table in root.tables(own)]


def _aval(table: _Table) -> tuple[str, tuple[int | str, ...]]:
    if table.number(0, "<b") != 0:
        return "token", ()
    kind = table.number(2, "<b")
    shape = table.texts(1)
    if len(shape) > _MOST_DIMENSIONS:
        raise ExportedError(f"it has an array of {len(shape)} dimensions")
    dtype = _DTYPES[kind] if 0 <= kind < len(_DTYPES) else f"type {kind}"
    return dtype, tuple(int(size) if size.isascii() and size.isdigit() else size for size in shape)


class _Table:
    """A table of a FlatBuffer."""

    def __init__(self, view: memoryview, start: int) -> None:
        self.view, self._start = view, start
        self._fields = start - self._read("<i", start)
        size = self._read("<H", self._fields)
        self.count = (size - 4) // 2
        self._size = self._read("<H", self._fields + 2)

    @classmethod
    def root(cls, view: memoryview) -> _Table:
        """Return the table that the buffer begins with."""
        if len(view) < 4:
            raise ExportedError("it has less than four bytes")
        (start,) = struct.unpack_from("<I", view, 0)
        if start >= 1 << 16:
            raise ExportedError("it does not begin with a table")
        return cls(view, start)

    def place(self, field: int) -> int:
        """Return where a field is; 0 where it is left out."""
        if field >= self.count:
            return 0
        offset = self._read("<H", self._fields + 4 + 2 * field)
        if offset >= max(self._size, 4):
            raise ExportedError("a field lies outside of its table")
        return self._start + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """Return a number; 0 where it is left out."""
        place = self.place(field)
        return self._read(kind, place) if place else 0

    def table(self, field: int) -> _Table:
        """Return the table that a field leads to."""
        place = self.place(field)
        if not place:
            raise ExportedError("a part is missing")
        return _Table(self.view, self._target(place))

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Return where a vector's elements begin, and how many there are."""
        place = self.place(field)
        if not place:
            return 0, 0
        start = self._target(place)
        length = self._read("<I", start)
        if start + 4 + length * width > len(self.view):
            raise ExportedError(f"a part of {length * width} bytes is cut off")
        return start + 4, length

    def tables(self, field: int) -> list[_Table]:
        """Return the tables of a vector."""
        return [_Table(self.view, target) for target in self._targets(field)]

    def texts(self, field: int) -> list[str]:
        """Return the texts of a vector."""
        return [self._text(target) for target in self._targets(field)]

    def text(self, field: int) -> str:
        """Return a text; an empty one where it is left out."""
        place = self.place(field)
        return self._text(self._target(place)) if place else ""

    def numbers(self, field: int, kind: str) -> list[int]:
        """Return the numbers of a vector."""
        width = struct.calcsize(kind)
        start, length = self._few(field, width)
        return [self._read(kind, start + width * index) for index in range(length)]

    def _targets(self, field: int) -> list[int]:
        start, length = self._few(field, 4)
        return [self._target(start + 4 * index) for index in range(length)]

    def _few(self, field: int, width: int) -> tuple[int, int]:
        start, length = self.vector(field, width)
        if length > _MOST_TENSORS:
            raise ExportedError(f"a list of it has {length} entries")
        return start, length

    def _text(self, start: int) -> str:
        length = self._read("<I", start)
        if length > _LONGEST_TEXT or start + 4 + length > len(self.view):
            raise ExportedError("a text is cut off")
        return bytes(self.view[start + 4 : start + 4 + length]).decode(errors="replace")

    def _target(self, place: int) -> int:
        return place + self._read("<I", place)

    def _read(self, kind: str, place: int) -> int:
        if place < 0 or place + struct.calcsize(kind) > len(self.view):
            raise ExportedError("it ends within a table")
        (value,) = struct.unpack_from(kind, self.view, place)
        return int(value)


class _Tree:
    """Paths to the leaves of pytrees; what a custom node keeps beside its children is left alone."""

    def __init__(self) -> None:
        self._nodes = 0

    def paths(self, node: _Table, before: Path = ()) -> list[Path]:
        """Return the path of each leaf, in order."""
        self._nodes += 1
        if self._nodes > _MOST_NODES or len(before) > _DEEPEST:
            raise ExportedError("its inputs and outputs lie in one another too deep")
        kind = node.number(0, "<b")
        if not 0 <= kind < len(_TREES):
            raise ExportedError("it has a pytree of an unknown kind")
        if _TREES[kind] == "leaf":
            return [before]
        children = node.tables(1)
        keys: Sequence[str | int] = node.texts(2) if _TREES[kind] == "dict" else range(len(children))
        if len(keys) != len(children):
            raise ExportedError("a dictionary of it has other keys than values")
        found: list[Path] = []
        for key, child in zip(keys, children, strict=True):
            found += self.paths(child, (*before, key))
        return found
