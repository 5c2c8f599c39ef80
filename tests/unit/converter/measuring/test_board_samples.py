"""The samples that boards compare on: how many are written, and that they are the first."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.arrays import Array
from tflite_converter.measuring.board_samples import MOST_FILE_BYTES, count_of, write_board_samples
from tflite_converter.measuring.evaluation import Reference


def reference(samples: Array, outputs: Array, labels: Array | None = None) -> Reference:
    return Reference(
        {"x": samples}, {"y": outputs}, labels, Task.CLASSIFICATION, AgreementMetric.TOP1, None, 1000
    )


@pytest.mark.parametrize(
    ("count", "features", "written"),
    [
        (1, 4, 1),
        (256, 4, 256),
        (257, 4, 256),
        # 32 MiB are 8,388,608 numbers of four bytes; each sample has as many outputs as inputs.
        (200, 1 << 15, 128),
        (3, 1 << 22, 1),
    ],
)
def test_as_many_are_written_as_the_limits_take(
    tmp_path: Path, count: int, features: int, written: int
) -> None:
    values = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None], (count, features))
    path = tmp_path / "board-samples.npz"
    write_board_samples(path, reference(values, values))
    assert count_of(path) == written
    found = np.load(path)
    assert sorted(found) == ["inputs/x", "outputs/y"]
    assert found["inputs/x"][:, 0].tolist() == list(range(written)), "the first ones, in their order"


def test_one_sample_is_written_however_large_it_is_and_the_file_is_still_taken(tmp_path: Path) -> None:
    large = np.broadcast_to(np.uint8(1), (2, 70 << 20))
    path = tmp_path / "board-samples.npz"
    write_board_samples(path, reference(large, np.zeros((2, 3), np.float32), np.array([1, 2])))
    assert count_of(path) == 1
    assert 70 << 20 < path.stat().st_size < MOST_FILE_BYTES


def test_nothing_is_compressed_so_that_what_unpacks_to_more_is_not_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "board-samples.npz"
    write_board_samples(path, reference(np.zeros((9, 999)), np.zeros((9, 3)), np.zeros(9, np.int64)))
    with zipfile.ZipFile(path) as archive:
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert sum(entry.file_size for entry in archive.infolist()) < path.stat().st_size
