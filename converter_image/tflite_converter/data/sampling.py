"""Which samples of a data set are used: draws that a seed repeats, even over the classes."""

from __future__ import annotations

import numpy as np

from tflite_converter.arrays import IntArray

HELD_OUT_SHARE = 5
"""One sample in this many is kept from calibrating where the data must serve for evaluation too."""
MOST_SHUFFLED = 1 << 22
"""Of more samples without classes, so many are drawn first: memory has no room for an order of billions."""
MIN_TO_SPLIT = 10
"""Fewer samples than this are not divided: both parts would say nothing."""


def draw(count: int, number: int, seed: int, classes: IntArray | None = None) -> IntArray:
    """Draw the indices of ``min(number, count)`` different samples out of ``count``.

    With ``classes`` (shape ``(count,)``) the classes take turns, so that their shares differ by at most one
    until a class is used up: a rare class sets the ranges of activations as much as a common one does.
    Without classes the draw is uniform. The order is random, so that a running average over the samples does
    not end on the last class of a sorted file.
    """
    if classes is None and count > MOST_SHUFFLED:
        pool = _pool(count, seed)
        return pool[draw(len(pool), number, seed)]
    generator = np.random.default_rng(seed)
    order = generator.permutation(count)
    if classes is None:
        return order[:number].astype(np.int64)
    turn = np.empty(count, dtype=np.int64)
    by_class = np.argsort(classes[order], kind="stable")
    _, starts, sizes = np.unique(classes[order][by_class], return_index=True, return_counts=True)
    turn[by_class] = np.arange(count) - np.repeat(starts, sizes)
    return order[np.argsort(turn, kind="stable")][:number].astype(np.int64)


def split(count: int, number: int, seed: int, classes: IntArray | None = None) -> tuple[IntArray, IntArray]:
    """Divides one data set: indices that calibrate, and the others, which are held out for evaluation.

    Up to ``number`` samples calibrate, drawn as by :func:`draw` from what is left when every fifth sample of
    each class has been put aside. All others are held out, at least a fifth of the data, in an order in
    which the classes take turns as well, so that the first ``n`` of them are an even draw. Of fewer than
    :data:`MIN_TO_SPLIT` samples none is held out; of more than :data:`MOST_SHUFFLED` without classes, a part
    of that size is divided.
    """
    if classes is None and count > MOST_SHUFFLED:
        pool = _pool(count, seed)
        calibrating, held_out = split(len(pool), number, seed)
        return pool[calibrating], pool[held_out]
    if count < MIN_TO_SPLIT:
        return draw(count, number, seed, classes), np.array([], dtype=np.int64)
    aside = _every_fifth(count, seed, classes)
    left = _all_but(aside, count)
    calibrating = _draw_from(left, number, seed, classes)
    held_out = _all_but(calibrating, count)
    return calibrating, _draw_from(held_out, len(held_out), seed, classes)


def _all_but(indices: IntArray, count: int) -> IntArray:
    """Return the other indices below ``count``, in order."""
    left = np.ones(count, dtype=np.bool_)
    left[indices] = False
    return np.flatnonzero(left).astype(np.int64)


def _pool(count: int, seed: int) -> IntArray:
    """Return :data:`MOST_SHUFFLED` different indices below ``count``, without an array of them all."""
    generator = np.random.default_rng(seed)
    return np.sort(generator.choice(count, MOST_SHUFFLED, replace=False, shuffle=False)).astype(np.int64)


def _every_fifth(count: int, seed: int, classes: IntArray | None) -> IntArray:
    """Return every fifth of the samples in the order of their classes, random within each class.

    That takes a fifth of each class, give or take one, and a fifth of the whole, rounded up.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(count)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    # Of the five places to begin at, those from which the last one is not missed.
    first = int(generator.integers((count - 1) % HELD_OUT_SHARE + 1))
    return order[first::HELD_OUT_SHARE].astype(np.int64)


def _draw_from(indices: IntArray, number: int, seed: int, classes: IntArray | None) -> IntArray:
    return indices[draw(len(indices), number, seed, None if classes is None else classes[indices])]
