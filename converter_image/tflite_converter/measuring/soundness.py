"""Whether the original itself, and the float file that all others come from, can be measured against.

A model may give NaN, or other values each time that it is run; TensorFlow's converter may lose a part of it.
Figures that were taken all the same would say nothing of the artifacts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelconversion_api.reports.measurements import OutputFidelity
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.tflite.types import Tensor, TFLiteFile

FLOAT_SAMPLES: Final = 64
"""How many samples tell whether the float file does what the original does."""
_SAME: Final = 0.99
_SAME_DB: Final = 40.0
_EXACT_DB: Final = 80.0
"""What float32 leaves of the outputs of a sound file, with room for long sums."""
"""A float file below both differs by more than rounding."""


@dataclass(frozen=True)
class Finite:
    """Which samples the original gives numbers for."""

    samples: Array
    """Shape ``(n,)``, bool."""
    bad_outputs: tuple[str, ...]
    """Outputs that are NaN or infinite for some sample."""

    @property
    def bad(self) -> int:
        """How many samples are left out."""
        return int(np.sum(~self.samples))


def finite_samples(outputs: NamedArrays) -> Finite:
    """Return which samples have finite values in every output."""
    by_output = {name: _finite_rows(values) for name, values in outputs.items()}
    samples: Array = np.asarray(np.stack(list(by_output.values())).all(axis=0))
    return Finite(samples, tuple(name for name, rows in by_output.items() if not rows.all()))


def first_not_finite(float_file: bytes, sample: NamedArrays) -> str:
    """Say where NaN or infinity begins when the float file runs on one sample ``{input: (1, ...)}``."""
    model = TFLiteModel(float_file, keep_all=True)
    model.run(sample)
    graph = read_file(float_file, "the float file").subgraphs[0]
    for operator in graph.operators:
        for index in operator.inputs:
            if index >= 0 and np.isnan(_constant(graph.tensors[index])).any():
                return f"the weights {graph.tensors[index].name!r}"
        for index in operator.outputs:
            values = model.activation(graph.tensors[index].name)
            if values is not None and not _finite_rows(values).all():
                return f"{operator.name} {graph.tensors[index].name!r}"
    return f"output {model.outputs[0].name!r}"


def weights_not_finite(file: TFLiteFile) -> str | None:
    """Return the name of weights that hold NaN or infinity: nothing can be quantized with them."""
    for graph in file.subgraphs:
        for tensor in graph.tensors:
            if len(tensor.shape) > 1 and not np.isfinite(_constant(tensor)).all():
                return tensor.name
    return None


def is_exact(judged: tuple[OutputFidelity, ...]) -> bool:
    """Whether every output of a float file is the original's up to rounding."""
    return all(output.snr_db is None or output.snr_db >= _EXACT_DB for output in judged)


def float_fault(judged: tuple[OutputFidelity, ...]) -> str | None:
    """Say which output of the float file is not the original's; None where all are, up to rounding."""
    for output in judged:
        if output.agreement < _SAME and output.snr_db is not None and output.snr_db < _SAME_DB:
            return (
                f"unusable: the float file itself gives another {output.name!r} than the original"
                f" ({output.snr_db:.1f} dB, agreement {output.agreement:.1%})"
            )
    return None


def _constant(tensor: Tensor) -> Array:
    """Return a float32 constant's values, shape ``(n,)``; none of any other tensor."""
    if tensor.dtype != "float32" or tensor.data is None:
        return np.empty(0, np.float32)
    return np.frombuffer(tensor.data, dtype="<f4")


def _finite_rows(values: Array) -> Array:
    flat = values.reshape(len(values), -1) if values.ndim else values.reshape(1, 1)
    if values.dtype.kind not in "fc":
        return np.ones(len(flat), dtype=np.bool_)
    return np.asarray(np.isfinite(flat).all(axis=1))
