"""A detector's outputs as boxes: read by the declared decoder, the worse of those that overlap removed.

Boxes are float64 rows ``ymin, xmin, ymax, xmax, class, score``, shares of the input's sides, the best first;
a sample with fewer than others has rows with class -1 at its end: ``(n, K, 6)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from modelconversion_api.fields.detection import BoxUnit, Decoder, Detection
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array, FloatArray, IntArray, NamedArrays
from tflite_converter.errors import ConverterError

CLASS: Final = 4
"""The column of the class; of -1, the row is no box."""
SCORE: Final = 5
SURE: Final = 0.25
"""Score from which on a box is shown to people, as the programs around YOLO do unless told otherwise."""

_FAR_OUT: Final = 2.0
"""Boxes of shares hardly leave the picture: where the median one of the sure ends beyond, it is pixels."""
_OUTSIDE: Final = 0.01
"""How far a probability may be from 0 to 1 by rounding."""
_CHANNELS: Final = (1, 3, 4)
_MOST_CLASSES: Final = 1 << 16
"""A class with a higher number is none."""
_LAYOUTS: Final = {
    Decoder.POST_PROCESSED: "four outputs: boxes (n, K, 4), classes (n, K), scores (n, K) and counts (n)",
    Decoder.YOLO_V5: "one output (n, anchors, 5 + classes), with at least as many anchors as columns",
    Decoder.YOLO_V8: "one output (n, 4 + classes, anchors), with at least as many anchors as rows",
    Decoder.BOXES: "one output (n, K, 6)",
}


@dataclass(frozen=True)
class Reading:
    """How the outputs of one model, the original, and of the files made of it become boxes."""

    detection: Detection
    outputs: tuple[str, ...]
    """Names of the outputs: the only one, or boxes, classes, scores and counts."""
    size: tuple[float, float]
    """What a box of the whole picture has for height and width."""
    classes: int | None
    """How many the outputs have; None where they name a class by its number."""

    def boxes(self, outputs: NamedArrays) -> FloatArray:
        """Return the boxes in ``{output: (n, ...)}``.

        One without a finite score is none, and an edge that is no finite number is at 0.
        """
        if self.detection.decoder is Decoder.POST_PROCESSED:
            boxes, classes, scores, counts = (outputs[name] for name in self.outputs)
            limits = np.nan_to_num(np.rint(counts.reshape(-1).astype(np.float64)), nan=0.0)
            found = [
                self._counted(*(each[: max(0, int(min(limit, len(each))))] for each in of_sample))
                for *of_sample, limit in zip(boxes, classes, scores, limits, strict=True)
            ]
        else:
            found = [self._of_sample(rows) for rows in outputs[self.outputs[0]]]
        height, width = self.size
        whole = np.array([height, width, height, width])
        most = self.detection.max_detections
        threshold = float(self.detection.iou_threshold) if self.detection.decoder.suppresses else None
        kept = []
        for each in found:
            each[:, :4] /= whole
            order = np.argsort(-each[:, SCORE], kind="stable")
            kept.append(each[order][:most] if threshold is None else suppressed(each[order], threshold, most))
        return padded(kept)

    def _of_sample(self, rows: Array) -> FloatArray:
        """Return the boxes of one sample, of which there may be thousands: most fall away at once."""
        if self.detection.decoder is Decoder.BOXES:
            return self._counted(rows[:, [1, 0, 3, 2]], rows[:, 5], rows[:, 4])
        first = 4 if self.detection.decoder is Decoder.YOLO_V8 else 5
        columns = rows if self.detection.decoder is Decoder.YOLO_V8 else rows.T
        best: IntArray = np.argmax(columns[first:], axis=0)
        scores = np.take_along_axis(columns[first:], best[None], axis=0)[0]
        x, y, width, height = columns[:4]
        with np.errstate(over="ignore", invalid="ignore"):
            scores = scores if first == 4 else scores * columns[4]
            corners = np.stack([y - height / 2, x - width / 2, y + height / 2, x + width / 2], axis=1)
        return self._counted(corners, best, scores)

    def _counted(self, boxes: Array, classes: Array, scores: Array) -> FloatArray:
        """Return the boxes ``(k, 4)`` with classes and scores ``(k,)`` that are good enough to count."""
        kept = np.isfinite(scores) & (scores >= float(self.detection.min_score)) & (scores > 0)
        # Class numbers that were stored in eight bits are not quite whole.
        whole = np.rint(classes)
        kept &= (whole >= 0) & (whole < _MOST_CLASSES)
        rows = np.concatenate([boxes[kept], whole[kept][:, None], scores[kept][:, None]], axis=1)
        return np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def reading_of(detection: Detection, outputs: NamedArrays, samples: NamedArrays) -> Reading:
    """Return how the original's ``outputs`` are read; those of the files made of it are read alike.

    Raises:
        ConverterError: DecoderMismatch where they are not what the decoder takes: by their number and shapes,
            by scores that are no probabilities, or by boxes in another unit.

    """
    names, classes = _layout(detection.decoder, outputs)
    size = (1.0, 1.0) if detection.unit is BoxUnit.NORMALIZED else _picture(samples)
    reading = Reading(detection, names, size, classes)
    _check_scores(reading, outputs)
    _check_unit(reading, outputs, samples)
    return reading


def suppressed(boxes: FloatArray, threshold: float, most: int) -> FloatArray:
    """Return at most ``most`` of the boxes ``(k, 6)``, best first, that overlap no better one of their class.

    Two overlap where their intersection over union is more than ``threshold``.
    """
    order = np.arange(len(boxes))
    kept: list[int] = []
    while len(order) and len(kept) < most:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        same = np.flatnonzero(boxes[order, CLASS] == boxes[best, CLASS])
        beside = _overlap(boxes[best, :4], boxes[order[same], :4]) > threshold
        order = np.delete(order, same[beside])
    return boxes[kept]


def padded(boxes: list[FloatArray]) -> FloatArray:
    """Return ``(k, columns)`` of each sample as ``(n, K, columns)``, the rest with class -1."""
    columns = boxes[0].shape[1] if boxes else 6
    whole = np.zeros((len(boxes), max(map(len, boxes), default=0), columns))
    whole[:, :, CLASS] = -1.0
    for row, each in zip(whole, boxes, strict=True):
        row[: len(each)] = each
    return whole


def _layout(decoder: Decoder, outputs: NamedArrays) -> tuple[tuple[str, ...], int | None]:
    """Return the outputs' names in the decoder's order, and the number of classes."""
    if decoder is Decoder.POST_PROCESSED:
        return _four(outputs), None
    name, values = next(iter(outputs.items()))
    shape = values.shape[1:]
    fits = len(outputs) == 1 and len(shape) == 2
    if fits and decoder is Decoder.BOXES and shape[1] == 6:
        return (name,), None
    if fits and decoder is Decoder.YOLO_V5 and 6 <= shape[1] <= shape[0]:
        return (name,), shape[1] - 5
    if fits and decoder is Decoder.YOLO_V8 and 5 <= shape[0] <= shape[1]:
        return (name,), shape[0] - 4
    raise _mismatch(decoder, outputs)


def _four(outputs: NamedArrays) -> tuple[str, ...]:
    """Name boxes, classes, scores and counts by their shapes: exporters put them in different orders.

    Of two outputs alike, that with whole numbers has the classes; the first one where both or none are whole.
    """
    boxes = [name for name, values in outputs.items() if values.ndim == 3 and values.shape[2] == 4]
    if len(outputs) != 4 or len(boxes) != 1:
        raise _mismatch(Decoder.POST_PROCESSED, outputs)
    count, most = outputs[boxes[0]].shape[:2]
    alike = [name for name, values in outputs.items() if values.shape == (count, most)]
    sizes = [name for name, values in outputs.items() if values.size == count and name not in alike[:2]]
    if len(alike) < 2 or len(sizes) != 1:
        raise _mismatch(Decoder.POST_PROCESSED, outputs)
    first, second = alike[:2]
    if _are_whole(outputs[second]) and not _are_whole(outputs[first]):
        first, second = second, first
    return boxes[0], first, second, sizes[0]


def _are_whole(values: Array) -> bool:
    return bool(np.all(values == np.rint(values)))


def _picture(samples: NamedArrays) -> tuple[float, float]:
    sizes = [picture_size(values.shape) for values in samples.values()]
    known = [size for size in sizes if size is not None]
    if len(known) != 1:
        cause = "the boxes are in pixels, but the model does not have one input for pictures"
        hint = "export the model with boxes from 0 to 1, and set --box-unit / unit to Normalized"
        raise ConverterError(FailureReason.DECODER_MISMATCH, Stage.EVALUATE, cause, hint=hint)
    return float(known[0][0]), float(known[0][1])


def picture_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return height and width of pictures ``(n, height, width, channels)``, or with channels first."""
    if len(shape) != 4:
        return None
    if shape[3] in _CHANNELS:
        return shape[1], shape[2]
    return (shape[2], shape[3]) if shape[1] in _CHANNELS else None


