"""Metadata in a TFLite file: what is written, and that nothing else changes."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flatbuffers.table import Table
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason
from support.converter.tflite_files import T, dense, tflite
from tflite_converter.errors import ConverterError
from tflite_converter.tflite import rewriting as tflite_rewriting
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.metadata import RECORD_NAME, STANDARD_NAME, read_record, with_metadata

RECORD: dict[str, object] = {
    "method": "FullInteger",
    "source": {"sha256": "ab" * 32, "name": "Größe"},
    "samples": 200,
}
MIN_RUNTIME = {"min_runtime_version": b"1.5.0" + bytes(11)}


def made(content: bytes, record: dict[str, object] = RECORD, **more: Any) -> bytes:
    return with_metadata(content, record, name="dense", description="three scores", **more)


def outputs(content: bytes) -> list[Any]:
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner("serving_default")
    samples = np.random.default_rng(0).normal(size=(5, 1, 4)).astype(np.float32)
    return [runner(x=sample)["scores"] for sample in samples]


@pytest.mark.parametrize("outside", [False, True])
def test_litert_gives_the_same_outputs(*, outside: bool) -> None:
    before = dense(metadata=MIN_RUNTIME, outside=outside)
    after = made(before)
    np.testing.assert_array_equal(outputs(after), outputs(before))


@pytest.mark.parametrize("outside", [False, True])
def test_all_else_stays_and_constants_are_inside_and_aligned(*, outside: bool) -> None:
    content = dense(metadata=MIN_RUNTIME, outside=outside)
    changed = made(content)
    before, after = read_file(content, "before"), read_file(changed, "after")
    assert after.subgraphs == before.subgraphs
    assert after.signatures == before.signatures
    assert after.description == before.description
    assert set(after.metadata) == {"min_runtime_version", STANDARD_NAME, RECORD_NAME}
    assert bytes(after.metadata["min_runtime_version"]) == MIN_RUNTIME["min_runtime_version"]
    assert not after.has_outside_buffers
    # Those that were outside are at multiples of 16 now; the others are aligned as they were.
    expected = [0, 0] if outside else places(content)
    assert places(changed) == expected


def places(content: bytes) -> list[int]:
    """Where each constant begins, modulo 16."""
    start = np.frombuffer(content, np.uint8).ctypes.data
    constants = [t.data for t in read_file(content, "x").tensors() if t.data is not None]
    return [(np.frombuffer(c, np.uint8).ctypes.data - start) % 16 for c in constants]


def test_the_record_comes_back_as_canonical_json() -> None:
    file = read_file(made(dense()), "x")
    assert read_record(file) == RECORD
    assert (
        bytes(file.metadata[RECORD_NAME])
        .decode()
        .startswith('{"method":"FullInteger","samples":200,"source":{"name":"Größe"')
    )


def test_the_same_input_gives_the_same_bytes_in_whatever_order() -> None:
    assert made(dense()) == made(dense(), dict(reversed(RECORD.items())))


@pytest.mark.parametrize("outside", [False, True])
def test_earlier_entries_of_the_same_name_are_replaced(*, outside: bool) -> None:
    first = made(dense(metadata=MIN_RUNTIME, outside=outside))
    second = made(first, {"method": "Float16"})
    file = read_file(second, "x")
    assert read_record(file) == {"method": "Float16"}
    assert sorted(file.metadata) == sorted(["min_runtime_version", STANDARD_NAME, RECORD_NAME])
    np.testing.assert_array_equal(outputs(second), outputs(first))


def test_an_entry_whose_buffer_is_a_weight_too_leaves_the_weight_alone() -> None:
    """The buffer of a replaced entry is used again, unless a tensor has it."""
    content = tflite([T("a"), T("b"), T("w", (1, 4), buffer=3)], metadata={RECORD_NAME: b"{}  "})
    file = read_file(made(content), "x")
    weight = file.subgraphs[0].tensors[2].data
    assert weight is not None
    assert bytes(weight) == b"{}  "
    assert read_record(file) == RECORD


def test_a_file_without_buffers_or_metadata() -> None:
    content = tflite([T("a"), T("b")])
    assert read_record(read_file(content, "x")) is None
    assert read_record(read_file(made(content), "x")) == RECORD


@pytest.mark.parametrize("found", [b"", b"not json", b"[1, 2]", b"\xff\xfe", b"[" * 100_000])
def test_a_record_that_is_none(found: bytes) -> None:
    assert read_record(read_file(dense(metadata={RECORD_NAME: found}), "x")) is None


def test_standard_metadata() -> None:
    ranges = {"x": (-3.5, 4.25), "scores": (0.0, math.inf), "other": (0.0, 1.0)}
    file = read_file(made(dense(), version="2", ranges=ranges), "x")
    content = bytes(file.metadata[STANDARD_NAME])
    assert content[4:8] == b"M001"
    model = Table(content, int.from_bytes(content[:4], "little"))
    assert [text(model, slot) for slot in (0, 1, 2, 7)] == ["dense", "three scores", "2", "1.0.0"]
    (graph,) = tables(model, 3)
    (taken,), (given_out,) = tables(graph, 2), tables(graph, 3)
    assert (text(taken, 0), text(given_out, 0)) == ("x", "scores")
    stats = child(taken, 5)
    assert stats is not None
    assert [value(stats, slot) for slot in (0, 1)] == [4.25, -3.5]
    assert child(given_out, 5) is None, "an infinite range is none"


def text(table: Table, slot: int) -> str:
    return bytes(table.String(table.Pos + table.Offset(4 + 2 * slot))).decode()


def child(table: Table, slot: int) -> Table | None:
    offset = table.Offset(4 + 2 * slot)
    return Table(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def tables(table: Table, slot: int) -> list[Table]:
    offset = table.Offset(4 + 2 * slot)
    start = table.Vector(offset)
    return [Table(table.Bytes, table.Indirect(start + 4 * i)) for i in range(table.VectorLen(offset))]


def value(table: Table, slot: int) -> float:
    offset = table.Offset(4 + 2 * slot)
    assert table.VectorLen(offset) == 1
    return float(np.frombuffer(table.Bytes, "<f4", 1, table.Vector(offset))[0])


def test_two_gigabytes_are_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    content = made(dense())
    monkeypatch.setattr(tflite_rewriting, "MAX_TFLITE_BYTES", len(content) + 1)
    assert made(dense()) == content
    monkeypatch.setattr(tflite_rewriting, "MAX_TFLITE_BYTES", len(content))
    with pytest.raises(ConverterError) as raised:
        made(dense())
    assert raised.value.reason is FailureReason.SOURCE_TOO_LARGE


@pytest.mark.parametrize("record", [{"a": math.nan}, {"a": {1, 2}}])
def test_a_record_that_json_cannot_carry(record: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        made(dense(), record)


def test_what_is_no_tflite_file_is_refused() -> None:
    with pytest.raises(ConverterError, match="not a TFLite file"):
        made(b"something else entirely")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), JSON, max_size=4),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    st.booleans(),
    st.booleans(),
)
def test_any_record_and_name(record: dict[str, object], name: str, outside: bool, again: bool) -> None:
    before = read_file(dense(outside=outside), "before")
    content = with_metadata(dense(outside=outside), record, name=name, description="")
    if again:
        content = with_metadata(content, record, name=name, description="")
    after = read_file(content, "after")
    assert after.subgraphs == before.subgraphs
    assert read_record(after) == json.loads(json.dumps(record))
