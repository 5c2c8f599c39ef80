"""Masks as labels: taken for Segmentation only, and checked before any model runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

MASKS = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)


def loaded(folder: Path, labels: Array, task: Task | None = Task.SEGMENTATION) -> Dataset:
    np.save(folder / "x.npy", np.zeros((2, 3, 4, 1)))
    np.save(folder / "y.npy", labels)
    return load_dataset(DataFiles(folder / "x.npy", folder / "y.npy", task=task), Stage.EVALUATE, folder)


@pytest.mark.parametrize("labels", [MASKS, MASKS[..., None], MASKS.astype(np.int64), MASKS > 3])
def test_whole_numbers_of_a_class_for_each_pixel(tmp_path: Path, labels: Array) -> None:
    data = loaded(tmp_path, labels)
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, labels.reshape(2, 3, 4))
    assert (
        data.labels.dtype.itemsize == labels.dtype.itemsize
    )  # masks are large: they stay as small as they are
    assert data.classes is None


def test_masks_beside_their_samples_in_one_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros((2, 3, 4, 1)), y=MASKS)
    files = DataFiles(tmp_path / "data.npz", task=Task.SEGMENTATION)
    data = load_dataset(files, Stage.EVALUATE, tmp_path)
    assert data.labels is not None
    np.testing.assert_array_equal(data.labels, MASKS)


@pytest.mark.parametrize(
    ("labels", "more"),
    [
        (MASKS.astype(float), {}),
        (MASKS[:1], {}),
        (MASKS[..., None].repeat(2, -1), {}),
        (MASKS, {"task": None}),
    ],
)
def test_what_is_refused(tmp_path: Path, labels: Array, more: dict[str, Any]) -> None:
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path, labels, **more)
    assert caught.value.reason is FailureReason.LABELS_MISMATCH
