"""The shape of what a loop writes into a list that says none, as ``tf.TensorArray`` makes it. Child only.

TFLite's lists need every size, and the loop itself has them: they are read from the tensors that it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import function_def_to_graph  # the public API has no shapes of functions

from tflite_converter.original.graphs.reading import (
    PASSES_ON,
    WHILE,
    by_name,
    called,
    data_inputs,
    functions_of,
    node_lists,
    producer,
    source,
)

_MADE = "TensorListReserve"


def set_item_shapes(graph: Any) -> None:
    """Write the shapes of a loop's items into the lists that it is given, where these have none."""
    lists = [(by_name(nodes), nodes) for nodes in node_lists(graph)]
    if not any(node.op == _MADE and _says_nothing(known, node) for known, nodes in lists for node in nodes):
        return
    functions = functions_of(graph)

    def trace() -> Any:
        with tf.Graph().as_default() as traced:
            tf.graph_util.import_graph_def(graph, name="")
        return traced

    _set_in(graph.node, _settled(graph.node, trace, functions), functions)


def _set_in(nodes: Any, traced: Any, functions: Mapping[str, Any]) -> None:
    """Do so in the graph or in one function, and in the loops there. ``traced``: it with its shapes."""
    known = by_name(nodes)
    for loop in [node for node in nodes if node.op in WHILE]:
        body = functions[called(loop)[1]]
        inside = _traced(body, traced.get_operation_by_name(loop.name), functions)
        _set_in(body.node_def, inside, functions)
        for items, reference in zip(inside.inputs, data_inputs(loop), strict=True):
            made = known.get(producer(source(known, reference)))
            if made is None or made.op != _MADE or not _says_nothing(known, made):
                continue
            if (sizes := _written(inside, items, functions)) is not None:
                shape = nodes.add(name=f"{made.name}/item_shape", op="Const")
                shape.attr["dtype"].type = tf.int32.as_datatype_enum
                shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.array(sizes, np.int32)))
                made.input[0] = f"{shape.name}:output:0" if traced.building_function else shape.name
                made.attr["shape_type"].type = tf.int32.as_datatype_enum


def _traced(body: Any, loop: Any, functions: Mapping[str, Any]) -> Any:
    """Return the graph of a loop's body with the shapes that the loop begins with, where it keeps them."""
    return _with_shapes(body, _kept(body, loop, functions), functions)


def _kept(body: Any, loop: Any, functions: Mapping[str, Any]) -> list[Any]:
    """Return the shapes that a loop begins with; those that its body changes are unknown."""
    shapes = [tensor.shape for tensor in loop.inputs]
    results = _with_shapes(body, shapes, functions).outputs
    return [
        shape if _are_equal(shape, result.shape) else tf.TensorShape(None)
        for shape, result in zip(shapes, results, strict=True)
    ]


def _with_shapes(body: Any, shapes: list[Any], functions: Mapping[str, Any]) -> Any:
    function = type(body).FromString(body.SerializeToString())
    function.arg_attr.clear()  # it holds shapes for any batch, for which the model was written

    def trace() -> Any:
        return function_def_to_graph.function_def_to_graph(function, input_shapes=shapes)

    return _settled(function.node_def, trace, functions)


def _settled(nodes: Any, trace: Callable[[], Any], functions: Mapping[str, Any]) -> Any:
    """Return the graph of ``nodes`` with the shapes that come out of the loops there."""
    traced = trace()
    for node in [node for node in nodes if node.op in WHILE]:
        shapes = _kept(functions[called(node)[1]], traced.get_operation_by_name(node.name), functions)
        del node.attr["output_shapes"].list.shape[:]
        node.attr["output_shapes"].list.shape.extend(shape.as_proto() for shape in shapes)
        traced = trace()
    return traced


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
            deeper = _traced(body, operation, functions)
            sizes = _written(deeper, deeper.inputs[place], functions)
        else:
            continue
        if sizes is not None:
            return sizes
    return None
