"""``inspect``: what a person and a program are told of a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import h5py
import pytest

from modelconversion_api.methods import Target
from support.converter.tflite_files import O, T, dense, tflite
from tflite_converter.cli.main import app
from tflite_converter.tflite.metadata import with_metadata


def inspect(*words: str | Path) -> int:
    """Run the command in this process, and return its exit code."""
    return int(app(["inspect", *map(str, words)], standalone_mode=False) or 0)


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
    inspect(int8, "--json")
    found = json.loads(capfd.readouterr().out)
    assert (found["file"], found["format"], found["sizeBytes"]) == (int8.name, "TFLite", int8.stat().st_size)
    assert found["inventory"]["operators"] == [{"operator": "FULLY_CONNECTED", "dtype": "int8", "count": 1}]
    assert [check["target"] for check in found["targets"]] == [target.value for target in Target]
    assert found["conversion"] == {"source": {"sha256": "ab" * 32}}


def test_one_target_alone(int8: Path, capfd: pytest.CaptureFixture[str]) -> None:
    inspect(int8, "--target", "GPU", "--json")
    assert [c["target"] for c in json.loads(capfd.readouterr().out)["targets"]] == ["GPU"]


def test_names_do_not_steer_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hostile.tflite"
    path.write_bytes(tflite([T("\x1b]0;owned\x07\x1b[2J"), T("out")], [O("Flex\x1b[31mRed")]))
    inspect(path)
    told = capfd.readouterr().out
    assert "owned" in told
    assert "\x1b" not in told
    assert "\x07" not in told


CONFIG = {"class_name": "Sequential", "config": {"name": "s", "layers": []}}


def keras_file(path: Path, version: str = "2.15.0", config: object = CONFIG) -> Path:
    """A Keras file without layers."""
    if path.suffix == ".keras":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", json.dumps({"keras_version": version}))
            archive.writestr("config.json", json.dumps(config))
        return path
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(config)
    return path


NAMES = ["model", "my model", "it's", "$HOME `id`", 'a"b', "back\\slash", "-dash", "*", "é", "m\udce9"]


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", NAMES)
def test_a_shell_takes_the_next_command_as_it_is_meant(
    tmp_path: Path, name: str, suffix: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = keras_file(Path(f"{name}{suffix}"))
    assert inspect("--json", "--", path) == 0
    document = json.loads(capfd.readouterr().out)
    assert inspect("--", path) == 0
    assert document["next"] in capfd.readouterr().out
    assert document["writer"] == "keras 2.15.0"
    bash = shutil.which("bash") or "sh"
    words = document["next"].replace("tflite-converter", "printf '%s\\0'")
    printed = subprocess.run([bash, "-c", words], capture_output=True, check=True).stdout.split(b"\0")
    given = os.fsdecode(printed[2])
    assert (tmp_path / given).samefile(path)
    assert not given.startswith("-")


def test_a_long_command_is_not_folded(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    assert inspect(path := keras_file(folder / "m.h5")) == 0
    assert f"convert --model {path}\n" in capfd.readouterr().out


def test_who_wrote_a_keras_file_and_what_is_wrong_with_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    layer = {"class_name": "Lambda", "config": {"name": "code"}}
    unsafe = {"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}}
    assert inspect(keras_file(tmp_path / "m.keras", "3.4.1", unsafe)) == 0
    told = " ".join(capfd.readouterr().out.split())
    assert "written by keras 3.4.1" in told
    assert "cannot be converted: the model carries Python code" in told
    (tmp_path / "m.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    assert inspect(tmp_path / "m.h5", "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["format"], document["writer"]) == ("KerasH5", None)
    assert "cannot be read" in document["problem"]


@pytest.mark.parametrize("pack", ["", "zip", "gztar"])
def test_every_signature_of_a_saved_model_is_listed(
    tmp_path: Path, pack: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(two_signatures())
    path = Path(shutil.make_archive(str(tmp_path / "packed"), pack, folder)) if pack else folder
    assert inspect(path, "--json") == 0
    document = json.loads(capfd.readouterr().out)
    assert (document["format"], document["writer"]) == ("SavedModel", "tensorflow 2.12.1")
    x, y = ({"name": n, "shape": [-1, 300], "dtype": "float32"} for n in ("x", "y"))
    token = {"name": "token", "shape": None, "dtype": "int64"}
    assert document["signatures"] == [
        {"name": "embed", "inputs": [token, x], "outputs": [y]},
        {"name": "serving_default", "inputs": [x], "outputs": [y]},
    ]
    assert inspect(path) == 0
    told = capfd.readouterr().out
    assert "2 signatures" in told
    assert "--signature NAME" in told
    assert "token: ? int64" in told


def test_a_saved_model_that_is_cut_ends_with_a_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = two_signatures()
    for length in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        (tmp_path / "saved_model.pb").write_bytes(whole[:length])
        assert inspect(tmp_path) == 21
        assert "truncated or corrupt" in capfd.readouterr().err


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer, as its specification has it."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value % (1 << 64))
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def two_signatures() -> bytes:
    """A SavedModel with two signatures, and one more that TensorFlow calls itself."""

    def tensor(dtype: int, shape: bytes) -> bytes:
        return field(1, b"name:0") + field(2, dtype) + field(3, shape)

    def entries(number: int, **tensors: bytes) -> bytes:
        pairs = (field(1, name.encode()) + field(2, value) for name, value in tensors.items())
        return b"".join(field(number, pair) for pair in pairs)

    wide = tensor(1, field(2, field(1, -1)) + field(2, field(1, 300)))
    token = tensor(9, field(3, 1))
    signatures = {
        b"serving_default": entries(1, x=wide) + entries(2, y=wide),
        b"__saved_model_init_op": entries(2, op=wide),
        b"embed": entries(1, x=wide, token=token) + entries(2, y=wide),
    }
    information = field(4, b"serve") + field(5, b"2.12.1")
    graph = field(1, information) + field(2, bytes(1000))
    graph += b"".join(field(5, field(1, key) + field(2, value)) for key, value in signatures.items())
    training = field(1, field(4, b"train")) + field(5, field(1, b"other"))
    return field(1, 1) + field(2, training) + field(2, graph)


@pytest.mark.parametrize("content", [dense()[:200], b"TFL3" * 20], ids=["truncated", "something else"])
def test_a_file_that_cannot_be_read_ends_with_a_message(
    content: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.tflite"
    path.write_bytes(content)
    assert inspect(path) in (20, 21)
    told = capfd.readouterr()
    assert told.err.startswith("error: broken.tflite")
    assert "Traceback" not in told.err
    assert told.out == ""
