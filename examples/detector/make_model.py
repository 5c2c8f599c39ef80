"""Writes a small detector as an ONNX model, and images for it.

``python examples/detector/make_model.py FOLDER``; needs onnx and numpy. The model has the form of detectors
that leave PyTorch: images with channels first, a backbone of depthwise convolutions, and two heads whose
outputs are turned to ``(1, boxes, ...)``. Its weights are random: it shows the way of a conversion, and finds
nothing in a picture.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE: Final = 64
CLASSES: Final = 4
_WIDTHS: Final = (16, 32, 64)
_OPSET: Final = 17


class _Graph:
    """Nodes and weights in the making."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(7)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, values: np.ndarray[Any, Any]) -> str:
        """Add weights; returns their name."""
        name = f"weights{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add an operator; returns the name of its output."""
        output = name or f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def convolution(self, tensor: str, channels: tuple[int, int], size: int, **attributes: Any) -> str:
        """Add a convolution with random weights that keep the size of what goes through."""
        shape = (channels[1], channels[0] // attributes.get("group", 1), size, size)
        weights = self.random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        bias = self.random.standard_normal(channels[1]) * 0.1
        constants = [self.constant(values.astype(np.float32)) for values in (weights, bias)]
        pads = [size // 2] * 4
        return self.add("Conv", tensor, *constants, pads=pads, kernel_shape=[size, size], **attributes)


def detector() -> Any:
    """Build the model: ``image`` float32 (1, 3, 64, 64) to ``boxes`` (1, 64, 4) and ``scores`` (1, 64, 4)."""
    graph = _Graph()
    tensor, width = "image", 3
    for wider in _WIDTHS:
        tensor = graph.add("Relu", graph.convolution(tensor, (width, wider), 3, strides=[2, 2]))
        tensor = graph.add("Relu", graph.convolution(tensor, (wider, wider), 3, group=wider))
        tensor = graph.add("Relu", graph.convolution(tensor, (wider, wider), 1))
        width = wider
    for name, channels in (("boxes", 4), ("scores", CLASSES)):
        head = graph.convolution(tensor, (width, channels), 1)
        turned = graph.add("Transpose", head, perm=[0, 2, 3, 1])
        shape = graph.constant(np.array([1, -1, channels], np.int64))
        graph.add("Sigmoid", graph.add("Reshape", turned, shape), name=name)
    boxes = (SIZE // 2 ** len(_WIDTHS)) ** 2
    made = helper.make_graph(
        graph.nodes,
        "detector",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, boxes, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, boxes, CLASSES]),
        ],
        graph.weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Draw pictures of bright rectangles, float32 (count, 3, 64, 64) in [0, 1]."""
    random = np.random.default_rng(seed)
    drawn = random.uniform(0.0, 0.3, (count, 3, SIZE, SIZE))
    for picture in drawn:
        top, left, height, width = random.integers(4, SIZE // 2, 4)
        picture[:, top : top + height, left : left + width] = random.uniform(0.5, 1.0, (3, 1, 1))
    return drawn.astype(np.float32)


def main() -> None:
    """Write ``detector.onnx``, ``calibration.npy`` and ``validation.npy``."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(detector(), str(folder / "detector.onnx"))
    np.save(folder / "calibration.npy", images(64, seed=1))
    np.save(folder / "validation.npy", images(64, seed=2))


if __name__ == "__main__":
    main()
