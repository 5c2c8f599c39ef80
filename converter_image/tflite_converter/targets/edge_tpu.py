"""What the Edge TPU's documentation asks of each operator.

An analysis by documented constraints: the Edge TPU compiler itself, which is closed and no longer developed,
is not run. Source: "TensorFlow models on the Edge TPU" on coral.ai, sections "Model requirements" and
"Supported operations".
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tflite_converter.targets.operators import EDGE_TPU, EDGE_TPU_CUSTOM, EDGE_TPU_FIRST_REFUSED_VERSION
from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

SOFTMAX_LIMIT: Final = 16_000
"""Elements of the largest SOFTMAX input."""

_RECURRENT = ("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM")

_CONSTANTS: Final[dict[str, tuple[int, ...]]] = {
    "CONV_2D": (1, 2),
    "DEPTHWISE_CONV_2D": (1, 2),
    "FULLY_CONNECTED": (1, 2),
    "TRANSPOSE_CONV": (0, 1, 3),
    "EXPAND_DIMS": (1,),
    "MEAN": (1,),
    "PAD": (1,),
    "PRELU": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "SLICE": (1, 2),
    "SPLIT": (0,),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TRANSPOSE": (1,),
}
"""The inputs that are parameters, and must be constant when the model is compiled."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be expected of one operator."""

    operator: Operator
    graph: Subgraph
    reason: str | None
    """Its own reason against it, if it has one."""
    maps: bool
    """Whether it runs on the Edge TPU; what follows one that does not stays on the CPU as well."""


def verdicts(file: TFLiteFile) -> Iterator[Verdict]:
    """Yield a verdict on each operator, in the file's order.

    The compiler maps one piece of the graph, from its beginning on ("How the compiler works" of coral.ai's
    page on the compiler).
    """
    maps = True
    for operator, graph in file.operators():
        reason = objection(operator, graph)
        maps = maps and reason is None
        yield Verdict(operator, graph, reason, maps)


def objection(operator: Operator, graph: Subgraph) -> str | None:
    """Why the Edge TPU cannot compute ``operator``; None where the documentation says it can."""
    if operator.name == EDGE_TPU_CUSTOM:
        return None
    if operator.is_custom or operator.name not in EDGE_TPU:
        return "the Edge TPU does not have it; the compiler leaves this and what follows to the CPU"
    first = EDGE_TPU_FIRST_REFUSED_VERSION.get(operator.name)
    if first is not None and operator.version >= first:
        return (
            f"version {operator.version} is newer than Edge TPU Compiler 16.0 reads;"
            " make the file with TensorFlow 2.8 or older"
        )
    return _types(operator, graph) or _shapes(operator, graph) or _constraint(operator, graph)


def _types(operator: Operator, graph: Subgraph) -> str | None:
    for tensor in _present(operator.inputs, graph) + _present(operator.outputs, graph):
        if tensor.is_float:
            return "runs in float, and the Edge TPU in 8-bit integers; make it full integer, in and out"
        allowed = {"int8", "uint8"}
        if tensor.is_constant:
            allowed.add("int32")
        if operator.name in _RECURRENT:
            allowed.add("int16")
        if tensor.dtype not in allowed:
            return f"works on {tensor.dtype}, and the Edge TPU on int8 and uint8; quantize it to 8 bits"
    for position in _CONSTANTS.get(operator.name, ()):
        tensors = operator.inputs[position : position + 1]
        if any(i >= 0 and not graph.tensors[i].is_constant for i in tensors):
            return "a parameter is computed, and must be constant; give every dimension a size, the batch too"
    return None


def _shapes(operator: Operator, graph: Subgraph) -> str | None:
    for tensor in _present(operator.inputs, graph) + _present(operator.outputs, graph):
        if tensor.is_constant:
            continue
        if any(size < 0 for size in tensor.shape[1:]):
            return "has dimensions of open size; give every dimension a fixed size"
        if any(size > 1 for size in tensor.shape[:-3]):
            return "a tensor has more than 3 dimensions beyond 1; use a batch of 1"
    return None


def _constraint(operator: Operator, graph: Subgraph) -> str | None:
    check = _CHECKS.get(operator.name)
    if check is None:
        return None
    if not _present(operator.inputs, graph):
        return "has no input, which no converter writes; make the file again"
    return check(operator, graph)


def _no_activation(operator: Operator, _: Subgraph) -> str | None:
    if operator.options.get("activation", 0):
        return "has an activation fused into it; make the activation a layer of its own"
    return None


def _dilation(operator: Operator, _: Subgraph) -> str | None:
    if operator.options.get("dilation_w", 1) != operator.options.get("dilation_h", 1):
        return "has another dilation in x than in y; use the same"
    return None


