"""Changes to a graph that a converter wrote: dense layers as TFLite has them, outputs that are one tensor."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BUILTIN: Final = schema.BuiltinOperator
_OPTIONS: Final = schema.BuiltinOptions
_FLOAT32: Final = schema.TensorType.FLOAT32
_INT32: Final = schema.TensorType.INT32
_KEEP_STATE: Final = {
    *(
        _BUILTIN.UNIDIRECTIONAL_SEQUENCE_LSTM,
        _BUILTIN.UNIDIRECTIONAL_SEQUENCE_RNN,
        _BUILTIN.LSTM,
        _BUILTIN.RNN,
    ),
    *(_BUILTIN.BIDIRECTIONAL_SEQUENCE_LSTM, _BUILTIN.BIDIRECTIONAL_SEQUENCE_RNN, _BUILTIN.SVDF),
}
"""Operators that write into inputs of theirs."""
_FIRST_VERSION: Final = {_BUILTIN.FULLY_CONNECTED: 5, _BUILTIN.RESHAPE: 1}
"""The version that has what is used: FULLY_CONNECTED keeps the number of dimensions from 5 on."""


def sizes_of(tensor: Any) -> list[int]:
    """Return a tensor's sizes; of a single number the file has none."""
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


class Graph:
    """The main graph of a file, as objects."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.graph = model.subgraphs[0]
        if self.graph.operators is None:  # nothing depends on the inputs' values
            self.graph.operators = []
        self._turned: dict[tuple[int, bool], int] = {}

    def use_dense_layers(self) -> None:
        """Make FULLY_CONNECTED of products with constant weights, with the bias that is added to them.

        Accelerators and quantizers know it; they do not know a BATCH_MATMUL whose second part is constant.
        """
        self._write_zeros()
        computed = [id(operator) for operator in self.graph.operators if self._compute(operator)]
        self.graph.operators = [o for o in self.graph.operators if id(o) not in computed]
        self._leave_out_what_nobody_reads()
        for operator in self.graph.operators:
            if self._code(operator) == _BUILTIN.BATCH_MATMUL:
                self._make_dense(operator)
        readers = Counter(int(index) for o in self.graph.operators for index in o.inputs)
        producers = {int(o.outputs[0]): o for o in self.graph.operators if len(o.outputs) == 1}
        self.graph.operators = [
            operator
            for operator in self.graph.operators
            if self._code(operator) != _BUILTIN.ADD or not self._fuse(operator, producers, readers)
        ]

    def copy_of(self, index: int) -> int:
        """Return a new tensor with the values of another: each output of a file is a tensor of its own."""
        original = self.graph.tensors[index]
        shape = np.asarray(sizes_of(original), np.int32)
        shape_index = self._constant(np.maximum(shape, 1), _INT32, "shape")
        copy = self._tensor(shape, original.type, original.name)
        signature = original.shapeSignature
        self.graph.tensors[copy].shapeSignature = signature
        options = schema.ReshapeOptionsT()
        options.newShape = shape
        operator = schema.OperatorT()
        operator.opcodeIndex = self._opcode(_BUILTIN.RESHAPE)
        operator.inputs = np.array([index, shape_index], np.int32)
        operator.outputs = np.array([copy], np.int32)
        operator.builtinOptionsType, operator.builtinOptions = _OPTIONS.ReshapeOptions, options
        self.graph.operators.append(operator)
        return copy

    def _code(self, operator: Any) -> int:
        code = self._model.operatorCodes[operator.opcodeIndex]
        return int(max(code.builtinCode, code.deprecatedBuiltinCode))

    def _leave_out_what_nobody_reads(self) -> None:
        """Leave out operators that no output depends on, such as the other part of a product with zeros."""
        wanted = {int(index) for index in self.graph.outputs}
        kept = []
        for operator in reversed(self.graph.operators):  # readers come after what they read
            is_wanted = any(int(index) in wanted for index in operator.outputs)
            if is_wanted or self._code(operator) in _KEEP_STATE:
                kept.append(operator)
                wanted |= {int(index) for index in operator.inputs}
        self.graph.operators = kept[::-1]

    def _write_zeros(self) -> None:
        """Make constants of states that begin with zeros and that nothing writes: the beginning of a GRU.

        As state they are not known to a quantizer, and by the format their values are nobody's promise.
        """
        written = {int(index) for o in self.graph.operators for index in o.outputs}
        written |= {int(index) for index in self.graph.inputs}
        for operator in self.graph.operators:
            if self._code(operator) in _KEEP_STATE:
                written |= {int(index) for index in operator.inputs}
        for index, tensor in enumerate(self.graph.tensors):
            if tensor.isVariable and index not in written and tensor.type == _FLOAT32:
                tensor.isVariable = False
                tensor.buffer = self._buffer(np.zeros(sizes_of(tensor), np.float32))

    def _compute(self, operator: Any) -> bool:
        """Write down the product of constants, such as a state's beginning; return whether it was one.

        A quantizer would make integers of both, and no kernel multiplies them to a float.
        """
        code, options = self._code(operator), operator.builtinOptions
        if code == _BUILTIN.MUL:
            return self._compute_zeros(operator)
        if code not in (_BUILTIN.BATCH_MATMUL, _BUILTIN.FULLY_CONNECTED):
            return False
        parts = [self._values(int(index)) for index in operator.inputs if index >= 0]
        if any(values is None for values in parts):
            return False
        first, second = parts[:2]
        if code == _BUILTIN.BATCH_MATMUL:
            first = np.swapaxes(first, -1, -2) if options.adjX else first
            second = np.swapaxes(second, -1, -2) if options.adjY else second
            product = np.matmul(first, second)
        elif options.fusedActivationFunction != schema.ActivationFunctionType.NONE:
            return False
        else:
            product = np.matmul(first.reshape(-1, second.shape[1]), second.T) + (parts[2] if parts[2:] else 0)
        self.graph.tensors[int(operator.outputs[0])].buffer = self._buffer(product.astype(np.float32))
        return True

    def _compute_zeros(self, operator: Any) -> bool:
        """Write down what a product with zeros is: those of a state's beginning."""
        parts = [self._values(int(index)) for index in operator.inputs]
        output = self.graph.tensors[int(operator.outputs[0])]
        shape = sizes_of(output)
        if output.type != _FLOAT32 or not any(p is not None and not p.any() for p in parts):
            return False
        if operator.outputs[0] in self.graph.outputs or any(size < 1 for size in shape):
            return False
        output.buffer = self._buffer(np.zeros(shape, np.float32))
        return True

    def _values(self, index: int) -> Any:
        """Return a float constant; None for what is computed, or of another type."""
        tensor = self.graph.tensors[index]
        if tensor.type != _FLOAT32 or not self._data(index).size:
            return None
        return self._data(index).view("<f4").reshape(sizes_of(tensor))

    def _make_dense(self, operator: Any) -> None:
        left, right = (int(index) for index in operator.inputs)
        options = operator.builtinOptions
        weights = self.graph.tensors[right]
        shape = sizes_of(weights)
        rank = len(sizes_of(self.graph.tensors[left]))
        if (
            not self._data(right).size
            or weights.type != _FLOAT32
            or len(shape) < 2
            or any(size != 1 for size in shape[:-2])
            or len(shape) > rank
            or options.adjX
        ):
            return
        dense = schema.FullyConnectedOptionsT()
        dense.keepNumDims = rank > 2
        operator.opcodeIndex = self._opcode(_BUILTIN.FULLY_CONNECTED)
        operator.builtinOptionsType, operator.builtinOptions = _OPTIONS.FullyConnectedOptions, dense
        operator.inputs = np.array([left, self._rows(right, is_turned=bool(options.adjY)), -1], np.int32)

    def _rows(self, index: int, *, is_turned: bool) -> int:
        """Return the weights with a row for each output."""
        key = (index, is_turned)
        if key not in self._turned:
            tensor = self.graph.tensors[index]
            values = self._data(index).view("<f4").reshape(sizes_of(tensor)[-2:])
            rows = values if is_turned else values.T
            self._turned[key] = self._constant(np.ascontiguousarray(rows), _FLOAT32, tensor.name.decode())
        return self._turned[key]

    def _fuse(self, add: Any, producers: dict[int, Any], readers: Counter[int]) -> bool:
        """Make a bias of what is added to a dense layer; return whether that was done."""
        for product, other in (add.inputs, add.inputs[::-1]):
            dense = producers.get(int(product))
            if dense is None or self._code(dense) != _BUILTIN.FULLY_CONNECTED or dense.inputs[2] != -1:
                continue
            bias = self.graph.tensors[int(other)]
            count = int(self.graph.tensors[int(dense.inputs[1])].shape[0])
            is_row = sizes_of(bias)[-1:] == [count] and np.prod(sizes_of(bias)) == count
            is_alone = readers[int(product)] == 1 and int(product) not in self.graph.outputs
            if not (is_row and is_alone and self._data(int(other)).size and bias.type == _FLOAT32):
                continue
            values = self._data(int(other)).view("<f4").reshape(count)
            index = self._constant(values, _FLOAT32, bias.name.decode())
            dense.inputs = np.array([*dense.inputs[:2], index], np.int32)
            dense.builtinOptions.fusedActivationFunction = add.builtinOptions.fusedActivationFunction
            dense.outputs = add.outputs
            return True
        return False

    def _data(self, index: int) -> Any:
        """Return a constant's bytes; none of what is computed."""
        data = self._model.buffers[self.graph.tensors[index].buffer].data
        return np.empty(0, np.uint8) if data is None else np.asarray(data, np.uint8)

    def _constant(self, values: Any, kind: int, name: str) -> int:
        index = self._tensor(np.asarray(np.shape(values), np.int32), kind, name.encode())
        self.graph.tensors[index].buffer = self._buffer(values)
        return index

    def _buffer(self, values: Any) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _tensor(self, shape: Any, kind: int, name: bytes) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name, tensor.buffer = shape, kind, name, 0
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _opcode(self, code: int) -> int:
        for index, there in enumerate(self._model.operatorCodes):
            if max(there.builtinCode, there.deprecatedBuiltinCode) == code:
                there.version = max(int(there.version), _FIRST_VERSION[code])
                return index
        made = schema.OperatorCodeT()
        made.builtinCode, made.deprecatedBuiltinCode, made.version = code, code, _FIRST_VERSION[code]
        self._model.operatorCodes.append(made)
        return len(self._model.operatorCodes) - 1
