"""int8 rounding inside a float model, with gradients that pass it by. Child process only.

Weights: symmetric, one scale for each output channel, -127 to 127, as TFLite's int8 specification has it.
Scaling an output channel scales its rounded values alike, so that it does not matter that batch normalization
is folded into the kernel only later. The rounded kernels stand in the variables themselves while the model
runs; the gradient with respect to them is taken for that of the kernels (straight-through estimator, Bengio
et al. 2013), which is exact but for the rounding, because a scale from the largest value clips nothing.

Activations: asymmetric, one scale a tensor, with running averages of the smallest and largest value (Jacob et
al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference", 2018).
They are rounded only where the TFLite file has a tensor: not between a convolution and the normalization or
ReLU that the converter fuses into it, and not where a layer only moves values.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self

import tensorflow as tf

from tflite_converter.training.variables import Kernel, consumers_of, layers_of

_LARGEST: Final = 127.0
_MOVES_VALUES: Final = (
    *("InputLayer", "Flatten", "Reshape", "Permute", "RepeatVector", "Identity"),
    *("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout"),
    *("GaussianNoise", "GaussianDropout", "ActivityRegularization"),
    *("MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"),
    *("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D"),
    *("Embedding", "CategoryEncoding", "StringLookup", "IntegerLookup"),
)
_FUSED_CLASSES: Final = ("BatchNormalization", "ReLU")
_FUSED_ACTIVATIONS: Final = ("relu", "relu6")
_WEIGHING: Final = ("Dense", "EinsumDense", "Conv", "DepthwiseConv", "SeparableConv")
"""Layers (by the beginning of their class's name) that multiply with a kernel, and may have an activation."""
_SQUASHING: Final = ("softmax", "sigmoid", "tanh", "hard_sigmoid")
"""Outputs with a range that is fixed beforehand in TFLite; it fits them whatever training does."""
_KEPT: Final = 0.95
"""Part of a running average that stays at each batch."""


def rounded_kernel(values: Any, axes: Sequence[int]) -> Any:
    """``values`` at the nearest int8 steps; ``axes`` share a scale."""
    largest = tf.reduce_max(tf.abs(values), axis=tuple(axes), keepdims=True)
    scale = tf.where(largest > 0.0, largest / _LARGEST, tf.ones_like(largest))
    return tf.round(values / scale) * scale


class Phase(Enum):
    """What becomes of activations."""

    OBSERVE = "observe"
    """They pass; their ranges are averaged."""
    TRAIN = "train"
    """They are rounded, and their ranges go on."""
    MEASURE = "measure"
    """They are rounded by the ranges as they are."""


class RoundedActivations(AbstractContextManager["RoundedActivations"]):
    """A model whose activations are rounded while the block runs; afterwards it is as it was.

    ``phase`` is looked at when the model is traced: each phase needs a tf.function of its own.
    """

    def __init__(self, model: Any) -> None:
        self.phase = Phase.OBSERVE
        layers = layers_of(model)
        self._layers = [layer for layer in layers if has_a_tensor(layer)]
        self._sums = [layer for layer in layers if has_a_sum(layer)]
        self._activations: list[Any] = []
        """The activation functions of those, while others stand in their places."""
        self._ranges: dict[str, Any] = {}
        places = [_key(i) for i in range(len(self._layers))] + [_sum_key(i) for i in range(len(self._sums))]
        for name in [_INPUTS, *places]:
            self._ranges[name] = tf.Variable([0.0, 0.0], trainable=False, name=name)
            self._ranges[f"{name}_seen"] = tf.Variable(0.0, trainable=False, name=f"{name}_seen")

    def __enter__(self) -> Self:
        for place, layer in enumerate(self._layers):
            # Past Keras's own bookkeeping of attributes: the class's method comes back when this one goes.
            layer.__dict__["call"] = self._wrapped(layer.call, _key(place))
        for place, layer in enumerate(self._sums):
            self._activations.append(layer.activation)
            layer.__dict__["activation"] = self._before(layer.activation, _sum_key(place))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for layer in self._layers:
            layer.__dict__.pop("call", None)
        for layer, activation in zip(self._sums, self._activations, strict=True):
            layer.__dict__["activation"] = activation
        self._activations.clear()

    @property
    def variables(self) -> list[Any]:
        """The ranges, for a checkpoint."""
        return list(self._ranges.values())

    def inputs(self, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return a model's inputs, rounded with one range for all of them where there are several."""
        return {name: self._rounded(tensor, _INPUTS) for name, tensor in tensors.items()}

    def _wrapped(self, call: Any, name: str) -> Any:
        def rounding(*args: Any, **kwargs: Any) -> Any:
            return tf.nest.map_structure(lambda t: self._rounded(t, name), call(*args, **kwargs))

        # Keras reads from the signature whether a layer takes "training" and masks.
        vars(rounding)["__signature__"] = inspect.signature(call)
        return tf.autograph.experimental.do_not_convert(rounding)

    def _before(self, activation: Any, name: str) -> Any:
        return lambda tensor, *args, **kwargs: activation(self._rounded(tensor, name), *args, **kwargs)

    def _rounded(self, tensor: Any, name: str) -> Any:
        if not tf.is_tensor(tensor) or tensor.dtype != tf.float32:
            return tensor
        limits, seen = self._ranges[name], self._ranges[f"{name}_seen"]
        if self.phase is not Phase.MEASURE:
            now = tf.stack([tf.reduce_min(tensor), tf.reduce_max(tensor)])
            limits.assign(tf.where(seen > 0.0, _KEPT * limits + (1.0 - _KEPT) * now, now))
            seen.assign(1.0)
        if self.phase is Phase.OBSERVE:
            return tensor
        low = tf.minimum(limits[0], 0.0)
        # A tensor of zeros has a range as well, or the rounding would divide by nothing.
        high = tf.maximum(tf.maximum(limits[1], 0.0), low + 1e-6)
        return tf.quantization.fake_quant_with_min_max_vars(
            tensor, tf.stop_gradient(low), tf.stop_gradient(high), num_bits=8
        )


def has_a_tensor(layer: Any) -> bool:
    """Whether what ``layer`` gives is a tensor of its own in the TFLite file, with a range to be found."""
    kind = type(layer).__name__
    if kind in _MOVES_VALUES or activation_of(layer) in _SQUASHING:
        return False
    takers = [taker for taker in consumers_of(layer) if taker is not None]
    is_plain = activation_of(layer) in (None, "linear")
    return not (is_plain and takers and all(map(_is_fused, takers)))


def has_a_sum(layer: Any) -> bool:
    """Whether the TFLite file has what ``layer`` adds up as a tensor too, before an activation of its own."""
    kind = type(layer).__name__
    weighs = kind.startswith(_WEIGHING) and not kind.startswith("ConvLSTM")
    return weighs and activation_of(layer) not in (None, "linear", *_FUSED_ACTIVATIONS)


def activation_of(layer: Any) -> str | None:
    """Return the name of a layer's activation function."""
    kind = type(layer).__name__
    if kind in ("Softmax",):
        return kind.lower()
    return getattr(getattr(layer, "activation", None), "__name__", None)


def rounded_kernels(kernels: Sequence[Kernel]) -> list[Any]:
    """Put rounded kernels into the variables while the model runs."""
    return [rounded_kernel(k.variable, k.axes) for k in kernels]


_INPUTS = "inputs"


def _key(place: int) -> str:
    return f"activation_{place}"


def _sum_key(place: int) -> str:
    return f"sum_{place}"


def _is_fused(taker: Any) -> bool:
    kind = type(taker).__name__
    if kind == "Activation":
        return activation_of(taker) in _FUSED_ACTIVATIONS
    return kind in _FUSED_CLASSES
