"""The draw of samples, for any counts, seeds and labels."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tflite_converter.sampling import draw

SEEDS = st.integers(0, 2**32 - 1)
LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=200)


@given(count=st.integers(1, 300), wanted=st.integers(1, 400), seed=SEEDS)
def test_draws_different_samples_and_repeats(count: int, wanted: int, seed: int) -> None:
    drawn = draw(count, wanted, seed)
    assert len(set(drawn.tolist())) == len(drawn) == min(wanted, count)
    assert set(drawn.tolist()) <= set(range(count))
    np.testing.assert_array_equal(drawn, draw(count, wanted, seed))


@given(labels=LABELS, wanted=st.integers(1, 250), seed=SEEDS)
def test_classes_take_turns_until_they_are_used_up(labels: list[int], wanted: int, seed: int) -> None:
    drawn = draw(len(labels), wanted, seed, np.array(labels, dtype=np.int64))
    assert len(set(drawn.tolist())) == len(drawn) == min(wanted, len(labels))
    have, got = Counter(labels), Counter(labels[i] for i in drawn)
    most = max(got.values())
    for label, count in have.items():
        assert got[label] >= min(count, most - 1)


@given(labels=LABELS, seed=SEEDS)
def test_every_prefix_of_a_stratified_draw_is_even(labels: list[int], seed: int) -> None:
    """So a running average over the samples never leans to a class."""
    array = np.array(labels, dtype=np.int64)
    whole = draw(len(labels), len(labels), seed, array)
    for size in (1, len(labels) // 2 or 1, len(labels)):
        np.testing.assert_array_equal(whole[:size], draw(len(labels), size, seed, array))
