"""Builds small TFLite files for tests, table by table, without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


@dataclass
class T:
    """A tensor."""

    name: str
    shape: Sequence[int] = (1, 4)
    dtype: str = "INT8"
    data: bytes | None = None
    scales: Sequence[float] = ()
    zero_points: Sequence[int] = ()
    dimension: int = 0
    open_shape: Sequence[int] | None = None
    buffer: int | None = None
    """Shares this buffer instead of having its own."""


@dataclass
class O:  # noqa: E742 - beside T, and as short, because graphs are written with many of them
    """An operator; a name that the schema does not have is a custom operator's."""

    name: str
    inputs: Sequence[int] = (0,)
    outputs: Sequence[int] = (1,)
    version: int = 1
    options: Mapping[str, int | str] = field(default_factory=dict)
    """Fields of the operator's options table, named as in the schema."""
    custom: bytes = b""
    """Options of a custom operator."""


_OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "PACK": "PackOptions",
    "SPLIT": "SplitOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "GATHER": "GatherOptions",
    "IF": "IfOptions",
    "WHILE": "WhileOptions",
    "CALL_ONCE": "CallOnceOptions",
    "VAR_HANDLE": "VarHandleOptions",
}


def ints(*values: int) -> bytes:
    """A constant int32 tensor's data."""
    return struct.pack(f"<{len(values)}i", *values)


def floats(*values: float) -> bytes:
    """A constant float32 tensor's data."""
    return struct.pack(f"<{len(values)}f", *values)


def tflite(
    tensors: Sequence[T],
    operators: Sequence[O] = (),
    *,
    inputs: Sequence[int] = (0,),
    outputs: Sequence[int] = (1,),
    signature: tuple[Mapping[str, int], Mapping[str, int]] | None = None,
    metadata: Mapping[str, bytes] | None = None,
    outside: bool = False,
    others: Sequence[tuple[str, Sequence[T], Sequence[O]]] = (),
) -> bytes:
    """A file of one graph, and ``others`` by name, which take their first tensor and give their last.

    One that ends with setting a variable takes and gives nothing.

    ``outside`` puts its constants behind the FlatBuffer, as litert-quantizer does.
    """
    model = schema.ModelT()
    model.version = 3
    model.description = "made for a test"
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [_tensor(model, t) for t in tensors]
    graph.operators = [_operator(model, o) for o in operators]
    graph.inputs, graph.outputs = list(inputs), list(outputs)
    model.subgraphs = [graph]
    for name, own_tensors, own_operators in others:
        other = schema.SubGraphT()
        other.name = name
        other.tensors = [_tensor(model, t) for t in own_tensors]
        other.operators = [_operator(model, o) for o in own_operators]
        sets = own_operators and not own_operators[-1].outputs
        other.inputs, other.outputs = ([], []) if sets else ([0], [len(own_tensors) - 1])
        model.subgraphs.append(other)
    if signature is not None:
        model.signatureDefs = [_signature(*signature)]
    if metadata:
        model.metadata = [_metadata(model, name, data) for name, data in metadata.items()]
    return _packed_outside(model) if outside else _packed(model)


def dense(
    *, signature: bool = True, metadata: Mapping[str, bytes] | None = None, outside: bool = False
) -> bytes:
    """A float FULLY_CONNECTED that LiteRT can run: 4 features to 3 outputs."""
    weights = floats(*(((7 * i) % 11 - 5) / 4 for i in range(12)))
    return tflite(
        [
            T("serving_x:0", (1, 4), "FLOAT32", open_shape=(-1, 4)),
            T("StatefulPartitionedCall:0", (1, 3), "FLOAT32", open_shape=(-1, 3)),
            T("weights", (3, 4), "FLOAT32", weights),
            T("bias", (3,), "FLOAT32", floats(0.5, -1.0, 2.0)),
        ],
        [O("FULLY_CONNECTED", (0, 2, 3), (1,))],
        signature=({"x": 0}, {"scores": 1}) if signature else None,
        metadata=metadata,
        outside=outside,
    )


