"""The shape of what a loop writes into a list that says none, as ``tf.TensorArray`` makes it. Child only.

TFLite's lists need every size, and the loop itself has them: they are read from the tensors that it writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph  # the public API has no shapes of functions

from tflite_converter.original.graphs.reading import (
    PASSES_ON,
    WHILE,
    by_name,
    called,
    functions_of,
    producer,
    source,
)


def set_item_shapes(graph: Any) -> None:
    """Write the shapes of a loop's items into the lists that it is given, where these have none."""
    if not any(node.op in WHILE for node in graph.node):
        return
    traced = tf.Graph()
    with traced.as_default():
        tf.graph_util.import_graph_def(graph, name="")
        _set_in(graph.node, traced, functions_of(graph))


def _set_in(nodes: Any, traced: Any, functions: Mapping[str, Any]) -> None:
    """Do so in the graph or in one function, and in the loops there. ``traced``: it with its shapes."""
    known = by_name(nodes)
    for loop in [node for node in nodes if node.op in WHILE]:
        body = functions[called(loop)[1]]
        inside = _traced(body, traced.get_operation_by_name(loop.name))
        _set_in(body.node_def, inside, functions)
        for place, reference in enumerate(loop.input[: len(inside.inputs)]):
            reserve = known.get(producer(source(known, reference)))
            if reserve is None or reserve.op != "TensorListReserve" or not _says_nothing(known, reserve):
                continue
            sizes = _written(inside, inside.inputs[place], functions)
            if sizes is not None:
                shape = nodes.add(name=f"{reserve.name}/item_shape", op="Const")
                shape.attr["dtype"].type = tf.int32.as_datatype_enum
                shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array(sizes, np.int32)))
                reserve.input[0] = f"{shape.name}:output:0" if traced.building_function else shape.name
                reserve.attr["shape_type"].type = tf.int32.as_datatype_enum


def _traced(body: Any, loop: Any) -> Any:
    """Return the graph of a loop's body with the shapes that the loop begins with, where it keeps them."""
    function = type(body).FromString(body.SerializeToString())
    function.arg_attr.clear()  # the shapes for any batch, for which the model was written
    shapes = [tensor.shape for tensor in loop.inputs]
    first = function_def_to_graph.function_def_to_graph(function, input_shapes=shapes)
    kept = [
        shape if _are_equal(shape, result.shape) else tf.TensorShape(None)
        for shape, result in zip(shapes, first.outputs, strict=True)
    ]
    return function_def_to_graph.function_def_to_graph(function, input_shapes=kept)


def _are_equal(one: Any, other: Any) -> bool:
    return one.rank is not None and other.rank is not None and one.as_list() == other.as_list()


def _says_nothing(nodes: Mapping[str, Any], reserve: Any) -> bool:
    """Whether a list is made for items of any shape: -1 in the place of sizes."""
    shape = nodes.get(producer(reserve.input[0]))
    return shape is not None and shape.op == "Const" and not tf.make_ndarray(shape.attr["value"].tensor).ndim


def _written(inside: Any, items: Any, functions: Mapping[str, Any]) -> list[int] | None:
    """Return the sizes of what the loop whose body is ``inside`` writes into the list ``items``."""
    for operation in items.consumers():
        if operation.type in PASSES_ON:
            sizes = _written(inside, operation.outputs[0], functions)
        elif operation.type == "TensorListSetItem":
            shape = operation.inputs[2].shape
            sizes = shape.as_list() if shape.is_fully_defined() else None
        elif operation.type in WHILE:
            body = functions[operation.get_attr("body").name]
            place = next(i for i, tensor in enumerate(operation.inputs) if tensor is items)
            deeper = _traced(body, operation)
            sizes = _written(deeper, deeper.inputs[place], functions)
        else:
            continue
        if sizes is not None:
            return sizes
    return None
