"""Shapes inside of a model: by ONNX's rules, and where those know none, by running it once."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import onnx
from onnx import helper

from onnx_engine.original import Original

_BY_THE_DATA: Final = {
    "NonZero",
    "NonMaxSuppression",
    "Unique",
    "Compress",
    "Loop",
    "Scan",
    "If",
    "StringSplit",
}
"""Operators whose outputs have other shapes for other values."""
_MOST_UNKNOWN: Final = 500


def with_known_shapes(model: Any) -> Any:
    """Return the model with the shapes that follow from those of its inputs, as far as they do."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception:
        inferred = model  # it refuses models that run
    try:
        _add_by_running(inferred)
    except Exception:
        return inferred  # numbers that are made up may be none that the model takes
    return inferred


def _add_by_running(model: Any) -> None:
    """Add the shapes that are not known, in the model's place."""
    graph = model.graph
    known = {v.name for v in (*graph.value_info, *graph.output) if _is_static(v)}
    unknown = [name for node in graph.node for name in node.output if name and name not in known]
    kinds = {node.op_type for node in graph.node}
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if not unknown or len(unknown) > _MOST_UNKNOWN or kinds & _BY_THE_DATA:
        return
    if not all(_is_static(value) for value in inputs):
        return
    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    del trial.graph.output[:]
    del trial.graph.value_info[:]
    trial.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    values = Original(trial.SerializeToString()).run({value.name: _ones(value) for value in inputs})
    outputs = {value.name: value for value in graph.output}
    graph.value_info.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in values.items()
        if name not in outputs
    )
    for name, output in outputs.items():
        if name in values:
            for dimension, size in zip(output.type.tensor_type.shape.dim, values[name].shape, strict=True):
                dimension.dim_value = size


def _is_static(value: Any) -> bool:
    tensor = value.type.tensor_type
    return bool(tensor.HasField("shape")) and all(d.dim_value > 0 for d in tensor.shape.dim)


def _ones(value: Any) -> np.ndarray[Any, Any]:
    return np.ones([d.dim_value for d in value.type.tensor_type.shape.dim])
