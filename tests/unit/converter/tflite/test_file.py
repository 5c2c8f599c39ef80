"""Reading TFLite files: what is in them, and that no bytes can do worse than a message."""

from __future__ import annotations

import subprocess
import sys
import time

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason
from support.converter.tflite_files import O, T, dense, floats, ints, tflite
from tflite_converter.errors import ConverterError
from tflite_converter.tflite.file import inventory, is_float, read_file


def test_a_float_file() -> None:
    file = read_file(dense(metadata={"min_runtime_version": b"1.5.0"}), "dense.tflite")
    assert [(n.name, n.tensor.shape, n.tensor.dtype) for n in file.inputs] == [("x", (-1, 4), "float32")]
    assert [(n.name, n.tensor.shape) for n in file.outputs] == [("scores", (-1, 3))]
    (operator,) = file.subgraphs[0].operators
    assert (operator.name, operator.version, operator.inputs, operator.outputs) == (
        "FULLY_CONNECTED",
        1,
        (0, 2, 3),
        (1,),
    )
    assert [t.is_constant for t in file.tensors()] == [False, False, True, True]
    assert bytes(file.metadata["min_runtime_version"]) == b"1.5.0"
    assert file.description == "made for a test"


def test_without_a_signature_tensors_go_by_their_own_names() -> None:
    file = read_file(dense(signature=False), "dense.tflite")
    assert [n.name for n in (*file.inputs, *file.outputs)] == ["serving_x:0", "StatefulPartitionedCall:0"]


def test_quantization_by_tensor_and_by_channel() -> None:
    content = tflite(
        [
            T("in", scales=[0.5], zero_points=[-3]),
            T("out"),
            T("weights", (2, 2), data=b"\x01\x02\x03\x04", scales=[0.25, 0.75], dimension=1),
        ]
    )
    by_tensor, none, by_channel = read_file(content, "q.tflite").tensors()
    assert (by_tensor.scales, by_tensor.zero_points, by_tensor.is_per_channel) == ((0.5,), (-3,), False)
    assert (none.is_quantized, by_channel.is_quantized) == (False, True)
    assert (by_channel.scales, by_channel.quantized_dimension) == ((0.25, 0.75), 1)
    (found,) = inventory(read_file(content, "q.tflite")).inputs
    assert (found.scale, found.zero_point) == (0.5, -3)


@pytest.mark.parametrize("outside", [False, True])
def test_constants_are_views_and_never_copies(*, outside: bool) -> None:
    content = dense(outside=outside)
    file = read_file(content, "dense.tflite")
    assert file.has_outside_buffers is outside
    whole = np.frombuffer(content, np.uint8)
    constants = [t.data for t in file.tensors() if t.data is not None]
    assert [bytes(c[:4]) for c in constants] == [floats(-1.25), floats(0.5)]
    assert all(np.shares_memory(np.frombuffer(c, np.uint8), whole) for c in constants)
    assert all(c.readonly for c in constants)


def test_inventory_counts_operators_dtypes_and_bytes_once() -> None:
    content = tflite(
        [
            T("in"),
            T("out", dtype="FLOAT32"),
            T("w", data=bytes(100)),
            T("same", buffer=3),
            T("b", data=ints(1, 2), dtype="INT32"),
        ],
        [
            O("TANH"),
            O("TANH"),
            O("GELU"),
            O("FlexErf"),
            O("my_op"),
            O("TANH", outputs=(0,)),
            O("CALL_ONCE", (), ()),
        ],
    )
    found = inventory(read_file(content, "i.tflite"))
    assert [(o.operator, o.dtype, o.count) for o in found.operators] == [
        ("TANH", "float32", 2),
        ("CALL_ONCE", "none", 1),
        ("FlexErf", "float32", 1),
        ("GELU", "float32", 1),
        ("TANH", "int8", 1),
        ("my_op", "float32", 1),
    ]
    assert found.tensor_dtypes == {"float32": 1, "int32": 1, "int8": 3}
    assert found.constant_bytes == {"int32": 8, "int8": 100}
    assert (found.flex_operators, found.custom_operators) == (("FlexErf",), ("my_op",))


WEIGHTS = T("w", (1, 1), "FLOAT32", floats(1.0))
ENDS = [T("in", dtype="FLOAT32"), T("out", dtype="FLOAT32")]


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ([*ENDS, WEIGHTS], True),
        (ENDS, False),
        ([*ENDS, WEIGHTS, T("q", data=b"\x01", scales=[0.1])], False),
        ([*ENDS, WEIGHTS, T("h", dtype="FLOAT16", data=b"\x01\x02")], False),
        ([T("in", scales=[0.1]), T("out", scales=[0.1]), T("w", data=b"\x01", scales=[0.1])], False),
        ([*ENDS, WEIGHTS, T("axis", dtype="INT32", data=ints(1))], True),
    ],
    ids=["float", "no weights", "dynamic range", "float16", "full integer", "with an integer parameter"],
)
def test_what_quantizing_can_start_from(tensors: list[T], *, expected: bool) -> None:
    assert is_float(read_file(tflite(tensors), "f.tflite")) is expected


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", FailureReason.UNREADABLE_MODEL),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), FailureReason.UNSUPPORTED_FORMAT),
        (b"\xff\xff\xff\x7fTFL3" + bytes(64), FailureReason.UNREADABLE_MODEL),
        (b"\x08\x00\x00\x00TFL3", FailureReason.UNREADABLE_MODEL),
    ],
    ids=["empty", "hdf5", "root beyond the end", "nothing but a head"],
)
def test_what_is_no_tflite_file(content: bytes, reason: FailureReason) -> None:
    with pytest.raises(ConverterError, match=r"x\.tflite") as raised:
        read_file(content, "x.tflite")
    assert raised.value.reason is reason


