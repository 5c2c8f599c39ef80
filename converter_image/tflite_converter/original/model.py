"""A loaded original behind one interface: named inputs in, named outputs out. Child process only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.names import safe_name
from tflite_converter.tflite.names import tensor_info as named_tensor

Tensors = dict[str, Any]
"""TensorFlow tensors by name."""

MAX_UNROLLED_STEPS = 128
"""Unrolling writes a recurrent layer's operations once a step; beyond this the file grows out of hand."""


@dataclass(frozen=True)
class OriginalModel:
    """A loaded model."""

    inputs: list[TensorInfo]
    """As the files will have them: the batch 1, other open sizes -1, unless the user has said otherwise."""
    open_batch: bool
    """Whether the model itself takes any number of samples at once."""
    call: Callable[[Tensors], Tensors]
    """Inference (``training=False``) on ``{input: (n, ...)}``."""
    writer: str
    parameter_bytes: int
    unroll: Callable[[], OriginalModel | None]
    """Returns the model with its time steps one after another; None where there is nothing to unroll."""
    declared: Sequence[TensorInfo] = ()
    """The inputs as the model has them, open sizes -1."""
    unbatched: frozenset[str] = frozenset()
    """Inputs without a batch dimension, of which a sample is the whole."""
    group: int = 1
    """How many samples the model takes at once, where it takes no other number."""
    warnings: tuple[str, ...] = ()
    """What a user should know of how the model was taken."""

    @property
    def batched(self) -> bool:
        """Whether outputs have a batch dimension."""
        return len(self.unbatched) < len(self.inputs)

    @property
    def sample_inputs(self) -> list[TensorInfo]:
        """The inputs with a dimension for the number of samples in front, also those that have no batch."""
        return [
            info.model_copy(update={"shape": [1, *info.shape]}) if info.name in self.unbatched else info
            for info in self.inputs
        ]


def pinned(declared: Sequence[TensorInfo], shapes: Mapping[str, tuple[int, ...]]) -> list[TensorInfo]:
    """Return the inputs with the sizes that the user has given; a batch that is left open becomes 1.

    Raises:
        ConverterError: UnsupportedShape for an input that is not there, or a size that the model contradicts;
            UnsupportedOperation for one that takes text.

    """
    sizes = {safe_name(name): shape for name, shape in shapes.items()}
    if unknown := sorted(sizes.keys() - {info.name for info in declared}):
        cause = f"there is no input {', '.join(map(repr, unknown))}: the model takes {_words(declared)}"
        raise ConverterError(
            FailureReason.UNSUPPORTED_SHAPE, Stage.LOAD, cause, hint="correct the name in the input shape"
        )
    return [_pinned(info, sizes.get(info.name)) for info in declared]


def _pinned(info: TensorInfo, shape: tuple[int, ...] | None) -> TensorInfo:
    if info.dtype == "string":
        raise ConverterError(
            FailureReason.UNSUPPORTED_OPERATION,
            Stage.LOAD,
            f"input {info.name!r} takes text, and an edge model takes numbers",
            hint="export the part of the model behind its text layers, and look words up outside of it",
        )
    if shape is None:
        shape = tuple(1 if size < 0 and axis == 0 else size for axis, size in enumerate(info.shape))
    elif len(shape) != len(info.shape) or any(
        size not in (-1, fixed) for size, fixed in zip(info.shape, shape, strict=True)
    ):
        raise ConverterError(
            FailureReason.UNSUPPORTED_SHAPE,
            Stage.LOAD,
            f"input {info.name!r} cannot have the shape {list(shape)}: the model takes {_words([info])}",
            hint="give every dimension, the batch first; only those that are -1 can be chosen",
        )
    return info.model_copy(update={"shape": list(shape)})


def _words(inputs: Sequence[TensorInfo]) -> str:
    return ", ".join(f"{info.name!r} {info.shape}" for info in inputs)


def named(outputs: Any, names: Sequence[str]) -> Tensors:
    """Return the outputs by name: a dict's keys, else the model's own output names, else ``output_0`` …."""
    import tensorflow as tf

    if isinstance(outputs, dict) and not any(
        isinstance(value, (dict, list, tuple)) for value in outputs.values()
    ):
        return {safe_name(str(key)): outputs[key] for key in sorted(outputs)}
    leaves = tf.nest.flatten(outputs)
    if len(names) != len(leaves):
        names = [f"output_{i}" for i in range(len(leaves))]
    return dict(zip(unique(names), leaves, strict=True))


def unique(names: Sequence[str]) -> list[str]:
    """``names`` with a number behind those that were there before."""
    taken: list[str] = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            candidate, number = f"{name}_{number}", number + 1
        taken.append(candidate)
    return taken


def tensor_info(name: str, shape: Any, dtype: Any) -> TensorInfo:
    """Describe a tensor; open sizes are -1."""
    sizes = [-1 if size is None else int(size) for size in tuple(shape)]
    return named_tensor(name, sizes, str(getattr(dtype, "name", dtype)))


def bytes_of(variables: Any) -> int:
    """Add up the bytes of the variables, by their shapes and dtypes."""
    import tensorflow as tf

    return sum(int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size for v in variables)
