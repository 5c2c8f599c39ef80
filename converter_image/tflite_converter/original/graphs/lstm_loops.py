"""Loops of a frozen graph that compute a plain LSTM, whoever wrote them. Child process only.

A loop's body is read as a formula: the next state must be ``sigmoid(f) * state + sigmoid(i) * tanh(g)``, the
output ``sigmoid(o) * tanh(next state)``, and each of i, f, g and o a sum of products of the step's features
and of the last output with constants. Order and grouping of the operations, and of the weights, are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from tflite_converter.arrays import Array
from tflite_converter.original.graphs.loop_bounds import fixed_loops
from tflite_converter.original.graphs.reading import (
    WHILE,
    ancestors,
    by_name,
    called,
    data_inputs,
    functions_of,
    producer,
    source,
)

_SUMS: Final = ("Add", "AddV2", "BiasAdd")


@dataclass(frozen=True)
class LstmLoop:
    """One loop, its weights in the order input, forget, cell and output gate."""

    kernel: Array
    """Shape ``(features, 4 * units)``."""
    recurrent: Array
    """Shape ``(units, 4 * units)``."""
    bias: Array
    """Shape ``(4 * units,)``."""
    steps: str
    """The tensor of the graph that the loop walks over, shape ``(time, 1, features)``."""
    sequences: tuple[str, ...]
    """Nodes whose result is the output at every step, ``(time, 1, units)``."""
    last_steps: tuple[str, ...]
    """Nodes whose result is the output at the last step in a list, ``(1, 1, units)``."""
    last: str | None
    """The tensor of the last output, ``(1, units)``, where something reads it."""


def lstm_loops(graph: Any, outputs: Iterable[str]) -> list[LstmLoop]:
    """Return the loops of ``graph`` that TFLite's LSTM operator computes, each behind those that it reads.

    One sample at a time, from a state of zeros, over a fixed number of steps; the state of the cell is not
    read by anything else that ``outputs`` (tensors of the graph) are computed from.
    """
    functions = functions_of(graph)
    fixed = fixed_loops(graph)
    needed = ancestors(by_name(graph.node), outputs)
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    loops = []
    for operation in imported.get_operations():  # in an order in which inputs come first
        if operation.type in WHILE and operation.name in fixed & needed:
            try:
                loops.append(_read(operation, functions[called(operation.node_def)[1]], needed))
            except (_OtherLoopError, ValueError):  # NumPy's: weights of sizes that do not fit each other
                continue
    return loops


class _OtherLoopError(Exception):
    """The loop computes something else."""


@dataclass(frozen=True)
class _Linear:
    """A sum of products with constants."""

    kernel: Any = 0.0
    recurrent: Any = 0.0
    bias: Any = 0.0

    def __add__(self, other: _Linear) -> _Linear:
        return _Linear(self.kernel + other.kernel, self.recurrent + other.recurrent, self.bias + other.bias)


class _Body:
    """The function that a loop calls for each step, and the constants that the loop hands to it."""

    def __init__(self, operation: Any, function: Any) -> None:
        self.operation = operation
        self.nodes = by_name(function.node_def)
        self.places = {entry.name: index for index, entry in enumerate(function.signature.input_arg)}
        self.results = [function.ret[entry.name] for entry in function.signature.output_arg]

    def end(self, reference: str) -> str:
        """Return what is passed on up to ``reference``, also by casts that change nothing."""
        while True:
            reference = source(self.nodes, reference)
            node = self.nodes.get(producer(reference))
            if node is None or node.op != "Cast" or node.attr["SrcT"].type != node.attr["DstT"].type:
                return reference
            reference = node.input[0]

    def node(self, reference: str) -> Any:
        """Return the node that computes a value; None where a variable is it."""
        return self.nodes.get(producer(self.end(reference)))

    def following(self, index: int) -> str:
        """Return the reference to a variable's next value."""
        return self.end(self.results[index])

    def variable(self, reference: str) -> int | None:
        """Return which variable a reference is."""
        return self.places.get(self.end(reference))

    def operands(self, reference: str, *kinds: str) -> list[str]:
        """Return what an operation of one of ``kinds`` computes with."""
        node = self.node(reference)
        _must(node is not None and node.op in kinds)
        return data_inputs(node)

    def is_kind(self, reference: str, *kinds: str) -> bool:
        """Whether an operation of one of ``kinds`` computes a value."""
        node = self.node(reference)
        return node is not None and node.op in kinds

    def constant(self, reference: str) -> Array | None:
        """Return the value of a constant in the body, or of one that the loop hands to it in every step."""
        index = self.variable(reference)
        if index is not None:
            is_kept = self.variable(self.results[index]) == index
            return _value(self.operation.inputs[index]) if is_kept else None
        if self.is_kind(reference, "Const"):
            node = self.node(reference)
            return np.asarray(tf.make_ndarray(node.attr["value"].tensor))
        if self.is_kind(reference, "Split"):
            parts = self.parts(reference)
            whole = self.constant(parts.whole)
            return None if whole is None else np.split(whole, parts.count, parts.axis)[parts.number]
        return None

    def parts(self, reference: str) -> _Part:
        """Read one result of a Split, ``name:output:2`` in a function."""
        end = self.end(reference)
        axis, whole = self.operands(end, "Split")
        axis_value = self.constant(axis)
        _must(axis_value is not None)
        count = int(self.nodes[producer(end)].attr["num_split"].i)
        return _Part(whole, int(axis_value or 0), count, int(end.rpartition(":")[2]))


