"""Constants that are stored smaller and widened when the file runs: float16, and int8 tables of embeddings.

TensorFlow's own converter stores every constant as float16, and the tables that GATHER reads as int8: most of
a model with embeddings. litert-quantizer does so for the weights of a few operators only.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, Final

import numpy as np

from tflite_converter.arrays import Array, FloatArray
from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import Subgraph, Tensor

_LARGEST_HALF: Final = 65504.0
_FAITHFUL: Final = 1e-6
"""Share of a constant's power that rounding may take; float16 takes 3e-8 where its exponents suffice."""
_LONG: Final = 1024
_WORTH_IT: Final = 64
"""A smaller table is not worth the bytes of a DEQUANTIZE."""
_LSTM: Final = "UNIDIRECTIONAL_SEQUENCE_LSTM"
_LSTM_WEIGHTS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 16)
"""Places of its inputs: from the features, from the state before, and of the projection."""
_LARGEST_INT8: Final = 127.0
_DEQUANTIZE_HALF: Final = 3
_GATHER_INT8, _DEQUANTIZE_INT8 = 2, 2
"""Versions of the operators, from TensorFlow's ``op_version.cc``."""


def with_halved_constants(content: bytes) -> bytes:
    """Return the float file with its weights as float16, each with a DEQUANTIZE in front of its readers.

    Weights are constants with at least two dimensions, or of at least 1,024 values: biases stay as they are.
    So do weights that float16 cannot hold: beyond 65504, or so small that its steps are too coarse.
    """
    from ai_edge_litert import schema_py_generated as schema

    file, model = read_file(content, "the float file"), editing.unpacked(content)
    code = editing.code_of(model, schema.BuiltinOperator.DEQUANTIZE, _DEQUANTIZE_HALF)
    for graph, written in zip(file.subgraphs, model.subgraphs, strict=True):
        read = {index for operator in graph.operators for index in operator.inputs} - set(graph.outputs)
        widening = []
        for index in sorted(read - {-1}):
            tensor = graph.tensors[index]
            if not _is_weights(tensor) or (halved := _halved(_values(tensor))) is None:
                continue
            half = editing.add_constant(
                model, written, f"{tensor.name}_half", schema.TensorType.FLOAT16, halved
            )
            written.tensors[index].buffer = 0
            widening.append(editing.operator(code, [half], [index]))
        written.operators = [*widening, *written.operators]
    return editing.packed(model)


def with_tables_quantized(content: bytes, except_for: Collection[str] = ()) -> bytes:
    """Return the file with every float table that GATHER picks rows from as int8, and the rows widened.

    ``except_for`` are the names of rows, the operators' outputs, whose tables stay as they are.
    """
    file = read_file(content, "the quantized file")
    # Operators are added behind.
    tables = [sorted(_tables(graph, except_for), reverse=True) for graph in file.subgraphs]
    if not any(tables):
        return content
    from ai_edge_litert import schema_py_generated as schema

    model = editing.unpacked(content)
    gather = editing.code_of(model, schema.BuiltinOperator.GATHER, _GATHER_INT8)
    dequantize = editing.code_of(model, schema.BuiltinOperator.DEQUANTIZE, _DEQUANTIZE_INT8)
    for graph, written, places in zip(file.subgraphs, model.subgraphs, tables, strict=True):
        quantized: dict[int, int] = {}
        for place in places:
            table, rows = graph.operators[place].inputs[0], graph.operators[place].outputs[0]
            if table not in quantized:
                quantized[table] = _add_quantized(model, written, graph.tensors[table])
            name = f"{graph.tensors[rows].name}_int8"
            picked = editing.add_tensor(written, rows, name, schema.TensorType.INT8)
            written.tensors[picked].quantization = written.tensors[quantized[table]].quantization
            operator = written.operators[place]
            operator.opcodeIndex = gather
            operator.inputs, operator.outputs = [quantized[table], *operator.inputs[1:]], [picked]
            written.operators.insert(place + 1, editing.operator(dequantize, [picked], [rows]))
        for table in quantized:
            if all(table not in operator.inputs for operator in written.operators):
                written.tensors[table].buffer = 0
    return editing.packed(model)


