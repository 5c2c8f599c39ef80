"""How large TFLite Micro's tensor arena must be for a file: its activations and the interpreter's tables.

The planner is TFLite Micro's default, ``GreedyMemoryPlanner``: buffers from the largest to the smallest, each
at the lowest offset where it overlaps none that is needed at the same time. The tables are counted with the
sizes of a 64-bit machine, where the estimate can be checked against a real interpreter
(``tests/unit/converter/compilers/test_arena.py``); on a 32-bit microcontroller they are smaller. Kernels that
want scratch memory of their own, such as CMSIS-NN's convolutions, take it in addition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

ALIGNMENT: Final = 16
"""Of every buffer (``MicroArenaBufferAlignment``)."""
_EVAL_TENSOR_BYTES: Final = 24
_NODE_BYTES: Final = 64
_BUILTIN_BYTES: Final = 32
"""About what the parsed options of an operator take."""
_OP_DATA_BYTES: Final = 80
"""About what a kernel keeps of an operator (``OpDataConv`` is the largest of the common ones)."""
_CHANNEL_BYTES: Final = 8
"""Of a convolution: multiplier and shift of each output channel."""
_EDGE_TENSOR_BYTES: Final = 96
"""Of an input or output: a whole ``TfLiteTensor`` and its quantization."""
_INTERPRETER_BYTES: Final = 640
"""What the allocators and the planner keep of themselves."""
_DTYPE_BYTES: Final = {
    "bool": 1,
    "int8": 1,
    "uint8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "float64": 8,
}


@dataclass(frozen=True)
class Arena:
    """An estimate, in bytes."""

    activation_bytes: int
    """The planned part: what lies there at the same time, at most."""
    table_bytes: int
    """What stays for as long as the interpreter."""

    @property
    def total_bytes(self) -> int:
        """What to declare the arena with."""
        return _aligned(self.activation_bytes + self.table_bytes)


@dataclass(frozen=True)
class Buffer:
    """An activation, and the first and last operator that needs it."""

    size: int
    first: int
    last: int


def estimate(file: TFLiteFile) -> Arena:
    """Estimate the arena of ``file``; open sizes count as 1, because TFLite Micro plans memory once."""
    activations = tables = 0
    for graph in file.subgraphs:
        buffers, persistent = _buffers(graph)
        ends = (at + buffer.size for at, buffer in zip(layout(buffers), buffers, strict=True))
        activations += max(ends, default=0)
        tables += persistent + _tables(graph)
    return Arena(activations, tables + _INTERPRETER_BYTES)


def layout(buffers: Sequence[Buffer]) -> list[int]:
    """Return the offset of each of ``buffers``, laid out greedily by size."""
    offsets: dict[int, int] = {}
    # Of equals the one whose tensor comes later in the file is laid first, as in the planner.
    for index in sorted(range(len(buffers)), key=lambda i: buffers[i].size)[::-1]:
        buffer, offset = buffers[index], 0
        for start, other in sorted((at, i) for i, at in offsets.items()):
            if buffers[other].last < buffer.first or buffer.last < buffers[other].first:
                continue
            if start - offset >= buffer.size:
                break
            offset = max(offset, start + buffers[other].size)
        offsets[index] = offset
    return [offsets[index] for index in range(len(buffers))]


def _buffers(graph: Subgraph) -> tuple[list[Buffer], int]:
    """Return the activations, with the first and last operator that needs each, and persistent bytes."""
    first: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    last: dict[int, int] = dict.fromkeys(graph.inputs, 0)
    persistent: set[int] = set()
    for at, operator in enumerate(graph.operators):
        for index in operator.outputs:
            if index >= 0:
                first.setdefault(index, at)
                last[index] = at
        for index in operator.inputs:
            if index >= 0 and not graph.tensors[index].is_constant:
                if index not in first:
                    persistent.add(index)  # nobody makes it: a variable, which keeps its value between runs
                last[index] = at
    for index in graph.outputs:
        last[index] = len(graph.operators)
    buffers = [
        Buffer(_size(graph.tensors[i]), at, last[i]) for i, at in sorted(first.items()) if i not in persistent
    ]
    return buffers, sum(_size(graph.tensors[i]) for i in persistent)


def _tables(graph: Subgraph) -> int:
    operators = graph.operators
    edges = len(graph.inputs) + len(graph.outputs)
    return (
        _EVAL_TENSOR_BYTES * len(graph.tensors)
        + (_NODE_BYTES + _BUILTIN_BYTES + _OP_DATA_BYTES) * len(operators)
        + sum(_aligned(_CHANNEL_BYTES * _channels(o, graph)) for o in operators)
        + _EDGE_TENSOR_BYTES * edges
    )


def _channels(operator: Operator, graph: Subgraph) -> int:
    """Output channels of an operator whose kernel keeps a multiplier and a shift for each."""
    if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"):
        return 0
    scales = max((len(graph.tensors[i].scales) for i in operator.inputs if i >= 0), default=0)
    if operator.name == "FULLY_CONNECTED":
        return scales if scales > 1 else 0
    outputs = [graph.tensors[i].shape for i in operator.outputs if i >= 0]
    return max(scales, *(shape[-1] for shape in outputs if shape), 0)


def _size(tensor: Tensor) -> int:
    count = math.prod(max(1, size) for size in tensor.shape)
    if tensor.dtype == "int4":
        return _aligned((count + 1) // 2)
    return _aligned(count * _DTYPE_BYTES.get(tensor.dtype, 4))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
