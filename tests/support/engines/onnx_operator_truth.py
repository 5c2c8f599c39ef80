"""How an ONNX model's float file does on the ONNX project's own test of its operator."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from conversion_engine.files import FLOAT_FILE
from conversion_engine.messages import Description, Request, Tensor
from support.engines.engines_of_tests import ONNX
from tflite_converter.engines import asking
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.parent import Watch

_TOLERANCE: Final = 1e-3


class Verdict(NamedTuple):
    """What came of one test."""

    name: str
    word: str
    """``agrees``, ``refused`` or ``differs``."""
    why: str = ""


def verdict(python: Path, model: Path, timeout_seconds: float = 300.0) -> Verdict:
    """Make the file of one test's model, run it, and compare."""
    name = model.stem
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "work"
        folder.mkdir()
        place = asking.Place(python, folder, Watch(timeout_seconds, None))
        inputs, wanted = (
            dict(np.load(model.with_name(f"{name}.{kind}.npz"))) for kind in ("inputs", "outputs")
        )
        try:
            shapes = {key: tuple(value.shape) for key, value in inputs.items()}
            described = asking.convert(ONNX, Request(source=str(model), input_shapes=shapes), place)
        except ConverterError as error:
            return Verdict(name, "refused", f"{error.reason.value}: {error.cause}")
        try:
            found = outputs_of((folder / FLOAT_FILE).read_bytes(), described, inputs)
        except (RuntimeError, ValueError, KeyError) as error:
            return Verdict(name, "differs", f"the file does not run: {error}")
    for key, expected in wanted.items():
        if (fault := difference(found[key], expected)) is not None:
            return Verdict(name, "differs", f"{key}: {fault}")
    return Verdict(name, "agrees")


def outputs_of(content: bytes, described: Description, inputs: dict[str, Any]) -> dict[str, Any]:
    """Run a file on one set of inputs in the model's own layout; on each row where it takes one at a time."""
    runner = Interpreter(model_content=content, num_threads=1).get_signature_runner("serving_default")
    details = runner.get_input_details()
    rows = max((rows_of(inputs[t.name], t) for t in described.inputs if t.name in details), default=1)
    parts: dict[str, list[Any]] = defaultdict(list)
    for index in range(rows):
        feeds = {}
        for tensor in described.inputs:
            values = inputs[tensor.name]
            own = values[index : index + 1] if rows_of(values, tensor) == rows and rows > 1 else values
            turned = np.transpose(own, tensor.order) if tensor.is_turned else own
            feeds[tensor.name] = turned.reshape(tensor.file_shape).astype(tensor.dtype)
        results = runner(**feeds)
        for tensor in described.outputs:
            values = results[tensor.name]
            parts[tensor.name].append(
                np.transpose(values, np.argsort(tensor.order)) if tensor.is_turned else values
            )
    return {key: values[0] if rows == 1 else np.concatenate(values) for key, values in parts.items()}


def rows_of(values: Any, tensor: Tensor) -> int:
    """Return how many samples there are for a file that takes one."""
    sizes = int(np.prod(tensor.file_shape))
    return values.size // sizes if sizes and values.ndim and values.size % sizes == 0 else 1


def difference(found: Any, expected: Any) -> str | None:
    """Say how an output differs; None where it does not."""
    if found.size != expected.size:
        return f"{found.size} values instead of {expected.size}"
    found = found.reshape(expected.shape)
    if expected.dtype.kind != "f":
        wrong = int(np.sum(found != expected))
        return f"{wrong} of {expected.size} differ" if wrong else None
    both = np.isnan(found) & np.isnan(expected) | (found == expected)
    reach = max(1e-6, float(np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)))
    off = np.where(both, 0.0, np.abs(found.astype(np.float64) - expected))
    worst = float(np.max(np.nan_to_num(off, nan=np.inf)))
    return f"off by {worst:.3g} where values reach {reach:.3g}" if worst > _TOLERANCE * reach else None
