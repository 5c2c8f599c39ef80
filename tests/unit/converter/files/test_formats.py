"""The format is read from bytes, and a file's own description without deserialising a layer."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from modelconversion_api.reasons import FailureReason
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import detect_format, is_keras_archive
from tflite_converter.original.keras_files import describe


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
    (tmp_path / "c.h5").write_bytes(b"\x1c\x00\x00\x00TFL3")
    assert detect_format(tmp_path / "c.h5") is SourceFormat.TFLITE


def test_a_zip_file_is_a_keras_file_by_what_it_lists(tmp_path: Path) -> None:
    assert is_keras_archive(archive(tmp_path / "a", metadata={}, config={}))
    assert not is_keras_archive(archive(tmp_path / "b", metadata={}))
    assert not is_keras_archive(h5(tmp_path / "c"))
    cut = archive(tmp_path / "d", metadata={}, config={})
    cut.write_bytes(cut.read_bytes()[:-30])
    assert is_keras_archive(cut)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", FailureReason.UNREADABLE_MODEL),
        (bytes(range(200)), FailureReason.UNSUPPORTED_FORMAT),
        (b"\x1c\x00\x00\x00TFL2", FailureReason.UNSUPPORTED_FORMAT),
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
    ("version", "is_keras_3"),
    [("2.4.0", False), ("3.15.1", True), ("2.15.0-tf", False), ("4.0.0", True), ("1.2.2", False)],
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


@pytest.mark.parametrize(
    ("part", "content", "says"),
    [
        ("saved_model.pb", b"", "x/saved_model.pb is empty"),
        ("variables/variables.index", b"", "x/variables/variables.index is empty"),
        (
            "variables/variables.data-00000-of-00001",
            b"version https://git-lfs.github.com/spec/v1\n",
            "variables.data-00000-of-00001 is a pointer of Git LFS",
        ),
    ],
)
def test_parts_of_a_saved_model_that_are_none(tmp_path: Path, part: str, content: bytes, says: str) -> None:
    (tmp_path / "x" / "variables").mkdir(parents=True)
    (tmp_path / "x" / "saved_model.pb").write_bytes(b"\x08\x01")
    (tmp_path / "x" / part).write_bytes(content)
    with pytest.raises(ConverterError) as caught:
        detect_format(tmp_path / "x")
    assert says in caught.value.message


def test_truncated_files_say_so_in_plain_words(tmp_path: Path) -> None:
    cut = h5(tmp_path / "a.h5", keras_version="2.4.0", model_config="{}")
    size = cut.stat().st_size
    cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(ConverterError, match=f"it is truncated: 700 of its {size} bytes are there"):
        describe(cut, SourceFormat.KERAS_H5)
    cut = archive(tmp_path / "b.keras", metadata={}, config={})
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(ConverterError, match="it is truncated: the list of what is in it"):
        describe(cut, SourceFormat.KERAS)


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


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (
            {"class_name": "Dense", "config": {"name": "d", "activation": {"class_name": "__lambda__"}}},
            "in a lambda of Dense 'd'",
        ),
        ({"class_name": "Lambda", "config": {"name": "twice"}}, "in Lambda layer 'twice'"),
        ({"loss": {"class_name": "__lambda__"}}, "in a lambda"),
    ],
)
def test_code_that_other_layers_were_given_is_refused_with_its_place(
    tmp_path: Path, node: object, says: str
) -> None:
    path = archive(tmp_path / "a", metadata={}, config={"config": {"layers": [node]}})
    with pytest.raises(ConverterError, match=says) as caught:
        describe(path, SourceFormat.KERAS)
    assert caught.value.reason is FailureReason.UNSAFE_MODEL


def test_a_file_says_whether_it_has_weights(tmp_path: Path) -> None:
    by_h5 = h5(tmp_path / "a.h5", keras_version="2.4.0", model_config="{}")
    by_zip = archive(tmp_path / "b", metadata={}, config={})
    with h5py.File(by_h5, "a") as file:
        file.pop("model_weights", None)
    assert not describe(by_h5, SourceFormat.KERAS_H5).has_weights
    assert not describe(by_zip, SourceFormat.KERAS).has_weights
    with h5py.File(by_h5, "a") as file:
        file.create_group("model_weights")
    with zipfile.ZipFile(by_zip, "a") as made:
        made.writestr("model.weights.npz", b"")
    assert describe(by_h5, SourceFormat.KERAS_H5).has_weights
    assert describe(by_zip, SourceFormat.KERAS).has_weights


def dense(**config: object) -> dict[str, object]:
    return {"module": "keras.layers", "class_name": "Dense", "config": {"name": "wobbling", **config}}


@pytest.mark.parametrize(
    "activation", ["wobble", {"module": "builtins", "class_name": "function", "config": "wobble"}]
)
def test_layers_are_found_by_class_and_by_function(tmp_path: Path, activation: object) -> None:
    mine = {
        "module": "mine",
        "class_name": "Swell",
        "registered_name": "Swell",
        "config": {"name": "swelling"},
    }
    config = {"class_name": "Sequential", "config": {"layers": [dense(activation=activation), mine]}}
    found = describe(archive(tmp_path / "a", metadata={}, config=config), SourceFormat.KERAS)
    assert found.layers_of("Swell") == ["swelling"]
    assert found.layers_using("wobble") == ["wobbling"]
    assert found.layers_of("wobble") == found.layers_using("Swell") == []


@pytest.mark.parametrize(
    ("node", "foreign"),
    [
        (dense(activation="relu"), []),
        ({"module": "mine.layers", "class_name": "Swell"}, ["Swell"]),
        ({"module": None, "class_name": "Swell", "registered_name": "mine>Swell"}, ["Swell"]),
        ({"module": "builtins", "class_name": "function", "config": "wobble"}, ["wobble"]),
        ({"class_name": "InputLayer", "config": {}}, []),
        ({"module": "keras.src.models.functional", "registered_name": "keras>Functional"}, []),
    ],
)
def test_what_is_not_part_of_keras(tmp_path: Path, node: object, foreign: list[str]) -> None:
    path = archive(tmp_path / "a", metadata={}, config={"config": {"layers": [node]}})
    assert describe(path, SourceFormat.KERAS).foreign() == foreign


def test_steps_that_are_no_layers(tmp_path: Path) -> None:
    """As Keras 3 writes ``x * 2`` and a layer of the same name."""
    steps = [
        {"class_name": "Multiply", "config": {"name": "multiply"}, "inbound_nodes": []},
        {"class_name": "Dense", "config": {"name": "dense", "trainable": True}, "inbound_nodes": []},
        {"class_name": "Zeros", "config": {}},
    ]
    found = describe(archive(tmp_path / "a", metadata={}, config={"layers": steps}), SourceFormat.KERAS)
    assert found.steps(layers=False) == {"Multiply"}
    assert found.steps(layers=True) == {"Dense"}


def weights(stream: Any, name: str) -> None:
    """3 GiB in a few kilobytes: HDF5 gives no room to chunks that are not written."""
    with h5py.File(stream, "a") as file:
        file.create_dataset(name, (3 << 30,), "int8", chunks=(1 << 20,))


def test_weights_beyond_two_gibibytes_are_refused_from_what_is_declared(tmp_path: Path) -> None:
    by_h5 = h5(tmp_path / "a.h5", keras_version="2.4.0", model_config="{}")
    weights(by_h5, "model_weights/dense/kernel")
    stream = io.BytesIO()
    weights(stream, "layers/dense/vars/0")
    by_zip = archive(tmp_path / "b.keras", metadata={}, config={})
    with zipfile.ZipFile(by_zip, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("model.weights.h5", stream.getvalue())
    started = time.monotonic()
    for path, source_format in ((by_h5, SourceFormat.KERAS_H5), (by_zip, SourceFormat.KERAS)):
        assert path.stat().st_size < 20_000
        with pytest.raises(
            ConverterError, match=r"3\.0GiB of weights, a TFLite file ends at 2 GiB"
        ) as caught:
            describe(path, source_format)
        assert caught.value.reason is FailureReason.SOURCE_TOO_LARGE
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000])
def test_broken_configuration_is_unreadable(tmp_path: Path, text: str) -> None:
    path = archive(tmp_path / "c.keras", metadata={}, config=text)
    assert reason(describe, path, SourceFormat.KERAS) is FailureReason.UNREADABLE_MODEL
