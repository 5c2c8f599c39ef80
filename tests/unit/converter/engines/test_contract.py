"""What engines and the converter share: the standard library alone, and messages that are read strictly."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import conversion_engine
from conversion_engine import CONTRACT, wire
from conversion_engine.files import read_names, write_names
from conversion_engine.messages import About, Description, Failure, Outputs, Reason, Request, Stage, Tensor
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reasons import Stage as ConverterStage

TENSOR = Tensor("/in:0", "float32", (-1, 3, 8, 8), (1, 8, 8, 3), (0, 2, 3, 1))
DESCRIPTION = Description((TENSOR,), (TENSOR,), "pytorch 2.11", {"onnx-opset": "17"}, seconds={"Load": 1.5})
MESSAGES = (
    DESCRIPTION,
    Outputs(("y",), {"Evaluate": 0.25}),
    About("onnx", ("ONNX",), {"onnx2tf": "2.6.9"}),
    Failure(Reason.UNSUPPORTED_OPERATION, Stage.LOAD, "no", None),
    Request("/m.onnx", ("/w.bin",), {"x": (1, 2)}, 5, DESCRIPTION),
)


def test_it_imports_the_standard_library_alone() -> None:
    folder = Path(conversion_engine.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                top = name.partition(".")[0]
                assert top in sys.stdlib_module_names or top == "conversion_engine", f"{path.name}: {name}"


def test_its_words_are_the_converters() -> None:
    assert {reason.value for reason in Reason} <= {reason.value for reason in FailureReason}
    assert {stage.value for stage in Stage} <= {stage.value for stage in ConverterStage}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_as_it_was(message: Any) -> None:
    text = wire.dumped(message)
    assert wire.read(type(message), text.encode()) == message
    assert "\n" not in text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"group": "1"}, "Description.group is no int"),
        ({"group": True}, "Description.group is no int"),
        ({"group": 1.0}, "Description.group is no int"),
        ({"writer": None}, "Description.writer is no str"),
        ({"inputs": {}}, "Description.inputs is no list"),
        ({"inputs": [{}]}, "Description.inputs[0] has no field name"),
        ({"seconds": {"Load": "1"}}, "Description.seconds of one name is no float"),
        ({"more": 1}, "has a field that this version does not know"),
    ],
)
def test_another_message_is_refused(change: dict[str, Any], says: str) -> None:
    document = json.loads(wire.dumped(DESCRIPTION)) | change
    with pytest.raises(wire.WireError) as raised:
        wire.read(Description, json.dumps(document))
    assert says in str(raised.value)


def test_a_field_that_is_missing_is_refused() -> None:
    document = json.loads(wire.dumped(DESCRIPTION))
    del document["outputs"]
    with pytest.raises(wire.WireError, match="has no field outputs"):
        wire.read(Description, json.dumps(document))


@pytest.mark.parametrize("text", ["", "[", "null", "3", '"x"', "NaN", '{"a": NaN}', "[" * 100_000, "\ud800"])
def test_what_is_no_message_is_refused(text: str) -> None:
    with pytest.raises(wire.WireError):
        wire.read(Outputs, text.encode(errors="replace"))


def test_numbers_that_json_has_not_are_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        wire.dumped(Outputs(seconds={"Load": float("nan")}))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"contract": 7, "news": []}', 7),
        ("{}", None),
        ("[]", None),
        ("x", None),
        ('{"contract": true}', None),
    ],
)
def test_the_version_is_read_of_any_message(text: str, version: int | None) -> None:
    assert wire.contract_of(text) == version
    assert wire.contract_of(wire.dumped(DESCRIPTION)) == CONTRACT


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    try:
        wire.read(Description, content)
    except wire.WireError:
        return
    pytest.fail("random bytes are no description")


def test_arrays_have_files_of_plain_names(tmp_path: Path) -> None:
    names = ["/in:0", "../x", "", "a\nb"]
    paths = write_names(tmp_path / "arrays", names)
    assert read_names(tmp_path / "arrays") == dict(zip(names, paths, strict=True))
    assert {path.parent for path in paths} == {tmp_path / "arrays"}
    (tmp_path / "arrays/names.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="no list of names"):
        read_names(tmp_path / "arrays")
