"""The samples that boards compare on: how many are written, and that they are the first."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.detection import Decoder, Detection
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.measurements import AgreementMetric
from support.converter import html_reports
from support.converter.heads import detector_data
from tflite_converter.arrays import Array
from tflite_converter.data.json_files.instances import Pictures, in_frame, read_instances
from tflite_converter.measuring.board_samples import (
    MOST_FILE_BYTES,
    count_of,
    read_board_samples,
    write_board_samples,
)
from tflite_converter.measuring.evaluation import Reference, quality_of
from tflite_converter.measuring.gates import Gates


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


def test_a_board_reads_boxes_as_the_conversion_did(tmp_path: Path) -> None:
    """Of the 80 samples half of the second class are found: see ``detector_data``."""
    heads, labels = detector_data(tmp_path)
    samples, objects = heads.astype(np.float32), in_frame(labels_of(labels, len(heads)), None)
    detection = Detection(decoder=Decoder.YOLO_V8)
    plain = Reference(
        {"x": samples}, {"y": samples}, objects, Task.DETECTION, AgreementMetric.DETECTIONS, None, 1000
    )
    write_board_samples(tmp_path / "board.npz", plain)
    whole = html_reports.report()
    evaluation = whole.evaluation.changed(
        task=Task.DETECTION, agreement_metric=AgreementMetric.DETECTIONS, detection=detection
    )
    read = read_board_samples(tmp_path / "board.npz", whole.changed(evaluation=evaluation))
    assert read.original is not None
    assert read.original.accuracy == pytest.approx((1 + 51 / 101) / 2, abs=1e-6)
    assert quality_of({"y": samples}, read, Gates()).agreement == 1.0
    assert quality_of({"y": samples * 0}, read, Gates()).usable is False


def labels_of(path: Path, count: int) -> Array:
    return read_instances(path, path.name, Pictures(count), None, Stage.EVALUATE).values
