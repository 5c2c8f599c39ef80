"""Channels of a depthwise network brought to one range, which changes nothing of what it computes.

Activations have one scale for a tensor. Where its channels differ by orders of magnitude, the quiet ones lose
their bits. Between a layer and the only one that reads it, a channel can be divided by a factor and the next
layer's weights multiplied with it, as long as nothing but a ReLU lies between (cross-layer equalisation,
Nagel et al., ICCV 2019). In front of a depthwise layer, whose weights have a scale for each channel, all of
the difference is taken away. In front of others half of it is, for there the weights lose instead
(SmoothQuant, Xiao et al., ICML 2023). ``tests/benchmarks/depthwise.py`` says what it is worth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tflite_converter.arrays import FloatArray, NamedArrays
from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.tflite.types import Operator, Subgraph, Tensor

SAMPLES: Final = 32
"""How many calibration samples say how far each channel reaches."""
CHANNELS_OF: Final = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Operators that are equalised, and the dimension of their weights that the output channels lie along."""
_DEPTHWISE: Final = "DEPTHWISE_CONV_2D"
_MOST: Final = 100.0
"""No channel is scaled by more: one that says nothing would be scaled without end."""
_NONE_OR_RELU: Final = (0, 1)
"""Fused activations that a factor passes through."""


@dataclass(frozen=True)
class _Pair:
    """Two layers of which the second alone reads the first: tensor indices."""

    first: Operator
    second: Operator
    between: Tensor


def equalised(float_file: bytes, samples: NamedArrays) -> bytes:
    """Return the float file with the activations of its depthwise blocks equalised.

    It is the same file where there is nothing to equalise. ``samples``: ``{input: (n, ...)}``.

    Raises ``ValueError`` or ``RuntimeError`` where the file does not run with all its tensors kept.
    """
    graph = read_file(float_file, "the float file").subgraphs[0]
    model = editing.unpacked(float_file)
    pairs = list(_pairs(graph, model.subgraphs[0]))
    if not pairs:
        return float_file
    reached = _reached(float_file, samples, [pair.between.name for pair in pairs])
    values: dict[int, FloatArray] = {}
    for pair in pairs:
        weights, its = (_weights(graph, o, values) for o in (pair.first, pair.second))
        factors = _factors(reached[pair.between.name], _ranges(its), alone=pair.second.name == _DEPTHWISE)
        shape = [1] * weights.ndim
        shape[CHANNELS_OF[pair.first.name]] = -1
        values[pair.first.inputs[1]] = weights / factors.reshape(shape)
        values[pair.second.inputs[1]] = its * factors  # input channels lie last
        if (bias := _bias(pair.first)) is not None:
            values[bias] = _constant(graph, bias, values) / factors
    for index, changed in values.items():
        model.subgraphs[0].tensors[index].buffer = editing.add_buffer(model, changed.astype("<f4"))
    return editing.packed(model)


def _pairs(graph: Subgraph, written: Any) -> Iterator[_Pair]:
    readers: dict[int, list[int]] = {}
    for place, operator in enumerate(graph.operators):
        for index in operator.inputs:
            readers.setdefault(index, []).append(place)

    def is_ours(operator: Operator) -> bool:
        """Whether its constants are float32, and read by nothing else."""
        constants = [index for index in operator.inputs[1:3] if index >= 0]
        return operator.name in CHANNELS_OF and all(
            graph.tensors[i].is_constant and graph.tensors[i].dtype == "float32" and len(readers[i]) == 1
            for i in constants
        )

    for place, first in enumerate(graph.operators):
        reading = readers.get(first.outputs[0], []) if first.outputs else []
        if len(reading) != 1 or not is_ours(first) or first.outputs[0] in graph.outputs:
            continue
        second = graph.operators[reading[0]]
        fused = written.operators[place].builtinOptions.fusedActivationFunction
        if not is_ours(second) or second.inputs[0] != first.outputs[0] or fused not in _NONE_OR_RELU:
            continue
        between = graph.tensors[first.outputs[0]]
        channels = graph.tensors[second.inputs[1]].shape[-1]
        if _DEPTHWISE in (first.name, second.name) and between.shape[-1] == channels:
            yield _Pair(first, second, between)


def _reached(float_file: bytes, samples: NamedArrays, names: list[str]) -> dict[str, FloatArray]:
    """Return how far each channel of each tensor reaches: absolute values, shape ``(channels,)``."""
    model = TFLiteModel(float_file, keep_all=True)
    most: dict[str, FloatArray] = {}
    for i in range(min(SAMPLES, len(next(iter(samples.values()))))):
        model.run({name: array[i : i + 1] for name, array in samples.items()})
        for name in names:
            values = model.activation(name)
            if values is None:
                raise ValueError(f"{name} cannot be read")
            own = np.max(np.abs(values.reshape(-1, values.shape[-1])), axis=0).astype(np.float64)
            most[name] = np.maximum(most[name], own) if name in most else own
    return most


def _factors(most: FloatArray, weights: FloatArray, *, alone: bool) -> FloatArray:
    """Return what each channel is divided by; 1 for one that is always zero, or that nothing reads."""
    used = (most > 0.0) & (weights > 0.0)
    if not used.any():
        return np.ones_like(most)
    reach = np.where(used, most, 1.0) / np.max(most[used])
    if alone:
        factors = reach
    else:
        factors = np.sqrt(reach / (np.where(used, weights, 1.0) / np.max(weights[used])))
        factors = factors / np.max(factors[used])
    clipped: FloatArray = np.where(used, np.clip(factors, 1.0 / _MOST, _MOST), 1.0)
    return clipped


def _ranges(values: FloatArray) -> FloatArray:
    ranges: FloatArray = np.max(np.abs(values.reshape(-1, values.shape[-1])), axis=0)
    return ranges


def _weights(graph: Subgraph, operator: Operator, values: dict[int, FloatArray]) -> FloatArray:
    return _constant(graph, operator.inputs[1], values)


def _bias(operator: Operator) -> int | None:
    return operator.inputs[2] if len(operator.inputs) > 2 and operator.inputs[2] >= 0 else None


def _constant(graph: Subgraph, index: int, values: dict[int, FloatArray]) -> FloatArray:
    if index not in values:
        tensor = graph.tensors[index]
        read: FloatArray = np.frombuffer(tensor.data or b"", "<f4").astype(np.float64)
        return read.reshape(tensor.shape)
    return values[index]
