"""Calibration and validation data: read safely, checked with a reason each, bound to the inputs."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array
from tflite_converter.data.binding import SavedSamples, random_inputs
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.labels import check_classes
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.errors import ConverterError
from tflite_converter.files.digests import file_sha256

STAGE = Stage.CALIBRATE
FEATURES = TensorInfo(name="features", shape=[1, 4], dtype="float32")


def saved(path: Path, array: object) -> Path:
    np.save(path, array)
    return path


def loaded(path: Path, labels: Path | None = None) -> Dataset:
    return load_dataset(DataFiles(path, labels), STAGE, path.parent / "unpacked")


def bound(data: Dataset, *inputs: TensorInfo, folder: Path) -> dict[str, Array]:
    """As the TensorFlow child gets it: by way of a file and JSON."""
    job = data.save(folder, "handed").to_json()
    return SavedSamples.model_validate_json(job).bind(inputs, STAGE)


def failure(path: Path, labels: Path | None = None) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        loaded(path, labels)
    assert caught.value.stage is STAGE
    return caught.value


def test_samples_and_labels_are_read(tmp_path: Path) -> None:
    samples, labels = tmp_path / "x.npy", tmp_path / "y.npy"
    data = loaded(saved(samples, np.ones((3, 4))), saved(labels, np.array([[0], [1], [2]])))
    assert (data.count, data.format, data.name) == (3, "npy", "x.npy")
    assert (data.sha256, data.labels_sha256) == (file_sha256(samples), file_sha256(labels))
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
        (np.full((3, 5), 2), r"shape \(3, 5\), expected \(3,\)"),
        (np.zeros((3, 5, 1), dtype=int), r"shape \(3, 5, 1\), expected \(3,\)"),
        (np.zeros((3, 0)), r"shape \(3, 0\), expected \(3,\)"),
        (np.array([0, 1, -1]), "negative"),
        (np.array([0, 1, 2**64 - 1], dtype=np.uint64), "beyond 64 bits"),
        (np.array([0, np.nan, 1]), "NaN"),
    ],
)
def test_labels_must_fit(tmp_path: Path, labels: object, says: str) -> None:
    path = saved(tmp_path / "x.npy", np.ones((3, 4)))
    found = failure(path, saved(tmp_path / "y.npy", labels))
    assert found.reason is FailureReason.LABELS_MISMATCH
    assert re.search(says, found.message)


@pytest.mark.parametrize(
    ("given", "dtype", "are_classes"),
    [
        (np.array([0, 1, 2], dtype=np.uint8), np.int64, True),
        (np.array([True, False, True]), np.int64, True),
        (np.array([[0, 1], [1, 1], [0, 0]]), np.int64, False),
        (np.array([0.5, -1, 2]), np.float64, False),
        (np.ones((3, 2), dtype=np.float32), np.float64, False),
    ],
)
def test_labels_are_classes_rows_of_yes_and_no_or_true_values(
    tmp_path: Path, given: Array, dtype: type, are_classes: bool
) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.ones((3, 4))), saved(tmp_path / "y.npy", given))
    assert data.labels is not None
    assert (data.labels.dtype, data.labels.tolist()) == (dtype, given.tolist())
    assert (data.classes is not None) == are_classes


@pytest.mark.parametrize(
    ("labels", "says"),
    [(np.zeros(3), "float64.*expected integers"), (np.zeros((3, 5), dtype=int), "rows of 5")],
)
def test_a_classifier_needs_labels_of_its_classes(tmp_path: Path, labels: Array, says: str) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.ones((3, 4))), saved(tmp_path / "y.npy", labels))
    with pytest.raises(ConverterError, match=says) as caught:
        check_classes(data.labels, data.class_names, 4, data.name, STAGE)
    assert caught.value.reason is FailureReason.LABELS_MISMATCH


def test_labels_beyond_the_classes(tmp_path: Path) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.ones((2, 4))), saved(tmp_path / "y.npy", np.array([0, 5])))
    check_classes(data.labels, data.class_names, 6, data.name, STAGE)
    with pytest.raises(ConverterError, match="go up to 5"):
        check_classes(data.labels, data.class_names, 5, data.name, STAGE)


def test_single_array_fits_a_single_input(tmp_path: Path) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.ones((3, 4))))
    features = bound(data, FEATURES, folder=tmp_path)["features"]
    assert (features.shape, features.dtype) == ((3, 4), np.float32)


def test_open_dimensions_take_any_size(tmp_path: Path) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.ones((3, 7, 4))))
    assert bound(data, FEATURES.model_copy(update={"shape": [1, -1, 4]}), folder=tmp_path)


def test_wrong_shape_says_expected_and_got(tmp_path: Path) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.ones((3, 5))))
    with pytest.raises(ConverterError, match=r"shape \(5,\).*'features' takes \(4,\)") as caught:
        bound(data, FEATURES, folder=tmp_path)
    assert caught.value.reason is FailureReason.DATA_SHAPE_MISMATCH


def test_several_inputs_go_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, left=np.ones((3, 4)), **{"ri:ght": np.ones((3, 2))}, other=np.ones((3, 1)))
    right = TensorInfo(name="ri", shape=[1, 2], dtype="float32")
    left = TensorInfo(name="left", shape=[1, 4], dtype="float32")
    data = loaded(path)
    assert sorted(bound(data, left, right, folder=tmp_path)) == ["left", "ri"]
    with pytest.raises(ConverterError, match="no array for the model's input 'missing'"):
        bound(data, left, right.model_copy(update={"name": "missing"}), folder=tmp_path)


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones((3, 4)), b=np.ones((2, 4)))
    assert failure(path).reason is FailureReason.DATA_SHAPE_MISMATCH


@pytest.mark.parametrize(("values", "says"), [([[0.5]], "fractions"), ([[300]], "outside the range")])
def test_integer_inputs_take_what_they_can_hold(tmp_path: Path, values: object, says: str) -> None:
    token = TensorInfo(name="token", shape=[1, 1], dtype="uint8")
    data = loaded(saved(tmp_path / "x.npy", np.array(values)))
    with pytest.raises(ConverterError, match=says):
        bound(data, token, folder=tmp_path)


def test_flat_rows_take_the_shape_of_the_input(tmp_path: Path) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.arange(24).reshape(2, 12)))
    image = TensorInfo(name="image", shape=[1, 2, 3, 2], dtype="float32")
    assert (
        bound(data, image, folder=tmp_path)["image"].tolist() == np.arange(24.0).reshape(2, 2, 3, 2).tolist()
    )
    handed = data.save(tmp_path, "handed")
    assert handed.fitting([image], STAGE) == {"reshape": "image: (12,) to (2, 3, 2)"}
    assert handed.fitting([FEATURES.model_copy(update={"shape": [1, 12]})], STAGE) == {}
    with pytest.raises(ConverterError, match=r"shape \(12,\)"):
        bound(data, image.model_copy(update={"shape": [1, -1, 3, 2]}), folder=tmp_path)


def test_what_float32_has_no_place_for_is_not_finite(tmp_path: Path) -> None:
    data = loaded(saved(tmp_path / "x.npy", np.full((3, 4), 1e39)))
    with pytest.raises(ConverterError, match="float32") as caught:
        bound(data, FEATURES, folder=tmp_path)
    assert caught.value.reason is FailureReason.DATA_NOT_FINITE


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a/b", "x.npy", ""])
def test_any_array_name_survives_the_way_to_the_child(tmp_path: Path, name: str) -> None:
    data = Dataset("x.npz", "0" * 64, "npz", {name: np.ones((3, 4))})
    assert bound(data, FEATURES, folder=tmp_path)["features"].shape == (3, 4)


def test_two_arrays_for_one_input_are_refused(tmp_path: Path) -> None:
    data = Dataset("x.npz", "0" * 64, "npz", {"x:0": np.ones((3, 4)), "x:1": np.ones((3, 4))})
    with pytest.raises(ConverterError, match="several arrays for one input"):
        bound(
            data,
            TensorInfo(name="x", shape=[1, 4], dtype="float32"),
            TensorInfo(name="x", shape=[1, 4], dtype="float32"),
            folder=tmp_path,
        )


def test_an_npz_file_unpacks_to_no_more_than_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.data.npz.MAX_ARRAY_BYTES", 1 << 20)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=np.zeros((1 << 20, 1), dtype=np.uint8))
    assert path.stat().st_size < 10_000
    assert failure(path).reason is FailureReason.DATA_UNREADABLE


def test_an_array_larger_than_memory_by_its_header_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 9), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert failure(path).reason is FailureReason.DATA_UNREADABLE


def test_formats_are_told_by_bytes_where_names_are_lost(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((3, 4)))
    np.savez(tmp_path / "x.npz", a=np.ones((3, 4)))
    (tmp_path / "x.csv").write_text("1,2\n3,4\n")
    found = [loaded((tmp_path / f"x.{end}").rename(tmp_path / end)).format for end in ("npy", "npz", "csv")]
    assert found == ["npy", "npz", "csv"]


@pytest.mark.parametrize(
    "content", [bytes(100), b"\x80\x04\x95", "ä,ö".encode("utf-16"), b"\x89PNG\r\n\x1a\n\0\0"]
)
def test_garbage_without_a_name_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calibration"
    path.write_bytes(content)
    assert failure(path).reason is FailureReason.DATA_UNREADABLE


@pytest.mark.parametrize(
    ("files", "reason", "says"),
    [
        (
            {"labels": "y.npy", "label_column": "y"},
            FailureReason.LABELS_MISMATCH,
            "as a file and as a column",
        ),
        ({"label_column": "y"}, FailureReason.LABELS_MISMATCH, "is no table"),
        ({"images": Images(scaling=ImageScaling.NONE)}, FailureReason.DATA_UNREADABLE, "holds numbers"),
        ({"labels": "nope.npy"}, FailureReason.SOURCE_NOT_FOUND, "nope.npy"),
        ({"labels": "two.npz"}, FailureReason.LABELS_MISMATCH, "more than one array"),
    ],
)
def test_what_does_not_belong_together(
    tmp_path: Path, files: dict[str, Any], reason: FailureReason, says: str
) -> None:
    path = saved(tmp_path / "x.npy", np.ones((2, 4)))
    saved(tmp_path / "y.npy", np.zeros(2, dtype=int))
    np.savez(tmp_path / "two.npz", a=np.zeros(2, dtype=int), b=np.zeros(2, dtype=int))
    if "labels" in files:
        files = files | {"labels": tmp_path / files["labels"]}
    with pytest.raises(ConverterError, match=says) as caught:
        load_dataset(DataFiles(path, **files), STAGE, tmp_path)
    assert caught.value.reason is reason


def test_named_classes_must_be_the_models(tmp_path: Path) -> None:
    data = Dataset(
        "x", "0" * 64, "csv", {"data": np.ones((2, 1))}, labels=np.array([0, 1]), class_names=("a", "c")
    )
    check_classes(data.labels, data.class_names, 2, data.name, STAGE)
    with pytest.raises(ConverterError, match=r"2 classes \(a, c\), but the model has 3"):
        check_classes(data.labels, data.class_names, 3, data.name, STAGE)


ROWS = st.lists(st.lists(st.integers(-3, 3), min_size=2, max_size=2), min_size=1, max_size=30)


@given(mine=ROWS, others=ROWS, forms=st.tuples(*[st.sampled_from(["<f4", "<f8", "<i4", ">i8"])] * 2))
def test_disjoint_leaves_what_the_other_does_not_hold(
    mine: list[list[int]], others: list[list[int]], forms: tuple[str, str]
) -> None:
    dataset = Dataset("a", "0" * 64, "npy", {"data": np.array(mine, dtype=forms[0])})
    other = Dataset("b", "0" * 64, "npz", {"x": np.array(others, dtype=forms[1]).reshape(-1, 1, 2)})
    expected = [i for i, row in enumerate(mine) if row not in others]
    assert disjoint(dataset, other).tolist() == expected


def test_disjoint_looks_at_every_array_and_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.array_blocks.BLOCK_BYTES", 64)
    generator = np.random.default_rng(0)
    arrays = {"a": generator.normal(size=(100, 3)), "b": generator.normal(size=(100, 2))}
    whole = Dataset("x", "0" * 64, "npz", arrays)
    same = whole.take(np.arange(10, 100))
    assert disjoint(whole, same).tolist() == list(range(10))
    changed = Dataset("x", "0" * 64, "npz", {"a": arrays["a"], "b": arrays["b"] + 1})
    assert len(disjoint(whole, changed)) == 100
    csv = Dataset("x", "0" * 64, "csv", {k: v.astype(np.float32) for k, v in arrays.items()})
    assert len(disjoint(whole, csv)) == 0


def test_random_inputs_repeat_and_are_finite() -> None:
    token = TensorInfo(name="token", shape=[1, -1], dtype="int32")
    first, second = (random_inputs([FEATURES, token], 8, 3) for _ in range(2))
    assert first["features"].shape == (8, 4)
    assert first["token"].dtype == np.int32
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