@dataclass(frozen=True)
class _Part:
    whole: str
    axis: int
    count: int
    number: int


def _must(holds: bool) -> None:
    if not holds:
        raise _OtherLoopError


def _value(tensor: Any) -> Array | None:
    value = tf.get_static_value(tensor)
    return None if value is None else np.asarray(value)


def _read(operation: Any, function: Any, needed: set[str]) -> LstmLoop:
    """Read a loop.

    Raises:
        _OtherLoopError: It is no LSTM, or one that the operator does not compute.

    """
    body = _Body(operation, function)
    hidden, cell = _states(body)
    output = body.following(hidden)
    leaving, squashed = _pair(body, output, "Mul", ("Sigmoid", "Tanh"))
    kept, new = _kept_and_new(body, body.operands(squashed, "Tanh")[0], cell)
    entering, candidate = _pair(body, new, "Mul", ("Sigmoid", "Tanh"))
    reading = _Reading(body, hidden)
    ends = [body.operands(end, "Sigmoid", "Tanh")[0] for end in (entering, kept, candidate, leaving)]
    gates = [reading.linear(end) for end in ends]
    steps = reading.steps()
    weights = _weights(gates, features=int(steps.shape[2]), units=int(operation.outputs[hidden].shape[1]))
    sequences: list[str] = []
    lasts: list[str] = []
    last = None
    for index, tensor in enumerate(operation.outputs):
        readers = [reader for reader in tensor.consumers() if reader.name in needed]
        if index == hidden and readers:
            last = tensor.name
        elif readers:
            place = _written(body, index, output)
            _must(all(reader.type == "TensorListStack" for reader in readers))
            _must(body.variable(place) == reading.counter or body.constant(place) == 0)
            names = sequences if body.variable(place) == reading.counter else lasts
            names += [reader.name for reader in readers]
    return LstmLoop(*weights, steps.name, tuple(sequences), tuple(lasts), last)


def _states(body: _Body) -> tuple[int, int]:
    """Return the variables that keep the last output and the cell's state; both begin as zeros."""
    for hidden in range(len(body.results)):
        if body.is_kind(body.following(hidden), "Mul"):
            _, squashed = _pair(body, body.following(hidden), "Mul", ("Sigmoid", "Tanh"))
            state = body.end(body.operands(squashed, "Tanh")[0])
            places = [index for index in range(len(body.results)) if body.following(index) == state]
            _must(len(places) == 1)
            for begin in (body.operation.inputs[hidden], body.operation.inputs[places[0]]):
                zeros = _value(begin)
                _must(begin.shape.is_fully_defined() and begin.shape.rank == 2 and begin.shape[0] == 1)
                _must(zeros is not None and not np.any(zeros))
            return hidden, places[0]
    raise _OtherLoopError


def _written(body: _Body, index: int, output: str) -> str:
    """Return the place in a list at which the output of each step is written."""
    items, place, item = body.operands(body.following(index), "TensorListSetItem")
    _must(body.variable(items) == index and body.end(item) == output)
    return place


def _pair(body: _Body, reference: str, kind: str, kinds: tuple[str, str]) -> tuple[str, str]:
    """Return the two operands of an operation, in the order of the kinds that they must be."""
    first, second = body.operands(reference, kind)
    if not body.is_kind(first, kinds[0]):
        first, second = second, first
    _must(body.is_kind(first, kinds[0]) and body.is_kind(second, kinds[1]))
    return first, second


