"""LSTM layers as TFLite's one operator for them, instead of a loop of a dozen operators. Child process only.

TFLite's converter makes UNIDIRECTIONAL_SEQUENCE_LSTM of a function that says so (``api_implements``). Keras 2
writes such functions and Keras 3 does not; here each loop that computes an LSTM gets one. The operator keeps
its state from one inference to the next, which a layer does not: so each sequence begins with a step of our
own that clears it.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from tflite_converter.arrays import Array
from tflite_converter.original.graphs.lstm_loops import LstmLoop
from tflite_converter.original.graphs.reading import ancestors, by_name, keep_only, producer

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
    """One layer."""

    loop: LstmLoop
    """What it stands for."""
    reach: float | None = None
    """The largest size of its inputs, for a file whose inputs become integers; None for floats."""

    @property
    def units(self) -> int:
        """Width of the state."""
        return len(self.loop.recurrent)

    def sequence(self, steps: Any) -> Any:
        """Return the layer's output at every step, ``(1, time, units)``, of ``(1, time, features)``."""
        kernel, first = self._clearing()
        added = len(kernel) - len(self.loop.kernel)
        padded = tf.concat([tf.constant(first), tf.pad(steps, [[0, 0], [0, 0], [0, added]])], axis=1)
        attributes = {"api_implements": f"lstm_{uuid.uuid4()}", "time_major": False, "go_backwards": False}
        layer = tf.function(_layer, autograph=False, experimental_attributes=attributes)
        state = tf.zeros((1, self.units))
        values = (kernel, self.loop.recurrent, self.loop.bias)
        outputs = layer(padded, state, state, *(tf.constant(value) for value in values))
        return outputs[1][:, 1:]

    def _clearing(self) -> tuple[Array, Array]:
        """Return the kernel with features more, and a first step that closes both gates to the past by them.

        Their weights are as large as the largest one there is, and for integers their values are within
        reach of the others: where one scale is for all, the others lose nothing. For floats one is enough.
        """
        width = 2 * self.units  # of the input and the forget gate
        largest = max(float(np.abs(self.loop.kernel).max(initial=0.0)), _SMALLEST_WEIGHT)
        # The state that is left over lies between -1 and 1.
        others = float((np.abs(self.loop.recurrent).sum(axis=0) + np.abs(self.loop.bias))[:width].max())
        if self.reach is None:
            count, value = 1, (_CLOSED + others) / largest
        else:
            count = math.ceil((_CLOSED_IN_INTEGERS + others) / (largest * max(self.reach, _SMALLEST_WEIGHT)))
            count, value = min(count, _MOST_ADDED), self.reach
        first = np.zeros((1, 1, len(self.loop.kernel) + count), np.float32)
        first[..., -count:] = value
        rows = np.zeros((count, _GATES * self.units), np.float32)
        rows[:, :width] = -largest
        return np.concatenate([self.loop.kernel, rows]).astype(np.float32), first


def without_loops(graph: Any, outputs: Iterable[str], loops: Sequence[LstmLoop]) -> Any:
    """Return a copy of ``graph`` in which placeholders stand for the results of ``loops``.

    Nothing is left in it but what they and ``outputs`` are computed from: a loop may have effects, as far as
    TensorFlow knows, and would stay.
    """
    copy = type(graph).FromString(graph.SerializeToString())
    results = {name for loop in loops for name in (*loop.sequences, *loop.last_steps)}
    lasts = {loop.last: _placeholder(loop) for loop in loops if loop.last is not None}
    for node in copy.node:
        for index, reference in enumerate(node.input):
            if reference in lasts:
                node.input[index] = lasts[reference]
        if node.name in results:
            node.CopyFrom(_standing_for(type(node), node.name))
    copy.node.extend(_standing_for(type(graph.node[0]), name) for name in lasts.values())
    ends = [*outputs, *(loop.steps for loop in loops)]
    entries = {node.name for node in copy.node if node.op == "Placeholder"}
    keep_only(copy, ancestors(by_name(copy.node), ends) | entries)
    return copy


def _placeholder(loop: LstmLoop) -> str:
    return f"{str(loop.last).replace(':', '_')}_fused"


def _standing_for(kind: type[Any], name: str) -> Any:
    node = kind(name=name, op="Placeholder")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    return node


def replaced(
    graph: Any, entries: Mapping[str, Any], layers: Sequence[FusedLstm], reached: list[Any] | None = None
) -> dict[str, Any]:
    """Return ``entries`` (tensors by the names that they stand for in ``graph``) with each layer's results.

    ``reached`` gets the size of each layer's largest input.
    """
    known = dict(entries)
    for layer in layers:
        loop = layer.loop
        before = tf.compat.v1.graph_util.extract_sub_graph(graph, [producer(loop.steps)])
        there = {node.name for node in before.node}
        (steps,) = tf.graph_util.import_graph_def(
            before,
            input_map={name: tensor for name, tensor in known.items() if producer(name) in there},
            return_elements=[loop.steps],
            name=f"until_{producer(loop.steps)}",
        )
        if reached is not None:
            reached.append(tf.reduce_max(tf.abs(steps)))
        outputs = layer.sequence(tf.transpose(steps, (1, 0, 2)))
        known |= {f"{name}:0": tf.transpose(outputs, (1, 0, 2)) for name in loop.sequences}
        known |= {f"{name}:0": outputs[:, -1:] for name in loop.last_steps}
        if loop.last is not None:
            known[f"{_placeholder(loop)}:0"] = outputs[:, -1]
    return known


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
