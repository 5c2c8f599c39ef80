"""ONNX files told by their bytes and read without a library for them; the bytes here are made by hand."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason
from support.engines.onnx_by_hand import field, model
from tflite_converter.errors import ConverterError
from tflite_converter.files.onnx_file import is_onnx, read_onnx
from tflite_converter.files.sources import external_data


def written(folder: Path, content: bytes) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(content)
    return path


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, model(externals=["a/w.bin"]))
    found = read_onnx(path)
    assert (found.opset, found.writer) == (17, "made by hand")
    (edge,) = found.inputs
    assert (edge.name, edge.dtype, edge.shape) == ("x", "float32", ("N", 3, 224))
    assert [output.name for output in found.outputs] == ["y"]
    assert dict(found.operators) == {"Relu": 1, "Scaler (ai.onnx.ml)": 1}
    assert found.external == ("a/w.bin",)


def test_a_file_that_is_cut_off_is_still_one(tmp_path: Path) -> None:
    whole = model()
    for length in range(24, len(whole)):
        path = written(tmp_path, whole[:length])
        assert is_onnx(path)
        if length < len(whole) - 4:
            with pytest.raises(ConverterError) as raised:
                read_onnx(path)
            assert raised.value.reason is FailureReason.UNREADABLE_MODEL


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        b"\x08\x01\x12\xff\x03",
        field(1, b"graph") + field(7, b""),
        b"\x08\x00",
        b"\0" * 50,
        b"\x89HDF",
    ],
)
def test_other_files_are_none(tmp_path: Path, content: bytes) -> None:
    assert not is_onnx(written(tmp_path, content))


@given(st.binary(max_size=300), st.integers(0, 100))
def test_no_bytes_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int
) -> None:
    content = model()
    path = written(tmp_path_factory.mktemp("noise"), content[:place] + noise + content[place:])
    is_onnx(path)
    with contextlib.suppress(ConverterError):
        read_onnx(path)


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../w.bin", FailureReason.UNSAFE_MODEL),
        ("a/../../w.bin", FailureReason.UNSAFE_MODEL),
        ("/etc/passwd", FailureReason.UNSAFE_MODEL),
        ("", FailureReason.UNSAFE_MODEL),
        ("a\\w.bin", FailureReason.UNSAFE_MODEL),
        ("link/w.bin", FailureReason.UNSAFE_MODEL),
        ("link.bin", FailureReason.UNSAFE_MODEL),
        ("nope.bin", FailureReason.UNREADABLE_MODEL),
        ("folder", FailureReason.UNREADABLE_MODEL),
    ],
)
def test_data_lie_in_the_models_folder_or_nowhere(
    tmp_path: Path, location: str, reason: FailureReason
) -> None:
    inside = tmp_path / "model"
    (inside / "folder").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(b"secret")
    (inside / "link.bin").symlink_to(tmp_path / "w.bin")
    (inside / "link").symlink_to(tmp_path)
    with pytest.raises(ConverterError) as raised:
        external_data(written(inside, model(externals=[location])))
    assert raised.value.reason is reason


def test_data_of_a_branch_are_found(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"1234")
    path = written(tmp_path, model(externals=["./w.bin"], in_a_branch=True))
    assert external_data(path) == (tmp_path / "w.bin",)
