"""Biases that make up for what rounding the weights and activations before them adds on average.

Rounding errors of weights do not average out over the samples: each output channel is shifted by its own
amount. Layer after layer, in the graph's order, the mean of each channel is brought back to the float file's
(empirical bias correction, Nagel et al., ICCV 2019). ``tests/benchmarks/depthwise.py`` says what it is worth.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from tflite_converter.arrays import Array, FloatArray, NamedArrays
from tflite_converter.quantizing.specification import BIASES
from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.tflite.types import Subgraph

SAMPLES: Final = 32
"""How many calibration samples the means are taken over."""
_LEAST_ALIVE: Final = 0.1
"""A bias moves only what a ReLU lets through; where little is, it is moved by ten times the error at most."""
_INT32: Final = (1 << 31) - 1


def with_biases_corrected(content: bytes, float_file: bytes, samples: NamedArrays) -> bytes:
    """Return the quantized file ``content`` with the biases corrected that are integers.

    It is the same file where there are none. ``samples``: ``{input: (n, ...)}``.

    Raises ``ValueError`` or ``RuntimeError`` where a file does not run with all its tensors kept.
    """
    graph = read_file(content, "the quantized file").subgraphs[0]
    layers = list(_layers(graph))
    if not layers:
        return content
    exact = _Means(float_file, samples)
    model = editing.unpacked(content)
    for output, bias in layers:
        name, tensor = graph.tensors[output].name, graph.tensors[bias]
        wanted, alive = exact.of(name)
        actual, _ = _Means(editing.packed(model), samples).of(name)
        if wanted is None or actual is None or wanted.shape != actual.shape:
            continue
        stored: FloatArray = np.frombuffer(tensor.data or b"", f"<i{tensor.nbytes // len(wanted)}")
        stored = stored.astype(np.float64)
        scales: FloatArray = np.asarray(tensor.scales, dtype=np.float64)
        shift = np.rint((actual - wanted) / np.maximum(alive, _LEAST_ALIVE) / scales)
        changed: Array = np.clip(stored - shift, -_INT32, _INT32).astype(tensor.dtype)
        model.subgraphs[0].tensors[bias].buffer = editing.add_buffer(model, changed)
    return editing.packed(model)


class _Means:
    """Means over the samples of a file's tensors, by channel."""

    def __init__(self, content: bytes, samples: NamedArrays) -> None:
        self._model = TFLiteModel(content, keep_all=True)
        self._samples = samples

    def of(self, name: str) -> tuple[FloatArray | None, FloatArray]:
        """Return each channel's mean, and the share of its values that are not zero: ``(channels,)``."""
        sums: list[FloatArray] = []
        alive: list[FloatArray] = []
        for i in range(min(SAMPLES, len(next(iter(self._samples.values()))))):
            self._model.run({key: array[i : i + 1] for key, array in self._samples.items()})
            values = self._model.activation(name)
            if values is None or values.ndim < 2:
                return None, np.ones(1)
            rows: FloatArray = values.reshape(-1, values.shape[-1]).astype(np.float64)
            sums.append(rows.mean(axis=0))
            alive.append((rows != 0.0).mean(axis=0))
        return np.mean(sums, axis=0), np.mean(alive, axis=0)


def _layers(graph: Subgraph) -> list[tuple[int, int]]:
    """Return output and bias of each layer whose bias is of integers and read by no other one."""
    readers = Counter(index for operator in graph.operators for index in operator.inputs)
    found = []
    for operator in graph.operators:
        if operator.name not in BIASES:
            continue
        place = BIASES[operator.name][2]
        if len(operator.inputs) <= place or operator.inputs[place] < 0:
            continue
        bias = graph.tensors[operator.inputs[place]]
        is_integer = bias.is_constant and bias.scales and bias.dtype in ("int32", "int64")
        if is_integer and readers[operator.inputs[place]] == 1:
            found.append((operator.outputs[0], operator.inputs[place]))
    return found
