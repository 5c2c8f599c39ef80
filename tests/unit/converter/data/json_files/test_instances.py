"""COCO's instances: objects by sample, and what is refused of them."""

from __future__ import annotations

import contextlib
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modelconversion_api.fields.data import ImageResize, Images, ImageScaling, Task
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.files import DataFiles
from tflite_converter.data.image_decoding import decode
from tflite_converter.data.json_files.instances import in_frame
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError

DOCUMENT: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 30, "file_name": "val/b.png", "width": 200, "height": 100},
        {"id": 7, "file_name": "val/a.png", "width": 100, "height": 100, "license": 4},
    ],
    "annotations": [
        {"id": 1, "image_id": 30, "category_id": 5, "bbox": [20, 10, 40, 20], "area": 1, "iscrowd": 0},
        {"id": 2, "image_id": 30, "category_id": 1, "bbox": [0, 0, 200, 100], "iscrowd": 1},
    ],
    "categories": [{"id": 5, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "cat"}],
}
DOG, CATS = [0.1, 0.1, 0.3, 0.3, 1, 0], [0, 0, 1, 1, 0, 1]
NOTHING = [0, 0, 0, 0, -1, 0]


def changed(**parts: object) -> dict[str, Any]:
    return DOCUMENT | parts


def loaded(folder: Path, document: object = DOCUMENT, samples: int = 2, **more: Any) -> Dataset:
    """The arrays of a data set with these labels."""
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "labels.json").write_text(text)
    np.save(folder / "x.npy", np.zeros((samples, 4)))
    more = {"task": Task.DETECTION, "path": folder / "x.npy", "labels": folder / "labels.json"} | more
    return load_dataset(DataFiles(**more), Stage.EVALUATE, folder / "unpacked")


def test_objects_belong_to_the_samples_in_their_order(tmp_path: Path) -> None:
    data = loaded(tmp_path)
    assert data.labels is not None
    assert data.class_names == ("cat", "dog")
    np.testing.assert_allclose(in_frame(data.labels, None), [[DOG, CATS], [NOTHING, NOTHING]])
    assert data.take(np.array([1])).labels is not None


def test_classes_can_be_category_ids(tmp_path: Path) -> None:
    data = loaded(tmp_path, first_category=1)
    assert data.labels is not None
    assert data.labels[0, :, 4].tolist() == [4, 0]
    assert data.class_names == ("cat", "", "", "", "dog")


def test_it_may_be_compressed_and_begin_with_a_mark(tmp_path: Path) -> None:
    loaded(tmp_path)
    path = tmp_path / "labels.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode()))
    files = DataFiles(tmp_path / "x.npy", path, task=Task.DETECTION)
    assert load_dataset(files, Stage.EVALUATE, tmp_path / "unpacked").class_names == ("cat", "dog")


def folder_of_images(folder: Path, *names: str) -> Path:
    (folder / "photos").mkdir(exist_ok=True)
    for name in names:
        pixels = np.zeros((100, 200 if name == "b.png" else 100, 3), dtype=np.uint8)
        if name == "b.png":
            pixels[10:30, 20:60] = 255  # where the dog is
        Image.fromarray(pixels).save(folder / "photos" / name)
    return folder / "photos"


def images(resize: ImageResize) -> Images:
    return Images(scaling=ImageScaling.NONE, resize=resize)


def test_images_are_found_by_their_names(tmp_path: Path) -> None:
    photos = folder_of_images(tmp_path, "a.png", "b.png")
    data = loaded(tmp_path, path=photos, images=images(ImageResize.STRETCH))
    assert data.labels is not None
    np.testing.assert_allclose(in_frame(data.labels, (64, 32)), [[NOTHING, NOTHING], [DOG, CATS]])


@pytest.mark.parametrize("resize", [ImageResize.STRETCH, ImageResize.PAD])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 100), (120, 40)])
def test_boxes_lie_where_the_decoded_picture_has_the_object(
    tmp_path: Path, resize: ImageResize, height: int, width: int
) -> None:
    photos = folder_of_images(tmp_path, "b.png")
    data = loaded(tmp_path, path=photos, images=images(resize))
    assert data.labels is not None
    ymin, xmin, ymax, xmax = in_frame(data.labels, (height, width))[0, 0, :4] * [height, width, height, width]
    info = TensorInfo(name="x", shape=[1, height, width, 3], dtype="float32")
    (picture,) = decode(data.files, images(resize), info, Stage.EVALUATE)
    ys, xs = np.nonzero(picture[:, :, 0] > 127)
    expected = [ys.min(), xs.min(), ys.max() + 1, xs.max() + 1]
    np.testing.assert_allclose([ymin, xmin, ymax, xmax], expected, atol=1.01)


