"""What is known of data, and what looks wrong with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modelconversion_api.reports.calibration import ClassCount, DataRole, Stability
from tflite_converter import array_blocks
from tflite_converter.arrays import Array
from tflite_converter.data.checks import (
    class_counts,
    coverage,
    data_info,
    range_warnings,
    sample_warnings,
    stability_warnings,
)
from tflite_converter.data.dataset import Dataset

SHA = "0" * 64
VALUES = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.integers(1, 4)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def dataset(count: int = 10, labels: Array | None = None, names: tuple[str, ...] = ()) -> Dataset:
    data = {"data": np.zeros((count, 2), dtype=np.float32)}
    return Dataset(
        "x.npy", SHA, "npy", data, labels=labels, class_names=names, preprocessing={"scaling": "None"}
    )


def test_the_manifest_says_what_was_drawn_from_what() -> None:
    whole = dataset(10, np.arange(10) % 2)
    info = data_info(whole, whole.take(np.arange(4)), DataRole.HELD_OUT, seed=7)
    assert (info.role, info.name, info.format, info.sha256) == (DataRole.HELD_OUT, "x.npy", "npy", SHA)
    assert (info.samples, info.available, info.seed, info.stratified) == (4, 10, 7, True)
    assert info.preprocessing == {"scaling": "None"}


@pytest.mark.parametrize(
    ("labels", "drawn", "stratified"),
    [(np.zeros(10, dtype=np.int64), 10, False), (np.zeros(10), 4, False), (None, 4, False)],
)
def test_only_a_draw_over_classes_is_stratified(labels: Array | None, drawn: int, stratified: bool) -> None:
    whole = dataset(10, labels)
    assert data_info(whole, whole.take(np.arange(drawn)), DataRole.CALIBRATION, 0).stratified is stratified


def test_classes_are_counted_and_named() -> None:
    whole = dataset(6, np.array([0, 0, 0, 2, 2, 4]), ("a", "b", "c", "d", "e"))
    found = class_counts(whole, whole.take(np.array([0, 1, 3])))
    assert found == (
        ClassCount(label=0, name="a", available=3, drawn=2),
        ClassCount(label=1, name="b", available=0, drawn=0),
        ClassCount(label=2, name="c", available=2, drawn=1),
        ClassCount(label=3, name="d", available=0, drawn=0),
        ClassCount(label=4, name="e", available=1, drawn=0),
    )
    unnamed = dataset(2, np.array([7, 3]))
    assert [c.label for c in class_counts(unnamed, unnamed)] == [3, 7]
    assert class_counts(dataset(), dataset()) == ()


@given(drawn=VALUES, data=st.data(), block=st.integers(1, 200))
def test_coverage_is_the_same_in_blocks(drawn: Array, data: st.DataObject, block: int) -> None:
    shape = (data.draw(st.integers(1, 30)), drawn.shape[1])
    others = data.draw(arrays.arrays(np.float32, shape, elements=st.floats(-1e6, 1e6, width=32)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_blocks, "BLOCK_BYTES", block)
        (found,) = coverage({"x": drawn}, {"x": others})
    assert (found.minimum, found.maximum) == (drawn.min(), drawn.max())
    exact = drawn.astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(), rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(found.deviation, exact.std(), rtol=1e-9, atol=1e-6)
    assert found.outside == np.mean((others < drawn.min()) | (others > drawn.max()))
    constant = sum(len(set(column)) == 1 for column in drawn.T.tolist()) if len(drawn) > 1 else 0
    assert found.constant_features == constant


def test_deviation_keeps_its_digits_far_from_zero() -> None:
    (found,) = coverage({"x": np.array([[1e8], [1e8 + 8]], dtype=np.float32)}, None)
    assert (found.mean, found.deviation, found.outside) == (1e8 + 4, 4.0, None)


def test_integers_do_not_overflow() -> None:
    (found,) = coverage({"x": np.full((3, 2), 200, dtype=np.uint8)}, None)
    assert (found.mean, found.deviation, found.constant_features) == (200.0, 0.0, 2)


RANDOM = np.random.default_rng(0)
UNIT = RANDOM.random((50, 8), dtype=np.float32)
EIGHT_BIT = RANDOM.integers(0, 256, (50, 8)).astype(np.float32)
FLAGS = RANDOM.integers(0, 2, (50, 8)).astype(np.float32)
MOSTLY_CONSTANT = np.where(np.arange(8) < 5, 1, UNIT).astype(np.float32)


@pytest.mark.parametrize(
    ("calibration", "evaluation", "says"),
    [
        (EIGHT_BIT, UNIT, "the calibration data for input 'x' are whole numbers up to 255"),
        (UNIT, EIGHT_BIT, "the evaluation data for input 'x' are whole numbers up to 255"),
        (UNIT, UNIT * 5, "evaluation data for input 'x' reach far beyond the calibration data"),
        (UNIT, UNIT - 5, "evaluation data for input 'x' reach far beyond the calibration data"),
        (UNIT * 5, UNIT, "calibration data for input 'x' reach far beyond the evaluation data"),
        (
            np.full((9, 2), 3.5, dtype=np.float32),
            None,
            "every value of the calibration data for input 'x' is 3.5",
        ),
        (MOSTLY_CONSTANT, None, "5 of the 8 positions of input 'x' have one value in all 50"),
    ],
)
def test_suspicious_values_are_warned_of(calibration: Array, evaluation: Array | None, says: str) -> None:
    (found,) = range_warnings({"x": calibration}, None if evaluation is None else {"x": evaluation})
    assert says in found


@pytest.mark.parametrize(
    ("calibration", "evaluation"),
    [
        (UNIT, None),
        (UNIT, UNIT * 3),
        (EIGHT_BIT, EIGHT_BIT),
        (FLAGS, UNIT),
        (EIGHT_BIT, None),
        (UNIT[:1], UNIT),
        (UNIT, UNIT[:0]),
        (np.zeros((5, 3), dtype=np.int32), np.full((5, 3), 9, dtype=np.int32)),
    ],
)
def test_data_that_may_well_be_right_is_not_warned_of(calibration: Array, evaluation: Array | None) -> None:
    assert range_warnings({"x": calibration}, None if evaluation is None else {"x": evaluation}) == []


@pytest.mark.parametrize(
    ("samples", "labels", "says"),
    [
        (1, None, ["only 1 calibration sample: 100 or more is usual"]),
        (99, None, ["only 99 calibration samples: 100 or more is usual"]),
        (100, None, []),
        (100, np.arange(100) % 2, ["no calibration sample of 1 of the 3 classes (c)"]),
    ],
)
def test_too_few_samples_are_warned_of(samples: int, labels: Array | None, says: list[str]) -> None:
    data = dataset(samples, labels, () if labels is None else ("a", "b", "c"))
    info = data_info(data, data, DataRole.CALIBRATION, 0)
    found = sample_warnings(info, class_counts(data, data))
    assert [text[: len(start)] for text, start in zip(found, says, strict=True)] == says


def test_unstable_ranges_are_warned_of() -> None:
    stable = Stability(threshold=0.2, tensors=20, unstable=2)
    (found,) = stability_warnings(stable.model_copy(update={"unstable": 3}))
    assert "3 of 20 activations have other ranges" in found
    assert stability_warnings(stable) == stability_warnings(None) == []
