"""Each output of a float file as a tensor of its own, so that every tool that reads it sees all of them.

Where one tensor is two outputs, or an input or a constant is an output, TFLite's converter writes that one
tensor under several names. Interpreters then list it once, and quantizers look for an operator that makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tflite_converter.tflite import editing

_RESHAPE_VERSION, _SQUEEZE_VERSION = 1, 1
_MOST_OPEN = 1
"""Sizes that RESHAPE can find out by itself."""


def with_own_outputs(content: bytes) -> bytes:
    """Return the file with an operator that copies, for every output that is another tensor already.

    The file itself where each output is an operator's result, and under one name only.
    """
    model = editing.unpacked(content)
    changed = False
    for signature in model.signatureDefs or ():
        graph = model.subgraphs[signature.subgraphIndex]
        made = {int(index) for operator in graph.operators for index in operator.outputs}
        taken: set[int] = set()
        outputs = []
        for entry in signature.outputs:
            index = int(entry.tensorIndex)
            if index in taken or index not in made:
                copy = _copied(model, graph, index, entry.name.decode())
                changed |= copy != index
                index = copy
            entry.tensorIndex = index
            taken.add(index)
            outputs.append(index)
        graph.outputs = _in_order(graph.outputs, outputs)
    return editing.packed(model) if changed else content


def _in_order(before: Any, outputs: list[int]) -> list[int]:
    """Return ``outputs``: first those that the graph had, in its own order, then the new ones."""
    known = list(dict.fromkeys(int(index) for index in before if index in outputs))
    return known + [index for index in outputs if index not in known]


def _copied(model: Any, graph: Any, index: int, name: str) -> int:
    """Add an operator that copies tensor ``index``; return the copy's index, or ``index`` where none can."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[index]
    sizes = [int(size) for size in (tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature)]
    if sum(size < 0 for size in sizes) > _MOST_OPEN:
        return index
    copy = editing.add_tensor(graph, index, f"{name}_output", tensor.type)
    if not sizes:  # an empty shape has no bytes, and TFLite takes a constant without bytes for none
        code = editing.code_of(model, schema.BuiltinOperator.SQUEEZE, _SQUEEZE_VERSION)
        graph.operators.append(editing.operator(code, [index], [copy]))
        return copy
    values = np.asarray(sizes, dtype=np.int32)
    shape = editing.add_constant(model, graph, f"{name}_shape", schema.TensorType.INT32, values)
    code = editing.code_of(model, schema.BuiltinOperator.RESHAPE, _RESHAPE_VERSION)
    graph.operators.append(editing.operator(code, [index, shape], [copy]))
    return copy
