"""Biases that do not fit into 32 bits: their weights get a larger scale, as TensorFlow's own quantizer does.

A bias is stored in steps of ``input scale * weight scale``. Where a channel's weights are zero or tiny, as
pruning and batch normalization leave them, that step is so small that a usual bias is clipped.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tflite_converter.arrays import Array, FloatArray
from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

_LARGEST_BIAS = float(1 << 30)
"""Half of what 32 bits hold; the other half is for the sum of the products, which is added to it."""
_LARGEST_WEIGHT = 127
_ADDED = ("QUANTIZE", "DEQUANTIZE")
"""Operators that a quantizer puts in between."""


@dataclass(frozen=True)
class _Places:
    """Which inputs of an operator are what."""

    source: int = 0
    weights: int = 1
    bias: int = 2


_PLACES = {
    "CONV_2D": _Places(),
    "DEPTHWISE_CONV_2D": _Places(),
    "FULLY_CONNECTED": _Places(),
    "TRANSPOSE_CONV": _Places(source=2, weights=1, bias=3),
}


def with_biases_that_fit(content: bytes, float_file: bytes) -> bytes:
    """Return the quantized file ``content`` with every bias as the ``float_file`` it was made from has it.

    Weights of a channel whose bias does not fit are stored again with the smallest scale at which it does.
    """
    quantized, original = read_file(content, "the quantized file"), read_file(float_file, "the float file")
    changes = [
        change
        for number, (graph, before) in enumerate(zip(quantized.subgraphs, original.subgraphs, strict=True))
        for change in _changes(number, graph, before)
    ]
    return _written(content, quantized, changes) if changes else content


@dataclass(frozen=True)
class _Change:
    """New values of one operator's weights and bias."""

    subgraph: int
    operator: int
    places: _Places
    weights: Array
    weight_scales: FloatArray
    bias: Array
    bias_scales: FloatArray


def _changes(number: int, graph: Subgraph, before: Subgraph) -> list[_Change]:
    pairs = list(zip(_own(graph), _own(before), strict=False))
    if [a.name for (_, a), _ in pairs] != [b.name for _, (_, b) in pairs]:
        return []  # not the graph that this one was made from, operator by operator
    changes = []
    for (index, operator), (_, original) in pairs:
        places = _PLACES.get(operator.name)
        if places is None or max(len(operator.inputs), len(original.inputs)) <= places.bias:
            continue
        change = _change((number, index), places, graph, operator, before, original)
        if change is not None:
            changes.append(change)
    return changes


def _own(graph: Subgraph) -> list[tuple[int, Operator]]:
    """Return the operators that the float file has as well, with their places."""
    return [(i, operator) for i, operator in enumerate(graph.operators) if operator.name not in _ADDED]


def _change(
    place: tuple[int, int],
    places: _Places,
    graph: Subgraph,
    operator: Operator,
    before: Subgraph,
    original: Operator,
) -> _Change | None:
    source, weights, bias = (
        _tensor(graph, operator, position) for position in (places.source, places.weights, places.bias)
    )
    exact = _tensor(before, original, places.bias)
    exact_weights = _tensor(before, original, places.weights)
    if source is None or weights is None or bias is None or exact is None or exact_weights is None:
        return None
    if bias.dtype not in ("int32", "int64") or weights.dtype != "int8" or not source.scales:
        return None
    if exact.data is None or exact_weights.data is None:
        return None
    values: FloatArray = np.frombuffer(exact.data, dtype="<f4").astype(np.float64)
    scales = np.asarray(weights.scales, dtype=np.float64)
    needed = np.abs(values) / (source.scales[0] * _LARGEST_BIAS)
    if len(scales) == 1:
        needed = needed.max(initial=0.0, keepdims=True)
    if len(scales) != len(needed) or (needed <= scales).all():
        return None
    larger = np.maximum(scales, needed).astype(np.float32).astype(np.float64)
    full: FloatArray = np.frombuffer(exact_weights.data, dtype="<f4").astype(np.float64)
    full = full.reshape(exact_weights.shape)
    axes = [1] * full.ndim
    axes[weights.quantized_dimension if len(scales) > 1 else 0] = len(scales)
    rounded = np.rint(full / larger.reshape(axes))
    steps = source.scales[0] * larger
    return _Change(
        *place,
        places,
        np.clip(rounded, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int8),
        larger,
        np.rint(values / steps).astype(bias.dtype),
        steps,
    )


def _tensor(graph: Subgraph, operator: Operator, position: int) -> Tensor | None:
    index = operator.inputs[position]
    return None if index < 0 else graph.tensors[index]


def _written(content: bytes, file: TFLiteFile, changes: Sequence[_Change]) -> bytes:
    model = editing.unpacked(content)
    readers = Counter(
        (number, index)
        for number, graph in enumerate(file.subgraphs)
        for operator in graph.operators
        for index in operator.inputs
    )
    for change in changes:
        graph = model.subgraphs[change.subgraph]
        operator = graph.operators[change.operator]
        for position, values, scales in (
            (change.places.weights, change.weights, change.weight_scales),
            (change.places.bias, change.bias, change.bias_scales),
        ):
            index = int(operator.inputs[position])
            if readers[change.subgraph, index] > 1:  # another operator may need it as it is
                own = copy.deepcopy(graph.tensors[index])
                own.name = f"{position}_of_{change.operator}"
                graph.tensors.append(own)
                index = len(graph.tensors) - 1
                inputs = list(operator.inputs)
                inputs[position] = index
                operator.inputs = inputs
            tensor = graph.tensors[index]
            tensor.buffer = editing.add_buffer(model, values)
            tensor.quantization.scale = scales.astype(np.float32)
            tensor.quantization.zeroPoint = np.zeros(len(scales), dtype=np.int64)
    return editing.packed(model)
