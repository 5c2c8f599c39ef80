"""A graph without loops and branches, which is what full integer needs. Child process only.

A loop (WHILE) or a branch (IF) cannot be quantized to integers. The same steps one after another can, and so
can both branches with a selection behind them. Keras's own layers unroll themselves, but a SavedModel's loops
are fixed in its graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.binding import random_inputs
from tflite_converter.original.errors import layer_of
from tflite_converter.original.freezing import FrozenGraph, frozen_graph
from tflite_converter.original.graphs.branches import branches_as_selections
from tflite_converter.original.graphs.loop_bounds import fixed_loops
from tflite_converter.original.graphs.reading import CASE, IF, WHILE, operations
from tflite_converter.original.model import MAX_UNROLLED_STEPS, OriginalModel

_CALLS = {"While": "StatefulPartitionedCall", "StatelessWhile": "PartitionedCall"}
"""The operation that calls a function once, for each that calls it in a loop."""
_COMPARED = 4
"""Samples on which the flat model must do what the model does: a second look, after the proof."""
_DEEPEST = 4
"""How deep loops may stand in each other."""


def rows_meet(model: OriginalModel) -> bool:
    """Whether the samples of a batch may decide together how a loop or a branch goes."""
    graph = frozen_graph(model).definition
    loops = {node.name for node in graph.node if node.op in WHILE}
    return bool(operations(graph) & {*IF, *CASE}) or not loops <= fixed_loops(graph)


def has_control_flow(graph: Any) -> bool:
    """Whether a graph, or any function that it calls, has loops or branches."""
    return bool(operations(graph) & {*WHILE, *IF})


class NotFlatError(ValueError):
    """Loops that cannot be written as steps; the text says which and why."""


def flattened(model: OriginalModel) -> OriginalModel:
    """Return ``model`` with its loops written as steps, and its branches as selections.

    The model itself stays as it is.

    Raises:
        NotFlatError: where a loop may take another number of steps for another input, where one is too long,
            or where the outcome differs.

    """
    if open_inputs := [info.name for info in model.inputs if min(info.shape, default=0) < 0]:
        raise NotFlatError(
            f"it has a loop or branch, and sizes of {', '.join(map(repr, open_inputs))} are open"
        )
    flat, names = model, [info.name for info in model.inputs]
    for _ in range(_DEEPEST):
        frozen = frozen_graph(flat)
        if not has_control_flow(frozen.definition):
            if frozen.variables:
                return flat
            if flat is not model and not _same(model, frozen):
                raise NotFlatError(
                    "its loops and branches, written as steps and selections, give other values"
                )
            return flat
        if frozen.variables or frozen.tables:
            raise NotFlatError("it has a loop or branch, and keeps values between calls")
        branches_as_selections(frozen.definition)
        _unroll(frozen.definition, _steps(frozen, model))
        flat = replace(flat, call=frozen.as_call(names))
    raise NotFlatError(f"it has loops inside loops, more than {_DEEPEST} deep")


def _steps(frozen: FrozenGraph, model: OriginalModel) -> dict[str, int]:
    """Return how often each loop of the main graph runs: its first variable counts the steps.

    Any sample shows it, for the number is proven to be the same for all of them.
    """
    loops = {node.name for node in frozen.definition.node if node.op in _CALLS}
    if not loops:
        return {}
    if changing := sorted(loops - fixed_loops(frozen.definition)):
        cause = f"how many steps the loop {layer_of(changing[0])!r} takes may depend on the input"
        raise NotFlatError(cause)
    counters = replace(frozen, outputs={name: f"{name}:0" for name in loops})
    (counts,) = _run(counters, [_sample(model, 0)])
    steps = {name: int(number) for name, number in counts.items()}
    for name, number in steps.items():
        if not 0 < number <= MAX_UNROLLED_STEPS:
            cause = f"the loop {layer_of(name)!r} takes {number} steps, more than {MAX_UNROLLED_STEPS}"
            raise NotFlatError(cause)
    return steps


def _same(model: OriginalModel, flat: FrozenGraph) -> bool:
    original = tf.function(model.call, autograph=False)
    samples = [_sample(model, number) for number in range(_COMPARED)]
    return all(
        _alike(original({name: tf.constant(array) for name, array in sample.items()}), values)
        for sample, values in zip(samples, _run(flat, samples), strict=True)
    )


def _run(frozen: FrozenGraph, samples: Sequence[NamedArrays]) -> list[dict[str, Array]]:
    """Return a frozen graph's outputs for each sample.

    In a session of TensorFlow 1: the eager runtime does not learn of the functions in such a graph.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.graph_util.import_graph_def(frozen.definition, name="")
        feeds = [
            {f"{entry}:0": array for entry, array in zip(frozen.entries, sample.values(), strict=True)}
            for sample in samples
        ]
        return [session.run(dict(frozen.outputs), fed) for fed in feeds]


def _alike(expected: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    return all(
        np.allclose(
            np.asarray(expected[name], np.float64), np.asarray(values[name], np.float64),
            rtol=1e-3, atol=1e-5, equal_nan=True,
        )
        for name in expected
    )  # fmt: skip


def _sample(model: OriginalModel, seed: int) -> dict[str, Array]:
    """Return one random value for each input, in the shape that the file takes."""
    stacked = [info.model_copy(update={"shape": [1, *info.shape]}) for info in model.inputs]
    return {name: array[0] for name, array in random_inputs(stacked, 1, seed).items()}


def _unroll(graph: Any, steps: Mapping[str, int]) -> None:
    """Replace each loop by calls of its body.

    The last call has the loop's name, which others refer to.
    """
    nodes = []
    for node in graph.node:
        nodes.extend(_calls(node, steps[node.name]) if node.name in steps else [node])
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


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
