"""The draw of samples, for any counts, seeds and labels."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tflite_converter.data.sampling import draw, split

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


@given(
    count=st.integers(1, 300),
    wanted=st.integers(1, 400),
    seed=SEEDS,
    classes=st.none() | st.integers(1, 6),
)
def test_a_split_uses_every_sample_once_and_keeps_a_fifth(
    count: int, wanted: int, seed: int, classes: int | None
) -> None:
    labels = None if classes is None else np.random.default_rng(seed).integers(0, classes, count)
    calibrating, held_out = split(count, wanted, seed, labels)
    if count < 10:
        np.testing.assert_array_equal(calibrating, draw(count, wanted, seed, labels))
        assert len(held_out) == 0
        return
    assert sorted([*calibrating.tolist(), *held_out.tolist()]) == list(range(count))
    aside = -(-count // 5)
    assert len(calibrating) == min(wanted, count - aside)
    assert len(held_out) >= aside
    again = split(count, wanted, seed, labels)
    np.testing.assert_array_equal(calibrating, again[0])
    np.testing.assert_array_equal(held_out, again[1])


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6).filter(lambda sizes: sum(sizes) >= 10),
    wanted=st.integers(1, 250),
    seed=SEEDS,
)
def test_both_parts_of_a_split_have_every_class_that_is_large_enough(
    sizes: list[int], wanted: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    calibrating, held_out = split(len(labels), wanted, seed, labels)
    got, kept = (Counter(labels[part].tolist()) for part in (calibrating, held_out))
    most = max(got.values())
    for label, size in enumerate(sizes):
        assert kept[label] >= size // 5
        # Of each class, what was not put aside takes its turn.
        assert got[label] >= min(size - -(-size // 5), most - 1)


@given(sizes=st.lists(st.integers(5, 40), min_size=2, max_size=5), seed=SEEDS)
def test_the_first_of_what_is_held_out_are_even_over_the_classes(sizes: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    _, held_out = split(len(labels), 10**6, seed, labels)
    first = labels[held_out[: len(sizes)]]
    assert len(set(first.tolist())) == len(sizes)


def test_seeds_differ() -> None:
    first, second = split(100, 20, 0), split(100, 20, 1)
    assert first[0].tolist() != second[0].tolist()
    assert first[1].tolist() != second[1].tolist()
