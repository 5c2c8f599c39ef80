"""Variables that a model assigns while it runs: what of them its outputs depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from typing import Any

from tflite_converter.original.graphs.reading import (
    PASSES_ON,
    ancestors,
    arguments,
    by_name,
    called,
    data_inputs,
    functions_of,
    keep_only,
    producer,
    source,
)

_READS = frozenset(
    ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape", "VarIsInitializedOp")
)
_FINDS = frozenset(("LookupTableFindV2", "LookupTableSizeV2", "LookupTableExportV2"))
_HARMLESS = _READS | _FINDS | frozenset(PASSES_ON)


def without_idle_state(graph: Any, outputs: Iterable[str], resources: Set[str]) -> set[str]:
    """Return the variables that the outputs depend on and that the graph assigns, as names of placeholders.

    Where there are none, everything that no output is computed from is removed: assignments to counters, or
    to the seeds of layers that are random in training only. ``resources``: the placeholders of variables.
    """
    nodes = by_name(graph.node)
    accesses = _Accesses(functions_of(graph))
    assigned = {name for node in graph.node for name in accesses.assigned(node, nodes)} & resources
    reached = ancestors(nodes, outputs)
    read = {
        producer(source(nodes, reference))
        for name in reached
        if name in nodes
        for reference in data_inputs(nodes[name])
    }
    state = assigned & read
    if not state:
        keep_only(graph, reached | {node.name for node in graph.node if node.op == "Placeholder"})
    return state


class _Accesses:
    """Which resources the nodes of a graph assign, also by the functions that they call."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self._functions = functions
        self._known: dict[str, set[int]] = {}

    def assigned(self, node: Any, nodes: Mapping[str, Any]) -> set[str]:
        """Return the names that may be resources and that the node may assign."""
        if node.op in _HARMLESS:
            return set()
        handed_on = [producer(source(nodes, reference)) for reference in arguments(node)]
        if not (names := called(node)):
            return set(handed_on)
        places = {index for name in names for index in self._by_function(name)}
        return {handed_on[index] for index in places if index < len(handed_on)}

    def _by_function(self, name: str) -> set[int]:
        """Return which arguments a function assigns."""
        if name in self._known:
            return self._known[name]
        self._known[name] = set()  # where functions call each other
        function = self._functions.get(name)
        if function is None:
            return set()
        nodes = by_name(function.node_def)
        assigned = {entry for node in function.node_def for entry in self.assigned(node, nodes)}
        entries = function.signature.input_arg
        self._known[name] = {
            index for index, entry in enumerate(entries) if entry.name in assigned and entry.type == _RESOURCE
        }
        return self._known[name]


_RESOURCE = 20
"""``DT_RESOURCE`` of TensorFlow's types."""
