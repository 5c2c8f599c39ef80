"""What litert-quantizer 0.11 leaves wrong in a file, put right."""

from __future__ import annotations

import copy

from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import Operator, Subgraph

_PASS_THROUGH = {"SPLIT": 1, "SPLIT_V": 0, "UNPACK": 0}
"""Operators whose outputs are parts of one input, and which of their inputs that is."""


def with_dead_outputs_quantized(content: bytes) -> bytes:
    """Give outputs that nothing reads the type of the others.

    litert-quantizer quantizes a tensor for the sake of its readers, so that a part of a SPLIT that nothing
    reads stays in float (an unrolled LSTM's first forget gate, which has no state to forget). No kernel
    takes a SPLIT of two types.
    """
    file = read_file(content, "the quantized file")
    if not any(_odd_outputs(operator, graph) for operator, graph in file.operators()):
        return content
    model = editing.unpacked(content)
    for graph, read_graph in zip(model.subgraphs, file.subgraphs, strict=True):
        for operator in read_graph.operators:
            for index in _odd_outputs(operator, read_graph):
                source = graph.tensors[operator.inputs[_PASS_THROUGH[operator.name]]]
                graph.tensors[index].type = source.type
                graph.tensors[index].quantization = copy.deepcopy(source.quantization)
    return editing.packed(model)


def _odd_outputs(operator: Operator, graph: Subgraph) -> list[int]:
    """Return outputs that are not of the type of what they are a part of."""
    place = _PASS_THROUGH.get(operator.name)
    if place is None:
        return []
    dtype = graph.tensors[operator.inputs[place]].dtype
    return [index for index in operator.outputs if graph.tensors[index].dtype != dtype]


def with_signature_outputs(content: bytes) -> bytes:
    """Let the graph end in the tensors that the signature names.

    Where an output is also read by an operator that stays in float, litert-quantizer makes the copy for that
    operator the graph's output, and leaves the signature as it was: no runtime finds the output's name.
    """
    model = editing.unpacked(content)
    changed = False
    for signature in model.signatureDefs or ():
        graph = model.subgraphs[signature.subgraphIndex]
        named = {int(entry.tensorIndex) for entry in signature.outputs}
        sources = {int(o.outputs[0]): int(o.inputs[0]) for o in graph.operators if len(o.inputs) == 1}
        outputs = [
            sources[index] if index not in named and sources.get(index) in named else index
            for index in map(int, graph.outputs)
        ]
        changed |= outputs != list(map(int, graph.outputs))
        graph.outputs = outputs
    return editing.packed(model) if changed else content
