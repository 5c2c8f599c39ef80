"""Files that give what they take, as the head of a detector or of a segmenting model: outputs are samples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from support.converter.tflite_files import O, T, ints, tflite
from tflite_converter.arrays import Array


def head_model(*shape: int) -> bytes:
    """A file that gives each sample again, ``shape`` without the batch, through a dense layer."""
    size = int(np.prod(shape))
    return tflite(
        [
            T("x", (1, size), "FLOAT32"),
            T("dense", (1, size), "FLOAT32"),
            T("y", (1, *shape), "FLOAT32"),
            T("w", (size, size), "FLOAT32", np.eye(size, dtype=np.float32).tobytes()),
            T("s", (1 + len(shape),), "INT32", ints(1, *shape)),
        ],
        [O("FULLY_CONNECTED", (0, 3, -1), (1,)), O("RESHAPE", (1, 4), (2,))],
        outputs=(2,),
        signature=({"x": 0}, {"y": 2}),
    )


def detector_data(folder: Path) -> tuple[Array, Path]:
    """Heads of YOLOv8 with 2 classes and 8 anchors, and labels: class 1 is found in every other sample.

    Of class 0 the average precision is 1, of class 1, with full precision up to a recall of 0.5, it is 51 of
    101: together 0.7525.
    """
    generator = np.random.default_rng(0)
    heads = np.zeros((80, 6, 8))
    document: dict[str, list[dict[str, Any]]] = {
        "images": [{"id": i, "width": 640, "height": 320} for i in range(80)],
        "categories": [{"id": 3, "name": "cup"}, {"id": 9, "name": "jug"}],
        "annotations": [],
    }
    for i, head in enumerate(heads):
        label = i % 2
        y, x, height, width = generator.uniform([0.4, 0.4, 0.6, 0.6], [0.6, 0.6, 0.8, 0.8])
        corner = [(x - width / 2) * 640, (y - height / 2) * 320]
        document["annotations"].append(
            {
                "image_id": i,
                "category_id": (3, 9)[label],
                "bbox": [*corner, width * 640, height * 320],
            }
        )
        if i % 4 != 3:
            head[:4, i % 8] = x, y, width, height
            head[4 + label, i % 8] = 0.9
    (folder / "labels.json").write_text(json.dumps(document))
    return heads, folder / "labels.json"


ANCHORS = np.array([[y, x, 0.3, 0.3] for y in (0.2, 0.4, 0.6, 0.8) for x in (0.2, 0.4, 0.6, 0.8)])
"""Centre y and x, height and width."""
_SCALES = (10.0, 10.0, 5.0, 5.0)


def ssd_model(most: int = 10) -> bytes:
    """A file that ends in TFLite_Detection_PostProcess, for 2 classes and :data:`ANCHORS`.

    It takes 16 rows of an encoded box, and behind these 16 rows of scores: background and the two classes.
    """
    count, size = len(ANCHORS), len(ANCHORS) * 7
    flex = flexbuffers.Builder()
    with flex.Map():
        whole = {"max_detections": most, "max_classes_per_detection": 1, "num_classes": 2}
        for name, number in whole.items():
            flex.Key(name)
            flex.Int(number)
        sides = zip(("y_scale", "x_scale", "h_scale", "w_scale"), _SCALES, strict=True)
        for name, value in [("nms_score_threshold", 1e-8), ("nms_iou_threshold", 0.6), *sides]:
            flex.Key(name)
            flex.Float(value)
    anchors = ANCHORS.astype(np.float32).tobytes()
    return tflite(
        [
            T("x", (1, size), "FLOAT32"),
            T("dense", (1, size), "FLOAT32"),
            T("w", (size, size), "FLOAT32", np.eye(size, dtype=np.float32).tobytes()),
            *(T("b0", (2,), "INT32", ints(0, 0)), T("b1", (2,), "INT32", ints(1, count * 4))),
            *(T("flat boxes", (1, count * 4), "FLOAT32"), T("b2", (3,), "INT32", ints(1, count, 4))),
            T("boxes", (1, count, 4), "FLOAT32"),
            *(T("s0", (2,), "INT32", ints(0, count * 4)), T("s1", (2,), "INT32", ints(1, count * 3))),
            *(T("flat scores", (1, count * 3), "FLOAT32"), T("s2", (3,), "INT32", ints(1, count, 3))),
            T("scores", (1, count, 3), "FLOAT32"),
            T("anchors", (count, 4), "FLOAT32", anchors),
            *(T("out", (1, most, 4), "FLOAT32"), T("out:1", (1, most), "FLOAT32")),
            *(T("out:2", (1, most), "FLOAT32"), T("out:3", (1,), "FLOAT32")),
        ],
        [
            O("FULLY_CONNECTED", (0, 2, -1), (1,)),
            *(O("SLICE", (1, 3, 4), (5,)), O("RESHAPE", (5, 6), (7,))),
            *(O("SLICE", (1, 8, 9), (10,)), O("RESHAPE", (10, 11), (12,))),
            O("TFLite_Detection_PostProcess", (7, 12, 13), (14, 15, 16, 17), custom=bytes(flex.Finish())),
        ],
        outputs=(14, 15, 16, 17),
    )


def ssd_data(folder: Path) -> tuple[Array, Path]:
    """Samples of :func:`ssd_model` and labels: each has one object, whose box follows from its anchor.

    The first 40 are found rightly; in the others the class is wrong, and the score lower. Of each class the
    average precision is therefore 51 of 101: precision 1 up to a recall of 0.5.
    """
    generator = np.random.default_rng(0)
    encoded, scores = np.zeros((80, 16, 4)), np.zeros((80, 16, 3))
    objects = []
    for i in range(80):
        place, label = int(generator.integers(16)), i % 2
        is_right = i < 40
        encoded[i, place] = move = generator.normal(0, 0.5, 4)
        scores[i, place, 1 + (label if is_right else 1 - label)] = 0.9 if is_right else 0.6
        y, x, height, width = ANCHORS[place]
        y, x = y + move[0] / 10 * height, x + move[1] / 10 * width
        height, width = height * math.exp(move[2] / 5), width * math.exp(move[3] / 5)
        box = [float(each) for each in (x - width / 2, y - height / 2, width, height)]
        objects.append({"image_id": i, "category_id": (1, 2)[label], "bbox": box})
    document = {
        "images": [{"id": i, "width": 1, "height": 1} for i in range(80)],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "jug"}],
        "annotations": objects,
    }
    (folder / "labels.json").write_text(json.dumps(document))
    whole = np.concatenate([encoded.reshape(80, -1), scores.reshape(80, -1)], axis=1)
    return whole.astype(np.float32), folder / "labels.json"
