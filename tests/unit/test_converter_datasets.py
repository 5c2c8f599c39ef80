"""Calibration and validation data: read safely, checked with a reason each, bound to the inputs."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.datasets import bind, check_labels_range, load_dataset, random_inputs
from tflite_converter.errors import ConverterError

STAGE = Stage.CALIBRATE
FEATURES = TensorInfo(name="features", shape=[1, 4], dtype="float32")


def saved(path: Path, array: object) -> Path:
    np.save(path, array)
    return path


def failure(path: Path, labels: Path | None = None) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        load_dataset(path, labels, STAGE)
    assert caught.value.stage is STAGE
    return caught.value


def test_samples_and_labels_are_read(tmp_path: Path) -> None:
    data = load_dataset(
        saved(tmp_path / "x.npy", np.ones((3, 4))),
        saved(tmp_path / "y.npy", np.array([[0], [1], [2]])),
        STAGE,
    )
    assert data.count == 3
    assert data.labels is not None
    assert data.labels.tolist() == [0, 1, 2]
    taken = data.take(np.array([2, 0]))
    assert taken.labels is not None
    assert taken.labels.tolist() == [2, 0]


def test_missing_file(tmp_path: Path) -> None:
    found = failure(tmp_path / "nope.npy")
    assert (found.reason, "File not found" in found.message) == (FailureReason.SOURCE_NOT_FOUND, True)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"1,2,3\n", bytes(100), b"PK\x03\x04broken"])
def test_garbage_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    assert failure(path).reason is FailureReason.DATA_UNREADABLE


def test_truncated_array_is_unreadable(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.npy", np.ones((100, 4)))
    path.write_bytes(path.read_bytes()[:-8])
    assert failure(path).reason is FailureReason.DATA_UNREADABLE


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/nonexistent/unpickled"),))  # type: ignore[return-value]  # never called


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    plain, objects = tmp_path / "plain.npy", tmp_path / "objects.npy"
    plain.write_bytes(pickle.dumps(_Trap()))
    np.save(objects, np.array([_Trap()], dtype=object), allow_pickle=True)
    for path in (plain, objects):
        found = failure(path)
        assert found.reason is FailureReason.DATA_UNREADABLE
        assert "allow_pickle=True" not in found.message
        assert "never loaded" in found.message


def test_text_is_not_numbers(tmp_path: Path) -> None:
    assert failure(saved(tmp_path / "x.npy", np.array(["a", "b"]))).reason is FailureReason.DATA_UNREADABLE


def test_nan_and_infinity_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    array = np.zeros((5000, 4), dtype=np.float32)
    array[4500, 2] = np.nan
    array[4700, 1] = -np.inf
    found = failure(saved(tmp_path / "x.npy", array))
    assert found.reason is FailureReason.DATA_NOT_FINITE
    assert "2 NaN or infinite values, the first at index (4500, 2)" in found.message


def test_no_sample_is_too_few(tmp_path: Path) -> None:
    assert failure(saved(tmp_path / "x.npy", np.ones((0, 4)))).reason is FailureReason.DATA_TOO_FEW


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(2, dtype=int), "2 labels for 3 samples"),
        (np.zeros((3, 5), dtype=int), r"shape \(3, 5\), expected \(3,\)"),
        (np.zeros(3), "float64"),
        (np.array([0, 1, -1]), "negative"),
    ],
)
def test_labels_must_fit(tmp_path: Path, labels: object, says: str) -> None:
    path = saved(tmp_path / "x.npy", np.ones((3, 4)))
    found = failure(path, saved(tmp_path / "y.npy", labels))
    assert found.reason is FailureReason.LABELS_MISMATCH
    assert re.search(says, found.message)


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    data = load_dataset(
        saved(tmp_path / "x.npy", np.ones((2, 4))), saved(tmp_path / "y.npy", np.array([0, 5])), STAGE
    )
    check_labels_range(data, 6, STAGE)
    with pytest.raises(ConverterError, match="go up to 5"):
        check_labels_range(data, 5, STAGE)


def test_single_array_fits_a_single_input(tmp_path: Path) -> None:
    data = load_dataset(saved(tmp_path / "x.npy", np.ones((3, 4))), None, STAGE)
    bound = bind(data, [FEATURES], STAGE)
    assert (bound["features"].shape, bound["features"].dtype) == ((3, 4), np.float32)


def test_open_dimensions_take_any_size(tmp_path: Path) -> None:
    data = load_dataset(saved(tmp_path / "x.npy", np.ones((3, 7, 4))), None, STAGE)
    assert bind(data, [FEATURES.model_copy(update={"shape": [1, -1, 4]})], STAGE)


def test_wrong_shape_says_expected_and_got(tmp_path: Path) -> None:
    data = load_dataset(saved(tmp_path / "x.npy", np.ones((3, 5))), None, STAGE)
    with pytest.raises(ConverterError, match=r"shape \(5,\).*'features' takes \(4,\)") as caught:
        bind(data, [FEATURES], STAGE)
    assert caught.value.reason is FailureReason.DATA_SHAPE_MISMATCH


def test_several_inputs_go_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, left=np.ones((3, 4)), **{"ri:ght": np.ones((3, 2))}, other=np.ones((3, 1)))
    right = TensorInfo(name="ri", shape=[1, 2], dtype="float32")
    left = TensorInfo(name="left", shape=[1, 4], dtype="float32")
    data = load_dataset(path, None, STAGE)
    assert sorted(bind(data, [left, right], STAGE)) == ["left", "ri"]
    with pytest.raises(ConverterError, match="no array for the model's input 'missing'"):
        bind(data, [left, right.model_copy(update={"name": "missing"})], STAGE)


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones((3, 4)), b=np.ones((2, 4)))
    assert failure(path).reason is FailureReason.DATA_SHAPE_MISMATCH


@pytest.mark.parametrize(("values", "says"), [([[0.5]], "fractions"), ([[300]], "outside the range")])
def test_integer_inputs_take_what_they_can_hold(tmp_path: Path, values: object, says: str) -> None:
    token = TensorInfo(name="token", shape=[1, 1], dtype="uint8")
    data = load_dataset(saved(tmp_path / "x.npy", np.array(values)), None, STAGE)
    with pytest.raises(ConverterError, match=says):
        bind(data, [token], STAGE)


def test_random_inputs_repeat_and_are_finite() -> None:
    token = TensorInfo(name="token", shape=[1, -1], dtype="int32")
    first, second = (random_inputs([FEATURES, token], 8, 3) for _ in range(2))
    assert first["features"].shape == (8, 4)
    assert first["token"].dtype == np.int32
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
