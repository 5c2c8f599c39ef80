"""Which samples of a data set are used: a draw that a seed repeats, even over the classes."""

from __future__ import annotations

import numpy as np

from .arrays import IntArray


def draw(count: int, wanted: int, seed: int, labels: IntArray | None = None) -> IntArray:
    """Indices of ``min(wanted, count)`` different samples out of ``count``.

    With ``labels`` (shape ``(count,)``) the classes take turns, so that their shares differ by at most one
    until a class is used up: a rare class sets the ranges of activations as much as a common one does.
    Without labels the draw is uniform. The order is random, so that a running average over the samples does
    not end on the last class of a sorted file.
    """
    generator = np.random.default_rng(seed)
    if labels is None:
        return generator.permutation(count)[:wanted].astype(np.int64)
    order = generator.permutation(count)
    turn = np.empty(count, dtype=np.int64)
    shuffled = labels[order]
    for label in np.unique(labels):
        places = np.flatnonzero(shuffled == label)
        turn[places] = np.arange(len(places))
    return order[np.argsort(turn, kind="stable")][:wanted].astype(np.int64)
