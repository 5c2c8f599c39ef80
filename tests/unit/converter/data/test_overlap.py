"""Samples that two data sets have in common, against comparing each with each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tflite_converter.arrays import Array
from tflite_converter.data import overlap
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.overlap import disjoint


def dataset(**arrays: Array) -> Dataset:
    return Dataset("data", "", "npz", arrays=arrays)


def rows(data: Dataset) -> list[tuple[float, ...]]:
    """The values of each sample, as they are compared."""
    found = []
    for i in range(data.count):
        parts = [np.asarray(data.arrays[name][i]).ravel() for name in sorted(data.arrays)]
        values = [p.astype(np.float32) if p.dtype.kind == "f" else p for p in parts]
        found.append(tuple(float(v) for part in values for v in part))
    return found


# Few values, so that samples are alike, and alike in part.
SAMPLES = st.integers(1, 90).flatmap(
    lambda size: st.tuples(
        hnp.arrays(np.int8, st.tuples(st.integers(0, 6), st.just(size)), elements=st.integers(0, 1)),
        hnp.arrays(
            np.float64, st.tuples(st.integers(0, 6), st.just(size)), elements=st.sampled_from((0.0, -0.0, 1))
        ),
    )
)


@given(SAMPLES)
def test_it_is_what_comparing_each_with_each_gives(pair: tuple[Array, Array]) -> None:
    ours, theirs = (dataset(x=values) for values in pair)
    for one, other in ((ours, theirs), (theirs, ours)):
        known = rows(other)
        assert disjoint(one, other).tolist() == [i for i, row in enumerate(rows(one)) if row not in known]


@pytest.mark.parametrize("place", range(0, 2000, 37))
def test_one_value_in_thousands_makes_another_sample(place: int) -> None:
    """Also one that is not among the values which are looked at first."""
    samples = np.zeros((3, 20, 100), np.float32)
    changed = samples.reshape(3, -1).copy()
    changed[1, place] = 1.0
    assert disjoint(dataset(x=changed), dataset(x=samples)).tolist() == [1]


def test_shapes_and_the_arrays_they_are_in_make_no_other_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(5 * 12, dtype=np.float32).reshape(5, 12)
    parts = dataset(a=values[:, :4].astype(np.int16), b=values[:, 4:].reshape(5, 2, 4))
    monkeypatch.setattr("tflite_converter.array_blocks.BLOCK_BYTES", 2 * values[:1].nbytes)
    assert disjoint(dataset(x=values), parts).tolist() == []
    assert disjoint(parts, dataset(x=values[::2])).tolist() == [1, 3]


def test_most_samples_are_told_apart_without_reading_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    ours, theirs = (draw.random((50, 3000), dtype=np.float32) for _ in range(2))
    theirs[7] = ours[3]
    read: list[int] = []
    real = overlap._contents

    def noted(data: Dataset, indices: list[int]) -> object:
        read.extend(indices)
        return real(data, indices)

    monkeypatch.setattr(overlap, "_contents", noted)
    assert 3 not in disjoint(dataset(x=ours), dataset(x=theirs))
    assert sorted(read) == [3, 7]
