"""Models that are not read: each is called what it is, with a way to a format that is."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.files.pytorch_file import EXPORT
from tflite_converter.files.sources import open_source

UNREADABLE = FailureReason.UNREADABLE_MODEL
UNSUPPORTED, WEIGHTS = FailureReason.UNSUPPORTED_FORMAT, FailureReason.WEIGHTS_ONLY
SAFETENSORS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()


def refusal(path: Path) -> ConverterError:
    with pytest.raises(ConverterError) as caught:
        open_source(path, SourceFormat.AUTO, None, path.parent / "work")
    assert caught.value.stage is Stage.LOAD
    return caught.value


@pytest.mark.parametrize(
    ("name", "content", "reason", "says"),
    [
        ("m.onnx", b"\x08\x07\x12\x07pytorch\x1a\x051.9.0:", UNREADABLE, "is a truncated or corrupt ONNX"),
        ("m.h5", b"\x08\x08\x12\x0cbackend-test:", UNREADABLE, "is a truncated or corrupt ONNX file"),
        ("m.onnx", b"no model at all", UNSUPPORTED, "no ONNX model, whatever its name says"),
        ("m.jax", b"no model at all", UNSUPPORTED, "no file of jax.export, whatever its name says"),
        ("m.mlir", b"#loc = loc(unknown)\nmodule @jit_f attributes {a = 1} {", UNSUPPORTED, "MLIR as text"),
        ("m.pth", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", UNSUPPORTED, EXPORT),
        ("m.pt2", b"no model at all", UNSUPPORTED, "no exported program of PyTorch, whatever its name says"),
        ("m.pkl", b"\x80\x04\x95" + bytes(9), UNSUPPORTED, "pickled Python object, which is never loaded"),
        ("m.bin", len(SAFETENSORS).to_bytes(8, "little") + SAFETENSORS, WEIGHTS, "is a safetensors file"),
        ("m.pb", b"\x0a\x22\x0a\x01x\x12\x0bPlaceholder*", UNSUPPORTED, "is a frozen TensorFlow graph"),
        ("m.pbtxt", b'node {\n  name: "x"\n', UNSUPPORTED, "is a TensorFlow graph as text"),
        ("m.gguf", b"GGUF\x03\0\0\0", UNSUPPORTED, "is a GGUF file"),
        ("model.json", b'{"format": "layers-model", "generatedBy": ""}', UNSUPPORTED, "TensorFlow.js model"),
        ("a.json", b'{"module": "keras", "class_name": "Sequential"}', UNSUPPORTED, "without its weights"),
        ("m.ipynb", b'{"cells": []}', UNSUPPORTED, "is a notebook"),
        ("m.tflite", b'{"error": "Invalid username or password."}', UNSUPPORTED, "perhaps an error message"),
        ("m.h5", b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', UNSUPPORTED, "error message"),
        ("m.xml", b'<?xml version="1.0"?>\n<net name="m">', UNSUPPORTED, "is an OpenVINO model"),
        ("m.keras", b"<!DOCTYPE html><title>404</title>", UNSUPPORTED, "is a web page"),
        ("m.h5", b"version https://git-lfs.github.com/spec/v1\noid", UNSUPPORTED, "is a pointer of Git LFS"),
        ("m.tar.xz", b"\xfd7zXZ\0" + bytes(20), UNSUPPORTED, "unxz --keep"),
        ("model.ckpt-5.index", bytes(40), WEIGHTS, "part of a TensorFlow checkpoint"),
        ("m.ckpt.data-00000-of-00001", bytes(40), WEIGHTS, "part of a TensorFlow checkpoint"),
        ("saved_model.pb", b"\x08\x01\x12\xff\x03", UNSUPPORTED, "is one file of a SavedModel"),
        ("train.py", b"import keras\n", UNSUPPORTED, "is Python code"),
        ("m.xyz", b"\1\2\3\4\5", UNSUPPORTED, "it begins with 01 02 03 04 05"),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes, reason: FailureReason, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = refusal(tmp_path / name)
    assert (found.reason, says in found.message) == (reason, True), found.message


@pytest.mark.parametrize(
    ("names", "reason", "says"),
    [
        ([], UNSUPPORTED, "is a folder without a model"),
        (["1/saved_model.pb"], UNSUPPORTED, "around a model. Hint: give it: {}/1"),
        (["m.h5"], UNSUPPORTED, "around a model. Hint: give it: {}/m.h5"),
        (
            ["1/saved_model.pb", "2/saved_model.pb"],
            UNSUPPORTED,
            "2 models. Hint: give one of them: {}/1, {}/2",
        ),
        (["checkpoint", "c-1.index", "c-1.data-00000-of-00001"], WEIGHTS, "is a TensorFlow checkpoint"),
        (["config.json", "metadata.json", "model.weights.h5"], UNSUPPORTED, "an unpacked .keras file"),
    ],
)
def test_folders(tmp_path: Path, names: list[str], reason: FailureReason, says: str) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    found = refusal(folder)
    assert (found.reason, says.replace("{}", str(folder)) in found.message) == (reason, True), found.message


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a.keras"], "an archive around a model. Hint: unpack it, and give it: a.keras"),
        (["a.keras", "d/b.h5"], "2 models. Hint: unpack it, and give one of them: a.keras, d/b.h5"),
        (["1/saved_model.pb", "2/saved_model.pb"], "holds 2 SavedModels"),
        (["m/data.pkl", "m/version"], f"weights, or a module with its classes. Hint: {EXPORT}"),
        (
            ["m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"],
            f"a TorchScript file, which holds code. Hint: {EXPORT}",
        ),
        (["serialized_exported_program.json", "version"], "that torch 2.7 or older exported"),
        (["config.json", "model.weights.h5"], "is a .keras file without metadata.json"),
        (["x.npy", "y.npy"], "is an .npz file of arrays"),
        (["notes.txt"], "an archive without a model"),
    ],
)
def test_archives(tmp_path: Path, names: list[str], says: str) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    found = refusal(tmp_path / "x")
    assert (found.reason, says in found.message) == (UNSUPPORTED, True), found.message


def test_the_command_packs_a_keras_file_again(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    for name in ("config.json", "metadata.json", "model.weights.h5"):
        (folder / name).write_text(name)
    command = refusal(folder).hint.partition(": ")[2]
    words = [sys.executable, *shlex.split(command.removesuffix("/*"))[1:-1], *map(str, folder.iterdir())]
    assert shlex.split(command)[-1] == f"{folder}/*"
    subprocess.run(words, check=True, cwd=tmp_path)
    assert (
        open_source(tmp_path / "model.keras", SourceFormat.AUTO, None, tmp_path).format is SourceFormat.KERAS
    )
