"""A frozen graph as what it says of itself: which node reads which, and what an output depends on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

WHILE = ("While", "StatelessWhile")
IF = ("If", "StatelessIf")
CASE = ("Case", "StatelessCase")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
PASSES_ON = ("Identity", "StopGradient", "PreventGradient", "Snapshot")
"""Operations whose result is what they were given."""
_COMPILED = "_XlaMustCompile"
"""Mark of functions that XLA is to compile: TFLite's converter, and Grappler, leave them alone."""
_COLOCATED = "_class"
"""Where a node is to run beside another, which may be gone when functions are inlined."""


def producer(reference: str) -> str:
    """Return the node that a reference names: ``a`` for ``a``, ``a:1``, ``a:output:0`` and ``^a``."""
    return reference.removeprefix("^").partition(":")[0]


def place(reference: str) -> int:
    """Return which of a node's outputs a reference to a node of the main graph names."""
    _, _, number = reference.partition(":")
    return int(number) if number else 0


def data_inputs(node: Any) -> list[str]:
    """Return what a node computes with, without what it only waits for."""
    return [reference for reference in node.input if not reference.startswith("^")]


def by_name(nodes: Iterable[Any]) -> dict[str, Any]:
    """Return the nodes by their names."""
    return {node.name: node for node in nodes}


def source(nodes: Mapping[str, Any], reference: str) -> str:
    """Return the reference to what is passed on by identities up to ``reference``."""
    while (node := nodes.get(producer(reference))) is not None and node.op in PASSES_ON:
        reference = node.input[0]
    return reference


def ancestors(nodes: Mapping[str, Any], references: Iterable[str]) -> set[str]:
    """Return the names of all nodes that ``references`` are computed from, these nodes among them."""
    reached: set[str] = set()
    pending = [producer(reference) for reference in references]
    while pending:
        name = pending.pop()
        if name in reached:
            continue
        reached.add(name)
        if (node := nodes.get(name)) is not None:
            pending.extend(map(producer, data_inputs(node)))
    return reached


def functions_of(graph: Any) -> dict[str, Any]:
    """Return a graph's functions by name."""
    return {function.signature.name: function for function in graph.library.function}


def called(node: Any) -> list[str]:
    """Return the names of the functions that a node calls; for a loop its condition, then its body."""
    if node.op in WHILE:
        return [node.attr["cond"].func.name, node.attr["body"].func.name]
    if node.op in IF:
        return [node.attr["then_branch"].func.name, node.attr["else_branch"].func.name]
    if node.op in CASE:
        return [branch.name for branch in node.attr["branches"].list.func]
    return [node.attr["f"].func.name] if node.op in _CALLS else []


def arguments(node: Any) -> list[str]:
    """Return what a node hands to the functions that it calls."""
    return data_inputs(node)[1:] if node.op in IF + CASE else data_inputs(node)


def node_lists(graph: Any) -> Iterator[Any]:
    """Yield the nodes of the graph itself, then those of each of its functions."""
    yield graph.node
    for function in graph.library.function:
        yield function.node_def


def operations(graph: Any) -> set[str]:
    """Return the types of operations in a graph and in its functions."""
    return {node.op for nodes in node_lists(graph) for node in nodes}


def uncompiled(graph: Any) -> bool:
    """Take the mark of XLA from all functions: what they compute stays the same; whether there was one."""
    marked = [
        *(node for nodes in node_lists(graph) for node in nodes if _COMPILED in node.attr),
        *(function for function in graph.library.function if _COMPILED in function.attr),
    ]
    for owner in marked:
        del owner.attr[_COMPILED]
    return bool(marked)


def unplaced(graph: Any) -> None:
    """Forget on which device, and beside which other node, each node was meant to run."""
    for nodes in node_lists(graph):
        for node in nodes:
            node.device = ""
            node.attr.pop(_COLOCATED, None)


def with_new_names(graph: Any) -> Any:
    """Return a copy whose functions have names of their own.

    TensorFlow keeps functions by name, and forgets them with the first graph that had them.
    """
    copy = type(graph).FromString(graph.SerializeToString())
    number = next(_numbers)
    names = {
        function.signature.name: f"{_NUMBERED.sub('', function.signature.name)}_copy_{number}_{index}"
        for index, function in enumerate(copy.library.function)
    }
    for function in copy.library.function:
        function.signature.name = names[function.signature.name]
    for gradient in copy.library.gradient:
        gradient.function_name = names.get(gradient.function_name, gradient.function_name)
        gradient.gradient_func = names.get(gradient.gradient_func, gradient.gradient_func)
    for nodes in node_lists(copy):
        for node in nodes:
            for value in node.attr.values():
                for call in (value.func, *value.list.func) if value.HasField("func") else value.list.func:
                    call.name = names.get(call.name, call.name)
    return copy


_numbers = itertools.count()
_NUMBERED = re.compile(r"(_copy_\d+_\d+)+$")


def keep_only(graph: Any, names: set[str]) -> None:
    """Remove all other nodes of the main graph, and every wait for one of them."""
    nodes = [node for node in graph.node if node.name in names]
    for node in nodes:
        left = [reference for reference in node.input if producer(reference) in names]
        del node.input[:]
        node.input.extend(left)
    del graph.node[:]
    graph.node.extend(nodes)


def replace_nodes(nodes: Any, changed: Sequence[Any]) -> None:
    """Make ``changed`` the nodes of a graph or function."""
    copies = [type(node).FromString(node.SerializeToString()) for node in changed]
    del nodes[:]
    nodes.extend(copies)
