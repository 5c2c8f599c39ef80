"""What boxes and masks are compared with: outputs read as the user says, and labels that belong to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.detection import DEFAULT_IGNORE_LABEL, Detection
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import AgreementMetric
from tflite_converter.arrays import Array, FloatArray
from tflite_converter.data.errors import labels_mismatch
from tflite_converter.data.json_files.instances import COLUMNS, in_frame
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.average_precision import CROWD, sure_objects
from tflite_converter.measuring.boxes import CLASS, Reading, picture_size, reading_of
from tflite_converter.measuring.evaluation import Reference
from tflite_converter.measuring.segmentation import check_masks, masks_of

_NOTHING_FOUND: Final = (
    "the original surely finds nothing on these samples (no score from 0.25 on): agreement is that of its"
    " plain outputs"
)

_MORE: Final = "raise --evaluation-samples / samples, or give pictures with objects"
_COUNTED: Final = (
    "the categories must be the model's, in its order: set --detection-first-category / firstCategory where"
    " it counts by ids"
)


@dataclass(frozen=True)
class Told:
    """What the user says of a model's outputs."""

    task: Task | None = None
    detection: Detection | None = None
    ignore_label: int | None = None


def grounded(plain: Reference, told: Told, name: str) -> tuple[Reference, tuple[str, ...]]:
    """Return what a detector's or a segmenting model's files are compared with, and warnings.

    Args:
        plain: The samples, the original's outputs on them, and their labels as they were read.
        told: What the user says of the outputs.
        name: What messages call the data.

    Raises:
        ConverterError: DecoderMismatch where the outputs are not what was said; LabelsMismatch where the
            labels are for another task, or for another model.

    """
    if plain.task is Task.DETECTION:
        return _detector(plain, told.detection, name)
    ignore = DEFAULT_IGNORE_LABEL if told.ignore_label is None else told.ignore_label
    labels = plain.labels
    if labels is None:
        masks_of(plain.outputs)
    elif labels.ndim != 3 or labels.dtype.kind == "f":
        cause = f"the labels of {name} are no masks, and the task is Segmentation"
        hint = "give whole numbers of shape (samples, height, width): the class of each pixel"
        raise labels_mismatch(cause, Stage.EVALUATE, hint=hint)
    else:
        check_masks(plain.outputs, labels, ignore, name)
    whole = replace(plain, metric=AgreementMetric.MEAN_IOU, ignore_label=ignore)
    return whole.with_scores(), ()


def _detector(plain: Reference, detection: Detection | None, name: str) -> tuple[Reference, tuple[str, ...]]:
    if detection is None:
        cause = "the task is Detection, and no decoder says what the outputs hold"
        raise ConverterError(FailureReason.DECODER_MISMATCH, Stage.EVALUATE, cause)
    reading = reading_of(detection, plain.outputs, plain.samples)
    labels = None if plain.labels is None else _objects(plain.labels, reading, plain, name)
    boxes = reading.boxes(plain.outputs)
    finds = bool((sure_objects(boxes)[:, :, CLASS] >= 0).any())
    metric = AgreementMetric.DETECTIONS if finds else AgreementMetric.R2
    whole = replace(plain, labels=labels, reading=reading, boxes=boxes, metric=metric)
    return whole.with_scores(), () if finds else (_NOTHING_FOUND,)


def _objects(labels: Array, reading: Reading, plain: Reference, name: str) -> FloatArray:
    """Return the labels as shares of the model's input, ``(n, M, 6)``."""
    if labels.ndim != 3 or labels.shape[2] != COLUMNS or labels.dtype != np.float64:
        cause = f"the labels of {name} are no boxes, and the task is Detection"
        raise labels_mismatch(cause, Stage.EVALUATE, hint="give a .json file with COCO's instances")
    sizes = [size for values in plain.samples.values() if (size := picture_size(values.shape)) is not None]
    objects = in_frame(labels, sizes[0] if len(sizes) == 1 else None)
    classes = objects[:, :, CLASS]
    if not ((classes >= 0) & (objects[:, :, CROWD] == 0)).any():
        cause = f"the labels of {name} have no object in the {len(objects)} samples that are measured on"
        raise labels_mismatch(cause, Stage.EVALUATE, hint=_MORE)
    highest = int(classes.max())
    if reading.classes is not None and highest >= reading.classes:
        cause = f"the labels of {name} have classes up to {highest}, the model's go to {reading.classes - 1}"
        hint = _COUNTED
        raise labels_mismatch(cause, Stage.EVALUATE, hint=hint)
    return objects
