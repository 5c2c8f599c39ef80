"""Names of classes in NumPy files: as arrays of text or bytes, alone or beside the samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

NAMES = np.array(["swipe", "pinch", "swipe", "tap", "tap", "pinch"])
SAMPLES = np.arange(24, dtype=np.float32).reshape(6, 4)


def loaded(path: Path, labels: Path | None = None) -> Dataset:
    return load_dataset(DataFiles(path, labels), Stage.CALIBRATE, path.parent)


@pytest.mark.parametrize("labels", [NAMES, NAMES.astype(bytes), NAMES[:, np.newaxis], NAMES.astype("U40")])
@pytest.mark.parametrize("keys", [None, ("x", "y"), ("x_train", "y_train"), ("arr_0", "arr_1")])
def test_names_are_numbered_in_their_order(
    tmp_path: Path, labels: Array, keys: tuple[str, str] | None
) -> None:
    if keys is None:
        np.save(tmp_path / "x.npy", SAMPLES)
        np.save(tmp_path / "y.npy", labels)
        data = loaded(tmp_path / "x.npy", tmp_path / "y.npy")
    else:
        np.savez(tmp_path / "x.npz", **{keys[0]: SAMPLES, keys[1]: labels})  # type: ignore[arg-type]
        data = loaded(tmp_path / "x.npz")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0, 1, 2, 2, 0]
    assert data.class_names == ("pinch", "swipe", "tap")
    assert data.take(np.array([3, 0])).save(tmp_path, "handed").arrays is not None


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.array([["a", "b"]] * 6), "one name for each sample"),
        (np.array([b"\xff"] * 6), "not UTF-8"),
        (np.array(["a", "", "a", "b", "b", "a"]), "sample 2: the label is empty"),
        (np.array(["0", "1", "nan", "NA", "0", "1"]), "sample 3: the label 'nan'"),
        (NAMES[:4], "4 labels for 6 samples"),
    ],
)
def test_names_that_are_no_labels(tmp_path: Path, labels: Array, says: str) -> None:
    np.save(tmp_path / "x.npy", SAMPLES)
    np.save(tmp_path / "y.npy", labels)
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path / "x.npy", tmp_path / "y.npy")
    assert caught.value.reason is FailureReason.LABELS_MISMATCH
    assert says in caught.value.message


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": NAMES}, "text is only for labels"),
        ({"x": NAMES, "y": SAMPLES}, "'x' holds <U5"),
        ({"a": SAMPLES, "b": NAMES}, "'b' holds <U5"),
        ({"x": np.zeros(6, dtype=[("a", "f4"), ("b", "f4")])}, "structured_to_unstructured"),
        ({"x": SAMPLES.astype(np.complex64)}, "imaginary"),
    ],
)
def test_samples_are_numbers(tmp_path: Path, arrays: dict[str, Array], says: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path / "x.npz")
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert says in caught.value.message
