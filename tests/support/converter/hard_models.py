"""Float TFLite files that int8 spoils, each in one known way, with samples that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from support.converter.tflite_files import O, T, floats, tflite
from tflite_converter.arrays import Array
from tflite_converter.quantizing.tuning import RANGE_CHOICE_SAMPLES

WIDTH = 8
CLASSES = 4
INPUT, OUTPUT = "x", "scores"


@dataclass(frozen=True)
class Hard:
    """A file, what calibrates it, and what it is judged on."""

    content: bytes
    calibration: dict[str, Array]
    evaluation: dict[str, Array]


def chain(weights: Sequence[Array], names: Sequence[str]) -> bytes:
    """Fully connected layers one after another; the tensor after layer ``i`` is called ``names[i]``."""
    tensors = [T(INPUT, (1, weights[0].shape[1]), "FLOAT32")]
    operators = []
    for kernel, name in zip(weights, names, strict=True):
        at = len(tensors)
        tensors.append(T(f"{name}/kernel", kernel.shape, "FLOAT32", floats(*kernel.ravel())))
        tensors.append(T(name, (1, kernel.shape[0]), "FLOAT32"))
        operators.append(O("FULLY_CONNECTED", (at - 1, at, -1), (at + 1,)))
    last = len(tensors) - 1
    return tflite(tensors, operators, outputs=(last,), signature=({INPUT: 0}, {OUTPUT: last}))


def _samples(count: int, seed: int) -> Array:
    values: Array = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return values


def _layers(*shapes: tuple[int, int]) -> list[Array]:
    generator = np.random.default_rng(7)
    return [generator.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]


def outlier_in_calibration() -> Hard:
    """One calibration sample in a hundred reaches a thousand times as far as any sample should."""
    content = chain(_layers((WIDTH, WIDTH), (CLASSES, WIDTH)), ["hidden", OUTPUT])
    calibration = _samples(100, 1)
    calibration[RANGE_CHOICE_SAMPLES - 1] *= 1000.0  # among those that choose the ranges
    return Hard(content, {INPUT: calibration}, {INPUT: _samples(200, 2)})


def weight_on_what_is_always_zero() -> Hard:
    """Layer ``bad`` has huge weights on a value that is always zero: they set the scale of all others."""
    first, bad, after, last = _layers((WIDTH, WIDTH), (WIDTH, WIDTH), (WIDTH, WIDTH), (CLASSES, WIDTH))
    first[3] = 0.0
    bad[:, 3] = 3000.0
    content = chain([first, bad, after, last], ["first", "bad", "after", OUTPUT])
    return Hard(content, {INPUT: _samples(100, 1)}, {INPUT: _samples(200, 2)})


def loud_neighbour() -> Hard:
    """One hidden value is hundreds of times as large as those that decide, and decides nothing."""
    first, second, last = _layers((WIDTH, WIDTH), (WIDTH, WIDTH), (CLASSES, WIDTH))
    first[3] *= 300.0
    second[:, 3] = 0.0
    content = chain([first, second, last], ["loud", "second", OUTPUT])
    return Hard(content, {INPUT: _samples(100, 1)}, {INPUT: _samples(200, 2)})


def easy() -> Hard:
    """Nothing is wrong with it."""
    content = chain(_layers((WIDTH, WIDTH), (CLASSES, WIDTH)), ["hidden", OUTPUT])
    return Hard(content, {INPUT: _samples(100, 1)}, {INPUT: _samples(200, 2)})
