"""Inputs and outputs of a TFLite file: names, shapes, dtypes, and what stored integers stand for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a TFLite file."""

    name: str
    index: int
    shape: tuple[int, ...]
    """-1 where the size is open."""
    dtype: np.dtype[Any]
    scale: float
    """0 where the tensor is not quantized: value = (stored - zero_point) * scale."""
    zero_point: int

    @property
    def is_quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return self.scale != 0.0

    def store(self, values: Array) -> Array:
        """``values`` as the file wants them: quantized by the tensor's own parameters, or cast.

        Integers are taken as they are, also where the tensor is quantized.
        """
        if self.scale == 0.0 or values.dtype.kind != "f":
            return values.astype(self.dtype, copy=False)
        # In place, and without np.clip, whose wrapper takes longer than a small tensor's numbers.
        least, greatest = _limits(self.dtype)
        stored: Array = values.astype(np.float64)
        stored /= self.scale
        np.rint(stored, out=stored)
        stored += self.zero_point
        np.maximum(stored, least, out=stored)
        np.minimum(stored, greatest, out=stored)
        return stored.astype(self.dtype)

    def value(self, stored: Array) -> Array:
        """Return the values that a stored array stands for: float32 where it is quantized."""
        if self.scale == 0.0:
            return stored
        return ((stored.astype(np.float32) - self.zero_point) * self.scale).astype(np.float32, copy=False)


@functools.cache
def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def described(detail: dict[str, Any], names: dict[int, str]) -> Tensor:
    """Return a tensor from LiteRT's description; ``names`` are those of the signature, by tensor index."""
    scale, zero_point = detail["quantization"]
    return Tensor(
        names.get(detail["index"], detail["name"]),
        detail["index"],
        tuple(int(size) for size in detail["shape_signature"]),
        np.dtype(detail["dtype"]),
        float(scale),
        int(zero_point),
    )


def joined(each: Sequence[Array]) -> Array:
    """Return ``(n, ...)`` of what each of n samples gave in a batch of 1.

    Outputs without that batch, such as a constant or a list of boxes, are a sample's as they are. Where the
    data decide a size, what is short is filled with zeros.
    """
    shapes = {np.shape(values) for values in each}
    batched = all(shape[:1] == (1,) for shape in shapes)
    rows = [np.asarray(values) if batched else np.asarray(values)[np.newaxis] for values in each]
    if len(shapes) > 1:
        largest = np.max([values.shape for values in rows], axis=0)
        rows = [filled(values, largest) for values in rows]
    return np.concatenate(rows)


def filled(values: Array, shape: Sequence[int]) -> Array:
    """Return ``values`` with zeros behind them in each dimension, up to ``shape``, which is no smaller."""
    return np.pad(values, [(0, size - present) for size, present in zip(shape, values.shape, strict=True)])
