"""Versions of operators, so that a runtime which would compute something else refuses a file.

A runtime refuses an operator of a version that it does not have. litert-quantizer leaves the versions of the
float file in place: runtimes that have no kernel for the new types then read what they do not know.
"""

from __future__ import annotations

import re
from typing import Final

from tflite_converter.tflite import editing
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime_versions import first_runtime, later
from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

MIN_RUNTIME_NAME: Final = "min_runtime_version"
"""Name of the file's metadata entry for the oldest runtime."""
_ENTRY_BYTES: Final = 16
_RUNTIME: Final = re.compile(r"(\d{1,3}\.\d{1,3})(\.\d{1,3})?")


def _by_type(int8: int, int16: int, names: str) -> dict[tuple[str, str], int]:
    return {(name, dtype): v for name in names.split() for dtype, v in (("int8", int8), ("int16", int16))}


_BY_TYPE: Final = (
    _by_type(2, 1, "ARG_MAX ARG_MIN DEPTH_TO_SPACE GREATER LESS_EQUAL L2_NORMALIZATION LOG_SOFTMAX SELECT")
    | _by_type(2, 1, "SPACE_TO_DEPTH SPLIT_V SQUARED_DIFFERENCE STRIDED_SLICE SUM")
    | _by_type(2, 2, "EXP FLOOR_MOD LOG REDUCE_PROD SQRT")
    | _by_type(1, 2, "LEAKY_RELU")
    | _by_type(
        2, 3, "ABS ADD AVERAGE_POOL_2D BATCH_MATMUL CONCATENATION GREATER_EQUAL LESS LOGISTIC MAX_POOL_2D"
    )
    | _by_type(
        2, 3, "MEAN MIRROR_PAD PACK PAD PADV2 REDUCE_MAX REDUCE_MIN RELU RELU6 RSQRT SOFTMAX TANH TOPK_V2"
    )
    | _by_type(2, 4, "BATCH_TO_SPACE_ND GATHER MAXIMUM MINIMUM MUL NOT_EQUAL RESIZE_BILINEAR SLICE")
    | _by_type(2, 4, "RESIZE_NEAREST_NEIGHBOR SPACE_TO_BATCH_ND SPLIT UNPACK")
    | _by_type(2, 5, "EQUAL SUB TRANSPOSE")
    | _by_type(2, 1, "GELU DEQUANTIZE TRANSPOSE_CONV")
    | _by_type(3, 3, "BROADCAST_TO FLOOR_DIV")
    | _by_type(3, 1, "CAST REVERSE_V2 SVDF TILE")
    | _by_type(1, 3, "GATHER_ND")
    | _by_type(3, 4, "CONV_2D")
    | _by_type(3, 5, "DEPTHWISE_CONV_2D UNIDIRECTIONAL_SEQUENCE_LSTM")
    | _by_type(4, 7, "FULLY_CONNECTED")
)
"""The version that first took operands of a type. Source: TensorFlow's ``op_version.cc``."""
_DECIDING: Final = {"SPLIT": 1, "TRANSPOSE_CONV": 2}
"""The input whose type decides, where it is not the first one."""
_HYBRID: Final = {
    "CONV_2D": (2, 5),
    "DEPTHWISE_CONV_2D": (4, 6),
    "FULLY_CONNECTED": (3, 12),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (2, 2),
    "EMBEDDING_LOOKUP": (3, 4),
}
"""Versions with int8 weights and float activations: with one scale, and with one for each channel."""
_HYBRID_INT4: Final = {"FULLY_CONNECTED": 13}
"""The version of int4 weights with int16 activations, which came together with those with float activations:
the table of TensorFlow has none for them, and 2.14 computes nonsense of a file with a lower one."""
_DEQUANTIZE: Final = {"float16": 3, "int16": 3, "int4": 6}
_DEQUANTIZE_BY_CHANNEL: Final = 5
_HYBRID_SINCE: Final = {"TRANSPOSE_CONV": "2.18"}
"""Kernels for int8 weights that came without a version: 2.14 refuses such a file, and 2.18 runs it."""
_OLDEST: Final = "1.5"
"""The first release that the tables know."""
_WEIGHTS: Final = {"UNIDIRECTIONAL_SEQUENCE_LSTM": 2}
"""The input that holds the weights, where it is not the second one."""


