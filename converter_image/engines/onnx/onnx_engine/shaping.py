"""The inputs of a model as it declares them, and the model with the sizes that were chosen for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from conversion_engine.messages import EngineError, Reason, Stage
from engine_tools.sizes import EXPORT, OPEN, Edge, check_bounds, shape_refused


def inputs_of(model: Any) -> list[Edge]:
    """Return what a user gives to the model: its inputs but for those that have a value in the file.

    Raises:
        EngineError: an input takes text, or something else than a tensor of known rank.

    """
    constants = {tensor.name for tensor in model.graph.initializer}
    return [_edge(value) for value in model.graph.input if value.name not in constants]


def _edge(value: Any) -> Edge:
    tensor = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type" or tensor.elem_type == TensorProto.STRING:
        what = "text" if tensor.elem_type == TensorProto.STRING else "sequences or maps"
        raise EngineError(
            Reason.UNSUPPORTED_OPERATION,
            Stage.LOAD,
            f"input {value.name!r} takes {what}, and an edge model takes numbers",
            hint="export the part of the model behind it",
        )
    if not tensor.HasField("shape"):
        raise shape_refused(f"input {value.name!r} does not say how many dimensions it has", EXPORT)
    dimensions = tensor.shape.dim
    sizes = tuple(int(d.dim_value) if d.dim_value > 0 else OPEN for d in dimensions)
    check_bounds(value.name, sizes)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(int(tensor.elem_type)))
    return Edge(value.name, dtype, sizes, tuple(str(d.dim_param) for d in dimensions))


def with_sizes(model: Any, sizes: Mapping[str, tuple[int, ...]], ranks: Mapping[str, int]) -> Any:
    """Return a copy of the model with these sizes of inputs, and without what follows from others.

    ``ranks``: how many dimensions each output has.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for value in changed.graph.input:
        if (shape := sizes.get(value.name)) is None:
            continue
        for dimension, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if size != OPEN:
                dimension.dim_value = size
    del changed.graph.value_info[:]
    for value in changed.graph.output:
        rank = ranks.get(value.name)
        if rank is not None:
            tensor = value.type.tensor_type
            # The number of dimensions has to stand there, and their sizes follow from the inputs'.
            tensor.ClearField("shape")
            tensor.shape.Clear()
            for _ in range(rank):
                tensor.shape.dim.add()
    return changed
