"""Images: which files are samples, what class they are, and what becomes of their pixels."""

from __future__ import annotations

import hashlib
import os
import subprocess
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from modelconversion_api.fields.data import ImageResize, Images, ImageScaling
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array
from tflite_converter.data.binding import SavedSamples
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.errors import ConverterError

STAGE = Stage.CALIBRATE
PLAIN = Images(scaling=ImageScaling.NONE)


def info(height: int, width: int, channels: int, dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name="image", shape=[1, height, width, channels], dtype=dtype)


def saved(path: Path, pixels: Array | Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.asarray(pixels))
    image.save(path, **options)  # type: ignore[arg-type]  # each format has its own
    return path


def loaded(path: Path, images: Images | None = PLAIN, labels: Path | None = None) -> Dataset:
    return load_dataset(DataFiles(path, labels, images=images), STAGE, path.parent / "unpacked")


def bound(data: Dataset, *inputs: TensorInfo) -> Array:
    """As the TensorFlow child gets it: by way of JSON."""
    job = data.save(Path("/nonexistent"), "images").to_json()
    (array,) = SavedSamples.model_validate_json(job).bind(inputs, STAGE).values()
    return array


def failure(act: Callable[[], object]) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        act()
    assert caught.value.stage is STAGE
    return caught.value


GREY = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
COLOUR = np.stack([GREY, 255 - GREY, np.full_like(GREY, 7)], axis=-1)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Three classes, one of them empty, with what operating systems leave beside."""
    folder = tmp_path / "photos"
    for i, name in enumerate(["b/2.png", "b/1.PNG", "a/deep/x.jpeg"]):
        saved(folder / name, COLOUR + i, format="PNG")
    (folder / "A empty").mkdir()
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "note.txt").write_text("x")
    (folder / "a" / "Thumbs.db").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "._1.png").write_bytes(b"x")
    return folder


def test_class_folders_are_labels(classes: Path) -> None:
    data = loaded(classes)
    assert data.class_names == ("A empty", "a", "b")
    assert data.labels is not None
    assert data.labels.tolist() == [1, 2, 2]
    assert [path.name for path in data.files] == ["x.jpeg", "1.PNG", "2.png"]
    assert (data.format, data.count) == ("images", 3)
    assert data.preprocessing == {"resize": "Stretch", "scaling": "None"}
    taken = data.take(np.array([2, 0]))
    assert taken.labels is not None
    assert (taken.labels.tolist(), [p.name for p in taken.files]) == ([2, 1], ["2.png", "x.jpeg"])
    np.testing.assert_array_equal(bound(taken, info(4, 6, 3)), np.stack([COLOUR, COLOUR + 2]))


def test_digest_is_that_of_the_documented_command(classes: Path) -> None:
    command = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    printed = subprocess.run(
        ["/bin/sh", "-c", command], cwd=classes, capture_output=True, text=True, check=True
    ).stdout
    assert loaded(classes).sha256 == printed.split()[0]


def test_an_archive_is_unpacked_and_known_by_its_own_digest(classes: Path, tmp_path: Path) -> None:
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in classes.rglob("*"):
            archive.write(file, Path("photos") / file.relative_to(classes))
    data = loaded(path)
    assert data.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (data.name, data.class_names) == ("photos.zip", ("A empty", "a", "b"))
    assert all((tmp_path / "unpacked") in file.parents for file in data.files)
    assert disjoint(data, loaded(classes)).tolist() == []


def test_images_without_class_folders_have_no_labels_but_may_be_given_them(tmp_path: Path) -> None:
    for i in range(3):
        saved(tmp_path / "x" / f"{i}.png", GREY + i)
    data = loaded(tmp_path / "x")
    assert (data.labels, data.classes, data.class_names) == (None, None, ())
    (tmp_path / "y.csv").write_text("0\n1\n0\n")
    labels = loaded(tmp_path / "x", labels=tmp_path / "y.csv").labels
    assert labels is not None
    assert labels.tolist() == [0, 1, 0]


def test_disjoint_goes_by_the_files_bytes(tmp_path: Path) -> None:
    for i in range(4):
        saved(tmp_path / "all" / f"{i}.png", GREY + i)
    saved(tmp_path / "some" / "renamed.png", GREY + 2)
    found = disjoint(loaded(tmp_path / "all"), loaded(tmp_path / "some"))
    assert found.tolist() == [0, 1, 3]
    arrays = Dataset("x", "0" * 64, "npy", {"data": np.zeros((2, 2))})
    assert disjoint(loaded(tmp_path / "all"), arrays).tolist() == [0, 1, 2, 3]


def test_scaling_must_be_given(classes: Path) -> None:
    found = failure(lambda: loaded(classes, None))
    assert found.reason is FailureReason.DATA_UNREADABLE
    assert "--image-scaling" in found.message


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([], "holds no file"),
        (["a.npy", "sub/b.csv"], "holds no image, but a.npy, sub/b.csv"),
        (["a.docx"], "'a.docx' in it is not a PNG"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_holds_no_image_is_not_asked_for_their_scaling(
    tmp_path: Path, files: list[str], says: str, *, packed: bool
) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    for file in files:
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("1,2")
    if packed:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for file in files:
                archive.write(folder / file, file)
        folder = tmp_path / "x.zip"
    assert says in failure(lambda: loaded(folder, None)).message


def test_classes_with_numbers_for_names_are_said_to_be_in_order_of_text(tmp_path: Path) -> None:
    for number in range(11):
        saved(tmp_path / "x" / str(number) / "1.png", GREY)
    data = loaded(tmp_path / "x")
    assert data.class_names[2] == "10"
    assert "class 2 is the folder '10'" in data.notes[0]
    assert loaded(tmp_path / "x" / "0").notes == ()


def _mixed(folder: Path) -> None:
    saved(folder / "a" / "1.png", GREY)
    saved(folder / "loose.png", GREY)


def _text(folder: Path) -> None:
    saved(folder / "a.png", GREY)
    (folder / "readme.txt").write_text("about")


def _linked(folder: Path) -> None:
    saved(folder / "a" / "1.png", GREY)
    (folder / "b").symlink_to(folder / "a")


def _linked_file(folder: Path) -> None:
    saved(folder / "1.png", GREY)
    (folder / "2.png").symlink_to("/etc/passwd")


def _pipe(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "1.png")


def _unprintable(folder: Path) -> None:
    folder.mkdir()
    (folder / "\udcff.png").write_bytes(b"")


def _tiff(folder: Path) -> None:
    saved(folder / "1.tif", GREY)


def _empty_file(folder: Path) -> None:
    folder.mkdir()
    (folder / "1.png").write_bytes(b"")


@pytest.mark.parametrize(
    ("make", "reason", "says"),
    [
        (Path.mkdir, FailureReason.DATA_TOO_FEW, "no image"),
        (_mixed, FailureReason.DATA_UNREADABLE, "beside the class folders in it, 'loose.png'"),
        (_text, FailureReason.DATA_UNREADABLE, "'readme.txt' in it is not a PNG"),
        (_empty_file, FailureReason.DATA_UNREADABLE, "'1.png' in it is empty"),
        (_tiff, FailureReason.DATA_UNREADABLE, "save it as PNG or JPEG"),
        (_linked, FailureReason.DATA_UNREADABLE, "'b' in it is a symbolic link"),
        (_linked_file, FailureReason.DATA_UNREADABLE, "'2.png' in it is a symbolic link"),
        (_pipe, FailureReason.DATA_UNREADABLE, "'1.png' in it is not a regular file"),
        (_unprintable, FailureReason.DATA_UNREADABLE, r"'\xff.png'"),
    ],
)
def test_folders_that_are_refused(
    tmp_path: Path, make: Callable[[Path], None], reason: FailureReason, says: str
) -> None:
    make(tmp_path / "x")
    found = failure(lambda: loaded(tmp_path / "x"))
    assert (found.reason, says in found.message) == (reason, True), found.message


def test_labels_are_not_given_twice(classes: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.zeros(3, dtype=int))
    found = failure(lambda: loaded(classes, labels=tmp_path / "y.npy"))
    assert found.reason is FailureReason.LABELS_MISMATCH


def test_more_files_than_the_cap(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tflite_converter.data.images.MAX_IMAGES", 2)
    assert "more than 2 files" in failure(lambda: loaded(classes)).message


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP"])
def test_formats_go_by_content(tmp_path: Path, form: str) -> None:
    saved(tmp_path / "x" / "image.jpg", GREY, format=form, **({"lossless": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(bound(loaded(tmp_path / "x"), info(4, 6, 1))[0, ..., 0], GREY)


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((4, 4), value, dtype=np.uint8)) for value in (10, 200)]
    saved(tmp_path / "x" / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert np.unique(bound(loaded(tmp_path / "x"), info(4, 4, 1))).tolist() == [10]


_RGB = Image.new("RGB", (4, 4), (200, 100, 50))
_LUMA = round(200 * 0.299 + 100 * 0.587 + 50 * 0.114)
_DEEP = np.full((4, 4), 0xC8FF, dtype=np.uint16)
_TRANSPARENT = Image.new("P", (4, 4), 3)
_TRANSPARENT.putpalette([0] * 9 + [200, 100, 50])


@pytest.mark.parametrize(
    ("image", "form", "colour", "grey"),
    [
        (_RGB, "PNG", (200, 100, 50), _LUMA),
        (_RGB.convert("P", palette=Image.Palette.ADAPTIVE), "PNG", (200, 100, 50), _LUMA),
        (Image.new("RGBA", (4, 4), (200, 100, 50, 10)), "PNG", (200, 100, 50), _LUMA),
        (_TRANSPARENT, "PNG+", (200, 100, 50), _LUMA),
        (Image.new("L", (4, 4), 90), "PNG", (90, 90, 90), 90),
        (Image.new("LA", (4, 4), (90, 10)), "PNG", (90, 90, 90), 90),
        (Image.new("1", (4, 4), 1), "PNG", (255, 255, 255), 255),
        (Image.fromarray(_DEEP), "PNG", (0xC8, 0xC8, 0xC8), 0xC8),
        (_RGB, "JPEG", (200, 100, 50), _LUMA),
        (_RGB.convert("CMYK"), "JPEG", (200, 100, 50), _LUMA),
    ],
)
def test_every_mode_becomes_colour_or_grey(
    tmp_path: Path, image: Image.Image, form: str, colour: tuple[int, ...], grey: int
) -> None:
    transparency = {"transparency": 3} if form.endswith("+") else {}
    saved(tmp_path / "x" / "image", image, format=form.rstrip("+"), **transparency)
    data = loaded(tmp_path / "x")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(bound(data, info(4, 4, 3))[0, 1, 1], colour, atol=2)
        np.testing.assert_allclose(bound(data, info(4, 4, 1))[0, 1, 1], grey, atol=2)


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    saved(tmp_path / "x" / "a.png", GREY, exif=exif)
    np.testing.assert_array_equal(bound(loaded(tmp_path / "x"), info(6, 4, 1))[0, ..., 0], np.rot90(GREY, -1))


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        (ImageScaling.NONE, [200.0, 100.0, 50.0]),
        (ImageScaling.ZERO_TO_ONE, [200 / 255, 100 / 255, 50 / 255]),
        (ImageScaling.MINUS_ONE_TO_ONE, [200 / 127.5 - 1, 100 / 127.5 - 1, 50 / 127.5 - 1]),
        (
            ImageScaling.IMAGENET_TORCH,
            [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225],
        ),
        (ImageScaling.IMAGENET_CAFFE, [50 - 103.939, 100 - 116.779, 200 - 123.68]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scalings(tmp_path: Path, scaling: ImageScaling, expected: list[float], dtype: str) -> None:
    saved(tmp_path / "x" / "a.png", _RGB)
    found = bound(loaded(tmp_path / "x", Images(scaling=scaling)), info(2, 3, 3, dtype))
    assert (found.shape, found.dtype) == ((1, 2, 3, 3), dtype)
    np.testing.assert_allclose(found[0, 1, 2], expected, rtol=1e-6 if dtype == "float32" else 1e-2)


BANDS = np.repeat(np.array([[0, 255, 255, 0]], dtype=np.uint8), 2, axis=0)
"""Two rows of four: black, white, white, black."""


@pytest.mark.parametrize(
    ("resize", "size", "expected"),
    [
        (ImageResize.CROP, (2, 2), [[255, 255], [255, 255]]),
        (ImageResize.PAD, (4, 4), [[0] * 4, [0, 255, 255, 0], [0, 255, 255, 0], [0] * 4]),
        (ImageResize.STRETCH, (2, 4), [[0, 255, 255, 0]] * 2),
        (ImageResize.CROP, (2, 4), [[0, 255, 255, 0]] * 2),
        (ImageResize.PAD, (2, 4), [[0, 255, 255, 0]] * 2),
    ],
)
def test_resizing(
    tmp_path: Path, resize: ImageResize, size: tuple[int, int], expected: list[list[int]]
) -> None:
    saved(tmp_path / "x" / "a.png", BANDS)
    data = loaded(tmp_path / "x", Images(scaling=ImageScaling.NONE, resize=resize))
    assert bound(data, info(*size, 1, "uint8"))[0, ..., 0].tolist() == expected


def test_stretching_averages_what_it_leaves_out(tmp_path: Path) -> None:
    saved(tmp_path / "x" / "a.png", np.tile(np.array([[0, 255]], dtype=np.uint8), (8, 32)))
    found = bound(loaded(tmp_path / "x"), info(2, 4, 1))
    np.testing.assert_allclose(found, 127.5, atol=20)


@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    channels=st.sampled_from([1, 3]),
    resize=st.sampled_from(ImageResize),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_size_comes_to_the_inputs(
    tmp_path: Path, width: int, height: int, size: tuple[int, int], channels: int, resize: ImageResize
) -> None:
    path = saved(tmp_path / "a.png", np.full((height, width), 255, dtype=np.uint8))
    samples = SavedSamples(name="x", files=(path,), images=Images(scaling=ImageScaling.NONE, resize=resize))
    found = samples.bind([info(*size, channels)], STAGE)["image"]
    assert found.shape == (1, *size, channels)
    assert found.max() == 255
    assert resize is ImageResize.PAD or found.min() == 255


@pytest.mark.parametrize(
    ("inputs", "scaling", "says"),
    [
        ([info(4, 4, 2)], ImageScaling.NONE, "(4, 4, 2)"),
        ([info(3, 224, 224)], ImageScaling.NONE, "(3, 224, 224)"),
        ([info(-1, -1, 3)], ImageScaling.NONE, "(-1, -1, 3)"),
        ([TensorInfo(name="x", shape=[1, 4], dtype="float32")], ImageScaling.NONE, "(4,)"),
        ([info(4, 4, 3), info(4, 4, 3)], ImageScaling.NONE, "2 inputs"),
        ([info(4, 4, 3, "uint8")], ImageScaling.ZERO_TO_ONE, "uint8"),
        ([info(4, 4, 3, "int8")], ImageScaling.NONE, "int8"),
        ([info(4, 4, 3, "bool")], ImageScaling.NONE, "bool"),
        ([info(4, 4, 1)], ImageScaling.IMAGENET_TORCH, "three channels"),
        ([info(4, 4, 1)], ImageScaling.IMAGENET_CAFFE, "three channels"),
    ],
)
def test_inputs_that_take_no_images(
    tmp_path: Path, inputs: list[TensorInfo], scaling: ImageScaling, says: str
) -> None:
    saved(tmp_path / "x" / "a.png", GREY)
    data = loaded(tmp_path / "x", Images(scaling=scaling))
    found = failure(lambda: bound(data, *inputs))
    assert (found.reason, says in found.message) == (FailureReason.DATA_SHAPE_MISMATCH, True), found.message


def test_the_size_is_told_for_the_report(tmp_path: Path) -> None:
    saved(tmp_path / "x" / "a.png", GREY)
    samples = loaded(tmp_path / "x").save(tmp_path, "x")
    assert samples.fitting([info(2, 3, 1)], STAGE) == {"size": "2 x 3 x 1"}


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "WEBP"])
def test_a_truncated_image_is_named(tmp_path: Path, form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "x" / "broken.img", noise, format=form)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    data = loaded(tmp_path / "x")
    found = failure(lambda: bound(data, info(4, 4, 3)))
    assert (found.reason, "broken.img" in found.message) == (FailureReason.DATA_UNREADABLE, True)
    assert str(tmp_path) not in found.message


@pytest.mark.parametrize("limit", [GREY.size - 1, GREY.size // 3])
def test_decompression_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Pillow warns of the first and raises an error for the second."""
    saved(tmp_path / "x" / "bomb.png", GREY)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    data = loaded(tmp_path / "x")
    found = failure(lambda: bound(data, info(4, 4, 3)))
    assert (found.reason, "bomb.png" in found.message) == (FailureReason.DATA_UNREADABLE, True)


