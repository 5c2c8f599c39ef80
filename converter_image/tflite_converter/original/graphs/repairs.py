"""Repairs of a frozen graph: what TensorFlow runs and TFLite's converter stumbles over. Child only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from modelconversion_api.status import TensorInfo
from tflite_converter.original.graphs.reading import ancestors, by_name, node_lists

_ELEMENT_SHAPES = {
    "TensorListReserve": 0,
    "TensorListFromTensor": 1,
    "TensorListStack": 1,
    "TensorListGetItem": 2,
}
"""Which input of an operation on lists says what shape a list's elements have."""
HALVES = (tf.float16, tf.bfloat16)
_SINGLE = {
    **{dtype.as_datatype_enum: tf.float32.as_datatype_enum for dtype in (*HALVES, tf.float64)},
    tf.complex128.as_datatype_enum: tf.complex64.as_datatype_enum,
}


def in_float32(graph: Any) -> None:
    """Replace half and double precision by single precision everywhere in ``graph``.

    A model that was trained in mixed precision has float32 weights, and casts them to float16 before it
    multiplies. TFLite has no such arithmetic: there, float16 is a way of storing weights. Nor has it any in
    double precision.
    """
    for function in graph.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = _SINGLE.get(argument.type, argument.type)
    for node in _all_nodes(graph):
        for attribute in node.attr.values():
            if attribute.type in _SINGLE:
                attribute.type = _SINGLE[attribute.type]
            if attribute.list.type:  # an assignment to the others would make lists of them
                attribute.list.type[:] = [_SINGLE.get(kind, kind) for kind in attribute.list.type]
            if (single := _SINGLE.get(attribute.tensor.dtype)) is not None:
                with np.errstate(over="ignore"):
                    values = tf.make_ndarray(attribute.tensor).astype(tf.as_dtype(single).as_numpy_dtype)
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values))


def _all_nodes(graph: Any) -> Iterator[Any]:
    for nodes in node_lists(graph):
        yield from nodes


def set_list_shapes(graph: Any, inputs: Sequence[TensorInfo]) -> None:
    """Write the pinned batch into the lists that loops write their steps to.

    A SavedModel's recurrent layers were traced for any batch, so that their lists hold elements of the shape
    ``[-1, units]``; TFLite's lists need every size.
    """
    batches = {info.shape[0] if info.shape else -1 for info in inputs}
    if len(batches) != 1 or batches == {-1}:
        return
    (batch,) = batches
    for nodes in node_lists(graph):
        # Inside a function a constant's output is called "name:output:0", in the graph "name".
        constants = {node.name: node for node in nodes if node.op == "Const"}
        for node in nodes:
            place = _ELEMENT_SHAPES.get(node.op)
            shape = None if place is None else constants.get(node.input[place].partition(":")[0])
            if shape is None:
                continue
            value = tf.make_ndarray(shape.attr["value"].tensor)
            if value.ndim == 1 and value.size and value[0] == -1 and (value[1:] >= 0).all():
                sizes = np.concatenate([[batch], value[1:]]).astype(value.dtype)
                shape.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(sizes))


def stack_list_items(graph: Any) -> None:
    """Stacks the steps of an unrolled loop themselves, not a list that each was written to in turn.

    TFLite has no such lists: every step would copy all of one to change one place of it.
    """
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op == "TensorListStack" and (items := _items(nodes, node)):
            dtype = node.attr["element_dtype"].type
            stack = type(node)(name=node.name, op="Pack", input=items)
            stack.attr["T"].type = dtype
            stack.attr["N"].i = len(items)
            stack.attr["axis"].i = 0
            node.CopyFrom(stack)


def _items(nodes: Mapping[str, Any], stack: Any) -> list[str]:
    """Return the tensors in the list that ``stack`` reads, in order; none where not all are known."""
    items: dict[int, str] = {}
    node = _source(nodes, stack.input[0])
    while node is not None and node.op == "TensorListSetItem":
        place = _integer(nodes, node.input[1])
        if place is None:
            return []
        items.setdefault(place, node.input[2])  # the last one written to a place is the one that is read
        node = _source(nodes, node.input[0])
    if node is None or node.op != "TensorListReserve":
        return []
    # Its size may be a part of the input's shape, which is not constant yet; a loop fills what it reserves.
    size = _integer(nodes, node.input[1])
    is_full = sorted(items) == list(range(len(items) if size is None else size))
    return [items[place] for place in sorted(items)] if is_full else []


def _source(nodes: Mapping[str, Any], reference: str) -> Any:
    """Return the node that computes a tensor, past those that only pass it on."""
    node = nodes.get(reference.partition(":")[0])
    while node is not None and node.op == "Identity":
        node = nodes.get(node.input[0].partition(":")[0])
    return node


def _integer(nodes: Mapping[str, Any], reference: str) -> int | None:
    """Return the value of a constant scalar, or of a sum of such, as a loop's counter is."""
    total, pending = 0, [reference]
    while pending:
        node = _source(nodes, pending.pop())
        if node is None:
            return None
        if node.op in ("Add", "AddV2"):
            pending.extend(node.input[:2])
        elif node.op == "Const" and (value := tf.make_ndarray(node.attr["value"].tensor)).ndim == 0:
            total += int(value)
        else:
            return None
    return total


def without_sign_bits(graph: Any) -> None:
    """Take back what Keras's ``argmax`` and ``argmin`` do to tell -0.0 from 0.0.

    They look at the sign's bit, and put the smallest negative number in the place of -0.0. TFLite has no
    operation on bits.
    """
    for nodes in node_lists(graph):
        known = by_name(nodes)
        for node in nodes:
            if node.op == "SelectV2" and _orders_zeros(known, node):
                value = type(node)(name=node.name, op="Identity", input=[node.input[2]])
                value.attr["T"].CopyFrom(node.attr["T"])
                node.CopyFrom(value)


def _orders_zeros(nodes: Mapping[str, Any], select: Any) -> bool:
    smallest = _source(nodes, select.input[1])
    if smallest is None or smallest.op != "Const":
        return False
    number = tf.make_ndarray(smallest.attr["value"].tensor)
    if number.dtype.kind != "f" or number.ndim or number != -np.finfo(number.dtype).tiny:
        return False
    return any(
        name in nodes and nodes[name].op == "BitwiseAnd" for name in ancestors(nodes, select.input[:1])
    )
