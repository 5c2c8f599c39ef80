"""Labels: classes, rows of yes and no, or true values; from files, columns and folder names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from modelconversion_api.reasons import Stage
from tflite_converter.arrays import Array, IntArray
from tflite_converter.data.errors import labels_mismatch
from tflite_converter.data.table_text import is_missing

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_FEW_VALUES: Final = 10
"""So many different values are few, however few samples there are."""


class Labels(NamedTuple):
    """What is true of each sample."""

    values: Array
    """``(n,)`` int64 classes; ``(n, C)`` int64 of 0 and 1; float64 true values, ``(n,)`` or ``(n, k)``; masks
    ``(n, height, width)`` of whole numbers; or boxes (:mod:`~tflite_converter.data.json_files.instances`)."""
    class_names: tuple[str, ...] = ()
    """Where classes were named: the names in the order of their numbers."""


def checked_labels(values: Array, count: int, name: str, stage: Stage) -> Array:
    """``values`` in one of the forms of :class:`Labels`, a label for each of ``count`` samples.

    Floating-point numbers that count classes (:func:`_count_classes`) become integers. Nothing is lost for a
    regression: its metrics take whole numbers, and a model with one output that is no yes or no is one,
    whatever its labels are.

    Raises:
        ConverterError: LabelsMismatch.

    """
    if values.ndim > 1 and values.size == len(values):
        values = values.reshape(len(values))
    if len(values) != count:
        if values.ndim == 2 and values.shape[1] == count:
            cause = f"{name} has shape {values.shape}: a column for each of the {count} samples, not a row"
            hint = "give a row for each sample: array.T, or in a text file a line"
            raise labels_mismatch(cause, stage, hint=hint)
        raise labels_mismatch(f"{name} has {len(values)} labels for {count} samples", stage)
    is_float = values.dtype.kind == "f"
    is_yes_or_no = values.ndim == 2 and not is_float and bool(np.isin(values, (0, 1)).all())
    is_one_a_sample = values.ndim == 1
    if values.size == 0 or not (is_one_a_sample or is_yes_or_no or (values.ndim == 2 and is_float)):
        raise labels_mismatch(
            f"{name} has shape {values.shape}, expected ({count},)",
            stage,
            hint="give one integer class for each sample, a row of 0 and 1 for several classes at once,"
            " or floating-point numbers for true values",
        )
    if is_float:
        if not np.isfinite(values).all():
            raise labels_mismatch(f"{name} holds NaN or infinite labels", stage)
        return np.asarray(values, dtype=np.int64 if _count_classes(values) else np.float64)
    if values.min() < 0:
        hint = (
            "count classes from 0 (0 and 1 for -1 and 1); give true values as floating-point numbers (-5.0)"
        )
        raise labels_mismatch(f"{name} holds negative labels", stage, hint=hint)
    if values.max() > np.iinfo(np.int64).max:
        raise labels_mismatch(f"{name} holds labels beyond 64 bits", stage)
    return np.asarray(values, dtype=np.int64)


def checked_masks(values: Array, count: int, name: str, stage: Stage) -> Array:
    """``values`` as masks ``(n, height, width)`` of the classes of pixels, one for each of ``count`` samples.

    Raises:
        ConverterError: LabelsMismatch.

    """
    masks = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    if masks.ndim != 3 or masks.dtype.kind not in "iub" or masks.size == 0:
        cause = f"{name} has shape {values.shape} and dtype {values.dtype}, which are no masks"
        hint = "give whole numbers of shape (samples, height, width): the class of each pixel"
        raise labels_mismatch(cause, stage, hint=hint)
    if len(masks) != count:
        raise labels_mismatch(f"{name} has {len(masks)} masks for {count} samples", stage)
    return masks.astype(np.uint8) if masks.dtype.kind == "b" else masks


def labels_from_text(
    texts: Sequence[str], lines: Sequence[int], name: str, stage: Stage, *, place: str = "line"
) -> Labels:
    """Labels from the cells of a column: integers, else numbers, else the names of classes.

    Named classes are numbered in the sorted order of the names, as scikit-learn's ``LabelEncoder`` and
    Keras's ``image_dataset_from_directory`` do. ``lines`` says where in the file each cell is, and ``place``
    what they count.

    Raises:
        ConverterError: LabelsMismatch for an empty cell.

    """
    cells = [text.strip() for text in texts]
    if "" in cells:
        raise labels_mismatch(f"{name}, {place} {lines[cells.index('')]}: the label is empty", stage)
    if all(map(_INTEGER.fullmatch, cells)):
        return Labels(np.array([int(cell) for cell in cells], dtype=np.int64))
    if (numbers := _numbers(cells)) is not None:
        return Labels(np.array(numbers, dtype=np.float64))
    missing = [is_missing(cell) for cell in cells]
    if _numbers([cell for cell, is_none in zip(cells, missing, strict=True) if not is_none]):
        first = missing.index(True)
        cause = f"{name}, {place} {lines[first]}: the label {cells[first]!r} stands for a missing one"
        raise labels_mismatch(cause, stage, hint="fill it in, or leave out the sample")
    names = sorted(set(cells))
    number = {class_name: i for i, class_name in enumerate(names)}
    return Labels(np.array([number[cell] for cell in cells], dtype=np.int64), tuple(names))


def labels_from_array(values: Array, name: str, stage: Stage) -> Labels:
    """Labels from an array: numbers as they are, and the names of classes as in a column of text.

    Raises:
        ConverterError: LabelsMismatch for text in another shape than ``(n,)`` or ``(n, 1)``, or that is no
            UTF-8.

    """
    if values.dtype.kind not in "US":
        return Labels(values)
    if values.size != len(values):
        cause = f"{name} has shape {values.shape}, expected one name for each sample"
        raise labels_mismatch(cause, stage, hint="save the names of the classes with the shape (samples,)")
    flat = values.reshape(-1)
    try:
        texts = [text.decode() if isinstance(text, bytes) else str(text) for text in flat.tolist()]
    except UnicodeDecodeError as error:
        raise labels_mismatch(f"{name} holds names that are not UTF-8", stage) from error
    return labels_from_text(texts, range(1, len(texts) + 1), name, stage, place="sample")


def classes_of(labels: Array | None) -> IntArray | None:
    """Return the class of each sample, shape ``(n,)``; None where the labels do not say one.

    They do as integers, and as rows with a single 1 each (one-hot), whatever their dtype.
    """
    if labels is None:
        return None
    if labels.ndim == 1:
        return labels if labels.dtype.kind == "i" else None
    is_one_hot = labels.ndim == 2 and bool(np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all())
    return np.argmax(labels, axis=1).astype(np.int64) if is_one_hot and labels.shape[1] > 1 else None


def _count_classes(values: Array) -> bool:
    """Whether floating-point labels are the numbers of classes, or yes and no.

    They are where all are whole, none is negative, there are at least two different ones and few of them
    (:data:`_FEW_VALUES`, or half as many as there are samples), and they fill at least half of the places
    from 0 to the highest: 0.0, 1.0, 2.0 are classes, and 21.0, 23.0, 1000.0 are not. Rows must be of 0 and 1.
    """
    if not np.array_equal(values, np.trunc(values)) or values.min() < 0:
        return False
    different = np.unique(values)
    if values.ndim == 2:
        return bool(np.array_equal(different, (0, 1)))
    few = max(_FEW_VALUES, len(values) // 2)
    return 2 <= len(different) <= few and bool(different[-1] < 2 * len(different))


def check_classes(
    labels: Array | None, class_names: Sequence[str], classes: int, name: str, stage: Stage
) -> None:
    """Refuses labels that do not belong to a classifier of ``classes`` classes; None belongs to any.

    Raises:
        ConverterError: LabelsMismatch.

    """
    if labels is None:
        return
    if labels.dtype.kind == "f":
        raise labels_mismatch(
            f"the labels of {name} are {labels.dtype} values, expected integers: the model has"
            f" {classes} classes",
            stage,
        )
    if labels.ndim == 2 and labels.shape[1] != classes:
        raise labels_mismatch(
            f"the labels of {name} are rows of {labels.shape[1]}, but the model has {classes} classes", stage
        )
    if labels.ndim == 1 and (highest := int(labels.max())) >= classes:
        raise labels_mismatch(
            f"the labels of {name} go up to {highest}, but the model's classes to {classes - 1}",
            stage,
            hint=_FROM_ONE if highest == classes and int(labels.min()) > 0 else None,
        )
    if class_names and len(class_names) != classes:
        raise labels_mismatch(
            f"{name} names {len(class_names)} classes ({_listed(class_names)}), but the model has {classes}",
            stage,
            hint="names are numbered in their sorted order, so each class of the model must be among them:"
            " make an empty folder for a class without images, or give integer labels",
        )


_FROM_ONE: Final = "if they count from 1, subtract 1: classes are counted from 0"


def _numbers(cells: Sequence[str]) -> list[float] | None:
    if any("_" in cell for cell in cells):
        return None  # Python reads 1_0 as ten, but it is a name
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        return None


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown}, …" if len(names) > 5 else shown