def with_recurrent_weights_widened(content: bytes, except_for: Collection[str] = ()) -> bytes:
    """Return the file with the weights of fused LSTM layers as int8, each widened by a DEQUANTIZE.

    ``except_for`` are the names of the outputs of layers that stay as they are.
    """
    return _with_recurrent_weights(content, except_for, widened=True)


def with_recurrent_weights_quantized(content: bytes, except_for: Collection[str] = ()) -> bytes:
    """Return the file with the weights of fused LSTM layers as int8, one scale each as their kernel reads.

    ``except_for`` are the names of the outputs of layers that stay as they are.
    """
    return _with_recurrent_weights(content, except_for, widened=False)


def _with_recurrent_weights(content: bytes, except_for: Collection[str], *, widened: bool) -> bytes:
    file = read_file(content, "the quantized file")
    if not any(operator.name == _LSTM for operator, _ in file.operators()):
        return content
    from ai_edge_litert import schema_py_generated as schema

    model = editing.unpacked(content)
    for graph, written in zip(file.subgraphs, model.subgraphs, strict=True):
        quantized: dict[int, int] = {}
        for operator, changed in zip(graph.operators, written.operators, strict=True):
            if operator.name != _LSTM or graph.tensors[operator.outputs[0]].name in except_for:
                continue
            inputs = list(operator.inputs)
            for place in _LSTM_WEIGHTS:
                index = inputs[place]
                if (
                    index >= 0
                    and graph.tensors[index].dtype == "float32"
                    and graph.tensors[index].is_constant
                ):
                    if index not in quantized:
                        quantized[index] = _add_quantized(model, written, graph.tensors[index])
                    if not widened:
                        inputs[place] = quantized[index]
            changed.inputs = inputs
        if widened:
            code = editing.code_of(model, schema.BuiltinOperator.DEQUANTIZE, _DEQUANTIZE_INT8)
            both = quantized.items()
            widening = [editing.operator(code, [stored], [index]) for index, stored in both]
            written.operators = [*widening, *written.operators]
            for index in quantized:
                written.tensors[index].buffer = 0
            continue
        readers = {index for operator in written.operators for index in operator.inputs}
        for index in quantized.keys() - readers:
            written.tensors[index].buffer = 0
    return editing.packed(model)


def _values(tensor: Tensor) -> Array:
    values: Array = np.frombuffer(tensor.data or b"", dtype="<f4").reshape(tensor.shape)
    return values


def _is_weights(tensor: Tensor) -> bool:
    if tensor.dtype != "float32" or not tensor.nbytes:
        return False
    return sum(size > 1 for size in tensor.shape) >= 2 or math.prod(tensor.shape) >= _LONG


def _halved(values: Array) -> Array | None:
    """Return ``values`` as float16; None where that loses too much of them."""
    if not float(np.max(np.abs(values), initial=0.0)) <= _LARGEST_HALF:
        return None
    halved: Array = values.astype(np.float16)
    exact: FloatArray = values.astype(np.float64)
    lost = float(np.sum(np.square(halved.astype(np.float64) - exact)))
    return halved if lost <= _FAITHFUL * float(np.sum(np.square(exact))) else None


def _tables(graph: Subgraph, except_for: Collection[str]) -> Iterator[int]:
    """Yield the places of GATHERs that read a table of float constants."""
    for place, operator in enumerate(graph.operators):
        if operator.name == "GATHER" and graph.tensors[operator.outputs[0]].name not in except_for:
            table = graph.tensors[operator.inputs[0]]
            if table.dtype == "float32" and math.prod(table.shape) >= _WORTH_IT and table.data is not None:
                yield place


def _add_quantized(model: Any, graph: Any, table: Tensor) -> int:
    from ai_edge_litert import schema_py_generated as schema

    values = _values(table)
    scale = max(float(np.max(np.abs(values), initial=0.0)) / _LARGEST_INT8, float(np.finfo(np.float32).tiny))
    stored = np.clip(np.rint(values / scale), -_LARGEST_INT8, _LARGEST_INT8).astype(np.int8)
    added = editing.add_constant(model, graph, f"{table.name}_int8", schema.TensorType.INT8, stored)
    graph.tensors[added].quantization = editing.scaled([scale])
    return added
