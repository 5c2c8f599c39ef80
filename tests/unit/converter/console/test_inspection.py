"""``inspect``: what a person and a program are told of a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from modelconversion_api.methods import Target
from support.converter.tflite_files import O, T, dense, tflite
from tflite_converter.cli.inspect import inspect
from tflite_converter.tflite.metadata import with_metadata


@pytest.fixture
def int8(tmp_path: Path) -> Path:
    content = tflite(
        [
            T("in", scales=[0.5], zero_points=[-3]),
            T("out", scales=[0.25]),
            T("w", (4, 4), data=bytes(16), scales=[0.1]),
        ],
        [O("FULLY_CONNECTED", (0, 2))],
    )
    path = tmp_path / "small_int8.tflite"
    path.write_bytes(with_metadata(content, {"source": {"sha256": "ab" * 32}}, name="small", description="d"))
    return path


def test_a_person_is_told_all_of_it(int8: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inspect(int8)
    told = capfd.readouterr().out
    for expected in (
        "1 operator, full integer",
        "(stored + 3) * 0.5",
        "FULLY_CONNECTED",
        "int8 constants",
        "source.sha256",
        "ab" * 32,
        "Microcontroller",
        "save space, not time",
    ):
        assert expected in told


def test_a_program_gets_one_document(int8: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inspect(int8, as_json=True)
    found = json.loads(capfd.readouterr().out)
    assert (found["file"], found["format"], found["sizeBytes"]) == (int8.name, "TFLite", int8.stat().st_size)
    assert found["inventory"]["operators"] == [{"operator": "FULLY_CONNECTED", "dtype": "int8", "count": 1}]
    assert [check["target"] for check in found["targets"]] == [target.value for target in Target]
    assert found["conversion"] == {"source": {"sha256": "ab" * 32}}


def test_one_target_alone(int8: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inspect(int8, target=Target.GPU, as_json=True)
    assert [c["target"] for c in json.loads(capfd.readouterr().out)["targets"]] == ["GPU"]


def test_names_do_not_steer_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hostile.tflite"
    path.write_bytes(tflite([T("\x1b]0;owned\x07\x1b[2J"), T("out")], [O("Flex\x1b[31mRed")]))
    inspect(path)
    told = capfd.readouterr().out
    assert "owned" in told
    assert "\x1b" not in told
    assert "\x07" not in told


def test_a_source_model_is_named_and_convert_is_the_next_step(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    inspect(path)
    told = capfd.readouterr().out
    assert "Keras model in HDF5" in told
    assert f"convert --model {path}" in told.replace("\n", "")
    inspect(path, as_json=True)
    assert json.loads(capfd.readouterr().out)["format"] == "KerasH5"


@pytest.mark.parametrize("content", [dense()[:200], b"TFL3" * 20], ids=["truncated", "something else"])
def test_a_file_that_cannot_be_read_ends_with_a_message(
    content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    with pytest.raises(typer.Exit) as raised:
        inspect(path)
    assert raised.value.exit_code in (20, 21)
    told = capfd.readouterr()
    assert told.err.startswith("error: broken.tflite")
    assert "Traceback" not in told.err
    assert told.out == ""