def needed_version(operator: Operator, graph: Subgraph) -> int:
    """Return the least version that says what ``operator`` is: of its types and scales, or the one it has."""
    deciding = _input(operator, graph, _DECIDING.get(operator.name, 0))
    weights = _input(operator, graph, _WEIGHTS.get(operator.name, 1))
    version = 1 if deciding is None else _BY_TYPE.get((operator.name, deciding.dtype), 1)
    if operator.name in _HYBRID and weights is not None and _is_hybrid(operator, graph):
        version = max(version, _HYBRID[operator.name][weights.is_per_channel])
        if weights.dtype == "int4":
            version = max(version, _HYBRID_INT4.get(operator.name, 1))
    if operator.name == "DEQUANTIZE" and deciding is not None:
        by_type = _DEQUANTIZE.get(deciding.dtype, 1)
        version = max(version, by_type, _DEQUANTIZE_BY_CHANNEL if deciding.is_per_channel else 1)
    if operator.name == "QUANTIZE" and any(graph.tensors[i].dtype == "int16" for i in operator.outputs):
        version = max(version, 2)
    return max(version, operator.version)


def with_versions(content: bytes) -> bytes:
    """Return the file with each operator's version raised to the one that says what it is."""
    file = read_file(content, "the file")
    needed = {
        (number, place): version
        for number, graph in enumerate(file.subgraphs)
        for place, operator in enumerate(graph.operators)
        if (version := needed_version(operator, graph)) > operator.version
    }
    if not needed:
        return content
    model = editing.unpacked(content)
    for (number, place), version in needed.items():
        operator = model.subgraphs[number].operators[place]
        builtin = model.operatorCodes[operator.opcodeIndex].builtinCode
        operator.opcodeIndex = editing.code_of(model, builtin, version)
    return editing.packed(model)


def oldest_runtime(file: TFLiteFile) -> str | None:
    """Return the first TensorFlow Lite that has every operator of ``file``, e.g. ``2.3``; None if not known.

    It is not known of custom operators, TensorFlow's own (Flex) among them, and of operators younger than the
    table. What the file itself asks for counts as well: the converter may know more of it.
    """
    runtimes = []
    for operator, graph in file.operators():
        first = None if operator.is_custom else first_runtime(operator.name, needed_version(operator, graph))
        if first is None:
            return None
        runtimes.append(first)
        if _is_hybrid(operator, graph):
            runtimes.append(_HYBRID_SINCE.get(operator.name, _OLDEST))
    asked = bytes(file.metadata.get(MIN_RUNTIME_NAME, b"")).rstrip(b"\0").decode("ascii", errors="replace")
    if match := _RUNTIME.fullmatch(asked):
        runtimes.append(match[1])
    return later((_OLDEST, *runtimes))


def runtime_entry(file: TFLiteFile) -> dict[str, bytes]:
    """Return the metadata entry that tells a program the oldest runtime; empty where that is not known."""
    runtime = oldest_runtime(file)
    return {} if runtime is None else {MIN_RUNTIME_NAME: f"{runtime}.0".encode().ljust(_ENTRY_BYTES, b"\0")}


def _is_hybrid(operator: Operator, graph: Subgraph) -> bool:
    """Whether an operator has weights of 8 or 4 bits and gives floats."""
    weights = _input(operator, graph, _WEIGHTS.get(operator.name, 1))
    if weights is None or weights.dtype not in ("int8", "int4"):
        return False
    return all(graph.tensors[index].is_float for index in operator.outputs)


def _input(operator: Operator, graph: Subgraph, place: int) -> Tensor | None:
    if place >= len(operator.inputs) or operator.inputs[place] < 0:
        return None
    return graph.tensors[operator.inputs[place]]
