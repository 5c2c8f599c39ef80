"""Loops of a frozen graph whose number of steps no input can change: a proof, not a trial. Child only.

The condition of a loop reads some of its variables, and the body makes the next values of those from others.
Where all of them begin with values that come from constants and fixed shapes alone, and nothing random or
stored takes part, the loop takes the same number of steps for every input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tflite_converter.original.graphs.reading import (
    CASE,
    IF,
    WHILE,
    by_name,
    called,
    data_inputs,
    functions_of,
    producer,
    source,
)

_SHAPES = ("Shape", "ShapeN", "Size", "Rank")
_CONTROL = (*WHILE, *IF, *CASE, "PartitionedCall", "StatefulPartitionedCall")


def fixed_loops(graph: Any) -> set[str]:
    """Return the names of the main graph's loops that take the same number of steps for every input.

    Of these the first variable is a counter of the steps, as TensorFlow writes all of its loops.
    """
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    functions = _Functions(functions_of(graph))
    open_values = _open_values(imported, functions)
    return {
        operation.name
        for operation in imported.get_operations()
        if operation.type in WHILE and _Loop(operation, functions).is_fixed(open_values)
    }


def _open_values(graph: Any, functions: _Functions) -> set[str]:
    """Return the names of operations whose results may differ from one input to another."""
    open_values: set[str] = set()
    for operation in graph.get_operations():  # in an order in which inputs come first
        kind = operation.type
        if kind in _SHAPES:
            is_open = not all(tensor.shape.is_fully_defined() for tensor in operation.inputs)
        elif kind == "Placeholder" or not functions.are_pure(operation.node_def):
            is_open = True
        else:
            is_open = any(tensor.op.name in open_values for tensor in operation.inputs)
        if is_open:
            open_values.add(operation.name)
    return open_values


class _Functions:
    """The functions of a graph, and whether they only compute."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self.by_name = functions
        self._pure: dict[str, bool] = {}

    def are_pure(self, node: Any) -> bool:
        """Whether a node, with all that it calls, gives the same whenever it is given the same."""
        if node.op not in _CONTROL:
            return not _is_stateful(node.op)
        return all(map(self._is_pure, called(node)))

    def _is_pure(self, name: str) -> bool:
        if name not in self._pure:
            self._pure[name] = False  # where functions call each other
            function = self.by_name.get(name)
            self._pure[name] = function is not None and all(map(self.are_pure, function.node_def))
        return self._pure[name]


def _is_stateful(kind: str) -> bool:
    """Whether an operation stores something, or draws a random number; one that is unknown may."""
    from tensorflow.python.framework import op_def_registry  # the public API does not describe operations

    definition = op_def_registry.get(kind)
    return definition is None or bool(definition.is_stateful)


class _Loop:
    """A loop in an imported graph."""

    def __init__(self, operation: Any, functions: _Functions) -> None:
        self._operation, self._functions = operation, functions
        condition, body = called(operation.node_def)
        self._condition, self._body = functions.by_name[condition], functions.by_name[body]
        self._nodes = {name: by_name(functions.by_name[name].node_def) for name in (condition, body)}

    def is_fixed(self, open_values: set[str]) -> bool:
        """Whether its number of steps is the same for every input, and its first variable counts them."""
        if not self._counts():
            return False
        (result,) = self._condition.ret.values()
        pending = self._needs(self._condition, result)
        if pending is None:
            return False
        needed: set[int] = set()
        while pending:
            index = pending.pop()
            if index in needed:
                continue
            needed.add(index)
            more = self._needs(self._body, self._next(index))
            if more is None:
                return False
            pending |= more
        return not any(self._operation.inputs[index].op.name in open_values for index in needed)

    def _next(self, index: int) -> str:
        """Return what the body makes of a variable."""
        name = self._body.signature.output_arg[index].name
        return str(self._body.ret[name])

    def _counts(self) -> bool:
        """Whether the first variable begins at 0 and grows by 1 each step."""
        nodes, counter = self._nodes[self._body.signature.name], self._body.signature.input_arg[0].name
        step = nodes.get(producer(source(nodes, self._next(0))))
        if step is None or step.op not in ("Add", "AddV2"):
            return False
        terms = [source(nodes, reference) for reference in data_inputs(step)]
        numbers = [nodes[producer(term)] for term in terms if producer(term) in nodes]
        if counter not in terms or len(numbers) != 1 or numbers[0].op != "Const":
            return False
        begin = self._operation.inputs[0].op
        while begin.type == "Identity":
            begin = begin.inputs[0].op
        if begin.type != "Const":
            return False
        values = [tf.make_ndarray(node.attr["value"].tensor) for node in (numbers[0], begin.node_def)]
        return all(value.ndim == 0 for value in values) and [int(value) for value in values] == [1, 0]

    def _needs(self, function: Any, reference: str) -> set[int] | None:
        """Return the variables that a value in condition or body is computed from.

        None where something random or stored takes part.
        """
        nodes = self._nodes[function.signature.name]
        places = {entry.name: index for index, entry in enumerate(function.signature.input_arg)}
        needed: set[int] = set()
        reached: set[str] = set()
        pending = [reference]
        while pending:
            name = producer(pending.pop())
            if name in reached:
                continue
            reached.add(name)
            if name in places:
                needed.add(places[name])
                continue
            node = nodes[name]
            if not self._functions.are_pure(node):
                return None
            if node.op in _SHAPES:
                sources = [places.get(source(nodes, entry)) for entry in data_inputs(node)]
                if all(index is not None and self._keeps_its_shape(index) for index in sources):
                    continue
            pending.extend(data_inputs(node))
        return needed

    def _keeps_its_shape(self, index: int) -> bool:
        """Whether a variable has one fixed shape in every step."""
        if self._operation.outputs[index].shape.is_fully_defined():
            return True
        nodes = self._nodes[self._body.signature.name]
        is_passed_on = source(nodes, self._next(index)) == self._body.signature.input_arg[index].name
        return is_passed_on and bool(self._operation.inputs[index].shape.is_fully_defined())
