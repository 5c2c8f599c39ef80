"""Write the ONNX project's own tests of operators: models, their inputs, and the outputs that it expects.

``python write_onnx_operator_tests.py FOLDER [NAME ...]`` runs on the engine's Python, whose onnx package has
them. Taken are those that TFLite can have at all: float32 or whole numbers go in, at least one of float32,
and no sequences, texts or missing values; a model that is one operator written as others is left out.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

_IN = ("float32", "int32", "int64", "bool")
_FIXED = (
    *(
        "Resize",
        "Unsqueeze",
        "Squeeze",
        "Reshape",
        "Expand",
        "Tile",
        "Slice",
        "Pad",
        "TopK",
        "Split",
        "CumSum",
    ),
    *("Trilu", "CenterCropPad", "Clip", "OneHot", "Upsample"),
)
"""Operators whose further operands exporters write as constants."""
_OUT = ("float32", "int32", "int64", "bool")


def arrays(folder: Path, kind: str, values: list[onnx.ValueInfoProto]) -> dict[str, np.ndarray] | None:
    """Read the tensors of one data set by the model's names; None where one is no tensor."""
    found = {}
    for number, value in enumerate(values):
        if not value.name:
            return None
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString((folder / f"{kind}_{number}.pb").read_bytes())
            found[value.name] = numpy_helper.to_array(tensor)
        except Exception:  # a sequence, an optional, or nothing
            return None
    return found


def is_wanted(inputs: dict[str, np.ndarray], outputs: dict[str, np.ndarray]) -> bool:
    """Whether a float model on a device could have these."""
    kinds = {str(array.dtype) for array in inputs.values()}
    results = {str(array.dtype) for array in outputs.values()}
    sizes = [array.size for array in (*inputs.values(), *outputs.values())]
    fits = kinds <= {*_IN} and results <= {*_OUT} and "float32" in kinds
    return fits and bool(inputs) and bool(outputs) and min(sizes) > 0


def _with_fixed_sizes(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Make constants of what exporters write as constants; the tests feed every operand."""
    fixed = {
        name
        for node in model.graph.node
        for name in node.input[1:]
        if node.op_type in _FIXED or node.op_type.startswith("Reduce")
    }
    for value in [v for v in model.graph.input if v.name in fixed and v.name in given]:
        model.graph.input.remove(value)
        model.graph.initializer.append(numpy_helper.from_array(given.pop(value.name), value.name))
    return model


def main() -> None:
    """Write every test, or those named."""
    folder, names = Path(sys.argv[1]), set(sys.argv[2:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = load_model_tests(kind="node")
    for case in cases:
        name = case.name.removeprefix("test_")
        if (
            "_expanded" in name
            or name.startswith("training_")
            or (names and name not in names)
            or case.model_dir is None
        ):
            continue
        place = Path(case.model_dir)
        model = onnx.load(place / "model.onnx")
        known = {tensor.name for tensor in model.graph.initializer}
        given = arrays(
            place / "test_data_set_0", "input", [v for v in model.graph.input if v.name not in known]
        )
        wanted = arrays(place / "test_data_set_0", "output", list(model.graph.output))
        if given is None or wanted is None or not is_wanted(given, wanted):
            continue
        fixed = _with_fixed_sizes(model, given)
        onnx.save(fixed, folder / f"{name}.onnx")
        np.savez(folder / f"{name}.inputs.npz", **given)
        np.savez(folder / f"{name}.outputs.npz", **wanted)


if __name__ == "__main__":
    main()
