"""Data that are larger than anybody waits for: only what is drawn is read, and passes over all tell of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import IntArray
from tflite_converter.data import sampling
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.sampling import draw, split
from tflite_converter.errors import ConverterError
from tflite_converter.progress import Event
from tflite_converter.quantizing.calibration_check import check

GIBIBYTES = 48


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """A sparse file of 48 GiB with 784 float32 numbers a sample, all 0."""
    path = tmp_path / "huge.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (GIBIBYTES * 2**30 // (784 * 4), 784))
    return path


def test_only_what_is_drawn_is_read(huge: Path, tmp_path: Path) -> None:
    before = os.times()
    found = check(DataFiles(huge), None, 200, 0, tmp_path / "unpacked")
    after = os.times()
    data = found.calibration.data
    assert (data.samples, data.available, data.sha256) == (200, GIBIBYTES * 2**30 // (784 * 4), None)
    assert "only the samples that are drawn were read" in found.warnings[0]
    # To read 48 GiB takes a minute and more.
    assert (after.user - before.user) + (after.system - before.system) < 15


def test_what_trains_has_a_digest_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.data.loading._MAX_READ_BYTES", 100)
    np.save(tmp_path / "x.npy", np.ones((30, 4)))
    assert len(load_dataset(DataFiles(tmp_path / "x.npy"), Stage.TRAIN, tmp_path).sha256) == 64


def test_nan_is_found_where_it_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.data.loading._MAX_READ_BYTES", 100)
    array = np.ones((30, 4))
    array[17, 2] = np.nan
    np.save(tmp_path / "x.npy", array)
    data = load_dataset(DataFiles(tmp_path / "x.npy"), Stage.CALIBRATE, tmp_path)
    assert data.take(np.array([3, 4])).count == 2
    with pytest.raises(ConverterError, match=r"the first at index \(17, 2\)") as caught:
        data.take(np.array([3, 17, 4]))
    assert caught.value.reason is FailureReason.DATA_NOT_FINITE


def _array(path: Path) -> DataFiles:
    np.save(path, np.ones((3000, 4)))
    return DataFiles(path.with_suffix(".npy"))


def _table(path: Path) -> DataFiles:
    path.write_text("1,2\n" * 3000)
    return DataFiles(path)


def _photos(path: Path) -> DataFiles:
    path.mkdir()
    for number in range(40):
        Image.new("L", (2, 2), number).save(path / f"{number}.png")
    return DataFiles(path, images=Images(scaling=ImageScaling.NONE))


@pytest.mark.parametrize(
    ("make", "doing"),
    [
        (_array, "taking the digest of"),
        (_array, "looking for NaN in"),
        (_table, "reading"),
        (_photos, "files of"),
    ],
)
def test_a_pass_over_all_tells_how_far_it_is(
    tmp_path: Path, make: Callable[[Path], DataFiles], doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tflite_converter.data.loading._TELL_SECONDS", 0.0)
    monkeypatch.setattr("tflite_converter.array_blocks.BLOCK_BYTES", 4096)
    monkeypatch.setattr("tflite_converter.files.digests._BUFFER_BYTES", 4096)
    monkeypatch.setattr("tflite_converter.data.tables._PART_CHARACTERS", 1000)
    monkeypatch.setattr("tflite_converter.data.images._PART_FILES", 10)
    events: list[Event] = []
    load_dataset(make(tmp_path / "x"), Stage.CALIBRATE, tmp_path / "unpacked", events.append)
    told = [event for event in events if doing in event.text]
    shares = [int(event.text.rpartition(": ")[2].rstrip("%")) for event in told]
    assert len(shares) > 3
    assert shares == sorted(shares)
    assert 50 < shares[-1] <= 100
    # A fraction is that of a stage, and would make its progress jump.
    assert {event.fraction for event in told} == {None}
    assert len({event.text for event in events if doing in event.text}) <= 11


@pytest.mark.parametrize("draws", [lambda: split(10**9, 50, 3), lambda: (draw(10**9, 50, 3), np.arange(0))])
def test_a_draw_from_billions_needs_no_order_of_them(
    draws: Callable[[], tuple[IntArray, IntArray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "MOST_SHUFFLED", 10_000)
    drawn, others = draws()
    again, _ = draws()
    assert len(set(drawn.tolist())) == 50
    assert drawn.tolist() == again.tolist()
    assert not set(drawn.tolist()) & set(others.tolist())
    assert 0.3 < np.mean(drawn) / 10**9 < 0.7
    assert drawn.max() < 10**9
