"""Masks: the class of each pixel, and how far two masks are the same."""

from __future__ import annotations

from typing import Final

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import (
    MOST_CLASS_SCORES,
    AccuracyMetric,
    ClassScore,
    Scores,
)
from tflite_converter.arrays import Array, FloatArray, IntArray, NamedArrays
from tflite_converter.data.errors import labels_mismatch
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.metrics import threshold

_DIGITS: Final = 6
_IGNORED: Final = "set --ignore-label / ignoreLabel"
_MOST_CLASSES: Final = 4096
"""Class numbers in outputs and masks; the table of who was taken for whom has its square."""


def masks_of(outputs: NamedArrays, size: tuple[int, ...] | None = None) -> Array:
    """Return the class of each pixel, ``(n, height, width)``.

    The single output has a score for each class, ``(n, height, width, classes)``, or with the classes first
    where ``size``, height and width of the masks, shows it; the probability or logit of class 1, ``(n,
    height, width, 1)`` or ``(n, height, width)``; or as whole numbers of integer type the classes themselves.

    Raises:
        ConverterError: DecoderMismatch.

    """
    if len(outputs) == 1:
        (values,) = outputs.values()
        if values.ndim == 4 and values.shape[3] != 1 and size is not None and _is_first(values.shape, size):
            values = np.moveaxis(values, 1, -1)
        if values.ndim == 4 and values.shape[3] > 1:
            # One by one: argmax of int8 scores of all samples would copy all of them.
            return np.stack([np.argmax(each, axis=-1).astype(np.int32) for each in values])
        plain = values[..., 0] if values.ndim == 4 else values
        if plain.ndim == 3:
            if plain.dtype.kind in "iub":
                return plain.astype(np.int64)
            yes: Array = (plain >= threshold(plain)).astype(np.int32)
            return yes
    given = ", ".join(f"{name!r} {values.shape[1:]}" for name, values in outputs.items())
    cause = (
        f"Segmentation takes one output with a class, or its scores, for each pixel; the model gives {given}"
    )
    raise ConverterError(FailureReason.DECODER_MISMATCH, Stage.EVALUATE, cause)


def count_of_classes(outputs: NamedArrays, size: tuple[int, ...] | None = None) -> int | None:
    """Return how many classes a segmenting model has scores for; None where it gives class numbers."""
    (values,) = outputs.values()
    if values.ndim == 4 and values.shape[3] > 1:
        return int(values.shape[1] if size is not None and _is_first(values.shape, size) else values.shape[3])
    return 2 if values.dtype.kind == "f" else None


def check_masks(outputs: NamedArrays, labels: Array, ignore: int, name: str) -> None:
    """Refuse masks ``(n, height, width)`` that do not belong to the model.

    Raises:
        ConverterError: LabelsMismatch; DecoderMismatch where the outputs are no masks.

    """
    size = labels.shape[1:]
    found = masks_of(outputs, size)
    if found.shape != labels.shape:
        cause = (
            f"the masks of {name} are {size[0]} x {size[1]}, the model's {found.shape[1]} x {found.shape[2]}"
        )
        hint = "resize the masks to the model's, to the nearest pixel: classes cannot be mixed"
        raise labels_mismatch(cause, Stage.EVALUATE, hint=hint)
    counted = labels[labels != ignore]
    if not counted.size:
        cause = f"every pixel of the masks of {name} is {ignore}, which counts for nothing"
        raise labels_mismatch(cause, Stage.EVALUATE, hint=f"{_IGNORED} to the value of unlabelled pixels")
    classes = count_of_classes(outputs, size)
    least, highest = int(counted.min()), int(counted.max())
    if least < 0 or highest >= (_MOST_CLASSES if classes is None else classes):
        last = (_MOST_CLASSES if classes is None else classes) - 1
        cause = f"the masks of {name} have values from {least} to {highest}, and classes go from 0 to {last}"
        hint = f"count classes from 0, and {_IGNORED} to the value of pixels that are of none"
        raise labels_mismatch(cause, Stage.EVALUATE, hint=hint)


def overlaps(truth: Array, masks: Array, ignore: int | None = None) -> tuple[IntArray, FloatArray, IntArray]:
    """Return the classes in either of two masks, how far both overlap in each, and its pixels in ``truth``.

    The overlap is intersection over union. Both are ``(n, height, width)``. Pixels that are ``ignore`` in
    ``truth`` count for nothing. Class numbers from :data:`_MOST_CLASSES` on, which no class of the labels
    has, are one class that is always wrong.
    """
    top = _MOST_CLASSES
    inside = [np.where((each < 0) | (each >= top), top, each).astype(np.int64) for each in (truth, masks)]
    classes = int(max((each[each < top].max(initial=0) for each in inside), default=0)) + 1
    table = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    for true, given, raw in zip(*inside, truth, strict=True):
        counts = slice(None) if ignore is None else raw != ignore
        pairs = np.minimum(true[counts], classes) * (classes + 1) + np.minimum(given[counts], classes)
        table += np.bincount(pairs.reshape(-1), minlength=table.size).reshape(table.shape)
    shared, pixels = np.diag(table)[:classes], table.sum(axis=1)[:classes]
    union = pixels + table.sum(axis=0)[:classes] - shared
    present = np.flatnonzero(union)
    return present, shared[present] / union[present], pixels[present]


def segmentation_scores(
    outputs: NamedArrays, labels: Array, ignore: int, names: tuple[str, ...] = ()
) -> Scores | None:
    """Return the figures of a segmenting model for a report; None where no pixel of the labels counts."""
    classes, shares, pixels = overlaps(labels, masks_of(outputs, labels.shape[1:]), ignore)
    if not len(classes):
        return None
    return Scores(
        metric=AccuracyMetric.MEAN_IOU,
        accuracy=round(float(np.mean(shares)), _DIGITS),
        classes=tuple(
            ClassScore(
                label=label,
                name=names[label] if label < len(names) else None,
                score=round(share, _DIGITS),
                count=count,
            )
            for label, share, count in list(
                zip(
                    classes.tolist(), shares.tolist(), np.minimum(pixels, (1 << 31) - 1).tolist(), strict=True
                )
            )[:MOST_CLASS_SCORES]
        ),
    )


def masks_agreement(original: Array, masks: Array) -> float:
    """Return the mean over the classes of both's masks ``(n, height, width)``, 0 to 1."""
    _, shares, _ = overlaps(original, masks)
    return float(np.mean(shares)) if len(shares) else 1.0


def _is_first(shape: tuple[int, ...], size: tuple[int, ...]) -> bool:
    return shape[2:4] == tuple(size) and shape[1:3] != tuple(size)
