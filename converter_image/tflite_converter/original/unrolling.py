"""Loops of a fixed number of steps, written as their steps: what full integer needs. Child process only.

A loop (WHILE) cannot be quantized to integers; the same steps one after another can. Keras's own layers
unroll themselves, but a SavedModel's loops are fixed in its graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import (
    convert_variables_to_constants_v2,  # the public API has no freezing for TensorFlow 2
)

from tflite_converter.data.binding import random_inputs
from tflite_converter.original.model import MAX_UNROLLED_STEPS, OriginalModel, Tensors

_CALLS = {"While": "StatefulPartitionedCall", "StatelessWhile": "PartitionedCall"}
"""The operation that calls a function once, for each that calls it in a loop."""
_COMPARED = 4
"""Samples on which the unrolled model must do what the model does."""


def has_loop(graph: Any) -> bool:
    """Whether a graph, or any function that it calls, loops as recurrent layers do."""
    definition = graph.as_graph_def()
    functions = (function.node_def for function in definition.library.function)
    return any(node.op in _CALLS for nodes in (definition.node, *functions) for node in nodes)


def with_unrolling(model: OriginalModel) -> OriginalModel:
    """``model``, whose ``unroll`` writes the loops of its graph as steps."""
    call = model.call

    def unroll() -> bool:
        nonlocal call
        try:
            unrolled = _unrolled(model)
        except (ValueError, tf.errors.OpError):
            # A graph of a kind not thought of here: the model keeps its loops, and other methods their files.
            unrolled = None
        if unrolled is None:
            return False
        call = unrolled.call
        return True

    return replace(model, call=lambda tensors: call(tensors), unroll=unroll)


def _unrolled(model: OriginalModel) -> OriginalModel | None:
    """None where a loop is too long, where the inputs leave its length open, or where the outcome differs."""
    if any(size < 0 for info in model.inputs for size in info.shape):
        return None
    batch = _COMPARED if model.open_batch else 1
    samples = {name: tf.constant(array) for name, array in random_inputs(model.inputs, batch, seed=0).items()}
    graph = _Graph(model)
    steps = graph.steps(samples)
    if not steps or not all(0 < number <= MAX_UNROLLED_STEPS for number in steps.values()):
        return None
    graph.unroll(steps)
    expected, unrolled = model.call(samples), tf.function(graph.call, autograph=False)(samples)
    same = all(np.allclose(expected[name], unrolled[name], rtol=1e-3, atol=1e-5) for name in expected)
    return replace(model, call=graph.call) if same else None


class _Graph:
    """The frozen graph of a model, for as many samples at once as the model itself takes."""

    def __init__(self, model: OriginalModel) -> None:
        self._names = [info.name for info in model.inputs]
        batch = [None] if model.open_batch else [1]
        specs = [tf.TensorSpec(batch + info.shape[1:], info.dtype, name=info.name) for info in model.inputs]

        def traced(*tensors: Any) -> Tensors:
            outputs = model.call(dict(zip(self._names, tensors, strict=True)))
            return {name: tf.identity(tensor) for name, tensor in outputs.items()}

        concrete = tf.function(traced, autograph=False).get_concrete_function(*specs)
        frozen = convert_variables_to_constants_v2(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
        self._definition = frozen.graph.as_graph_def()
        self._entries = [tensor.op.name for tensor in frozen.inputs]
        self._outputs = {
            name: tensor.name
            for name, tensor in zip(sorted(concrete.structured_outputs), frozen.outputs, strict=True)
        }

    def call(self, tensors: Tensors) -> Tensors:
        """Do what the model's own ``call`` does."""
        return self._tensors(tensors, self._outputs)

    def steps(self, samples: Tensors) -> dict[str, int]:
        """How often each loop runs, by its name: the first variable of TensorFlow's loops counts."""
        loops = {node.name: f"{node.name}:0" for node in self._definition.node if node.op in _CALLS}
        counts = tf.function(lambda tensors: self._tensors(tensors, loops), autograph=False)(samples)
        return {name: int(counter) for name, counter in counts.items() if counter.shape == ()}

    def unroll(self, steps: Mapping[str, int]) -> None:
        """Replace each loop by calls of its body.

        The last call has the loop's name, which others refer to.
        """
        nodes = []
        for node in self._definition.node:
            nodes.extend(_calls(node, steps[node.name]) if node.name in steps else [node])
        del self._definition.node[:]
        self._definition.node.extend(nodes)

    def _tensors(self, tensors: Tensors, names: Mapping[str, str]) -> Tensors:
        entries = {entry: tensors[name] for entry, name in zip(self._entries, self._names, strict=True)}
        values = tf.graph_util.import_graph_def(self._definition, entries, list(names.values()), name="")
        return dict(zip(names, values, strict=True))


def _calls(loop: Any, number: int) -> list[Any]:
    """Return ``number`` calls of a loop's body, each on the result of the one before."""
    variables = [entry for entry in loop.input if not entry.startswith("^")]
    conditions = [entry for entry in loop.input if entry.startswith("^")]
    calls = []
    for i in range(number):
        name = loop.name if i == number - 1 else f"{loop.name}/step_{i}"
        call = type(loop)(name=name, op=_CALLS[loop.op], input=variables + conditions)
        call.attr["Tin"].CopyFrom(loop.attr["T"])
        call.attr["Tout"].CopyFrom(loop.attr["T"])
        call.attr["f"].CopyFrom(loop.attr["body"])
        calls.append(call)
        variables = [f"{name}:{j}" for j in range(len(variables))]
    return calls
