"""What the runtime's kernels take of a quantized operator: scales by channel, zero points, equal scales.

Source: "TensorFlow Lite 8-bit quantization specification" and the kernels' own checks. A kernel that is given
another form does not refuse it: it reads the first scale and computes nonsense.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

_BY_CHANNEL: Final = {
    ("CONV_2D", 1): 0,
    ("DEPTHWISE_CONV_2D", 1): 3,
    ("TRANSPOSE_CONV", 1): 0,
    ("FULLY_CONNECTED", 1): 0,
    ("EMBEDDING_LOOKUP", 1): 0,
}
"""The operands that may have a scale for each channel, and along which dimension."""
_ANY_DIMENSION: Final = frozenset({"DEQUANTIZE", "QUANTIZE"})
BIASES: Final = {"CONV_2D": (0, 1, 2), "DEPTHWISE_CONV_2D": (0, 1, 2), "FULLY_CONNECTED": (0, 1, 2)} | {
    "TRANSPOSE_CONV": (2, 1, 3)
}
"""Operators with a bias, and the places of their input, weights and bias."""
_FIXED: Final = {
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("TANH", "int16"): (1 / 32768, 0),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
}
"""Scale and zero point of outputs for which the kernels know no other."""
MOVES: Final = frozenset(
    {
        *("AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "BROADCAST_TO", "DEPTH_TO_SPACE", "GATHER", "GATHER_ND"),
        *("MAX_POOL_2D", "MIRROR_PAD", "PAD", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
        *("REVERSE_V2", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SQUEEZE", "STRIDED_SLICE", "TILE"),
        *("TRANSPOSE", "UNPACK"),
    }
)
"""Operators that move integers about: their first output has the scale of their first input."""
_BITS: Final = {"int4": 4, "int8": 8, "uint8": 8, "int16": 16, "int32": 32, "int64": 64}
_SYMMETRIC_BITS: Final = ("int16", "int32", "int64")
_TOLERANCE: Final = 1e-4
"""Scales that differ by less are equal: they went through float32."""


def violations(file: TFLiteFile) -> list[str]:
    """Return a sentence for each operator that no kernel computes as its numbers say."""
    return [text for operator, graph in file.operators() for text in _of(operator, graph)]


def _of(operator: Operator, graph: Subgraph) -> Iterator[str]:
    inputs = [None if index < 0 else graph.tensors[index] for index in operator.inputs]
    outputs = [graph.tensors[index] for index in operator.outputs]
    biases = BIASES.get(operator.name)
    for place, tensor in enumerate(inputs):
        if tensor is None or not tensor.scales:
            continue
        if not _is_whole(tensor):
            yield f"{operator.name}: {tensor.name!r} has {tensor.nbytes:,} bytes, which its sizes deny"
        if tensor.is_per_channel and not _may_be_by_channel(operator, place, tensor):
            yield f"{operator.name} reads one scale of {tensor.name!r}, which has {len(tensor.scales)}"
        # These two read a zero point for each channel; others that take scales by channel read none.
        by_channel = tensor.is_per_channel and operator.name not in _ANY_DIMENSION
        is_symmetric = tensor.dtype in _SYMMETRIC_BITS or by_channel
        if is_symmetric and any(tensor.zero_points):
            yield f"{operator.name} takes {tensor.name!r} as symmetric, and its zero point is not 0"
    if biases is not None and len(inputs) > biases[2]:
        yield from _bias(operator, *(inputs[place] for place in biases))
    for tensor in outputs:
        fixed = _FIXED.get((operator.name, tensor.dtype))
        if fixed is not None and tensor.scales and not _is_scaled(tensor, *fixed):
            yield f"{operator.name} gives {tensor.name!r} in steps of {fixed[0]}, and its scale is another"
    if operator.name in MOVES and inputs and outputs and not _are_alike(inputs[0], outputs[0]):
        yield f"{operator.name} moves integers, and {outputs[0].name!r} has another scale than its input"


def _is_whole(tensor: Tensor) -> bool:
    """Whether a quantized constant has as many bytes as its sizes say: a quantizer may leave it in float."""
    if not tensor.is_constant or tensor.dtype not in _BITS:
        return True
    return tensor.nbytes == math.ceil(math.prod(tensor.shape) * _BITS[tensor.dtype] / 8)


def _may_be_by_channel(operator: Operator, place: int, tensor: Tensor) -> bool:
    if operator.name in _ANY_DIMENSION:
        return True
    biases = BIASES.get(operator.name)
    if biases is not None and place == biases[2]:
        return True
    return _BY_CHANNEL.get((operator.name, place)) == tensor.quantized_dimension


def _bias(
    operator: Operator, source: Tensor | None, weights: Tensor | None, bias: Tensor | None
) -> Iterator[str]:
    """Check that a bias is in steps of input scale times weight scale, channel by channel."""
    if source is None or weights is None or bias is None or not (source.scales and bias.scales):
        return
    steps = [source.scales[0] * scale for scale in weights.scales]
    if len(steps) != len(bias.scales) or not all(map(_are_near, steps, bias.scales)):
        yield f"{operator.name}: {bias.name!r} is not in steps of its input's scale times its weights'"


def _are_alike(before: Tensor | None, after: Tensor) -> bool:
    if before is None or not (before.scales and after.scales) or before.dtype != after.dtype:
        return True  # a float on one side: there is nothing to compare
    return (
        len(before.scales) == len(after.scales)
        and all(map(_are_near, before.scales, after.scales))
        and _zero_points(before) == _zero_points(after)
    )


def _is_scaled(tensor: Tensor, scale: float, zero_point: int) -> bool:
    """Whether each channel of a tensor has this scale and this zero point."""
    return all(_are_near(own, scale) for own in tensor.scales) and set(_zero_points(tensor)) == {zero_point}


def _zero_points(tensor: Tensor) -> tuple[int, ...]:
    """Return one for each scale: a file may leave them out, or give one for all."""
    given = tensor.zero_points or (0,)
    return given if len(given) == len(tensor.scales) else given[:1] * len(tensor.scales)


def _are_near(a: float, b: float) -> bool:
    return abs(a - b) <= _TOLERANCE * max(abs(a), abs(b))
