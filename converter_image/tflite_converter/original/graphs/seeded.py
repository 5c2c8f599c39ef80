"""Random numbers that are the same in every run, for their seed is written in the graph. Child only."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tflite_converter.original.graphs.reading import ancestors, by_name

_DRAWS = ("StatelessRandom", "StatelessTruncatedNormal", "StatelessMultinomial")
_KEYS = ("StatelessRandomGet",)
"""What is made of a seed before numbers are drawn; that is no result."""


def seeded_numbers_as_constants(graph: Any) -> None:
    """Put the numbers in the place of the operations that draw them, which TFLite has not."""
    known = by_name(graph.node)
    drawn = [
        node
        for node in graph.node
        if node.op.startswith(_DRAWS)
        and not node.op.startswith(_KEYS)
        and not any(known[name].op == "Placeholder" for name in ancestors(known, [node.name]))
    ]
    if not drawn:
        return
    with tf.Graph().as_default() as traced:
        tf.graph_util.import_graph_def(graph, name="")
        with tf.compat.v1.Session(graph=traced) as session:
            numbers = session.run([f"{node.name}:0" for node in drawn])
    for node, values in zip(drawn, numbers, strict=True):
        constant = type(node)(name=node.name, op="Const")
        constant.attr["dtype"].type = tf.as_dtype(values.dtype).as_datatype_enum
        constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
        node.CopyFrom(constant)
