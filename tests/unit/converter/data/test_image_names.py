"""Images whose names are unusual, and messages that say which image is meant."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from modelconversion_api.fields.data import Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

INPUT = TensorInfo(name="image", shape=[1, 4, 4, 3], dtype="float32")


def png(size: tuple[int, int] = (4, 4)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    return stream.getvalue()


def loaded(path: Path, stage: Stage = Stage.CALIBRATE) -> Dataset:
    files = DataFiles(path, images=Images(scaling=ImageScaling.NONE))
    return load_dataset(files, stage, path.parent / "unpacked")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("name", "is_fine"),
    [
        ("猫.png", True),
        ("\u06a9\u062a\u0627\u0628\u200c\u0647\u0627.png", True),  # a joiner of Persian
        ("Screenshot at 1.23\u202fPM.png", True),  # as macOS writes it
        ("a\u00a0b\u3000c.png", True),
        ("\U0001f468\u200d\U0001f469.png", True),
        ("\U0001fae9.png", True),  # younger than the tables of some Pythons
        ("a\nb.png", False),
        ("a\x1b[2Jb.png", False),
        ("a\u202egnp.exe", False),
    ],
)
def test_names_of_images(tmp_path: Path, name: str, is_fine: bool, packed: bool) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    if packed:
        folder = tmp_path / "photos.zip"
        with zipfile.ZipFile(folder, "w") as archive:
            archive.writestr(name, png())
    else:
        (folder / name).write_bytes(png())
    if is_fine:
        assert loaded(folder).save(tmp_path, "s").bind([INPUT], Stage.CALIBRATE)["image"].shape == (
            1,
            4,
            4,
            3,
        )
        return
    with pytest.raises(ConverterError) as caught:
        loaded(folder)
    assert caught.value.reason is FailureReason.DATA_UNREADABLE
    assert "control characters" in f"{caught.value.message} {caught.value.hint}" or packed


def test_a_corrupt_image_is_named_with_its_class(tmp_path: Path) -> None:
    for folder, content in (("cat", png()), ("dog", png()[:40])):
        (tmp_path / "x" / folder).mkdir(parents=True)
        (tmp_path / "x" / folder / "1.png").write_bytes(content)
    samples = loaded(tmp_path / "x").save(tmp_path, "s")
    with pytest.raises(
        ConverterError, match=r"^dog/1\.png cannot be read: cannot identify image file\. Hint"
    ):
        samples.bind([INPUT], Stage.CALIBRATE)


def test_a_bomb_is_called_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (12, 40):  # Pillow itself refuses beyond twice its limit
        folder = tmp_path / str(side)
        folder.mkdir()
        (folder / "a.png").write_bytes(png((side, side)))
        with pytest.raises(ConverterError, match=r"more than 100 pixels.*make it smaller"):
            loaded(folder).save(tmp_path, "s").bind([INPUT], Stage.CALIBRATE)


@pytest.mark.parametrize("stage", [Stage.CALIBRATE, Stage.EVALUATE, Stage.TRAIN])
def test_a_damaged_archive_of_images_is_data_at_every_stage(tmp_path: Path, stage: Stage) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", png())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ConverterError) as caught:
        loaded(path, stage)
    assert (caught.value.reason, caught.value.stage) == (FailureReason.DATA_UNREADABLE, stage)
