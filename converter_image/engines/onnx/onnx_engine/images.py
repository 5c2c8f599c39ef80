"""Which inputs are images or volumes, so that the file takes them with their channels last.

onnx2tf turns other inputs as well, and turns them back in the first operator: that costs time, and users a
layout that nobody expects of a sequence or a table.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

_FEWEST_DIMENSIONS: Final = 4
_SPATIAL: Final = {
    *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool"),
    *("Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "InstanceNormalization", "GroupNormalization"),
    *("LRN", "GridSample", "FusedConv"),
}
"""Operators to which dimension 1 is the channels, and those after it are places."""
_THROUGH: Final = {
    *("Add", "Sub", "Mul", "Div", "Pow", "Neg", "Abs", "Sqrt", "Clip", "Cast", "Identity", "Dropout", "Pad"),
    *("BatchNormalization", "Relu", "LeakyRelu", "PRelu", "Sigmoid", "Tanh", "Concat", "Slice", "Split"),
}
"""Operators that leave the dimensions where they are."""


def image_inputs(model: Any) -> set[str]:
    """Return the inputs of four dimensions and more that reach an operator on images as they are."""
    readers = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    return {
        value.name
        for value in model.graph.input
        if len(value.type.tensor_type.shape.dim) >= _FEWEST_DIMENSIONS and _is_image(value.name, readers)
    }


def _is_image(name: str, readers: dict[str, list[Any]]) -> bool:
    waiting, seen = [name], {name}
    while waiting:
        for node in readers.get(waiting.pop(), ()):
            if node.op_type in _SPATIAL:
                return True
            if node.op_type in _THROUGH:
                waiting += [output for output in node.output if output not in seen]
                seen.update(node.output)
    return False
