"""The inputs of a model get the sizes that its file will have: the batch 1, and what the user chose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from conversion_engine.messages import EngineError, Reason, Stage

OPEN: Final = -1
_MOST_ELEMENTS: Final = 1 << 28
"""Of one sample: a gibibyte of float32."""
_MOST_DIMENSIONS: Final = 6


@dataclass(frozen=True, slots=True)
class Edge:
    """An input of the model."""

    name: str
    dtype: np.dtype[np.generic]
    sizes: tuple[int, ...]
    symbols: tuple[str, ...]
    """What the model calls an open size; empty where it has no name."""


EXPORT: Final = "export the model with the sizes of its inputs"


def check_bounds(name: str, sizes: tuple[int, ...]) -> None:
    """Refuse an input that no device takes.

    Raises:
        EngineError: UnsupportedShape.

    """
    elements = 1
    for size in sizes:
        elements *= max(1, size)
    if elements > _MOST_ELEMENTS or len(sizes) > _MOST_DIMENSIONS:
        raise shape_refused(f"input {name!r} takes {list(sizes)}, more than fits into a device", EXPORT)


def chosen_sizes(
    edges: list[Edge], outputs: list[tuple[str, ...]], given: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return the sizes that each input is to have; -1 where one stays open.

    Args:
        edges: The inputs.
        outputs: The symbols of each output's dimensions.
        given: What the user has chosen, by name; a name may be spelled as a signature has it.

    Raises:
        EngineError: UnsupportedShape for an input that is not there, or sizes that the model contradicts.

    """
    wanted = {_plain(name): shape for name, shape in given.items()}
    if unknown := sorted(wanted.keys() - {_plain(edge.name) for edge in edges}):
        names = ", ".join(repr(edge.name) for edge in edges)
        raise shape_refused(f"there is no input {unknown[0]!r}: the model takes {names}", "correct the name")
    values: dict[str, int] = {}
    for edge in edges:
        if (shape := wanted.get(_plain(edge.name))) is not None:
            _check_given(edge, shape)
            values |= {s: v for s, v in zip(edge.symbols, shape, strict=True) if s and v != OPEN}
    for edge in edges:
        if edge.sizes[:1] == (OPEN,) and edge.name not in given and _is_batch(edge, edges, outputs):
            values.setdefault(edge.symbols[0] or f"\0{edge.name}", 1)
    return {edge.name: _sizes(edge, wanted.get(_plain(edge.name)), values) for edge in edges}


def _sizes(edge: Edge, shape: tuple[int, ...] | None, values: Mapping[str, int]) -> tuple[int, ...]:
    sizes = list(edge.sizes if shape is None else shape)
    for place, symbol in enumerate(edge.symbols):
        key = symbol or (f"\0{edge.name}" if place == 0 else "")
        if sizes[place] == OPEN and key in values:
            sizes[place] = values[key]
    check_bounds(edge.name, tuple(sizes))
    return tuple(sizes)


def _is_batch(edge: Edge, edges: list[Edge], outputs: list[tuple[str, ...]]) -> bool:
    """Whether the open first size is that of a batch: of a lone row of open length it is not."""
    if len(edge.sizes) > 1:
        return True
    symbol = edge.symbols[0]
    others = [e.symbols[:1] for e in edges if len(e.sizes) > 1] + [symbols[:1] for symbols in outputs]
    return bool(symbol) and (symbol,) in others


def _check_given(edge: Edge, shape: tuple[int, ...]) -> None:
    if len(shape) != len(edge.sizes) or any(
        fixed not in (OPEN, size) for fixed, size in zip(edge.sizes, shape, strict=True)
    ):
        cause = f"input {edge.name!r} cannot have the shape {list(shape)}: the model takes {list(edge.sizes)}"
        raise shape_refused(
            cause, "give every dimension, the batch first; only those that are -1 can be chosen"
        )


def _plain(name: str) -> str:
    """Return a name as signatures have it: both spellings are taken."""
    return re.sub(r"\W", "_", name)


def shape_refused(cause: str, hint: str) -> EngineError:
    """Return the error for a shape, with what to do."""
    return EngineError(Reason.UNSUPPORTED_SHAPE, Stage.LOAD, cause, hint=hint)


def open_size(sizes: Mapping[str, tuple[int, ...]]) -> EngineError | None:
    """Return the error for the first input of which a size is still open; None where there is none."""
    name = next((name for name, shape in sizes.items() if OPEN in shape), None)
    if name is None:
        return None
    cause = f"input {name!r} leaves sizes open, {list(sizes[name])}, and the file for any size does not run"
    example = ",".join("SIZE" if size == OPEN else str(size) for size in sizes[name])
    hint = f"set them: --input-shape {name}={example} (spec.source.inputs), or give data that have them"
    return EngineError(Reason.UNSUPPORTED_SHAPE, Stage.CONVERT, cause, hint=hint)
