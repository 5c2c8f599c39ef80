"""LSTM layers as TFLite's one operator for them, instead of a loop of a dozen operators. Child process only.

TFLite's converter makes UNIDIRECTIONAL_SEQUENCE_LSTM of a function that says so (``api_implements``). Keras 2
writes such functions and Keras 3 does not; here both get one. The operator keeps its state from one inference
to the next, which a Keras layer does not: so each sequence begins with a step of our own that clears it.

While a model is traced, each layer leaves a mark in the graph (:func:`marked`); when the frozen graph is
written, the mark is replaced by the function (:func:`replaced`).
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from tflite_converter.arrays import Array

_MARK: Final = "edge_lstm"
_CLOSED: Final = 40.0
"""A gate whose argument is below -40 lets through less than float32 can tell from nothing."""
_CLOSED_IN_INTEGERS: Final = 8.0
"""The integer kernel's gates know no argument below -8."""
_MOST_ADDED: Final = 64
"""Features beyond which a layer would be closed only in part; its file is then not near, and not taken."""
_SMALLEST_WEIGHT: Final = 1e-3
_GATES: Final = 4
"""Input, forget, cell and output, in the order in which Keras stores them."""


@dataclass(frozen=True)
class FusedLstm:
    """One layer that has left its mark."""

    mark: str
    kernel: Array
    """Shape ``(features, 4 * units)``."""
    recurrent: Array
    """Shape ``(units, 4 * units)``."""
    bias: Array
    """Shape ``(4 * units,)``."""
    reach: float | None = None
    """The largest size of its inputs, for a file whose inputs become integers; None for floats."""

    @property
    def units(self) -> int:
        """Width of the state."""
        return len(self.recurrent)

    def sequence(self, steps: Any) -> Any:
        """Return the layer's output at every step, ``(1, time, units)``, of ``(1, time, features)``."""
        kernel, first = self._clearing()
        added = len(kernel) - len(self.kernel)
        padded = tf.concat([tf.constant(first), tf.pad(steps, [[0, 0], [0, 0], [0, added]])], axis=1)
        attributes = {"api_implements": f"lstm_{uuid.uuid4()}", "time_major": False, "go_backwards": False}
        layer = tf.function(_layer, autograph=False, experimental_attributes=attributes)
        state = tf.zeros((1, self.units))
        values = (kernel, self.recurrent, self.bias)
        outputs = layer(padded, state, state, *(tf.constant(value) for value in values))
        return outputs[1][:, 1:]

    def _clearing(self) -> tuple[Array, Array]:
        """Return the kernel with features more, and a first step that closes both gates to the past by them.

        Their weights are as large as the largest one there is, and for integers their values are within
        reach of the others: where one scale is for all, the others lose nothing. For floats one is enough.
        """
        width = 2 * self.units  # of the input and the forget gate
        largest = max(float(np.abs(self.kernel).max(initial=0.0)), _SMALLEST_WEIGHT)
        # The state that is left over lies between -1 and 1.
        others = float((np.abs(self.recurrent).sum(axis=0) + np.abs(self.bias))[:width].max())
        if self.reach is None:
            count, value = 1, (_CLOSED + others) / largest
        else:
            count = math.ceil((_CLOSED_IN_INTEGERS + others) / (largest * max(self.reach, _SMALLEST_WEIGHT)))
            count, value = min(count, _MOST_ADDED), self.reach
        first = np.zeros((1, 1, len(self.kernel) + count), np.float32)
        first[..., -count:] = value
        rows = np.zeros((count, _GATES * self.units), np.float32)
        rows[:, :width] = -largest
        return np.concatenate([self.kernel, rows]).astype(np.float32), first


@contextmanager
def marked(kinds: Sequence[type[Any]]) -> Iterator[list[FusedLstm]]:
    """Make layers of ``kinds`` (Keras's LSTM classes) leave marks; yield those that have, in their order.

    A layer that the operator cannot compute keeps its loop: with a mask, an initial state, a state that is
    kept or given out, other activations, or an open number of steps.
    """
    layers: list[FusedLstm] = []
    calls = [kind.call for kind in kinds]

    def marking(own: Any) -> Any:
        def call(layer: Any, sequences: Any, *args: Any, **kwargs: Any) -> Any:
            if not _can_be_fused(layer, sequences, args, kwargs):
                return own(layer, sequences, *args, **kwargs)
            steps = tf.convert_to_tensor(sequences)
            if layer.go_backwards:
                steps = tf.reverse(steps, [1])
            fused = _weights_of(layer, f"{_MARK}_{len(layers)}")
            layers.append(fused)
            sequence = _leave_mark(fused, steps)
            return sequence if layer.return_sequences else sequence[:, -1]

        return tf.autograph.experimental.do_not_convert(call)

    for kind, own in zip(kinds, calls, strict=True):
        kind.call = marking(own)
    try:
        yield layers
    finally:
        for kind, own in zip(kinds, calls, strict=True):
            kind.call = own