@pytest.mark.parametrize(
    ("tensors", "operators", "message"),
    [
        ([T("a"), T("b", buffer=99)], [], "buffer 99"),
        ([T("a", shape=[1] * 17), T("b")], [], "17 dimensions"),
        ([T("a", shape=[-7]), T("b")], [], "negative size"),
        ([T("a"), T("b")], [O("TANH", (0,), (5,))], "a tensor that is not there"),
        ([T("a")], [], "a tensor that is not there"),
    ],
)
def test_tables_that_do_not_fit_together_are_named(
    tensors: list[T], operators: list[O], message: str
) -> None:
    with pytest.raises(ConverterError, match=message):
        read_file(tflite(tensors, operators), "x.tflite")


def test_a_constant_beyond_the_end_is_named() -> None:
    content = dense(outside=True)
    with pytest.raises(ConverterError, match="ends at byte"):
        read_file(content[:-20], "x.tflite")


SOUND = [dense(metadata={"a": b"b"}), dense(outside=True)]


def readable_or_refused(content: bytes) -> None:
    try:
        inventory(read_file(content, "fuzz.tflite"))
    except ConverterError as error:
        assert error.reason in (FailureReason.UNREADABLE_MODEL, FailureReason.UNSUPPORTED_FORMAT)  # noqa: PT017 - either outcome is right


@given(st.sampled_from(SOUND), st.integers(min_value=0, max_value=2000))
def test_truncated_files(content: bytes, length: int) -> None:
    readable_or_refused(content[:length])


@given(st.sampled_from(SOUND), st.data())
def test_flipped_bytes(content: bytes, data: st.DataObject) -> None:
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(st.integers(0, len(changed) - 1))
        changed[position] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255))
    readable_or_refused(bytes(changed))


@given(st.binary(max_size=300))
def test_random_bytes_behind_the_identifier(tail: bytes) -> None:
    readable_or_refused(b"\x08\x00\x00\x00TFL3" + tail)


def test_many_tables_that_share_a_long_vector_do_not_take_long() -> None:
    """A file of 1 MB that claims 2,000 operators with 200,000 inputs each."""
    builder = flatbuffers.Builder(1 << 20)
    schema.OperatorStartInputsVector(builder, 200_000)
    builder.head -= 800_000
    inputs = builder.EndVector()
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, inputs)
    operator = schema.OperatorEnd(builder)
    schema.SubGraphStartOperatorsVector(builder, 2000)
    for _ in range(2000):
        builder.PrependUOffsetTRelative(operator)
    operators = builder.EndVector()
    tensor = _one(builder, schema.TensorStart, schema.TensorEnd)
    tensors = _vector(builder, [tensor])
    graph = _one(
        builder,
        schema.SubGraphStart,
        schema.SubGraphEnd,
        (schema.SubGraphAddTensors, tensors),
        (schema.SubGraphAddOperators, operators),
    )
    code = _one(builder, schema.OperatorCodeStart, schema.OperatorCodeEnd)
    codes, graphs = _vector(builder, [code]), _vector(builder, [graph])
    builder.Finish(
        _one(
            builder,
            schema.ModelStart,
            schema.ModelEnd,
            (schema.ModelAddOperatorCodes, codes),
            (schema.ModelAddSubgraphs, graphs),
        ),
        file_identifier=b"TFL3",
    )
    started = time.monotonic()
    with pytest.raises(ConverterError, match="claim more than the file holds"):
        read_file(bytes(builder.Output()), "bomb.tflite")
    assert time.monotonic() - started < 5


def _one(builder: flatbuffers.Builder, start: object, end: object, *fields: tuple[object, int]) -> int:
    start(builder)  # type: ignore[operator]  # the schema's functions have no types
    for add, value in fields:
        add(builder, value)  # type: ignore[operator]  # the same
    return int(end(builder))  # type: ignore[operator]  # the same


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def test_reading_needs_neither_tensorflow_nor_the_quantizer() -> None:
    program = (
        "import sys, tflite_converter.cli.inspect, tflite_converter.targets.check\n"
        "import tflite_converter.tflite.metadata\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'litert_quantizer')])"
    )
    ran = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"
