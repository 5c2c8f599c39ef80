"""Matrix products that TFLite has not: of integers, and of computed matrices with a clamp. Child only.

Of a product of two computed matrices and the ReLU (or any other clamp) behind it TFLite's converter makes one
fully connected operator, and then, for the right-hand side is no constant, a BATCH_MATMUL, which has no ReLU:
the clamp is lost. A product of stacks of matrices is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflite_converter.original.graphs.reading import (
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


def integers_in_float32(graph: Any) -> None:
    """Compute products of integers, as Keras's quantized layers have them, in float32.

    Sums up to 2^24 stay exact: those of a thousand products of int8.
    """
    if any(node.op in _PRODUCTS and _integer_type(node) for node in graph.node):
        replace_nodes(graph.node, [new for node in graph.node for new in _in_float32(node)])


def _integer_type(node: Any) -> int | None:
    """Return the type of a product's result where it is computed from integers."""
    for name in ("Ta", "T"):
        if name in node.attr and tf.as_dtype(node.attr[name].type).is_integer:
            return int(node.attr["Tout"].type if name == "Ta" else node.attr[name].type)
    return None


def _in_float32(node: Any) -> list[Any]:
    if node.op not in _PRODUCTS or (result := _integer_type(node)) is None:
        return [node]
    kind, single = type(node), tf.float32.as_datatype_enum
    casts = []
    for number, operand in enumerate(data_inputs(node)):
        cast = kind(name=f"{node.name}/float_{number}", op="Cast", input=[operand])
        name = "Ta" if "Ta" in node.attr and number == 0 else "Tb" if "Tb" in node.attr else "T"
        cast.attr["SrcT"].type, cast.attr["DstT"].type = node.attr[name].type, single
        casts.append(cast)
    product = kind.FromString(node.SerializeToString())
    product.name = f"{node.name}/float_product"
    product.op = "BatchMatMulV2" if node.op == "BatchMatMulV3" else node.op
    product.input[: len(casts)] = [cast.name for cast in casts]
    for name in ("Ta", "Tb", "Tout"):
        product.attr.pop(name, None)
    product.attr["T"].type = single
    back = kind(name=node.name, op="Cast", input=[product.name])
    back.attr["SrcT"].type, back.attr["DstT"].type = single, result
    return [*casts, product, back]


def _rename_results(function: Any, products: set[str]) -> None:
    """Call the results of the products in a function what a SQUEEZE calls its own."""
    names = {f"{name}:product:0": f"{name}:output:0" for name in products}
    for node in function.node_def:
        node.input[:] = [names.get(reference, reference) for reference in node.input]
    for output, reference in function.ret.items():
        function.ret[output] = names.get(reference, reference)
