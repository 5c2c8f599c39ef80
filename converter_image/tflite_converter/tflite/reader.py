"""Walks the tables of a TFLite file.

The FlatBuffers accessors check nothing, so every vector is held against the file's size before it is walked,
and every index against the table that it points into.

Source of the layout: ``tensorflow/compiler/mlir/lite/schema/schema.fbs``, as ai-edge-litert ships it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from ai_edge_litert import schema_py_generated as schema

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.types import Operator, Signature, Subgraph, Tensor, TFLiteFile

MOST_DIMENSIONS = 16
"""LiteRT's kernels end at 8, the contract at 16. More are a sign of corruption."""

_OPTIONS: dict[str, tuple[type[Any], dict[str, str]]] = {
    "CONV_2D": (
        schema.Conv2DOptions,
        {"dilation_w": "DilationWFactor", "dilation_h": "DilationHFactor"},
    ),
    "DEPTHWISE_CONV_2D": (
        schema.DepthwiseConv2DOptions,
        {"dilation_w": "DilationWFactor", "dilation_h": "DilationHFactor"},
    ),
    "AVERAGE_POOL_2D": (schema.Pool2DOptions, {"activation": "FusedActivationFunction"}),
    "MAX_POOL_2D": (schema.Pool2DOptions, {"activation": "FusedActivationFunction"}),
    "CONCATENATION": (schema.ConcatenationOptions, {"activation": "FusedActivationFunction"}),
    "FULLY_CONNECTED": (schema.FullyConnectedOptions, {"weights_format": "WeightsFormat"}),
    "PACK": (schema.PackOptions, {"axis": "Axis"}),
    "CALL_ONCE": (schema.CallOnceOptions, {"init": "InitSubgraphIndex"}),
    "IF": (schema.IfOptions, {"then": "ThenSubgraphIndex", "else": "ElseSubgraphIndex"}),
    "WHILE": (schema.WhileOptions, {"cond": "CondSubgraphIndex", "body": "BodySubgraphIndex"}),
    "STRIDED_SLICE": (
        schema.StridedSliceOptions,
        {
            "ellipsis_mask": "EllipsisMask",
            "new_axis_mask": "NewAxisMask",
            "shrink_axis_mask": "ShrinkAxisMask",
        },
    ),
}
"""The options that decide where an operator can run, or which graphs it runs.

Its table, and our name for each accessor.
"""


def _names(enumeration: type[Any]) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATOR_NAMES = _names(schema.BuiltinOperator)
_DTYPE_NAMES = {value: name.lower() for value, name in _names(schema.TensorType).items()}


def operator_name(number: int) -> str:
    """Return the name of a builtin operator, e.g. ``CONV_2D`` for 3."""
    return _OPERATOR_NAMES.get(number, f"BUILTIN_{number}")


def unreadable(name: str, what: str) -> ConverterError:
    """Return the error for a file that begins like a TFLite file and goes wrong later."""
    return ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{name} cannot be read: {what}")


