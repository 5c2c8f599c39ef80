"""The graphs of a file as nodes and edges, with what is known of each operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelconversion_api.limits import NAME_LENGTH
from modelconversion_api.text import printable, shortened
from tflite_converter.graph.layers import layer_of
from tflite_converter.targets import objections
from tflite_converter.targets.objections import Objections
from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

INPUTS: Final = -1
"""Stands for the graph's inputs as the source of an edge."""
NOT_FOR_GRAPHS: Final = ("label", "graphs")
"""Names that no graph may have: they stand beside the graphs' own in Model Explorer's file."""

_BITS: Final = {
    "bool": 8, "int2": 2, "int4": 4, "uint4": 4, "bfloat16": 16, "complex64": 64, "complex128": 128,
}  # fmt: skip
"""Where the number in the dtype's name is none, or not that of the bits stored."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Where one input of an operator comes from."""

    source: int
    """Place of the operator in its graph, always an earlier one; or :data:`INPUTS`."""
    output: int
    """Which of the source's outputs, or of the graph's inputs."""
    input: int
    """Which input of the operator, or output of the graph."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator."""

    operator: Operator
    layer: tuple[str, ...]
    """Path of its layer, outermost first."""
    edges: tuple[Edge, ...]
    constants: tuple[Tensor, ...]
    """Those of its inputs that are constant, in the order of its inputs."""
    constant_bytes: int
    """Of them; those that share a buffer count once."""
    subgraphs: tuple[int, ...]
    """Graphs that it runs, e.g. the body of a WHILE."""
    objections: Objections
    """What the runtimes have against it."""
    snr_db: float | None = None
    """Signal-to-noise ratio of its first output against the float file; None where that was not measured."""

    @property
    def bits(self) -> int | None:
        """Bits of one of its weights, the fewest where they differ; None where it has none.

        A bias has one dimension, and sizes are no real numbers: neither counts as weights.
        """
        weights = (t for t in self.constants if len(t.shape) > 1 and (t.is_float or t.is_quantized))
        return min((bits for t in weights if (bits := bits_of(t.dtype)) is not None), default=None)


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of a file."""

    identifier: str
    """Another one than that of every other graph of the file."""
    subgraph: Subgraph
    nodes: tuple[Node, ...]
    """In the order in which the operators run."""
    outputs: tuple[Edge, ...]
    """Where the graph's outputs come from."""


def graphs_of(file: TFLiteFile, snr_db: Mapping[str, float]) -> tuple[Graph, ...]:
    """Return the graphs of ``file``, the main one first.

    ``snr_db`` are ratios in dB by the name of an operator's first output, of the main graph.
    An edge goes to the last operator before that gave the tensor, which is what an interpreter does: so no
    graph has a cycle, whatever the file says.
    """
    against = objections.by_operator(file)
    identifiers = _identifiers(file.subgraphs)
    found = []
    for number, graph in enumerate(file.subgraphs):
        given = {tensor: Edge(INPUTS, place, 0) for place, tensor in enumerate(graph.inputs)}
        nodes = []
        for place, operator in enumerate(graph.operators):
            operands = (graph.tensors[index] for index in operator.inputs if index >= 0)
            constants = tuple(tensor for tensor in operands if tensor.is_constant)
            nodes.append(
                Node(
                    operator,
                    layer_of(operator, graph),
                    _edges(operator.inputs, given),
                    constants,
                    sum({t.buffer: t.nbytes for t in constants}.values()),
                    _subgraphs(operator, len(file.subgraphs)),
                    next(against),
                    _ratio(operator, graph, snr_db) if number == 0 else None,
                )
            )
            given |= {tensor: Edge(place, output, 0) for output, tensor in enumerate(operator.outputs)}
        found.append(Graph(identifiers[number], graph, tuple(nodes), _edges(graph.outputs, given)))
    return tuple(found)


def bits_of(dtype: str) -> int | None:
    """Bits of one number of ``dtype``; None for texts and the like."""
    digits = dtype.lstrip("abcdefghijklmnopqrstuvwxyz")
    return _BITS.get(dtype) or (int(digits) if digits.isdecimal() else None)


def _edges(inputs: Iterable[int], given: Mapping[int, Edge]) -> tuple[Edge, ...]:
    return tuple(
        Edge(source.source, source.output, place)
        for place, tensor in enumerate(inputs)
        if (source := given.get(tensor)) is not None
    )


def _subgraphs(operator: Operator, count: int) -> tuple[int, ...]:
    if operator.name not in ("IF", "WHILE", "CALL_ONCE"):
        return ()
    return tuple(index for index in operator.options.values() if 0 <= index < count)


def _ratio(operator: Operator, graph: Subgraph, snr_db: Mapping[str, float]) -> float | None:
    return snr_db.get(graph.tensors[operator.outputs[0]].name) if operator.outputs else None


def _identifiers(graphs: Sequence[Subgraph]) -> list[str]:
    """Return the graphs' own names where they have some that no other one has, else with their number."""
    found = dict.fromkeys(NOT_FOR_GRAPHS)
    for number, graph in enumerate(graphs):
        name = shortened(printable(graph.name.strip()), NAME_LENGTH) or f"graph {number}"
        while name in found:
            name = f"{name} ({number})"
        found[name] = None
    return list(found)[len(NOT_FOR_GRAPHS) :]
