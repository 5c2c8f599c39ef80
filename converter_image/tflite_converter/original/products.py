"""Clamps behind matrix products of two computed matrices, which TFLite's converter loses. Child only.

It makes one fully connected operator of the product and of the ReLU (or any other clamp) behind it, and then,
for the right-hand side is no constant, a BATCH_MATMUL, which has no ReLU. A product of stacks is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflite_converter.original.graphs import (
    PASSES_ON,
    ancestors,
    by_name,
    data_inputs,
    node_lists,
    producer,
    replace_nodes,
)

_CLAMPS = ("Relu", "Relu6", "Maximum", "Minimum", "ClipByValue")
_BETWEEN = (*PASSES_ON, *_CLAMPS, "Reshape", "ExpandDims", "Squeeze", "BiasAdd", "Add", "AddV2", "Sub")
_STACKED = ("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
_PRODUCTS = ("MatMul", *_STACKED, "Einsum")


def keep_clamps(graph: Any) -> None:
    """Write each such product as one of stacks of one matrix."""
    for index, nodes in enumerate(list(node_lists(graph))):
        products = _clamped(by_name(nodes))
        if products:
            changed = [new for node in nodes for new in _stacked(node, products, inside=index > 0)]
            replace_nodes(nodes, changed)
            if index > 0:
                _rename_results(graph.library.function[index - 1], products)


def _clamped(nodes: Mapping[str, Any]) -> set[str]:
    """Return the names of products of two computed matrices whose result is clamped."""
    products = set()
    for node in nodes.values():
        if node.op in _CLAMPS:
            pending, seen = list(data_inputs(node)), set()
            while pending:
                name = producer(pending.pop())
                before = nodes.get(name)
                if before is None or name in seen:
                    continue
                seen.add(name)
                if before.op in _BETWEEN:
                    pending.extend(data_inputs(before))
                elif before.op in _PRODUCTS and _is_computed(nodes, data_inputs(before)[1:]):
                    products.add(name)
    return products


def _is_computed(nodes: Mapping[str, Any], operands: list[str]) -> bool:
    """Whether an operand depends on an input of the graph, or on an argument of the function."""
    return any(name not in nodes or nodes[name].op == "Placeholder" for name in ancestors(nodes, operands))


def _stacked(node: Any, products: set[str], *, inside: bool) -> list[Any]:
    """Return what takes the node's place: for a product one of ``[1, ...]`` matrices."""
    equation = node.attr["equation"].s.decode() if node.op == "Einsum" else ""
    operands = data_inputs(node)
    if node.name not in products or len(operands) != 2 or "..." in equation:
        return [node]
    kind = type(node)
    axis = kind(name=f"{node.name}/axis", op="Const")
    axis.attr["dtype"].type = tf.int32.as_datatype_enum
    axis.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0, tf.int32))
    ending = ":output:0" if inside else ""
    added = [axis]
    for number, operand in enumerate(operands):
        expanded = kind(
            name=f"{node.name}/stack_{number}", op="ExpandDims", input=[operand, f"{axis.name}{ending}"]
        )
        expanded.attr["T"].type = node.attr["T"].type
        expanded.attr["Tdim"].type = tf.int32.as_datatype_enum
        added.append(expanded)
    waits = [reference for reference in node.input if reference.startswith("^")]
    product = kind(name=f"{node.name}/product", op=node.op)
    product.input.extend([f"{expanded.name}{ending}" for expanded in added[1:]] + waits)
    product.attr["T"].type = node.attr["T"].type
    if node.op == "Einsum":
        letter = next(c for c in "zyxwvutsrqponmlkjihgfedcba" if c not in equation)
        terms, _, result = equation.replace(" ", "").partition("->")
        terms = ",".join(letter + term for term in terms.split(","))
        product.attr["equation"].s = f"{terms}->{letter}{result}".encode()
        product.attr["N"].i = 2
    elif node.op == "MatMul":
        product.op = "BatchMatMulV2"
        product.attr["adj_x"].b = node.attr["transpose_a"].b
        product.attr["adj_y"].b = node.attr["transpose_b"].b
    else:
        for name in node.attr:
            product.attr[name].CopyFrom(node.attr[name])
    squeezed = kind(name=node.name, op="Squeeze", input=[f"{product.name}{ending}"])
    squeezed.attr["T"].type = node.attr["T"].type
    squeezed.attr["squeeze_dims"].list.i[:] = [0]
    return [*added, product, squeezed]


def _rename_results(function: Any, products: set[str]) -> None:
    """Call the results of the products in a function what a SQUEEZE calls its own."""
    names = {f"{name}:product:0": f"{name}:output:0" for name in products}
    for node in function.node_def:
        node.input[:] = [names.get(reference, reference) for reference in node.input]
    for output, reference in function.ret.items():
        function.ret[output] = names.get(reference, reference)
