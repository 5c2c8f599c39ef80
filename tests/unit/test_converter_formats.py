"""The format is read from bytes, and a file's own description without deserialising a layer."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.formats import detect_format, is_tflite
from tflite_converter.keras_files import describe


def archive(path: Path, **members: object) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, value in members.items():
            made.writestr(f"{name}.json", value if isinstance(value, str) else json.dumps(value))
    return path


def h5(path: Path, **attributes: str) -> Path:
    with h5py.File(path, "w") as made:
        made.attrs.update(attributes)
        made.create_group("model_weights")
    return path


def reason(call: Any, *arguments: object) -> FailureReason:
    with pytest.raises(ConverterError) as caught:
        call(*arguments)
    assert caught.value.message.count("Hint: ") == 1
    return caught.value.reason


def test_each_format_is_known_by_its_bytes_whatever_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "folder.h5"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"\x08\x01")
    assert detect_format(folder) is SourceFormat.SAVED_MODEL
    assert detect_format(h5(tmp_path / "a.keras")) is SourceFormat.KERAS_H5
    assert detect_format(archive(tmp_path / "b.h5", metadata={})) is SourceFormat.KERAS
    assert is_tflite(b"\x1c\x00\x00\x00TFL3")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", FailureReason.UNREADABLE_MODEL),
        (bytes(range(200)), FailureReason.UNSUPPORTED_FORMAT),
        (b"\x1c\x00\x00\x00TFL3", FailureReason.UNSUPPORTED_FORMAT),
        (b"\x80\x04\x95pickle", FailureReason.UNSUPPORTED_FORMAT),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, expected: FailureReason) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(content)
    assert reason(detect_format, path) is expected


def test_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConverterError, match=r"File not found: .*train_gesture_model\.py"):
        detect_format(tmp_path / "gesture.h5")


def test_declared_format_must_be_the_bytes_format(tmp_path: Path) -> None:
    assert (
        reason(detect_format, h5(tmp_path / "a.h5"), SourceFormat.KERAS) is FailureReason.UNSUPPORTED_FORMAT
    )


def test_folder_without_saved_model_is_refused(tmp_path: Path) -> None:
    assert reason(detect_format, tmp_path) is FailureReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("version", "is_keras_3"), [("2.4.0", False), ("3.15.1", True), ("2.15.0-tf", False)]
)
def test_writer_is_read_from_the_file(tmp_path: Path, version: str, is_keras_3: bool) -> None:
    by_h5 = describe(h5(tmp_path / "a", keras_version=version, model_config="{}"), SourceFormat.KERAS_H5)
    by_zip = describe(
        archive(tmp_path / "b", metadata={"keras_version": version}, config={}), SourceFormat.KERAS
    )
    assert by_h5.is_keras_3 is by_zip.is_keras_3 is is_keras_3


def test_weights_without_a_model_are_named_as_such(tmp_path: Path) -> None:
    path = h5(tmp_path / "w.h5", layer_names="dense", keras_version="2.4.0")
    assert reason(describe, path, SourceFormat.KERAS_H5) is FailureReason.WEIGHTS_ONLY


def test_hdf5_without_keras_is_refused(tmp_path: Path) -> None:
    assert reason(describe, h5(tmp_path / "x.h5"), SourceFormat.KERAS_H5) is FailureReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("keep", [9, 100, 700])
def test_truncated_hdf5_is_unreadable(tmp_path: Path, keep: int) -> None:
    path = h5(tmp_path / "t.h5", keras_version="2.4.0", model_config="{}")
    path.write_bytes(path.read_bytes()[:keep])
    assert reason(describe, path, SourceFormat.KERAS_H5) is FailureReason.UNREADABLE_MODEL


def test_truncated_archive_is_unreadable(tmp_path: Path) -> None:
    path = archive(tmp_path / "t.keras", metadata={}, config={})
    path.write_bytes(path.read_bytes()[:-30])
    assert reason(describe, path, SourceFormat.KERAS) is FailureReason.UNREADABLE_MODEL


def test_other_zip_is_no_keras_file(tmp_path: Path) -> None:
    path = archive(tmp_path / "other.zip", something={})
    assert reason(describe, path, SourceFormat.KERAS) is FailureReason.UNSUPPORTED_FORMAT


def test_lambda_layers_are_refused_by_name_however_deep(tmp_path: Path) -> None:
    layer = {"class_name": "Lambda", "config": {"name": "scale_it"}}
    config = {"config": {"layers": [{"config": {"layer": layer}}]}}
    path = h5(tmp_path / "l.h5", keras_version="2.4.0", model_config=json.dumps(config))
    with pytest.raises(ConverterError, match="scale_it") as caught:
        describe(path, SourceFormat.KERAS_H5)
    assert caught.value.reason is FailureReason.UNSAFE_MODEL


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_broken_configuration_is_unreadable(tmp_path: Path, text: str) -> None:
    path = archive(tmp_path / "c.keras", metadata={}, config=text)
    assert reason(describe, path, SourceFormat.KERAS) is FailureReason.UNREADABLE_MODEL
