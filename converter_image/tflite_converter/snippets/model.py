"""What a snippet has to know of a file: its inputs and outputs as a program sees them, in safe text.

Names come out of a model that nobody vouches for. They reach a snippet as a quoted literal, also inside a
comment, and never as an identifier unless they are a plain word.
"""

from __future__ import annotations

import json
import keyword
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import Inventory, TensorDetail
from tflite_converter.errors import ConverterError

_WORD = re.compile(r"[a-z][a-z0-9_]{0,30}")
_WORDS = """
abs arguments async auto await bool break byte case catch char class const data default delete do double
else enum eval export extern false final float float32 fun func function gives goto guard if implements
import in inline inout input inputs instanceof int int16 int32 int64 int8 interface internal interpreter
is len let list long map max min model module mutable name names namespace new nil np null object
operator out output outputs package print private protocol public quantize range register repeat return
round sample self set short signed sizeof static stored stored0 struct sum super switch takes template
this throw throws true try type typedef typeof uint8 union unsigned using val values var virtual void
volatile when where while with yield zip
"""
_TAKEN = frozenset(_WORDS.split()) | frozenset(keyword.kwlist)
"""Words of one of the languages, or that snippets use themselves."""


class NoSnippetError(ConverterError):
    """A file that a target's runtime cannot take; ``cause`` says why."""

    def __init__(self, cause: str) -> None:
        hint = "see what is in the file with the command inspect, or choose another target"
        super().__init__(FailureReason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)


@dataclass(frozen=True)
class Edge:
    """An input or output."""

    position: int
    """Its place among the file's inputs (or outputs)."""
    name: str
    identifier: str
    """A variable's name in every language: the tensor's, or ``input0`` and the like."""
    shape: tuple[int, ...]
    """As the file is loaded: 1 where a size is open."""
    open_axes: tuple[int, ...]
    dtype: str
    scale: float | None
    """None where the integers stand for themselves."""
    zero_point: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest stored integer."""
        info = np.iinfo(self.dtype)
        return int(info.min), int(info.max)

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return self.scale is not None

    @property
    def told(self) -> str:
        """One line for a comment, e.g. ``"x": int8, shape (1, 46), value = (stored - -3) * 0.0312``."""
        shape = ", ".join(map(str, self.shape)) + ("," if len(self.shape) == 1 else "")
        text = f"{quoted(self.name)}: {self.dtype}, shape ({shape})"
        if self.scale is not None:
            text += f", value = (stored - ({self.zero_point})) * {exact(self.scale)}"
        if self.open_axes:
            axes = ", ".join(map(str, self.open_axes))
            text += f"; open along axis {axes}, 1 unless resized"
        return text


@dataclass(frozen=True)
class SnippetModel:
    """A file as snippets describe it."""

    file_name: str
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    operators: tuple[str, ...]
    custom_operators: tuple[str, ...]
    """Those of :attr:`operators` that are no builtins."""

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return self.file_name.removesuffix(".tflite")

    @property
    def identifier(self) -> str:
        """The name as one in C: ``gesture_classifier_int8``."""
        plain = re.sub(r"[^A-Za-z0-9]+", "_", self.stem).strip("_")[:60] or "model"
        return plain if plain[0].isalpha() else f"model_{plain}"

    @property
    def type_name(self) -> str:
        """The name as one of a class: ``GestureClassifierInt8``."""
        return "".join(part[:1].upper() + part[1:] for part in self.identifier.split("_"))

    def require(self, dtypes: Iterable[str], where: str) -> None:
        """Raise :class:`NoSnippetError` where an input or output has another dtype than ``dtypes``."""
        known = frozenset(dtypes)
        for kind, edges in (("input", self.inputs), ("output", self.outputs)):
            for edge in edges:
                if edge.dtype not in known:
                    raise NoSnippetError(
                        f"{where} has no {edge.dtype}, which {kind} {quoted(edge.name)} needs"
                    )


def snippet_model(file_name: str, inventory: Inventory) -> SnippetModel:
    """Gather what snippets need to know of the file that has ``inventory``.

    Raises:
        NoSnippetError: it has no inputs or outputs, or a quantization that makes no sense.

    """
    if not inventory.inputs or not inventory.outputs:
        raise NoSnippetError("the file has no inputs or no outputs")
    taken: set[str] = set()
    inputs = tuple(_edge("input", i, t, taken) for i, t in enumerate(inventory.inputs))
    outputs = tuple(_edge("output", i, t, taken) for i, t in enumerate(inventory.outputs))
    custom = (*inventory.flex_operators, *inventory.custom_operators)
    names = tuple(dict.fromkeys(o.operator for o in inventory.operators))
    return SnippetModel(file_name, inputs, outputs, names, custom)


def _edge(kind: str, position: int, tensor: TensorDetail, taken: set[str]) -> Edge:
    identifier = tensor.name
    if not _WORD.fullmatch(identifier) or identifier in _TAKEN | taken:
        identifier = f"{kind}{position}"
    taken.add(identifier)
    scale, zero_point = tensor.scale or None, tensor.zero_point or 0
    if scale is not None and not _makes_sense(tensor.dtype, scale, zero_point):
        raise NoSnippetError(
            f"{kind} {quoted(tensor.name)} is {tensor.dtype} with the scale {scale} and the zero point"
            f" {zero_point}: nothing can be quantized with these"
        )
    return Edge(
        position=position,
        name=tensor.name,
        identifier=identifier,
        shape=tuple(max(1, size) for size in tensor.shape),
        open_axes=tuple(axis for axis, size in enumerate(tensor.shape) if size < 0),
        dtype=tensor.dtype,
        scale=scale,
        zero_point=zero_point,
    )


def _makes_sense(dtype: str, scale: float, zero_point: int) -> bool:
    if dtype not in _INTEGERS or not _SMALLEST_SCALE <= scale <= _LARGEST_SCALE:
        return False
    limits = np.iinfo(dtype)
    return bool(limits.min <= zero_point <= limits.max)


_INTEGERS = ("int8", "uint8", "int16", "uint16", "int32", "uint32")
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-37, 1e37
"""Whose quotients are still float32."""


def quoted(text: str) -> str:
    """``text`` in double quotes and ASCII, as JSON, JavaScript and every comment can have it."""
    return json.dumps(text)


def exact(value: float) -> str:
    """Return the shortest decimal that gives the same float32 back, as a scale is one.

    E.g. ``0.003921569``.
    """
    return str(np.float32(value))


def joined(lines: Sequence[str]) -> str:
    """Lines of code, with one line end after the last."""
    return "\n".join(lines).rstrip() + "\n"