class Reader:
    """One pass over the tables of one file.

    Beside ConverterError it raises what the accessors raise when an offset leads astray: ``struct.error``,
    ``IndexError``, ``ValueError``, ``TypeError`` or ``OverflowError``.
    """

    def __init__(self, view: memoryview, name: str) -> None:
        self._view = view
        self._name = name
        self._model = schema.Model.GetRootAs(view, 0)
        # A sound file stores each vector and string once. A hostile one can point a million tables to one
        # long vector; twice the file's size is where that ends.
        self._allowance = 2 * view.nbytes + 4096
        self._outside = False

    def read(self) -> TFLiteFile:
        """Read the whole file."""
        buffers = [self._buffer(i) for i in range(self._count(self._model.BuffersLength(), 4))]
        codes = [self._code(i) for i in range(self._count(self._model.OperatorCodesLength(), 4))]
        subgraphs = tuple(
            self._subgraph(self._model.Subgraphs(i), buffers, codes)
            for i in range(self._count(self._model.SubgraphsLength(), 4))
        )
        if not subgraphs:
            self._corrupt("it has no graph")
        return TFLiteFile(
            name=self._name,
            size_bytes=self._view.nbytes,
            description=self._text(self._model.Description()),
            subgraphs=subgraphs,
            signatures=tuple(
                self._signature(self._model.SignatureDefs(i), subgraphs)
                for i in range(self._count(self._model.SignatureDefsLength(), 4))
            ),
            metadata=MappingProxyType(self._metadata(buffers)),
            has_outside_buffers=self._outside,
        )

    def _buffer(self, index: int) -> memoryview | None:
        buffer = self._model.Buffers(index)
        start, size = buffer.Offset(), buffer.Size()
        if start > 1 and size:
            if start + size > self._view.nbytes:
                self._corrupt(f"buffer {index} ends at byte {start + size}, the file at {self._view.nbytes}")
            self._outside = True
            return self._view[start : start + size].toreadonly()
        if not buffer.DataLength():
            return None
        return memoryview(buffer.DataAsNumpy()).toreadonly()

    def _code(self, index: int) -> tuple[str, bool, int]:
        """Name, whether it is custom, version."""
        code = self._model.OperatorCodes(index)
        # Codes up to 127 are in the old field, later ones in the new; old files leave the new one at 0.
        number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
        if number == schema.BuiltinOperator.CUSTOM:
            return self._text(code.CustomCode()) or "CUSTOM", True, code.Version()
        return operator_name(number), False, code.Version()

    def _subgraph(
        self, graph: Any, buffers: list[memoryview | None], codes: list[tuple[str, bool, int]]
    ) -> Subgraph:
        tensors = tuple(
            self._tensor(graph.Tensors(i), buffers) for i in range(self._count(graph.TensorsLength(), 4))
        )
        operators = tuple(
            self._operator(graph.Operators(i), codes, len(tensors))
            for i in range(self._count(graph.OperatorsLength(), 4))
        )
        inputs = self._integers(graph.InputsLength(), graph.InputsAsNumpy)
        outputs = self._integers(graph.OutputsLength(), graph.OutputsAsNumpy)
        if not all(0 <= i < len(tensors) for i in (*inputs, *outputs)):
            self._corrupt("an input or output of the graph points to a tensor that is not there")
        return Subgraph(self._text(graph.Name()), tensors, operators, inputs, outputs)

    def _tensor(self, tensor: Any, buffers: list[memoryview | None]) -> Tensor:
        name = self._text(tensor.Name())
        shape = self._integers(tensor.ShapeLength(), tensor.ShapeAsNumpy)
        signature = self._integers(tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy)
        if max(len(shape), len(signature)) > MOST_DIMENSIONS:
            self._corrupt(f"tensor {name!r} has {max(len(shape), len(signature))} dimensions")
        if any(size < -1 for size in (*shape, *signature)):
            self._corrupt(f"tensor {name!r} has a negative size")
        buffer = tensor.Buffer()
        if buffer >= max(1, len(buffers)):
            self._corrupt(f"tensor {name!r} points to buffer {buffer}, and there are {len(buffers)}")
        dtype = _DTYPE_NAMES.get(tensor.Type())
        if dtype is None:
            self._corrupt(f"tensor {name!r} has the type {tensor.Type()}, which no version of TFLite has")
        scales: tuple[float, ...] = ()
        zero_points: tuple[int, ...] = ()
        dimension = 0
        if (quantization := tensor.Quantization()) is not None:
            if count := self._count(quantization.ScaleLength(), 4):
                scales = tuple(quantization.ScaleAsNumpy()[:count].tolist())
            if count := self._count(quantization.ZeroPointLength(), 8):
                zero_points = tuple(quantization.ZeroPointAsNumpy()[:count].tolist())
            dimension = quantization.QuantizedDimension()
        return Tensor(
            name=name,
            shape=signature or shape,
            dtype=dtype,
            scales=scales,
            zero_points=zero_points,
            quantized_dimension=dimension,
            buffer=buffer,
            data=buffers[buffer] if buffers else None,
        )

    def _operator(self, operator: Any, codes: list[tuple[str, bool, int]], tensors: int) -> Operator:
        index = operator.OpcodeIndex()
        if index >= len(codes):
            self._corrupt(f"an operator has the code {index}, and there are {len(codes)}")
        name, custom, version = codes[index]
        inputs = self._integers(operator.InputsLength(), operator.InputsAsNumpy)
        outputs = self._integers(operator.OutputsLength(), operator.OutputsAsNumpy)
        if not all(-1 <= i < tensors for i in inputs) or not all(0 <= i < tensors for i in outputs):
            self._corrupt(f"an operator ({name}) points to a tensor that is not there")
        return Operator(name, version, inputs, outputs, custom, self._options(name, operator))

    def _options(self, name: str, operator: Any) -> Mapping[str, int]:
        if name not in _OPTIONS or (table := operator.BuiltinOptions()) is None:
            return {}
        kind, fields = _OPTIONS[name]
        options = kind()
        options.Init(table.Bytes, table.Pos)
        return MappingProxyType({ours: int(getattr(options, theirs)()) for ours, theirs in fields.items()})

    def _signature(self, signature: Any, subgraphs: tuple[Subgraph, ...]) -> Signature:
        index = signature.SubgraphIndex()
        if index >= len(subgraphs):
            self._corrupt(f"a signature belongs to graph {index}, and there are {len(subgraphs)}")
        tensors = len(subgraphs[index].tensors)

        def named(length: int, at: Any) -> Mapping[str, int]:
            entries = [at(i) for i in range(self._count(length, 4))]
            indices = {self._text(entry.Name()): entry.TensorIndex() for entry in entries}
            if any(i >= tensors for i in indices.values()):
                self._corrupt("a signature names a tensor that is not there")
            return MappingProxyType(indices)

        return Signature(
            self._text(signature.SignatureKey()),
            index,
            named(signature.InputsLength(), signature.Inputs),
            named(signature.OutputsLength(), signature.Outputs),
        )

    def _metadata(self, buffers: list[memoryview | None]) -> dict[str, memoryview]:
        contents = {}
        for i in range(self._count(self._model.MetadataLength(), 4)):
            entry = self._model.Metadata(i)
            name, buffer = self._text(entry.Name()), entry.Buffer()
            if buffer >= len(buffers):
                self._corrupt(f"metadata {name!r} points to buffer {buffer}, and there are {len(buffers)}")
            contents[name] = buffers[buffer] or memoryview(b"")
        return contents

    def _integers(self, length: int, values: Any) -> tuple[int, ...]:
        return tuple(values().tolist()) if self._count(length, 4) else ()

    def _text(self, value: bytes | None) -> str:
        self._count(len(value or b""), 1)
        return (value or b"").decode("utf-8", errors="replace")

    def _count(self, length: int, width: int) -> int:
        """``length`` elements of ``width`` bytes, taken from the allowance."""
        self._allowance -= length * width
        if self._allowance < 0:
            self._corrupt("its tables claim more than the file holds")
        return length

    def _corrupt(self, what: str) -> NoReturn:
        raise unreadable(self._name, what)