def _concatenation(operator: Operator, graph: Subgraph) -> str | None:
    inputs = _present(operator.inputs, graph)
    constants = [t for t in inputs if t.is_constant]
    if constants and (len(inputs) != 2 or not all(_is_zero(t) for t in constants)):
        return "joins a constant; only one of zeros, to one other input, is possible"
    return _no_activation(operator, graph)


def _fully_connected(operator: Operator, graph: Subgraph) -> str | None:
    if operator.options.get("weights_format", 0):
        return "has shuffled weights; only the default format is possible"
    if any(size > 1 for t in _present(operator.outputs, graph) for size in t.shape[:-1]):
        return "gives more than one dimension; use a batch of 1, or a CONV_2D with a 1x1 kernel"
    return None


def _softmax(operator: Operator, graph: Subgraph) -> str | None:
    (tensor, *_) = _present(operator.inputs, graph)
    if any(size > 1 for size in tensor.shape[:-1]) or (tensor.shape and tensor.shape[-1] > SOFTMAX_LIMIT):
        return f"takes more than one dimension of up to {SOFTMAX_LIMIT:,} elements; leave it to the CPU"
    return None


def _reduction(operator: Operator, graph: Subgraph) -> str | None:
    tensor, *parameters = _present(operator.inputs, graph)
    axes = {axis % len(tensor.shape) for p in parameters for axis in _integers(p)} if tensor.shape else set()
    if 0 in axes:
        return "reduces the batch dimension; reduce the others"
    last = len(tensor.shape) - 1
    if operator.name == "MEAN" and last >= 3 and last in axes and tensor.shape[last] % 4:
        return "takes the mean over channels whose number is no multiple of 4; add channels"
    return None


def _pack(operator: Operator, graph: Subgraph) -> str | None:
    rank = max((len(t.shape) for t in _present(operator.outputs, graph)), default=1)
    if operator.options.get("axis", 0) % max(rank, 1) == 0:
        return "packs along the batch dimension; pack along another"
    return None


def _pad(operator: Operator, graph: Subgraph) -> str | None:
    _, *parameters = _present(operator.inputs, graph)
    if any(any(_integers(p)[:2]) for p in parameters):
        return "pads the batch dimension; pad the others"
    return None


def _split(operator: Operator, graph: Subgraph) -> str | None:
    axis, *values = _present(operator.inputs, graph)
    rank = max((len(t.shape) for t in values), default=0)
    if rank and any(a % rank == 0 for a in _integers(axis)):
        return "splits the batch dimension; split another"
    return None


def _strided_slice(operator: Operator, graph: Subgraph) -> str | None:
    strides = _present(operator.inputs, graph)[3:]
    masks = operator.options.get("ellipsis_mask", 0) or operator.options.get("new_axis_mask", 0)
    if masks or any(step != 1 for t in strides for step in _integers(t)):
        return "skips elements or adds axes; use strides of 1 without ellipsis and new axes"
    return None


def _prelu(operator: Operator, graph: Subgraph) -> str | None:
    if any(size > 1 for t in _present(operator.inputs, graph)[1:] for size in t.shape[:-1]):
        return "has a slope for each place; in Keras, share it with shared_axes=[1, 2]"
    return None


def _squeeze(operator: Operator, graph: Subgraph) -> str | None:
    before = [s for t in _present(operator.inputs, graph)[:1] for s in t.shape]
    after = [s for t in _present(operator.outputs, graph)[:1] for s in t.shape]
    if before[len(before) - len(after) :] != after:
        return "removes dimensions that do not lead; use RESHAPE"
    return None


_CHECKS: Final[dict[str, Callable[[Operator, Subgraph], str | None]]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _dilation,
    "DEPTHWISE_CONV_2D": _dilation,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _no_activation,
    "MEAN": _reduction,
    "PACK": _pack,
    "PAD": _pad,
    "PRELU": _prelu,
    "REDUCE_MAX": _reduction,
    "REDUCE_MIN": _reduction,
    "SOFTMAX": _softmax,
    "SPLIT": _split,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _strided_slice,
    "SUM": _reduction,
}
"""The column "Known limitations" of the documentation's table."""


def _present(indices: tuple[int, ...], graph: Subgraph) -> list[Tensor]:
    return [graph.tensors[i] for i in indices if i >= 0]


def _integers(tensor: Tensor) -> list[int]:
    """Return the values of a constant int32 tensor; none of anything else."""
    if tensor.data is None or tensor.dtype != "int32":
        return []
    return [value for (value,) in struct.iter_unpack("<i", tensor.data[: tensor.nbytes // 4 * 4])]


def _is_zero(tensor: Tensor) -> bool:
    """Whether each byte of a constant is its channel's zero point."""
    zeros = [zero % 256 for zero in tensor.zero_points or (0,)]
    inner = math.prod(tensor.shape[tensor.quantized_dimension + 1 :]) or 1
    return tensor.data is not None and all(
        byte == zeros[place // inner % len(zeros)] for place, byte in enumerate(tensor.data)
    )
