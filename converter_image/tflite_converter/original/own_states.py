"""Each fused LSTM layer with state tensors of its own.

TFLite's converter merges equal constants, and a layer's state begins as zeros. Where another operator begins
with zeros of that shape, a loop for instance, both get one tensor: the layer writes its state into it, and
the other begins with that from the second inference on.
"""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, Final

import numpy as np

from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file

_LSTM: Final = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_STATES: Final = (18, 19)
"""Places of its inputs: the last output, and the cell's state."""


def with_own_states(content: bytes) -> bytes:
    """Return the file with a state tensor for each reader; the file itself where none is shared."""
    file = read_file(content, "the float file")
    shared = [
        (number, place, position)
        for number, graph in enumerate(file.subgraphs)
        for readers in [Counter(index for operator in graph.operators for index in operator.inputs)]
        for place, operator in enumerate(graph.operators)
        if operator.name == _LSTM
        for position in _STATES
        if readers[operator.inputs[position]] > 1
    ]
    if not shared:
        return content
    model = editing.unpacked(content)
    for number, place, position in shared:
        graph = model.subgraphs[number]
        operator = graph.operators[place]
        inputs = list(operator.inputs)
        index = int(inputs[position])
        own = copy.deepcopy(graph.tensors[index])
        own.isVariable, own.buffer = True, 0
        # litert-quantizer takes two tensors of one name for one.
        own.name = f"state_{position}_of_{place}"
        graph.tensors.append(own)
        inputs[position] = len(graph.tensors) - 1
        operator.inputs = inputs
        _as_constant(model, graph.tensors[index])
    return editing.packed(model)


def _as_constant(model: Any, tensor: Any) -> None:
    """Make a tensor the zeros that it began as."""
    tensor.isVariable = False
    data = model.buffers[tensor.buffer].data if tensor.buffer else None
    if data is None or not len(data):
        tensor.buffer = editing.add_buffer(model, np.zeros([int(size) for size in tensor.shape], np.float32))
