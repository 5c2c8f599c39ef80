"""Where quantization loses: each activation of the quantized file against the float file's."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modelconversion_api.reports.measurements import LayerError
from tflite_converter.arrays import NamedArrays
from tflite_converter.measuring.metrics import SNR_LIMIT_DB
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel

SAMPLES = 8
"""How many calibration samples the errors are taken on."""


def layer_errors(float_file: bytes, quantized: bytes, samples: NamedArrays) -> tuple[LayerError, ...]:
    """Measure the signal-to-noise ratio of every activation that both files have, in graph order.

    Raises ``ValueError`` or ``RuntimeError`` where one of them does not run with all its tensors kept.
    """
    count = min(SAMPLES, len(next(iter(samples.values()))))
    operators = _activations(float_file)
    reference, judged = (TFLiteModel(file, keep_all=True) for file in (float_file, quantized))
    signal, noise = dict.fromkeys(operators, 0.0), dict.fromkeys(operators, 0.0)
    for i in range(count):
        sample = {name: array[i : i + 1] for name, array in samples.items()}
        reference.run(sample)
        judged.run(sample)
        # One tensor at a time: all activations of a large model take tens of megabytes.
        for name in list(signal):
            expected, actual = reference.activation(name), judged.activation(name)
            if expected is None or actual is None or expected.shape != actual.shape:
                del signal[name]
                continue
            signal[name] += float(np.sum(np.square(expected, dtype=np.float64)))
            noise[name] += float(np.sum(np.square(expected - actual, dtype=np.float64)))
    return tuple(
        LayerError(tensor=name, operator=operators[name], snr_db=round(_decibels(power, noise[name]), 2))
        for name, power in signal.items()
    )


def sensitive(float_file: bytes, errors: Sequence[LayerError]) -> list[str]:
    """Tensors by how much error their operators add, the worst first.

    An operator adds what its output has lost (in dB) beyond the worst of its inputs: noise that came in is
    not its own. Tensors without an error of their own are left out.
    """
    snr = {error.tensor: error.snr_db for error in errors}
    graph = read_file(float_file, "the float file").subgraphs[0]
    added = {}
    for operator in graph.operators:
        outputs = [graph.tensors[i].name for i in operator.outputs]
        if not outputs or outputs[0] not in snr:
            continue
        inputs = [snr[n] for i in operator.inputs if i >= 0 and (n := graph.tensors[i].name) in snr]
        # Noise is added as power: what an operator adds is the difference of the two powers.
        added[outputs[0]] = _noise(snr[outputs[0]]) - _noise(min(inputs, default=SNR_LIMIT_DB))
    return sorted(added, key=lambda name: -added[name])


def _noise(snr: float) -> float:
    return float(10.0 ** (-snr / 10.0))


def _activations(float_file: bytes) -> dict[str, str]:
    """Operator by the name of its first output, of the main graph's float activations."""
    graph = read_file(float_file, "the float file").subgraphs[0]
    activations = {}
    for operator in graph.operators:
        for index in operator.outputs[:1]:
            tensor = graph.tensors[index]
            if tensor.is_float and not tensor.is_constant:
                activations[tensor.name] = operator.name
    return activations


def _decibels(signal: float, noise: float) -> float:
    """Clipped as :func:`~tflite_converter.measuring.metrics.snr_db` clips it."""
    if noise == 0.0:
        return SNR_LIMIT_DB
    if signal == 0.0 or not math.isfinite(noise):
        return -SNR_LIMIT_DB
    return float(np.clip(10.0 * math.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))
