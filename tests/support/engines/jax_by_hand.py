"""A file as jax.export writes it, made by hand: the fields that are read, and any that are to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import flatbuffers

_DTYPES: Final = {"int32": 3, "float32": 10}
_KINDS: Final = {type(None): 1, tuple: 2, list: 3, dict: 4}
LEAF: Final = "leaf"
MODULE: Final = b"ML\xefR\x0dStableHLO_v1.18.0\0 and so on"
Aval = tuple[str, tuple[object, ...]]


def exported(
    inputs: Sequence[Aval] = (("float32", ("b", 4)),),
    outputs: Sequence[Aval] = (("float32", ("b", 3)),),
    in_tree: Any = ((LEAF,), {}),
    out_tree: Any = LEAF,
    module: bytes = MODULE,
    *,
    platforms: Sequence[str] = ("cpu",),
    numbered: bool = True,
) -> bytes:
    """Return the file. ``numbered``: types stand in a list of their own, as in files since April 2026."""
    b = flatbuffers.Builder(1024)
    lists = {3: _vector(b, inputs, _aval), 5: _vector(b, outputs, _aval)}
    if numbered:
        both = list(dict.fromkeys([*inputs, *outputs]))
        lists = {19: _vector(b, both, _aval)}
        lists[22] = _numbers(b, [both.index(aval) for aval in inputs])
        lists[23] = _numbers(b, [both.index(aval) for aval in outputs])
    offsets = {
        **lists,
        1: b.CreateString("f"),
        2: _tree(b, in_tree),
        4: _tree(b, out_tree),
        9: _vector(b, platforms, lambda builder, text: builder.CreateString(text)),
        13: b.CreateByteVector(module),
        26: b.CreateString("0.12.0"),
    }
    b.StartObject(27)
    b.PrependUint16Slot(14, 10, 0)
    b.PrependUint32Slot(18, 1, 0)
    for field, offset in offsets.items():
        b.PrependUOffsetTRelativeSlot(field, offset, 0)
    b.Finish(b.EndObject())
    return bytes(b.Output())


def _vector(b: Any, items: Sequence[Any], write: Callable[[Any, Any], int]) -> int:
    offsets = [write(b, item) for item in items]
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())


def _numbers(b: Any, numbers: Sequence[int]) -> int:
    b.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        b.PrependUint32(number)
    return int(b.EndVector())


def _aval(b: Any, aval: Aval) -> int:
    dtype, shape = aval
    sizes = _vector(b, shape, lambda builder, size: builder.CreateString(str(size)))
    b.StartObject(4)
    b.PrependInt8Slot(2, _DTYPES[dtype], 0)
    b.PrependUOffsetTRelativeSlot(1, sizes, 0)
    return int(b.EndObject())


def _tree(b: Any, tree: Any) -> int:
    is_dict = isinstance(tree, dict)
    children = [] if tree in (LEAF, None) else list(tree.values()) if is_dict else list(tree)
    inner = _vector(b, children, _tree) if children else 0
    keys = _vector(b, list(tree), lambda builder, key: builder.CreateString(key)) if is_dict and tree else 0
    b.StartObject(5)
    b.PrependInt8Slot(0, 0 if tree == LEAF else _KINDS[type(tree)], 0)
    b.PrependUOffsetTRelativeSlot(1, inner, 0)
    b.PrependUOffsetTRelativeSlot(2, keys, 0)
    return int(b.EndObject())
