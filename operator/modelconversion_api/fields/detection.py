"""How a detector's outputs become boxes, before they are compared. A part of the spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from ..base import ApiModel, Fraction

DEFAULT_IGNORE_LABEL: Final = 255
"""The value of pixels in a mask that count for nothing, as in Pascal VOC and Cityscapes."""


class Decoder(StrEnum):
    """What a detector's outputs hold; ``n`` samples, ``C`` classes."""

    POST_PROCESSED = "PostProcessed"
    """Four outputs, as of TFLite_Detection_PostProcess: boxes (n, K, 4) of ymin, xmin, ymax, xmax; classes
    and scores (n, K); the number of boxes (n). Suppression is done already."""
    YOLO_V5 = "YOLOv5"
    """One output (n, anchors, 5 + C): the box's centre x, y, width and height, whether there is an object,
    and the classes' scores."""
    YOLO_V8 = "YOLOv8"
    """One output (n, 4 + C, anchors), also of YOLO11: the box's centre x, y, width and height, and the
    classes' scores."""
    BOXES = "Boxes"
    """One output (n, K, 6): xmin, ymin, xmax, ymax, score, class. Suppression is done already."""

    @property
    def suppresses(self) -> bool:
        """Whether boxes that overlap a better one are still to be removed."""
        return self in (Decoder.YOLO_V5, Decoder.YOLO_V8)


class BoxUnit(StrEnum):
    """What the numbers of a box count."""

    NORMALIZED = "Normalized"
    """Shares of the input's height and width."""
    PIXELS = "Pixels"
    """Pixels of the model's input."""


class Detection(ApiModel):
    """How a detector's outputs become boxes."""

    decoder: Decoder
    """What the outputs hold."""
    unit: BoxUnit = BoxUnit.NORMALIZED
    """What the numbers of a box count."""
    iou_threshold: Fraction = "0.7"
    """Of two boxes of one class that overlap by more than this, the better one stays (YOLO decoders)."""
    min_score: Fraction = "0.001"
    """Least score of a box that counts. Average precision needs the doubtful ones too."""
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 100
    """Most boxes of a sample, the best ones; COCO counts 100."""
    first_category: Annotated[int, Field(ge=0, le=65535)] | None = None
    """The category id in the labels that is the model's class 0, where the model counts by ids, e.g. 1 for
    models with the 90 classes of TensorFlow's COCO label map. Unless given, classes are the categories in the
    order of their ids, without gaps, as YOLO models have them."""