def _check_scores(reading: Reading, outputs: NamedArrays) -> None:
    decoder, values = reading.detection.decoder, outputs[reading.outputs[0]]
    match decoder:
        case Decoder.POST_PROCESSED:
            scores = outputs[reading.outputs[2]]
        case Decoder.YOLO_V5:
            scores = values[:, :, 4:]
        case Decoder.YOLO_V8:
            scores = values[:, 4:]
        case Decoder.BOXES:
            scores = values[:, :, 4]
    least, largest = float(scores.min(initial=0.0)), float(scores.max(initial=0.0))
    if least >= -_OUTSIDE and largest <= 1.0 + _OUTSIDE:
        return
    cause = f"{decoder.value} takes scores from 0 to 1, and the model's are from {least:.4g} to {largest:.4g}"
    hint = "export the model with the sigmoid in it, or choose the decoder that its outputs are for"
    raise ConverterError(FailureReason.DECODER_MISMATCH, Stage.EVALUATE, cause, hint=hint)


def _check_unit(reading: Reading, outputs: NamedArrays, samples: NamedArrays) -> None:
    """Refuse boxes that the surest of the original's show to be in the other unit."""
    boxes = reading.boxes(outputs)
    sure = boxes[(boxes[:, :, CLASS] >= 0) & (boxes[:, :, SCORE] >= SURE)][:, :4]
    if not len(sure):
        return
    end = float(np.median(np.abs(sure).max(axis=1)))
    unit = reading.detection.unit
    if unit is BoxUnit.NORMALIZED and end > _FAR_OUT:
        cause, other = f"sure boxes end at {end:.4g}, and a whole picture at 1", BoxUnit.PIXELS
    elif unit is BoxUnit.PIXELS and end * min(reading.size) <= _FAR_OUT < min(reading.size) / 4:
        cause, other = f"sure boxes end at {end * min(reading.size):.4g} pixels", BoxUnit.NORMALIZED
    else:
        return
    hint = f"set --box-unit / unit to {other.value}"
    raise ConverterError(FailureReason.DECODER_MISMATCH, Stage.EVALUATE, cause, hint=hint)


def _mismatch(decoder: Decoder, outputs: NamedArrays) -> ConverterError:
    given = ", ".join(
        f"{name!r} {('n', *values.shape[1:])}".replace("'n'", "n") for name, values in outputs.items()
    )
    cause = f"{decoder.value} takes {_LAYOUTS[decoder]}; the model gives {given}"
    return ConverterError(FailureReason.DECODER_MISMATCH, Stage.EVALUATE, cause)


def _overlap(box: FloatArray, boxes: FloatArray) -> FloatArray:
    """Return the intersection over union of one box ``(4,)`` with each of ``(k, 4)``; 0 for empty ones."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    with np.errstate(over="ignore", invalid="ignore"):
        shared = np.prod(np.maximum(sides, 0.0), axis=1)
        union = _area(box[None])[0] + _area(boxes) - shared
        shares: FloatArray = np.divide(shared, union, out=np.zeros(len(boxes)), where=union > 0.0)
    return shares


def _area(boxes: FloatArray) -> FloatArray:
    area: FloatArray = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)
    return area
