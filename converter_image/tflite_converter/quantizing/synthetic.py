"""Samples made up where there are no calibration data: drawn as the model itself says its inputs look.

The float file's first operators are read: a normalization, a rescaling or an embedding says which values an
input takes. Where nothing is said, numbers are standard normal and pictures lie evenly between -1 and 1.
Ranges from such samples are a guess; whoever calls this marks what comes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tflite_converter.arrays import Array, FloatArray
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import NamedTensor, Operator, Subgraph, Tensor

_OPEN_SIZE: Final = 16
"""What is made of a dimension that the model leaves open."""
_PASSING: Final = ("CAST", "DEQUANTIZE", "EXPAND_DIMS", "QUANTIZE", "RESHAPE", "SQUEEZE")
"""Operators that leave the values as they are."""
_TABLES: Final = {"GATHER": 1, "EMBEDDING_LOOKUP": 0}
"""Operators that pick rows of a table, and which of their inputs holds the numbers of the rows."""
_PICTURE_AXES, _MOST_CHANNELS = 4, 4
_BYTES: Final = 256


@dataclass(frozen=True)
class Synthetic:
    """Samples, and in words how each input's were drawn."""

    samples: dict[str, Array]
    """``{input: (n, ...)}``"""
    how: dict[str, str]


def draw_synthetic(float_file: bytes, count: int, seed: int) -> Synthetic:
    """Draw ``count`` samples for every input of the float file."""
    file, generator = read_file(float_file, "the float file"), np.random.default_rng(seed)
    samples, how = {}, {}
    for named in file.inputs:
        draw, words = _source(named, file.subgraphs[0])
        sizes = named.tensor.shape
        # Without a batch of 1 in front, a sample is the whole input.
        has_batch = len(sizes) > 1 and sizes[0] <= 1
        shape = tuple(_OPEN_SIZE if size < 0 else size for size in (sizes[1:] if has_batch else sizes))
        samples[named.name] = draw(generator, (count, *shape)).astype(named.tensor.dtype)
        how[named.name] = words
    return Synthetic(samples, how)


_Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _source(named: NamedTensor, graph: Subgraph) -> tuple[_Draw, str]:
    """Return how to draw one input, and the words for it."""
    index = next(i for i in graph.inputs if graph.tensors[i] is named.tensor)
    tensor = named.tensor
    if not tensor.is_float:
        return _whole_numbers(tensor, index, graph)
    scale, offset, steps = _affine(index, graph)
    if not steps:
        if len(tensor.shape) == _PICTURE_AXES and tensor.shape[-1] <= _MOST_CHANNELS:
            return _even(-1.0, 1.0), "even between -1 and 1, as pictures often are"
        return _normal(1.0, 0.0), "standard normal, for the model does not say what it takes"
    if scale.size == 1 and offset.size == 1:
        # A rescaling, whose result usually lies between 0 and 1, or -1 and 1.
        low = -1.0 if float(offset.item()) < 0.0 else 0.0
        edges = sorted((bound - float(offset.item())) / float(scale.item()) for bound in (low, 1.0))
        return _even(*edges), f"even between {edges[0]:.6g} and {edges[1]:.6g}, which its rescaling takes"
    return _normal(1.0 / scale, -offset / scale), "normal, with mean and deviation of its own normalization"


def _whole_numbers(tensor: Tensor, index: int, graph: Subgraph) -> tuple[_Draw, str]:
    rows = _rows(index, graph)
    if rows is None and tensor.dtype in ("uint8", "int8"):
        rows = _BYTES
    if tensor.dtype == "bool" or rows is None:
        return _integers(0, 2), "0 or 1, for the model does not say what it takes"
    low = -(rows // 2) if tensor.dtype == "int8" else 0
    return _integers(low, low + rows), f"whole numbers from {low} to {low + rows - 1}"


def _rows(index: int, graph: Subgraph) -> int | None:
    """Return how many rows the table has that an input's numbers pick from; None where there is none."""
    for operator in _readers(index, graph):
        place = _TABLES.get(operator.name)
        if place is not None and operator.inputs[place] == index:
            return graph.tensors[operator.inputs[1 - place]].shape[0]
        if operator.name in _PASSING:
            return _rows(operator.outputs[0], graph)
    return None


def _affine(index: int, graph: Subgraph) -> tuple[FloatArray, FloatArray, int]:
    """Return ``scale`` and ``offset`` that the model applies to an input first, and in how many steps.

    Either is a scalar, or has a value for each feature.
    """
    scale, offset, steps = np.ones(1), np.zeros(1), 0
    while len(readers := _readers(index, graph)) == 1:
        (operator,) = readers
        if operator.name not in _PASSING:
            constant = _constant(operator, index, graph)
            if constant is None:
                break
            step = _STEPS[operator.name]
            scale, offset = step(scale, offset, constant)
            steps += 1
        index = operator.outputs[0]
    usable = steps and np.isfinite(scale).all() and np.isfinite(offset).all() and (scale != 0.0).all()
    return scale, offset, steps if usable else 0


def _constant(operator: Operator, index: int, graph: Subgraph) -> FloatArray | None:
    """Return what an operator adds to its input, or multiplies it by; None for any other operator."""
    if operator.name not in _STEPS or (operator.inputs[0] != index and operator.name in ("SUB", "DIV")):
        return None
    other = next((i for i in operator.inputs if i != index), index)
    tensor = graph.tensors[other]
    if tensor.data is None or tensor.dtype != "float32":
        return None
    values = np.frombuffer(tensor.data, dtype="<f4").astype(np.float64).reshape(tensor.shape)
    if values.size == 1:
        return values.reshape(1)
    return values[0] if values.ndim and len(values) == 1 else values  # without the batch


_STEPS: Final[dict[str, Callable[[Any, Any, Any], tuple[Any, Any]]]] = {
    "ADD": lambda scale, offset, value: (scale, offset + value),
    "SUB": lambda scale, offset, value: (scale, offset - value),
    "MUL": lambda scale, offset, value: (scale * value, offset * value),
    "DIV": lambda scale, offset, value: (scale / value, offset / value),
}
"""What each operator makes of ``scale * x + offset``."""


def _readers(index: int, graph: Subgraph) -> list[Operator]:
    return [operator for operator in graph.operators if index in operator.inputs]


def _normal(deviation: float | FloatArray, mean: float | FloatArray) -> _Draw:
    return lambda generator, shape: np.asarray(mean + deviation * generator.standard_normal(shape))


def _even(low: float, high: float) -> _Draw:
    return lambda generator, shape: generator.uniform(low, high, shape)


def _integers(low: int, high: int) -> _Draw:
    return lambda generator, shape: generator.integers(low, high, shape)
