"""A model in half or double precision as the same model in float32, which TFLite's kernels compute in."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from onnx import TensorProto, numpy_helper

from onnx_engine.reading import graphs_of, nodes

_OTHERS: Final = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
_NAMES_A_TYPE: Final = ("to", "dtype", "output_datatype", "stash_type")
"""Attributes that hold the number of a data type."""


def in_float32(model: Any) -> tuple[str, ...]:
    """Change the model in its place; return the types that it was in."""
    found: set[int] = set()
    for graph in graphs_of(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            tensor = value.type.tensor_type
            if value.type.HasField("tensor_type") and tensor.elem_type in _OTHERS:
                found.add(tensor.elem_type)
                tensor.elem_type = TensorProto.FLOAT
        for constant in graph.initializer:
            _change(constant, found)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _change(attribute.t, found)
            for tensor in attribute.tensors:
                _change(tensor, found)
            if attribute.name in _NAMES_A_TYPE and attribute.i in _OTHERS:
                found.add(attribute.i)
                attribute.i = TensorProto.FLOAT
    return tuple(sorted(_OTHERS[kind] for kind in found))


def _change(tensor: Any, found: set[int]) -> None:
    if tensor.data_type not in _OTHERS:
        return
    found.add(tensor.data_type)
    values = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
