"""Float TFLite files of one operator with weights and bias, to be quantized: from numbers, not trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from support.converter.tflite_files import O, T, floats, ints, tflite
from tflite_converter.arrays import Array

CHANNELS = 4
_VALID = 1


@dataclass(frozen=True)
class Weighted:
    """How an operator is written, and along which dimension of its weights its channels lie."""

    shape: tuple[int, ...]
    dimension: int
    sample: tuple[int, ...]
    write: Callable[[Array, Array], bytes]


def _file(name: str, weights: Array, bias: Array, sample: tuple[int, ...], result: tuple[int, ...]) -> bytes:
    options = {"strideW": 1, "strideH": 1, "padding": _VALID, "depthMultiplier": 1}
    options = {} if name == "FULLY_CONNECTED" else options
    if name == "CONV_2D":
        del options["depthMultiplier"]
    return tflite(
        [
            T("x", (1, *sample), "FLOAT32"),
            T("y", (1, *result), "FLOAT32"),
            T("weights", weights.shape, "FLOAT32", floats(*weights.ravel())),
            T("bias", bias.shape, "FLOAT32", floats(*bias)),
        ],
        [O(name, (0, 2, 3), (1,), options=options)],
        signature=({"x": 0}, {"y": 1}),
    )


def _transposed(weights: Array, bias: Array) -> bytes:
    return tflite(
        [
            T("x", (1, 3, 3, 2), "FLOAT32"),
            T("y", (1, 4, 4, CHANNELS), "FLOAT32"),
            T("weights", weights.shape, "FLOAT32", floats(*weights.ravel())),
            T("bias", bias.shape, "FLOAT32", floats(*bias)),
            T("size", (4,), "INT32", ints(1, 4, 4, CHANNELS)),
        ],
        [
            O(
                "TRANSPOSE_CONV",
                (4, 2, 0, 3),
                (1,),
                version=3,
                options={"strideW": 1, "strideH": 1, "padding": _VALID},
            )
        ],
        signature=({"x": 0}, {"y": 1}),
    )


OPERATORS = {
    "dense": Weighted((CHANNELS, 6), 0, (6,), lambda w, b: _file("FULLY_CONNECTED", w, b, (6,), (CHANNELS,))),
    "convolution": Weighted(
        (CHANNELS, 3, 3, 2), 0, (5, 5, 2), lambda w, b: _file("CONV_2D", w, b, (5, 5, 2), (3, 3, CHANNELS))
    ),
    "depthwise": Weighted(
        (1, 3, 3, CHANNELS),
        3,
        (5, 5, CHANNELS),
        lambda w, b: _file("DEPTHWISE_CONV_2D", w, b, (5, 5, CHANNELS), (3, 3, CHANNELS)),
    ),
    "transposed": Weighted((CHANNELS, 2, 2, 2), 0, (3, 3, 2), _transposed),
}
"""One operator of each kind that has a bias."""


def weights_of(operator: Weighted, scales: tuple[float, ...]) -> Array:
    """Return random weights whose channels are as large as ``scales`` say."""
    values = np.random.default_rng(3).normal(size=operator.shape)
    axes = [1] * len(operator.shape)
    axes[operator.dimension] = CHANNELS
    return (values * np.reshape(scales, axes)).astype(np.float32)


def samples_of(operator: Weighted, count: int = 40) -> dict[str, Array]:
    """Return samples for it."""
    values = np.random.default_rng(5).normal(size=(count, *operator.sample)).astype(np.float32)
    return {"x": values}
