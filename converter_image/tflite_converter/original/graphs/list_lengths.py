"""How many elements the lists have that a loop writes: TensorFlow's shape inference does not follow them.

Without it a second recurrent layer seems to walk over a sequence of any length. Child only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflite_converter.original.graphs.reading import WHILE, by_name, called, data_inputs, functions_of, source

_LENGTH = "num_elements"


def set_list_lengths(graph: Any) -> None:
    """Write into each TensorListStack of the main graph how many elements its list has, if that is fixed."""
    functions = functions_of(graph)
    nodes = by_name(graph.node)
    while True:
        with tf.Graph().as_default() as imported:
            tf.graph_util.import_graph_def(graph, name="")
        lengths = {
            operation.name: length
            for operation in imported.get_operations()
            if operation.type == "TensorListStack" and nodes[operation.name].attr[_LENGTH].i < 0
            if (length := _length(operation.inputs[0], functions)) is not None
        }
        if not lengths:
            return
        for name, length in lengths.items():  # which may fix the length of the next list
            nodes[name].attr[_LENGTH].i = length


def _length(items: Any, functions: Mapping[str, Any]) -> int | None:
    """Return how many elements a list has; None where that is not known, or may change."""
    while True:
        kind = items.op.type
        if kind in ("Identity", "TensorListSetItem"):
            if kind == "TensorListSetItem" and items.op.get_attr("resize_if_index_out_of_bounds"):
                return None
            items = items.op.inputs[0]
        elif kind in WHILE:
            index = items.value_index
            if not _only_sets(functions[called(items.op.node_def)[1]], index):
                return None
            items = items.op.inputs[index]
        elif kind == "TensorListReserve":
            value = _static(items.op.inputs[1])
            return None if value is None or int(value) < 0 else int(value)
        else:
            return None


def _only_sets(body: Any, index: int) -> bool:
    """Whether a loop's body does no more with a list than to write elements of it."""
    nodes = by_name(body.node_def)
    own = body.signature.input_arg[index].name
    reference = source(nodes, body.ret[body.signature.output_arg[index].name])
    while reference != own:
        node = nodes.get(reference.partition(":")[0])
        if node is None or node.op != "TensorListSetItem" or node.attr["resize_if_index_out_of_bounds"].b:
            return False
        reference = source(nodes, data_inputs(node)[0])
    return True


_MASKS = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")


def _static(tensor: Any) -> Any:
    """Return a value that is known before anything runs, or a part of one; None where there is none."""
    value = tf.get_static_value(tensor)
    if value is not None or tensor.op.type != "StridedSlice":
        return value
    parts = [tf.get_static_value(part) for part in tensor.op.inputs]
    if any(part is None for part in parts):
        return None
    names = ("input", "begin", "end", "strides")
    masks = {name: tensor.op.get_attr(name) for name in _MASKS}
    return tf.raw_ops.StridedSlice(**dict(zip(names, parts, strict=True)), **masks).numpy()
