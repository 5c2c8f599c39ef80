"""Files that give what they take, as the head of a detector or of a segmenting model: outputs are samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

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
