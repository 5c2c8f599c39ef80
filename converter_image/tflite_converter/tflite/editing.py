"""Changes to a TFLite file in the schema's object form: added constants, tensors and operator codes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tflite_converter.arrays import Array


def unpacked(content: bytes) -> Any:
    """Return the file as the schema's ``ModelT``, which can be changed."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def packed(model: Any) -> bytes:
    """Return the file of a ``ModelT``, without the bytes of constants that nothing refers to any more."""
    from ai_edge_litert.tools import flatbuffer_utils

    used = {int(tensor.buffer) for graph in model.subgraphs for tensor in graph.tensors}
    used |= {int(entry.buffer) for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
        elif isinstance(buffer.data, bytes | bytearray):
            # What lay behind the FlatBuffer comes as bytes, which would be written one after another.
            buffer.data = np.frombuffer(buffer.data, np.uint8)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def add_constant(model: Any, graph: Any, name: str, dtype: int, values: Array) -> int:
    """Add a constant of the schema's type ``dtype`` to ``graph``; return its tensor index."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.hasRank = name, dtype, list(values.shape), True
    tensor.buffer = add_buffer(model, values)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_buffer(model: Any, values: Array) -> int:
    """Add the bytes of ``values``, little-endian; return the buffer's index."""
    from ai_edge_litert import schema_py_generated as schema

    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def add_tensor(graph: Any, like: int, name: str, dtype: int) -> int:
    """Add a tensor of the shape of another, of type ``dtype``; return its index."""
    from ai_edge_litert import schema_py_generated as schema

    other, tensor = graph.tensors[like], schema.TensorT()
    tensor.name, tensor.type, tensor.shape, tensor.hasRank = name, dtype, other.shape, other.hasRank
    tensor.shapeSignature, tensor.buffer = other.shapeSignature, 0
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def scaled(scales: Iterable[float]) -> Any:
    """Return symmetric quantization parameters, one or one for each channel of dimension 0."""
    from ai_edge_litert import schema_py_generated as schema

    quantization = schema.QuantizationParametersT()
    quantization.scale = np.asarray(list(scales), dtype=np.float32)
    quantization.zeroPoint = np.zeros(len(quantization.scale), dtype=np.int64)
    return quantization


def operator(code: int, inputs: list[int], outputs: list[int]) -> Any:
    """Return an operator without options."""
    from ai_edge_litert import schema_py_generated as schema

    added = schema.OperatorT()
    added.opcodeIndex, added.inputs, added.outputs = code, inputs, outputs
    return added


def code_of(model: Any, builtin: int, version: int) -> int:
    """Return the index of an operator code, which is added where the file does not have it."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if (code.builtinCode, code.version) == (builtin, version):
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = min(builtin, _LARGEST_OLD_CODE)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


_LARGEST_OLD_CODE = 127
"""What the field for operator codes of old files holds; a larger code stands in the new one only."""
