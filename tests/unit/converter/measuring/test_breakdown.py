"""The worst class, and which classes are taken for which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tflite_converter.arrays import Array
from tflite_converter.measuring.breakdown import FEWEST_SAMPLES, MOST_CLASSES, confusion, worst_class


def one_hot(classes: list[int], count: int) -> Array:
    return np.eye(count)[classes]


def test_the_class_that_lost_most_accuracy() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])
    original = one_hot([0, 0, 0, 1, 1, 1, 1, 0, 0, 2], 3)
    artifact = one_hot([0, 0, 0, 1, 1, 0, 0, 0, 0, 2], 3)
    found = worst_class(original, artifact, labels, ("a", "b", "c"))
    assert found is not None
    # Class c does worse, but it has lost nothing.
    assert (found.label, found.name, found.samples) == (1, "b", 4)
    assert (found.accuracy, found.original_accuracy, found.agreement) == (0.5, 1.0, 0.5)


def test_without_labels_the_class_that_agrees_least() -> None:
    original, artifact = one_hot([0, 0, 0, 1, 1, 1], 2), one_hot([0, 0, 1, 1, 1, 1], 2)
    found = worst_class(original, artifact, None, ())
    assert found is not None
    assert (found.label, found.name, found.accuracy, found.agreement) == (0, None, None, 0.666667)


def test_a_class_of_few_samples_says_nothing() -> None:
    assert FEWEST_SAMPLES == 3
    assert worst_class(one_hot([0, 0], 2), one_hot([1, 1], 2), None, ()) is None


def test_a_probability_is_two_classes() -> None:
    original, artifact = np.array([[0.1], [0.9], [0.9], [0.9]]), np.array([[0.1], [0.9], [0.9], [0.2]])
    found = worst_class(original, artifact, None, ("no", "yes"))
    assert found is not None
    assert (found.label, found.name) == (1, "yes")
    assert confusion(original, artifact, None, ("no", "yes")).counts == ((1, 0), (1, 2))


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=60), st.booleans())
def test_rows_add_up_to_the_classes_and_the_diagonal_to_what_is_right(
    samples: list[tuple[int, int, int]], has_labels: bool
) -> None:
    original, artifact, truth = ([s[i] for s in samples] for i in range(3))
    labels = np.array(truth) if has_labels else None
    found = confusion(one_hot(original, 5), one_hot(artifact, 5), labels, ())
    rows = truth if has_labels else original
    assert found.against == ("Labels" if has_labels else "Original")
    assert [sum(row) for row in found.counts] == [rows.count(c) for c in range(5)]
    assert [sum(column) for column in zip(*found.counts, strict=True)] == [
        artifact.count(c) for c in range(5)
    ]
    assert sum(found.counts[i][i] for i in range(5)) == sum(
        r == a for r, a in zip(rows, artifact, strict=True)
    )


@pytest.mark.parametrize("has_labels", [True, False])
def test_of_many_classes_those_that_are_confused_most(*, has_labels: bool) -> None:
    count = 100
    truth = list(range(count)) * 4
    artifact = [c if c % 3 else (c + 1) % count for c in truth]
    original = one_hot(truth, count)
    found = confusion(
        original,
        one_hot(artifact, count),
        np.array(truth) if has_labels else None,
        [str(c) for c in range(count)],
    )
    assert len(found.labels) == len(found.counts) == len(found.counts[0]) == MOST_CLASSES
    assert list(found.labels) == sorted(found.labels)
    assert all(c % 3 in (0, 1) for c in found.labels)
    assert found.names == tuple(str(c) for c in found.labels)


def test_names_that_do_not_reach_are_left_out() -> None:
    assert confusion(one_hot([0, 1], 3), one_hot([0, 1], 3), None, ("a", "b")).names == ()