def running_sum() -> bytes:
    """A dense layer, and the sum of what it gave in this and all calls before: a variable, first set to 0."""
    variable = {"container": "", "sharedName": "sum"}
    weights = floats(*(((7 * i) % 11 - 5) / 4 for i in range(12)))
    return tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("y", (1, 3), "FLOAT32"),
            T("w", (3, 4), "FLOAT32", weights),
            T("handle", (), "RESOURCE"),
            T("before", (1, 3), "FLOAT32"),
            T("h", (1, 3), "FLOAT32"),
        ],
        [
            O("CALL_ONCE", (), (), options={"initSubgraphIndex": 1}),
            O("VAR_HANDLE", (), (3,), options=variable),
            O("READ_VARIABLE", (3,), (4,)),
            O("FULLY_CONNECTED", (0, 2, -1), (5,)),
            O("ADD", (5, 4), (1,)),
            O("ASSIGN_VARIABLE", (3, 1), ()),
        ],
        signature=({"x": 0}, {"y": 1}),
        others=[
            (
                "set",
                [T("zero", (1, 3), "FLOAT32", floats(0, 0, 0)), T("its_handle", (), "RESOURCE")],
                [O("VAR_HANDLE", (), (1,), options=variable), O("ASSIGN_VARIABLE", (1, 0), ())],
            )
        ],
    )


def _tensor(model: Any, given: T) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = given.name, list(given.shape)
    tensor.type = getattr(schema.TensorType, given.dtype)
    if given.open_shape is not None:
        tensor.shapeSignature = list(given.open_shape)
    if given.scales:
        quantization = schema.QuantizationParametersT()
        quantization.scale = list(given.scales)
        quantization.zeroPoint = list(given.zero_points or [0] * len(given.scales))
        quantization.quantizedDimension = given.dimension
        tensor.quantization = quantization
    if given.buffer is not None:
        tensor.buffer = given.buffer
        return tensor
    buffer = schema.BufferT()
    buffer.data = None if given.data is None else list(given.data)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    return tensor


def _operator(model: Any, given: O) -> Any:
    code = schema.OperatorCodeT()
    number = getattr(schema.BuiltinOperator, given.name, None)
    if number is None:
        code.customCode, number = given.name, schema.BuiltinOperator.CUSTOM
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    code.version = given.version
    model.operatorCodes = [*(model.operatorCodes or []), code]
    operator = schema.OperatorT()
    operator.opcodeIndex = len(model.operatorCodes) - 1
    operator.inputs, operator.outputs = list(given.inputs), list(given.outputs)
    if given.custom:
        operator.customOptions = list(given.custom)
    if given.name in _OPTIONS:
        kind = _OPTIONS[given.name]
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, f"{kind}T")()
        for name, value in given.options.items():
            setattr(operator.builtinOptions, name, value)
    return operator


def _signature(inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
    def named(pairs: Mapping[str, int]) -> list[Any]:
        made = []
        for name, index in pairs.items():
            entry = schema.TensorMapT()
            entry.name, entry.tensorIndex = name, index
            made.append(entry)
        return made

    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs, signature.outputs = named(inputs), named(outputs)
    return signature


def _metadata(model: Any, name: str, data: bytes) -> Any:
    buffer = schema.BufferT()
    buffer.data = list(data)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = name, len(model.buffers) - 1
    return entry


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _packed_outside(model: Any) -> bytes:
    """Constants follow the FlatBuffer, each at a multiple of 16; their buffers have place and size."""
    pieces = [b"" if b.data is None else bytes(b.data) for b in model.buffers]
    for buffer, piece in zip(model.buffers, pieces, strict=True):
        if piece:
            buffer.data, buffer.offset, buffer.size = None, 2, len(piece)
    end = -(-len(_packed(model)) // 16) * 16
    tail = b""
    for buffer, piece in zip(model.buffers, pieces, strict=True):
        if piece:
            buffer.offset = end + len(tail)
            tail += piece + bytes(-len(piece) % 16)
    front = _packed(model)
    return front + bytes(end - len(front)) + tail