def replaced(
    graph: Any, entries: Mapping[str, Any], layers: Sequence[FusedLstm], reached: list[Any] | None = None
) -> dict[str, Any]:
    """Return ``entries`` (tensors by the names that they stand for in ``graph``) with each mark's output.

    ``reached`` gets the size of each layer's largest input.

    Raises:
        KeyError: A mark is not in the graph any more.

    """
    names = [node.name for node in graph.node]
    known = dict(entries)
    for layer in layers:
        place = {end: next((n for n in names if n.endswith(f"{layer.mark}_{end}")), None) for end in _ENDS}
        if None in place.values():
            raise KeyError(layer.mark)
        before = tf.compat.v1.graph_util.extract_sub_graph(graph, [place["in"]])
        there = {node.name for node in before.node}
        (steps,) = tf.graph_util.import_graph_def(
            before,
            input_map={name: tensor for name, tensor in known.items() if name.partition(":")[0] in there},
            return_elements=[f"{place['in']}:0"],
            name=f"until_{layer.mark}",
        )
        if reached is not None:
            reached.append(tf.reduce_max(tf.abs(steps)))
        known[f"{place['out']}:0"] = layer.sequence(steps)
    return known


_ENDS: Final = ("in", "out")


def _leave_mark(fused: FusedLstm, steps: Any) -> Any:
    """Return a tensor that stands for the layer's output: nothing folds it, for it depends on the input."""
    steps = tf.identity(steps, name=f"{fused.mark}_in")
    shape = (1, steps.shape[1], fused.units)
    return tf.identity(tf.broadcast_to(tf.reduce_sum(steps), shape), name=f"{fused.mark}_out")


def _can_be_fused(layer: Any, sequences: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    given = [value for value in args if value is not None and not isinstance(value, bool)]
    given += [kwargs[name] for name in ("mask", "initial_state") if kwargs.get(name) is not None]
    shape = getattr(sequences, "shape", None)
    if shape is None or len(shape) != 3 or shape[0] != 1 or any(size is None for size in shape):
        return False  # not one sample of a fixed number of steps
    cell = layer.cell
    plain = [getattr(cell, name).__name__ for name in ("activation", "recurrent_activation")]
    is_special = layer.stateful or layer.return_state or getattr(layer, "time_major", False)
    return not given and plain == ["tanh", "sigmoid"] and not is_special


def _weights_of(layer: Any, mark: str) -> FusedLstm:
    with tf.init_scope():  # the values, not tensors of the graph that is being traced
        kernel, recurrent = np.asarray(layer.cell.kernel), np.asarray(layer.cell.recurrent_kernel)
        bias = np.asarray(layer.cell.bias) if layer.cell.use_bias else np.zeros(kernel.shape[1], np.float32)
    return FusedLstm(mark, kernel.astype(np.float32), recurrent.astype(np.float32), bias.astype(np.float32))


def _layer(steps: Any, hidden: Any, state: Any, kernel: Any, recurrent: Any, bias: Any) -> tuple[Any, ...]:
    """Compute an LSTM; the converter reads the arguments in this order, and replaces the body.

    Returns the last output, all outputs, both states, and a number that Keras keeps for its own use.
    """

    def step(states: tuple[Any, Any], features: Any) -> tuple[Any, Any]:
        before, cell = states
        gates = tf.split(features @ kernel + before @ recurrent + bias, _GATES, axis=1)
        entering, kept, new, leaving = gates
        cell = tf.sigmoid(kept) * cell + tf.sigmoid(entering) * tf.tanh(new)
        return tf.sigmoid(leaving) * tf.tanh(cell), cell

    outputs, cells = tf.scan(step, tf.transpose(steps, (1, 0, 2)), (hidden, state))
    return outputs[-1], tf.transpose(outputs, (1, 0, 2)), outputs[-1], cells[-1], tf.constant(0.0)
