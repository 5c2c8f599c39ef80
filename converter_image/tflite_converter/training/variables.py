"""Layers, kernels and variables of a Keras model of either generation. Child process only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf

from tflite_converter.arrays import Array

_NO_KERNELS: Final = ("Embedding", "Normalization")
"""Layers (by the end of their class's name) whose arrays are no kernels: a row of a table is looked up whole,
and the arrays of normalization are one-dimensional but for odd axes."""


@dataclass(frozen=True, eq=False)
class Kernel:
    """A weight that is multiplied with activations."""

    variable: Any
    """The tf.Variable."""
    axes: tuple[int, ...]
    """The axes that share a scale in TFLite: all but that of the output channel."""
    is_depthwise: bool


def tensorflow_variables(variables: Sequence[Any]) -> list[Any]:
    """Return the tf.Variables behind Keras variables; Keras 2 has no others."""
    return [v if isinstance(v, tf.Variable) else v.value for v in variables]


def layers_of(model: Any) -> list[Any]:
    """All layers and operations at any depth, in their order; models themselves are none."""
    layers: dict[int, Any] = {}

    def visit(node: Any) -> None:
        for layer in getattr(node, "operations", None) or getattr(node, "layers", None) or ():
            if hasattr(layer, "layers"):
                visit(layer)
            elif id(layer) not in layers:
                layers[id(layer)] = layer

    visit(model)
    return list(layers.values())


def kernels_of(model: Any) -> list[Kernel]:
    """Return the kernels that are trained, each once."""
    kernels: dict[int, Kernel] = {}
    for layer in layers_of(model):
        kind = type(layer).__name__
        if kind.endswith(_NO_KERNELS):
            continue
        for trainable in getattr(layer, "trainable_variables", ()):
            (variable,) = tensorflow_variables([trainable])
            if len(variable.shape) < 2 or id(variable) in kernels:
                continue
            is_depthwise = _is_depthwise(kind, trainable)
            kept_axes = _channel_axes(kind, len(variable.shape), is_depthwise=is_depthwise)
            axes = tuple(axis for axis in range(len(variable.shape)) if axis not in kept_axes)
            kernels[id(variable)] = Kernel(variable, axes, is_depthwise)
    return list(kernels.values())


def _is_depthwise(kind: str, variable: Any) -> bool:
    name = getattr(variable, "path", variable.name)
    return kind.startswith("DepthwiseConv") or "depthwise_kernel" in name


def _channel_axes(kind: str, rank: int, *, is_depthwise: bool) -> tuple[int, ...]:
    """Return the axes of the output channel."""
    if is_depthwise:
        return (rank - 2, rank - 1)
    if kind.startswith("Conv") and kind.endswith("Transpose"):
        return (rank - 2,)
    return (rank - 1,)


def prunable(kernels: Sequence[Kernel]) -> list[Any]:
    """Return the variables that pruning may touch.

    Not depthwise kernels: they hold few numbers, and each output channel hangs on nine of them.
    """
    return [k.variable for k in kernels if not k.is_depthwise]


def share_of_zeros(variables: Sequence[Any]) -> float:
    """Return the share of zeros, 0 to 1."""
    total = sum(int(tf.size(v)) for v in variables)
    zeros = sum(int(tf.math.count_nonzero(tf.equal(v, 0.0))) for v in variables)
    return zeros / total if total else 0.0


def snapshot(variables: Sequence[Any]) -> list[Array]:
    """Return copies of the variables' values."""
    return [v.numpy().copy() for v in variables]


def restore(variables: Sequence[Any], values: Sequence[Array]) -> None:
    """Set the variables to a snapshot's values.

    Raises ``ValueError`` where the shapes are others.
    """
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def consumers_of(layer: Any) -> Iterator[Any]:
    """Yield the layers that take what ``layer`` gives."""
    for node in getattr(layer, "_outbound_nodes", ()):
        yield getattr(node, "operation", None) or getattr(node, "layer", None)


Call = Callable[[dict[str, Any], bool], dict[str, Any]]
"""Runs a model on ``{input: (n, ...)}``, in training mode or not, and gives ``{output: (n, ...)}``."""