@pytest.mark.parametrize(
    ("document", "more", "reason", "words"),
    [
        (DOCUMENT, {"samples": 3}, FailureReason.LABELS_MISMATCH, "has 2 pictures for 3 samples"),
        (changed(categories=[]), {}, FailureReason.LABELS_MISMATCH, "has no categories"),
        (
            changed(categories=DOCUMENT["categories"] * 2),
            {},
            FailureReason.LABELS_MISMATCH,
            "or two with one id",
        ),
        (changed(categories=[{"id": 1}]), {}, FailureReason.LABELS_MISMATCH, "an object of category 5"),
        (changed(images=DOCUMENT["images"][1:]), {"samples": 1}, FailureReason.LABELS_MISMATCH, "picture 30"),
        (changed(images=DOCUMENT["images"][1:] * 2), {}, FailureReason.LABELS_MISMATCH, "two pictures with"),
        (DOCUMENT, {"first_category": 3}, FailureReason.LABELS_MISMATCH, "go from 1 to 5, and class 0 is"),
        (changed(categories=[{"id": 1}, {"id": 1 << 40}]), {"first_category": 1}, None, "categories of"),
        ({"images": []}, {}, FailureReason.DATA_UNREADABLE, "annotations: Field required"),
        ('{"images": [', {}, FailureReason.DATA_UNREADABLE, "laid out as COCO's instances: Invalid JSON"),
        ('{"images": ' + "[" * 100_000, {}, FailureReason.DATA_UNREADABLE, "recursion limit exceeded"),
        (changed(annotations=[{}]), {}, FailureReason.DATA_UNREADABLE, "annotations.0.image_id"),
        *(
            (
                changed(annotations=[{"image_id": 7, "category_id": 1, "bbox": bbox}]),
                {},
                FailureReason.DATA_UNREADABLE,
                "annotations.0.bbox",
            )
            for bbox in ([0, 0, -1, 5], [0, 0, 1], [0, 0, float("nan"), 1], [0, 1e300, 1, 1], "abcd")
        ),
        (DOCUMENT, {"task": Task.CLASSIFICATION}, FailureReason.DATA_UNREADABLE, "it holds JSON"),
    ],
)
def test_what_is_refused(
    tmp_path: Path, document: object, more: dict[str, Any], reason: FailureReason | None, words: str
) -> None:
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path, document, **more)
    assert caught.value.reason is (reason or FailureReason.LABELS_MISMATCH)
    assert words in caught.value.message
    assert caught.value.stage is Stage.EVALUATE


@pytest.mark.parametrize(
    ("document", "resize", "words"),
    [
        (
            changed(images=DOCUMENT["images"][:1]),
            ImageResize.STRETCH,
            "does not list 1 of 2 images, e.g. 'a.p",
        ),
        (
            changed(images=[*DOCUMENT["images"], {"id": 1, "file_name": "a.png", "width": 1, "height": 1}]),
            ImageResize.STRETCH,
            "two pictures are called 'a.png'",
        ),
        (DOCUMENT, ImageResize.CROP, "are cropped"),
    ],
)
def test_images_that_the_labels_do_not_fit(
    tmp_path: Path, document: object, resize: ImageResize, words: str
) -> None:
    photos = folder_of_images(tmp_path, "a.png", "b.png")
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path, document, path=photos, images=images(resize))
    assert caught.value.reason is FailureReason.LABELS_MISMATCH
    assert words in caught.value.message


def test_so_many_objects_that_they_take_too_much_memory(tmp_path: Path) -> None:
    """One crowded picture among many must not be filled up for all of them."""
    pictures = [{"id": i, "width": 1, "height": 1} for i in range(20_000)]
    crowd = [{"image_id": 0, "category_id": 1, "bbox": [0, 0, 1, 1]}] * 1000
    document = changed(images=pictures, annotations=crowd)
    with pytest.raises(ConverterError) as caught:
        loaded(tmp_path, document, samples=20_000)
    assert caught.value.reason is FailureReason.LABELS_MISMATCH


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(
                st.sampled_from(["images", "annotations", "categories", "id", "bbox", "width"]), c
            )
        ),
    )
)
def test_any_json_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    """Nothing else than the converter's own error comes out of it."""
    document = {"images": value, "annotations": value, "categories": value}
    with contextlib.suppress(ConverterError):
        loaded(tmp_path_factory.mktemp("any"), document, samples=1)