def test_no_other_decoder_looks_at_a_file(tmp_path: Path) -> None:
    """Pillow would take this for PostScript and start Ghostscript."""
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n")
    samples = SavedSamples(name="x", files=(path,), images=PLAIN)
    found = failure(lambda: samples.bind([info(4, 4, 3)], STAGE))
    assert "cannot identify" in found.message


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("encoded")
    return [
        saved(folder / form, COLOUR, format=form).read_bytes()
        for form in ("PNG", "JPEG", "BMP", "GIF", "WEBP")
    ]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.integers(0, 4),
    changes=st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), min_size=1, max_size=8),
)
@pytest.mark.filterwarnings("ignore")  # Pillow's about what the damage does
def test_any_damage_ends_in_pixels_or_in_a_reason(
    tmp_path: Path, encoded: list[bytes], which: int, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(encoded[which])
    for place, byte in changes:
        content[place % len(content)] = byte
    path = tmp_path / "damaged"
    path.write_bytes(content)
    samples = SavedSamples(name="x", files=(path,), images=PLAIN)
    try:
        assert samples.bind([info(2, 2, 3)], STAGE)["image"].shape == (1, 2, 2, 3)
    except ConverterError as error:
        if error.reason is not FailureReason.DATA_UNREADABLE:
            raise
