"""Branches of a frozen graph, written so that TFLite has them and computes the same. Child process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import op_def_registry  # the public API has no list of operations

from tflite_converter.original.graphs.reading import (
    CASE,
    IF,
    by_name,
    called,
    data_inputs,
    functions_of,
    node_lists,
    producer,
    replace_nodes,
    source,
)

_BRANCHES = {**dict.fromkeys(IF, ("then_branch", "else_branch")), **dict.fromkeys(CASE, ("branches",))}


def constants_in_branches(graph: Any) -> None:
    """Write the constants that branches are handed into the branches themselves.

    As an argument a weight is no constant any more: TFLite's converter then makes a BATCH_MATMUL of a dense
    layer, loses its ReLU, and quantizers find no weights.
    """
    functions = functions_of(graph)
    pending = [graph.node]
    while pending:
        nodes = pending.pop()
        known = by_name(nodes)
        for node in nodes:
            if node.op in _BRANCHES:
                pending.extend(_with_constants(graph, functions, known, node))


def _with_constants(graph: Any, functions: dict[str, Any], nodes: Mapping[str, Any], node: Any) -> list[Any]:
    """Give the node branches of its own with its constants in them; return the nodes of the new branches."""
    handed_on = data_inputs(node)[1:]
    constants = {
        index: constant
        for index, reference in enumerate(handed_on)
        if (constant := nodes.get(producer(source(nodes, reference)))) is not None and constant.op == "Const"
    }
    made = []
    for attribute in _BRANCHES[node.op]:
        value = node.attr[attribute]
        for call in value.list.func if value.list.func else [value.func]:
            function = graph.library.function.add()
            function.CopyFrom(functions[call.name])
            function.signature.name = f"{call.name}_{len(functions)}"
            _take_in(function, constants)
            functions[function.signature.name] = function
            call.name = function.signature.name
            made.append(function.node_def)
    left = [reference for index, reference in enumerate(handed_on) if index not in constants]
    waits = [reference for reference in node.input if reference.startswith("^")]
    types = [kind for index, kind in enumerate(node.attr["Tin"].list.type) if index not in constants]
    node.input[1:] = left + waits
    node.attr["Tin"].list.SetInParent()
    node.attr["Tin"].list.type[:] = types
    return made


def _take_in(function: Any, constants: Mapping[int, Any]) -> None:
    """Make constants of some arguments of a function."""
    arguments = list(function.signature.input_arg)
    attributes = {index: function.arg_attr[index] for index in list(function.arg_attr)}
    renamed = {}
    for index, constant in constants.items():
        name = f"{arguments[index].name}_constant"
        copy = function.node_def.add()
        copy.CopyFrom(constant)
        copy.name = name
        del copy.input[:]
        renamed[arguments[index].name] = f"{name}:output:0"
    for node in function.node_def:
        node.input[:] = [renamed.get(reference, reference) for reference in node.input]
    for output, reference in function.ret.items():
        function.ret[output] = renamed.get(reference, reference)
    left = [index for index in range(len(arguments)) if index not in constants]
    kept = {place: type(attributes[index]).FromString(attributes[index].SerializeToString())
            for place, index in enumerate(left) if index in attributes}  # fmt: skip
    signature = [type(arguments[i]).FromString(arguments[i].SerializeToString()) for i in left]
    del function.signature.input_arg[:]
    function.signature.input_arg.extend(signature)
    function.arg_attr.clear()
    for place, value in kept.items():
        function.arg_attr[place].CopyFrom(value)
    function.resource_arg_unique_id.clear()


def cases_as_selections(graph: Any) -> None:
    """Compute all branches of a ``tf.switch_case`` and select one result, for TFLite has no CASE."""
    functions = functions_of(graph)
    _select(graph, lambda node: node.op in CASE and _is_pure(node, functions))


def branches_as_selections(graph: Any) -> bool:
    """Do the same for ``tf.cond``, whose IF cannot be quantized; return whether there was one."""
    functions = functions_of(graph)
    return _select(graph, lambda node: node.op in IF + CASE and _is_pure(node, functions))


def _is_pure(node: Any, functions: Mapping[str, Any]) -> bool:
    """Whether the branches do nothing but compute: those that read a weight do, once it is a constant."""
    return all(
        _is_pure(inner, functions) if called(inner) else not op_def_registry.get(inner.op).is_stateful
        for name in called(node)
        for inner in functions[name].node_def
    )


def _select(graph: Any, chosen: Callable[[Any], bool]) -> bool:
    changed = False
    for index, nodes in enumerate(list(node_lists(graph))):
        if any(map(chosen, nodes)):
            inside = index > 0
            replace_nodes(
                nodes,
                [new for node in nodes for new in (_selection(node, inside) if chosen(node) else [node])],
            )
            changed = True
    return changed


def _selection(node: Any, inside: bool) -> list[Any]:
    """Return what computes the node's branches and selects; ``inside`` a function outputs have long names."""
    chooser, *handed_on = data_inputs(node)
    waits = [reference for reference in node.input if reference.startswith("^")]
    types = list(node.attr["Tout"].list.type)
    writer = _Writer(node, inside)
    results = []
    for number, branch in enumerate(called(node)):
        call = writer.add(f"branch_{number}", "PartitionedCall", [*handed_on, *waits])
        call.attr["f"].func.name = branch
        call.attr["Tin"].CopyFrom(node.attr["Tin"])
        call.attr["Tout"].CopyFrom(node.attr["Tout"])
        results.append(call.name)
    tests = writer.tests(chooser, len(results))
    selected = []
    for place, kind in enumerate(types):
        value = writer.output(results[-1], "output", place)
        for number in reversed(range(len(results) - 1)):
            this = writer.output(results[number], "output", place)
            select = writer.add(f"select_{place}_{number}", "SelectV2", [tests[number], this, value])
            select.attr["T"].type = kind
            value = writer.output(select.name, "output", 0)
        selected.append(value)
    result = writer.add("", "IdentityN", selected)
    result.attr["T"].list.type[:] = types
    return writer.nodes


class _Writer:
    """The nodes that take the place of one."""

    def __init__(self, node: Any, inside: bool) -> None:
        self.nodes: list[Any] = []
        self._node, self._inside = node, inside

    def add(self, name: str, operation: str, inputs: list[str]) -> Any:
        """Add a node; without a name of its own it has that of the node it replaces."""
        full = f"{self._node.name}/{name}" if name else self._node.name
        self.nodes.append(type(self._node)(name=full, op=operation, input=inputs))
        return self.nodes[-1]

    def output(self, name: str, argument: str, place: int) -> str:
        """Return a reference to one of a node's outputs."""
        return f"{name}:{argument}:{place}" if self._inside else f"{name}:{place}"

    def tests(self, chooser: str, branches: int) -> list[str]:
        """Return which value says that a branch is chosen, for each but the last."""
        if self._node.op in IF:
            return [chooser]
        tests = []
        for number in range(branches - 1):
            constant = self.add(f"number_{number}", "Const", [])
            constant.attr["dtype"].type = tf.int32.as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(number, tf.int32))
            test = self.add(f"is_{number}", "Equal", [chooser, self.output(constant.name, "output", 0)])
            test.attr["T"].type = tf.int32.as_datatype_enum
            tests.append(self.output(test.name, "z", 0))
        return tests
