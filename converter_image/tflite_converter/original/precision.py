"""Originals that take or give numbers of another width, with float32 at both ends. Child process only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from tflite_converter.original.graphs.reading import node_lists
from tflite_converter.original.model import OriginalModel, Tensors

_NOT_AT_THE_ENDS = ("float64", "bfloat16")
"""Types for which a TFLite file has no operators, or numpy no name."""


def with_single_ends(model: OriginalModel) -> OriginalModel:
    """Return the model with float32 in the place of float64 and bfloat16 at its inputs and outputs."""
    taken = {info.name: info.dtype for info in model.inputs if info.dtype in _NOT_AT_THE_ENDS}

    def call(tensors: Tensors) -> Tensors:
        cast = {
            name: tf.cast(tensor, taken[name]) if name in taken else tensor
            for name, tensor in tensors.items()
        }
        return {name: _single(tensor) for name, tensor in model.call(cast).items()}

    def unroll() -> OriginalModel | None:
        unrolled = model.unroll()
        return None if unrolled is None else with_single_ends(unrolled)

    inputs = [
        info.model_copy(update={"dtype": "float32"}) if info.name in taken else info for info in model.inputs
    ]
    declared = [
        info.model_copy(update={"dtype": "float32"}) if info.name in taken else info
        for info in model.declared
    ]
    return replace(model, inputs=inputs, declared=declared, call=call, unroll=unroll)


def _single(tensor: Any) -> Any:
    return tf.cast(tensor, tf.float32) if tensor.dtype.name in _NOT_AT_THE_ENDS else tensor


def precision_warnings(graph: Any) -> tuple[str, ...]:
    """Return what a user should know of a graph that computes in double precision."""
    types = set(_types(graph))
    if not types & {tf.float64.as_datatype_enum, tf.complex128.as_datatype_enum}:
        return ()
    text = (
        "the model computes in float64, for which TFLite has no operators: its files take, compute and give"
        " float32"
    )
    return (text,)


def _types(graph: Any) -> Iterable[int]:
    for nodes in node_lists(graph):
        for node in nodes:
            for value in node.attr.values():
                yield value.type
                yield from value.list.type
