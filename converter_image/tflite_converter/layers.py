"""Where quantization loses: each activation of the quantized file against the float file's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelconversion_api.measurements import LayerError

from .arrays import Array, NamedArrays
from .metrics import SNR_LIMIT_DB, snr_db
from .runtime import TFLiteModel
from .tflite_file import read_file

SAMPLES = 8
"""How many calibration samples the errors are taken on."""


def layer_errors(float_file: bytes, quantized: bytes, samples: NamedArrays) -> tuple[LayerError, ...]:
    """The signal-to-noise ratio of every activation that both files have, in the graph's order.

    Raises ``ValueError`` or ``RuntimeError`` where one of them does not run with all its tensors kept.
    """
    count = min(SAMPLES, len(next(iter(samples.values()))))
    few = [{name: array[i : i + 1] for name, array in samples.items()} for i in range(count)]
    names = _activations(float_file)
    expected = _collect(float_file, few, set(names))
    found = _collect(quantized, few, set(names))
    errors = []
    for tensor, operator in names.items():
        if tensor not in expected or tensor not in found or expected[tensor].shape != found[tensor].shape:
            continue
        ratio = snr_db({"": expected[tensor]}, {"": found[tensor]})
        snr = SNR_LIMIT_DB if ratio is None else ratio
        errors.append(LayerError(tensor=tensor, operator=operator, snr_db=round(snr, 2)))
    return tuple(errors)


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
    found = {}
    for operator in graph.operators:
        for index in operator.outputs[:1]:
            tensor = graph.tensors[index]
            if tensor.is_float and not tensor.is_constant:
                found[tensor.name] = operator.name
    return found


def _collect(file: bytes, samples: Sequence[NamedArrays], names: set[str]) -> dict[str, Array]:
    model = TFLiteModel(file, keep_all=True)
    parts: dict[str, list[Array]] = {}
    for sample in samples:
        for name, values in model.activations(sample).items():
            if name in names:
                parts.setdefault(name, []).append(np.copy(values))
    return {name: np.stack(values) for name, values in parts.items() if _same_shapes(values)}


def _same_shapes(values: Sequence[Array]) -> bool:
    return len({v.shape for v in values}) == 1
