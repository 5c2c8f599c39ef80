"""A detector's labels: the objects in each picture, from a .json file laid out as COCO's ``instances``.

``images`` with ``id``, ``width``, ``height`` and, where samples are image files, ``file_name``;
``annotations`` with ``image_id``, ``category_id``, ``bbox`` (x, y, width, height in the picture's pixels) and
``iscrowd``; ``categories`` with ``id`` and ``name``. Everything else in it is passed over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from modelconversion_api.fields.data import ImageResize, Images
from modelconversion_api.reasons import Stage
from modelconversion_api.text import human_size
from tflite_converter.arrays import Array, FloatArray
from tflite_converter.data.errors import labels_mismatch, unreadable
from tflite_converter.data.json_files.text import is_json
from tflite_converter.data.labels import Labels
from tflite_converter.files.names import readable

COLUMNS: Final = 8
"""``ymin, xmin, ymax, xmax`` as shares of the picture, class (-1 for no object), crowd, and the height and
width of a picture that is padded to the model's proportions; 0 where it is not."""
_HEAD_BYTES: Final = 4096
_MOST_BYTES: Final = 512 << 20
"""The instances of COCO's 118,000 training pictures take 450 MB, most of it outlines."""
_MOST_LABEL_BYTES: Final = 1 << 30
_MOST_CLASSES: Final = 65536

_Finite = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
_Side = Annotated[float, Field(gt=0, le=1e9)]
_Size = Annotated[float, Field(ge=0, le=1e9)]


@dataclass(frozen=True, slots=True)
class _Image:
    id: int
    width: _Side
    height: _Side
    file_name: str = ""


@dataclass(frozen=True, slots=True)
class _Annotation:
    image_id: int
    category_id: int
    bbox: tuple[_Finite, _Finite, _Size, _Size]
    iscrowd: Annotated[int, Field(ge=0, le=1)] = 0


@dataclass(frozen=True, slots=True)
class _Category:
    id: int
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Instances:
    images: Annotated[list[_Image], Field(max_length=1_000_000)]
    annotations: Annotated[list[_Annotation], Field(max_length=1_000_000)]
    categories: Annotated[list[_Category], Field(max_length=_MOST_CLASSES)]


@dataclass(frozen=True)
class Pictures:
    """The samples that the objects are in."""

    count: int
    names: tuple[str, ...] = ()
    """Names of image files; without any, the file's pictures are the samples in their order."""
    images: Images | None = None
    """How they are brought to the model's size."""


