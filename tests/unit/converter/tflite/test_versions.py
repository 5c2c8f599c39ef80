"""Versions that say what an operator is, and the oldest runtime that has them all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from support.converter.tflite_files import O, T, tflite
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.runtime_versions import FIRST_RUNTIMES, first_runtime, later
from tflite_converter.tflite.types import TFLiteFile
from tflite_converter.tflite.versions import oldest_runtime, runtime_entry, with_versions

FLOAT_X, FLOAT_Y = T("x", (1, 4), "FLOAT32"), T("y", (1, 2), "FLOAT32")
INT_X, INT_Y = T("x", (1, 4), scales=[0.5]), T("y", (1, 2), scales=[0.5])
WIDE_X, WIDE_Y = (T(name, (1, 4), "INT16", scales=[0.5]) for name in "xy")
BY_TENSOR = T("w", (2, 4), "INT8", bytes(8), scales=[0.1])
BY_CHANNEL = T("w", (2, 4), "INT8", bytes(8), scales=[0.1, 0.2])
IN_4_BITS = T("w", (2, 4), "INT4", bytes(4), scales=[0.1, 0.2])
HALF = T("h", (2, 4), "FLOAT16", bytes(16))


def written(tensors: Sequence[T], operator: O, metadata: dict[str, bytes] | None = None) -> TFLiteFile:
    content = tflite(tensors, [operator], signature=({"x": 0}, {"y": 1}), metadata=metadata)
    return read_file(with_versions(content), "m")


@pytest.mark.parametrize(
    ("tensors", "operator", "version", "runtime"),
    [
        (
            [FLOAT_X, FLOAT_Y, T("w", (2, 4), "FLOAT32", bytes(32))],
            O("FULLY_CONNECTED", (0, 2, -1)),
            1,
            "1.5",
        ),
        ([FLOAT_X, FLOAT_Y, BY_TENSOR], O("FULLY_CONNECTED", (0, 2, -1)), 3, "1.14"),
        # Runtimes before 2.17 take the first scale for all: they must refuse it.
        ([FLOAT_X, FLOAT_Y, BY_CHANNEL], O("FULLY_CONNECTED", (0, 2, -1)), 12, "2.17"),
        # So must those that take 4 bits for 8.
        ([FLOAT_X, FLOAT_Y, IN_4_BITS], O("FULLY_CONNECTED", (0, 2, -1)), 13, "2.18"),
        ([IN_4_BITS, FLOAT_Y], O("DEQUANTIZE"), 6, "2.18"),
        ([BY_CHANNEL, FLOAT_Y], O("DEQUANTIZE"), 5, "2.7"),
        ([FLOAT_X, FLOAT_Y, BY_CHANNEL], O("CONV_2D", (0, 2, -1)), 5, "2.4"),
        ([FLOAT_X, FLOAT_Y, BY_TENSOR], O("CONV_2D", (0, 2, -1)), 2, "1.14"),
        ([FLOAT_X, FLOAT_Y, BY_CHANNEL], O("DEPTHWISE_CONV_2D", (0, 2, -1)), 6, "2.3"),
        ([T("x", (3,), "INT32"), FLOAT_Y, BY_CHANNEL], O("EMBEDDING_LOOKUP", (0, 2)), 4, "2.18"),
        # Its kernel for int8 weights has no version of its own.
        (
            [T("size", (4,), "INT32", bytes(16)), FLOAT_Y, BY_CHANNEL, FLOAT_X],
            O("TRANSPOSE_CONV", (0, 2, 3)),
            1,
            "2.18",
        ),
        ([INT_X, INT_Y, BY_CHANNEL], O("FULLY_CONNECTED", (0, 2, -1)), 4, "1.14"),
        ([INT_X, INT_Y], O("SOFTMAX"), 2, "1.14"),
        ([INT_X, INT_Y, BY_TENSOR], O("BATCH_MATMUL", (0, 2)), 2, "2.3"),
        ([WIDE_X, WIDE_Y], O("SOFTMAX"), 3, "2.3"),
        ([WIDE_X, WIDE_Y, T("z", (1, 4), "INT16", scales=[1])], O("MUL", (0, 2)), 4, "2.3"),
        ([HALF, FLOAT_Y], O("DEQUANTIZE"), 3, "1.15"),
        ([FLOAT_X, WIDE_Y], O("QUANTIZE"), 2, "1.15"),
        # What the converter has written is never lowered.
        ([INT_X, INT_Y], O("SOFTMAX", version=3), 3, "2.3"),
        ([T("axis", (), "INT32", bytes(4)), INT_Y, INT_X], O("SPLIT", (0, 2)), 2, "1.14"),
    ],
)
def test_the_version_says_what_an_operator_is(
    tensors: Sequence[T], operator: O, version: int, runtime: str
) -> None:
    file = written(tensors, operator)
    assert file.subgraphs[0].operators[0].version == version
    assert oldest_runtime(file) == runtime
    assert runtime_entry(file) == {"min_runtime_version": f"{runtime}.0".encode().ljust(16, b"\0")}


@pytest.mark.parametrize("operator", [O("FlexErf"), O("SOFTMAX", version=99), O("STABLEHLO_CBRT")])
def test_what_the_table_does_not_know_is_not_known(operator: O) -> None:
    file = written([FLOAT_X, FLOAT_Y], operator)
    assert oldest_runtime(file) is None
    assert runtime_entry(file) == {}


@pytest.mark.parametrize(
    ("entry", "runtime"), [(b"2.21.0", "2.21"), (b"1.5.0\0\0", "1.14"), (b"nonsense", "1.14"), (b"", "1.14")]
)
def test_what_the_file_asks_for_counts_as_well(entry: bytes, runtime: str) -> None:
    file = written([INT_X, INT_Y], O("SOFTMAX"), {"min_runtime_version": entry})
    assert oldest_runtime(file) == runtime


def test_an_operator_that_two_types_share_gets_two_codes() -> None:
    tensors = [FLOAT_X, T("y", (1, 4), "FLOAT32"), T("q", (1, 4), scales=[0.5]), T("r", (1, 4), scales=[0.5])]
    content = tflite(tensors, [O("SOFTMAX"), O("SOFTMAX", (2,), (3,))])
    operators = read_file(with_versions(content), "m").subgraphs[0].operators
    assert [operator.version for operator in operators] == [1, 2]


def test_the_table_is_of_versions_in_order_of_their_numbers() -> None:
    assert later(("1.9", "2.10", "2.9")) == "2.10"
    assert first_runtime("FULLY_CONNECTED", 12) == "2.17"
    assert first_runtime("FULLY_CONNECTED", 0) is None
    for name, runtimes in FIRST_RUNTIMES.items():
        assert all(len(text.split(".")) == 2 for text in runtimes), name
