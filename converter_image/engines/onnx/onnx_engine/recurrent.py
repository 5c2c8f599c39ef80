"""LSTM, GRU and RNN that begin with given states, written step by step in products and functions.

Of first states onnx2tf makes variables of the file, whose values are gone when it is run, or operators that
do not run. Layers without them it writes step by step itself. Equations and order of gates are ONNX's
(https://onnx.ai/onnx/operators).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from onnx import helper, numpy_helper

from onnx_engine.reading import nodes
from onnx_engine.scope import Scope, attribute, refused

FIRST_STATES: Final = {"LSTM": (5, 6), "GRU": (5,), "RNN": (5,)}
"""Places of the operands that say what a layer begins with."""
_LENGTHS, _PEEPHOLES = 4, 7
_NOT_USUAL: Final = ("activations", "activation_alpha", "activation_beta", "clip", "input_forget", "layout")
"""Attributes of layers that are others than those of the usual frameworks."""
_USUAL: Final = {
    "LSTM": (b"Sigmoid", b"Tanh", b"Tanh"),
    "GRU": (b"Sigmoid", b"Tanh"),
    "RNN": (b"Tanh",),
}
"""The functions of one direction where none are named."""
_OTHER_GRU: Final = (
    "torch's exporter wrote a GRU that resets before the product, and torch's own resets after it: the files"
    " compute what the ONNX file says. Export with dynamo=False, or set linear_before_reset=1 in it"
)


def rewritten_recurrent(node: Any, scope: Scope) -> Iterator[Any]:
    """Leave out what says nothing, and write a layer with first states step by step.

    States of zeros are what a layer begins with anyway; torch's older exporter always writes them, and last
    states that nobody reads.

    Raises:
        EngineError: UnsupportedOperation for a layer with states and more that is unusual.

    """
    for place in FIRST_STATES[node.op_type]:
        if _is_zero(_input(node, place), scope):
            node.input[place] = ""
    for place, name in enumerate(node.output):
        if place and name not in scope.read:
            node.output[place] = ""
    if not node.output[0]:  # without it, onnx2tf writes what does not run
        node.output[0] = scope.free(f"{node.op_type}/all")
    if not any(_input(node, place) for place in FIRST_STATES[node.op_type]):
        yield node
        return
    _check(node, scope)
    direction = attribute(node, "direction", b"forward")
    ways = (False, True) if direction == b"bidirectional" else (direction == b"reverse",)
    parts = []
    for place, backward in enumerate(ways):
        layer = _Direction(node, scope, place)
        yield from layer.written(backward=backward)
        parts.append(layer.outputs)
    for place, name in enumerate(node.output):
        if name:
            tensors = [outputs[place] for outputs in parts]
            if len(tensors) == 1:
                yield helper.make_node("Identity", tensors, [name])
            else:
                yield helper.make_node("Concat", tensors, [name], axis=0 if place else 1)


def doubts(model: Any) -> list[str]:
    """Return warnings of layers that are not what the model's writer computes.

    torch's GRU resets after the product, always; its exporter of today (seen in 2.14) writes one that
    resets before.
    """
    if model.producer_name != "pytorch":
        return []
    if all(attribute(n, "linear_before_reset", 0) for n in nodes(model) if n.op_type == "GRU"):
        return []
    return [_OTHER_GRU]


def _check(node: Any, scope: Scope) -> None:
    """Refuse a layer that :class:`_Direction` would not write as it is."""
    usual = _USUAL[node.op_type]
    said = [name for name in _NOT_USUAL if attribute(node, name, None)]
    if tuple(attribute(node, "activations", usual)) in (usual, usual * 2):
        said = [name for name in said if name != "activations"]
    if any(_input(node, place) for place in (_LENGTHS, _PEEPHOLES)):
        said.append("lengths or peepholes")
    if not all(scope.sizes(node.input[0]) or [0]):
        said.append("a size that is open")
    if any(name and name not in scope.constants for name in (_input(node, place) for place in (1, 2, 3))):
        said.append("weights that are computed")
    if said:
        raise refused(f"{node.op_type} with first states and {', '.join(said)}")


class _Direction:
    """One direction of a layer, as operators."""

    def __init__(self, node: Any, scope: Scope, place: int) -> None:
        self._node, self._scope, self._place = node, scope, place
        self._near = next(filter(None, node.output), node.name)
        weights, recurrence = (self._own(at) for at in (1, 2))
        self._size, self._kind = recurrence.shape[1], weights.dtype
        bias = self._own(3) if _input(node, 3) else np.zeros(2 * len(recurrence), self._kind)
        self._by_x, self._by_h = self._constant(weights.T), self._constant(recurrence.T)
        self._x_bias, self._h_bias = (self._constant(part) for part in np.split(bias, 2))
        self._nodes: list[Any] = []
        self.outputs: list[str] = []
        """Names of all steps, the last state and an LSTM's last cell, with an axis for the direction."""

    def written(self, *, backward: bool) -> list[Any]:
        """Return the operators of all steps."""
        steps, batch, _ = self._scope.sizes(self._node.input[0]) or []
        flat = self._constant(np.array([batch, self._size], np.int64))
        states = [
            self._op("Reshape", self._sliced(_input(self._node, at)), flat)
            if _input(self._node, at)
            else self._constant(np.zeros((batch, self._size), self._kind))
            for at in FIRST_STATES[self._node.op_type]
        ]
        cell = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[self._node.op_type]
        rows: dict[int, str] = {}
        row = self._constant(np.array([1, 1, batch, self._size], np.int64))
        for step in reversed(range(steps)) if backward else range(steps):
            x = self._op("Gather", self._node.input[0], self._constant(np.array(step, np.int64)), axis=0)
            product = self._op("MatMul", x, self._by_x)
            states = cell(self._op("Add", product, self._x_bias), states)
            rows[step] = self._op("Reshape", states[0], row)
        last = self._constant(np.array([1, batch, self._size], np.int64))
        self.outputs = [self._op("Concat", *(rows[step] for step in range(steps)), axis=0)]
        self.outputs += [self._op("Reshape", state, last) for state in states]
        return self._nodes

    def _lstm(self, from_x: str, states: list[str]) -> list[str]:
        """i, o, f = sigmoid, c~ = tanh; c' = f c + i c~; h' = o tanh(c')."""
        h, c = states
        total = self._op("Add", from_x, self._from_h(h))
        i, o, f = (self._op("Sigmoid", self._gate(total, place)) for place in range(3))
        new = self._op("Mul", i, self._op("Tanh", self._gate(total, 3)))
        cell = self._op("Add", self._op("Mul", f, c), new)
        return [self._op("Mul", o, self._op("Tanh", cell)), cell]

    def _gru(self, from_x: str, states: list[str]) -> list[str]:
        """z, r = sigmoid; h~ = tanh, with r before or after the product; h' = h~ + z (h - h~)."""
        (h,) = states
        from_h = self._from_h(h)
        z, r = (
            self._op("Sigmoid", self._op("Add", self._gate(from_x, place), self._gate(from_h, place)))
            for place in range(2)
        )
        if attribute(self._node, "linear_before_reset", 0):
            recurrent = self._op("Mul", r, self._gate(from_h, 2))
        else:
            recurrent = self._gate(self._from_h(self._op("Mul", r, h)), 2)
        new = self._op("Tanh", self._op("Add", self._gate(from_x, 2), recurrent))
        return [self._op("Add", new, self._op("Mul", z, self._op("Sub", h, new)))]

    def _rnn(self, from_x: str, states: list[str]) -> list[str]:
        return [self._op("Tanh", self._op("Add", from_x, self._from_h(states[0])))]

    def _from_h(self, h: str) -> str:
        return self._op("Add", self._op("MatMul", h, self._by_h), self._h_bias)

    def _gate(self, values: str, place: int) -> str:
        """Return the part of [batch, gates * size] that is one gate's."""
        bounds = (place * self._size, (place + 1) * self._size, 1)
        return self._op("Slice", values, *(self._constant(np.array([each], np.int64)) for each in bounds))

    def _sliced(self, state: str) -> str:
        """Return this direction's part of a state of [directions, batch, size]."""
        bounds = (self._place, self._place + 1, 0)
        return self._op("Slice", state, *(self._constant(np.array([each], np.int64)) for each in bounds))

    def _own(self, place: int) -> Any:
        values = numpy_helper.to_array(self._scope.constants[_input(self._node, place)])
        return values[self._place]

    def _constant(self, values: Any) -> str:
        return self._scope.constant(values, f"{self._near}/constant")

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        made = helper.make_node(kind, inputs, [self._scope.free(f"{self._near}/{kind}")], **attributes)
        self._nodes.append(made)
        return str(made.output[0])


def _input(node: Any, place: int) -> str:
    return str(node.input[place]) if place < len(node.input) else ""


def _is_zero(name: str, scope: Scope) -> bool:
    return name in scope.constants and not numpy_helper.to_array(scope.constants[name]).any()