def is_instances(path: Path) -> bool:
    """Whether the labels at ``path`` are JSON text."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    return is_json(head.decode(errors="replace"))


def read_instances(
    path: Path, name: str, pictures: Pictures, first_category: int | None, stage: Stage
) -> Labels:
    """Read the objects of each sample: ``(n, M, 8)`` float64 with :data:`COLUMNS`, and the classes' names.

    Raises:
        ConverterError: DataUnreadable for what is not laid out so; LabelsMismatch for objects that belong to
            no picture or category, and samples that are not among the pictures.

    """
    found = _parsed(path, name, stage)
    numbers, names = _classes(found.categories, first_category, name, stage)
    chosen = _images(found.images, pictures, name, stage)
    rows: dict[int, list[tuple[float, ...]]] = {image.id: [] for image in chosen}
    known = {image.id: image for image in found.images}
    is_padded = pictures.images is not None and pictures.images.resize is ImageResize.PAD
    for annotation in found.annotations:
        image = known.get(annotation.image_id)
        if image is None:
            raise labels_mismatch(
                f"{name} has an object in picture {annotation.image_id}, which it lacks", stage
            )
        if annotation.category_id not in numbers:
            cause = f"{name} has an object of category {annotation.category_id}, which it lacks"
            raise labels_mismatch(cause, stage)
        if image.id in rows:
            rows[image.id].append(
                _row(annotation, image, numbers[annotation.category_id], is_padded=is_padded)
            )
    most = max(map(len, rows.values()), default=0)
    if len(chosen) * most * COLUMNS * 8 > _MOST_LABEL_BYTES:
        cause = f"{name} has up to {most} objects in each of {len(chosen)} pictures, which are too many"
        raise labels_mismatch(cause, stage, hint="give fewer pictures, or leave out those with most objects")
    values = np.zeros((len(chosen), max(1, most), COLUMNS))
    values[:, :, 4] = -1.0
    for target, image in zip(values, chosen, strict=True):
        if rows[image.id]:
            target[: len(rows[image.id])] = rows[image.id]
    return Labels(values, names)


def in_frame(labels: Array, size: tuple[int, int] | None) -> FloatArray:
    """Return the objects as shares of the model's input, of ``size`` height and width: ``(n, M, 6)``.

    Where pictures are padded (:mod:`~tflite_converter.data.image_decoding` says how), so are the boxes.
    """
    objects: FloatArray = labels[:, :, :6].copy()
    padded = labels[:, :, 6] > 0
    if size is None or not padded.any():
        return objects
    whole, own = np.array(size, dtype=np.float64), labels[:, :, 6:8][padded]
    ratio = np.min(whole / own, axis=1, keepdims=True)
    inner = np.maximum(1.0, np.rint(own * ratio))
    corner = (whole - inner) // 2
    boxes = objects[padded]
    scale, shift = np.tile(inner / whole, 2), np.tile(corner / whole, 2)
    boxes[:, :4] = boxes[:, :4] * scale + shift
    objects[padded] = boxes
    return objects


def _parsed(path: Path, name: str, stage: Stage) -> _Instances:
    if (size := path.stat().st_size) > _MOST_BYTES:
        hint = "leave out the pictures that are not measured on, and the segmentations"
        raise unreadable(name, f"it has {human_size(size)}", stage, hint=hint)
    try:
        text = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
        return TypeAdapter(_Instances).validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        why = f"it is not laid out as COCO's instances: {place + ': ' if place else ''}{first['msg']}"
        hint = "give images (id, width, height), annotations (image_id, category_id, bbox) and categories"
        raise unreadable(name, why, stage, hint=hint) from error


def _classes(
    categories: list[_Category], first: int | None, name: str, stage: Stage
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the class of each category id, and the names in the order of the classes."""
    ids = sorted(category.id for category in categories)
    if not ids or len(set(ids)) != len(ids):
        raise labels_mismatch(f"{name} has no categories, or two with one id", stage)
    numbers = {number: place if first is None else number - first for place, number in enumerate(ids)}
    if min(numbers.values()) < 0 or max(numbers.values()) >= _MOST_CLASSES:
        cause = f"the categories of {name} go from {ids[0]} to {ids[-1]}, and class 0 is category {first}"
        hint = (
            "set --detection-first-category / firstCategory to the id of the model's class 0, or leave it out"
            " to count them in order"
        )
        raise labels_mismatch(cause, stage, hint=hint)
    names = [""] * (max(numbers.values()) + 1)
    for category in categories:
        names[numbers[category.id]] = category.name
    return numbers, tuple(names)


def _images(found: list[_Image], pictures: Pictures, name: str, stage: Stage) -> list[_Image]:
    """Return the picture of each sample."""
    if len({image.id for image in found}) != len(found):
        raise labels_mismatch(f"{name} has two pictures with one id", stage)
    if pictures.images is not None and pictures.images.resize is ImageResize.CROP:
        cause = "images are cropped (Crop), so that a detector does not see all objects of the labels"
        raise labels_mismatch(cause, stage, hint="set --image-resize / images.resize to Pad or Stretch")
    if not pictures.names:
        if len(found) != pictures.count:
            cause = f"{name} has {len(found)} pictures for {pictures.count} samples"
            raise labels_mismatch(cause, stage, hint="list a picture for each sample, in their order")
        return found
    by_name = {_last(image.file_name): image for image in found}
    twice = [*_twice([_last(image.file_name) for image in found]), *_twice(pictures.names)]
    if twice:
        raise labels_mismatch(f"two pictures are called {readable(twice[0])!r}", stage, hint=_NAMES)
    missing = [file for file in pictures.names if file not in by_name]
    if missing:
        cause = (
            f"{name} does not list {len(missing)} of {pictures.count} images, e.g. {readable(missing[0])!r}"
        )
        raise labels_mismatch(cause, stage, hint=_NAMES)
    return [by_name[file] for file in pictures.names]


_NAMES: Final = "each image needs one entry in images with its file_name; one without objects needs it too"


def _last(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _twice(names: list[str] | tuple[str, ...]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _row(annotation: _Annotation, image: _Image, label: int, *, is_padded: bool) -> tuple[float, ...]:
    x, y, width, height = annotation.bbox
    box = (y / image.height, x / image.width, (y + height) / image.height, (x + width) / image.width)
    whole = (image.height, image.width) if is_padded else (0.0, 0.0)
    return (*box, float(label), float(annotation.iscrowd), *whole)
