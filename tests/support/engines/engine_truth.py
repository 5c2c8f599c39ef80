"""What files of an engine give, against the outputs of the original, without the converter's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.status import TensorInfo
from support.converter.converting import Converted

Arrays = dict[str, Any]


def distances(
    content: bytes, report: ConversionReport, samples: Arrays, expected: Arrays
) -> dict[str, tuple[float, str]]:
    """Return each output's signal-to-noise ratio in dB, or of whole numbers the percentage that is equal.

    ``samples`` and ``expected`` are in the model's own layout; the report says which the file has.
    """
    interpreter = Interpreter(model_content=content, num_threads=1)
    runner = interpreter.get_signature_runner("serving_default")
    given = runner.get_input_details()
    outputs: dict[str, list[Any]] = {tensor.name: [] for tensor in report.source.outputs}
    for index in range(len(next(iter(samples.values())))):
        feeds = {t.name: _fed(samples[t.name][index], t, given[t.name]) for t in report.source.inputs}
        details = runner.get_output_details()
        for name, values in runner(**feeds).items():
            outputs[name].append(_valued(values, details[name]))
    found = {}
    for tensor in report.source.outputs:
        wanted = expected[tensor.name]
        got = np.stack([_turned_back(values, tensor) for values in outputs[tensor.name]]).reshape(
            wanted.shape
        )
        if wanted.dtype.kind != "f":
            found[tensor.name] = (100.0 * float(np.mean(wanted == got)), "%")
            continue
        noise = float(np.sum((wanted.astype(np.float64) - got) ** 2))
        signal = float(np.sum(wanted.astype(np.float64) ** 2))
        found[tensor.name] = (np.inf if noise == 0 else 10 * np.log10(signal / noise), " dB")
    return found


def _fed(sample: Any, tensor: TensorInfo, detail: dict[str, Any]) -> Any:
    """Return a sample in the file's layout, shape and type."""
    shape = list(detail["shape"])
    if tensor.axes is not None:
        own = [shape[tensor.axes.index(place)] for place in range(len(shape))]
        sample = np.transpose(np.reshape(sample, own), tensor.axes)
    scale, zero = detail["quantization"]
    if scale:
        limits = np.iinfo(detail["dtype"])
        sample = np.clip(np.round(sample / scale) + zero, limits.min, limits.max)
    return np.reshape(sample, shape).astype(detail["dtype"])


def _turned_back(values: Any, tensor: TensorInfo) -> Any:
    """Return an output in the model's own layout."""
    return values if tensor.axes is None else np.transpose(values, np.argsort(tensor.axes))


def _valued(values: Any, detail: dict[str, Any]) -> Any:
    """Return what stored values stand for."""
    scale, zero = detail["quantization"]
    return (values.astype(np.float64) - zero) * scale if scale else values


def truth(folder: Path, name: str, found: Converted, method: Method) -> dict[str, tuple[float, str]]:
    """Return :func:`distances` of a method's file; samples and the original's outputs lie in ``folder``."""
    samples = dict(np.load(folder / f"{name}.samples.npz"))
    expected = dict(np.load(folder / f"{name}.expected.npz"))
    return distances(found.file(method).read_bytes(), found.report, samples, expected)