def _kept_and_new(body: _Body, state: str, cell: int) -> tuple[str, str]:
    """Return the forget gate, and the product of input gate and candidate, whose sum is the next state."""
    first, second = body.operands(state, "Add", "AddV2")
    for kept, new in ((first, second), (second, first)):
        factors = body.operands(kept, "Mul")
        gates = [factor for factor in factors if body.is_kind(factor, "Sigmoid")]
        if len(gates) == 1 and cell in map(body.variable, factors):
            return gates[0], new
    raise _OtherLoopError


class _Reading:
    """What a body makes of the step's features and of the last output."""

    def __init__(self, body: _Body, hidden: int) -> None:
        self._body, self._hidden = body, hidden
        self._list: int | None = None
        self.counter: int | None = None
        """The variable by which the steps are read."""

    def linear(self, reference: str) -> _Linear:
        """Return a gate's argument."""
        body = self._body
        if body.is_kind(reference, *_SUMS):
            first, second = body.operands(reference, *_SUMS)
            return self.linear(first) + self.linear(second)
        if body.is_kind(reference, "Squeeze"):  # of the one sample: Keras 3 adds it like a bias
            return self.linear(body.operands(reference, "Squeeze")[0])
        if body.is_kind(reference, "MatMul"):
            return self._product(reference)
        constant = body.constant(reference)
        if constant is not None:
            return _Linear(bias=constant)
        part = body.parts(reference)
        _must(part.axis in (1, -1))
        whole = self.linear(part.whole)
        return _Linear(
            *(
                np.split(value, part.count, -1)[part.number] if np.ndim(value) else value
                for value in (whole.kernel, whole.recurrent, whole.bias)
            )
        )

    def _product(self, reference: str) -> _Linear:
        body = self._body
        node = body.node(reference)
        _must(not any(node.attr[name].b for name in ("transpose_a", "transpose_b")))
        left, right = data_inputs(node)
        weights: Any = body.constant(right)
        _must(weights is not None and weights.ndim == 2)
        if not body.is_kind(left, "ConcatV2"):
            return self._factor(left, weights)
        *ends, axis = body.operands(left, "ConcatV2")
        _must(body.constant(axis) in (1, -1) and len(ends) == 2)
        units = int(body.operation.outputs[self._hidden].shape[1])
        is_first = body.variable(ends[0]) == self._hidden
        border = units if is_first else len(weights) - units
        pieces = np.split(weights, [border])
        return self._factor(ends[0], pieces[0]) + self._factor(ends[1], pieces[1])

    def _factor(self, reference: str, weights: Any) -> _Linear:
        body = self._body
        if body.variable(reference) == self._hidden:
            return _Linear(recurrent=weights)
        items, index, _ = body.operands(reference, "TensorListGetItem")
        places = body.variable(items), body.variable(index)
        _must(None not in places and places[0] == body.variable(body.results[places[0] or 0]))
        _must(self._list in (None, places[0]) and self.counter in (None, places[1]))
        self._list, self.counter = places
        return _Linear(kernel=weights)

    def steps(self) -> Any:
        """Return the tensor that is read step after step from its first on, ``(time, 1, features)``."""
        body = self._body
        _must(self._list is not None and self.counter is not None)
        made = body.operation.inputs[self._list].op
        _must(made.type == "TensorListFromTensor" and _value(body.operation.inputs[self.counter]) == 0)
        terms = body.operands(body.following(self.counter or 0), "Add", "AddV2")
        ones = [body.constant(term) for term in terms if body.variable(term) != self.counter]
        _must(len(ones) == 1 and ones[0] is not None and int(ones[0]) == 1)
        steps = made.inputs[0]
        _must(steps.shape.is_fully_defined() and steps.shape.rank == 3 and steps.shape[1] == 1)
        return steps


def _weights(gates: Sequence[_Linear], features: int, units: int) -> tuple[Array, Array, Array]:
    """Return kernel, recurrent kernel and bias of the gates beside each other."""
    parts: tuple[list[Array], list[Array], list[Array]] = ([], [], [])
    for gate in gates:
        _must(np.shape(gate.kernel) == (features, units) and np.shape(gate.recurrent) == (units, units))
        _must(np.size(gate.bias) in (1, units))
        parts[0].append(np.asarray(gate.kernel, np.float32))
        parts[1].append(np.asarray(gate.recurrent, np.float32))
        parts[2].append(np.broadcast_to(np.ravel(np.asarray(gate.bias, np.float32)), (units,)))
    kernel, recurrent, bias = (np.concatenate(part, axis=-1) for part in parts)
    return kernel, recurrent, bias
