"""Which format a source model has, read from its first bytes and before anything is deserialised."""

from __future__ import annotations

import zipfile
from itertools import islice
from pathlib import Path

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from modelconversion_api.text import human_size
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import for_shell, name_of
from tflite_converter.files.onnx_file import is_onnx
from tflite_converter.files.other_formats import (
    HEAD_BYTES,
    SAVED_MODELS,
    OtherFormat,
    other_archive,
    other_file,
    other_folder,
)
from tflite_converter.files.pytorch_file import is_exported_program
from tflite_converter.files.stablehlo_file import is_stablehlo
from tflite_converter.files.strays import stray

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ZIP_MAGIC = b"PK\x03\x04"
_TFLITE_MAGIC = b"TFL3"
_TFLITE_MAGIC_OFFSET = 4
_MOST_FILES = 10_000


def is_tflite(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a TFLite FlatBuffer (identifier ``TFL3`` at byte 4)."""
    return head[_TFLITE_MAGIC_OFFSET : _TFLITE_MAGIC_OFFSET + 4] == _TFLITE_MAGIC


def is_keras_archive(path: Path) -> bool:
    """Whether a zip file lists what a .keras file has; a damaged one counts, for its reader says more."""
    with path.open("rb") as stream:
        if not stream.read(4).startswith(_ZIP_MAGIC):
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            return {"metadata.json", "config.json"} <= set(archive.namelist())
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return True


def is_model_archive(path: Path) -> bool:
    """Whether a zip file is a model itself, and no archive around one: a .keras or a .pt2 file."""
    return is_exported_program(path) or is_keras_archive(path)


def detect_format(path: Path, expected: SourceFormat = SourceFormat.AUTO) -> SourceFormat:
    """Return the format of the model at ``path``.

    Raises:
        ConverterError: SourceNotFound; UnreadableModel for an empty file; UnsupportedFormat for anything
            that is no model this converter reads, or not what ``expected`` says; SourceTooLarge.

    """
    if not path.exists():
        raise ConverterError(
            FailureReason.SOURCE_NOT_FOUND,
            Stage.LOAD,
            f"File not found: {path}",
            hint="train the model first: python train_gesture_model.py, or correct the path",
        )
    detected = _folder_format(path) if path.is_dir() else _file_format(path)
    if expected not in (SourceFormat.AUTO, detected):
        raise _unsupported(f"{path.name} is declared as {expected.value}, but its bytes say {detected.value}")
    return detected


def _folder_format(path: Path) -> SourceFormat:
    if any((path / name).is_file() for name in SAVED_MODELS):
        _check_parts(path)
        return SourceFormat.SAVED_MODEL
    if onnx_files(path):
        return SourceFormat.ONNX
    raise no_model(path, name_of(path))


def onnx_files(folder: Path) -> list[Path]:
    """Return the ONNX models in a folder and its folders, as their bytes say it."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in sorted(islice(files, _MOST_FILES)) if is_onnx(path)]


def onnx_file(path: Path) -> Path:
    """Return the ONNX model that ``path`` is, or the one that lies in it.

    Raises:
        ConverterError: UnsupportedFormat where there are several.

    """
    if path.is_file():
        return path
    found = onnx_files(path)
    if len(found) == 1:
        return found[0]
    cause = f"{name_of(path)} holds {len(found)} ONNX models"
    raise ConverterError(
        FailureReason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=f"give one of them: {for_shell(found[0])}"
    )


def _check_parts(folder: Path) -> None:
    """Refuse a SavedModel of which a file is empty, or is none of it."""
    for path in sorted([*folder.glob("saved_model.pb*"), *folder.glob("variables/variables.*")]):
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        where = f"{name_of(folder)}/{path.relative_to(folder)}"
        if not head:
            raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{where} is empty")
        if (found := stray(head)) is not None:
            raise _other(OtherFormat(*found), where)


def _file_format(path: Path) -> SourceFormat:
    with path.open("rb") as stream:
        head = stream.read(8)
    if not head:
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{path.name} is empty")
    if head == _HDF5_MAGIC:
        return SourceFormat.KERAS_H5
    if head.startswith(_ZIP_MAGIC):
        return SourceFormat.PYTORCH if is_exported_program(path) else SourceFormat.KERAS
    if is_tflite(head):
        if (size := path.stat().st_size) > MAX_TFLITE_BYTES:
            raise too_large(path.name, size)
        return SourceFormat.TFLITE
    if is_stablehlo(path):
        return SourceFormat.STABLEHLO
    if is_onnx(path):
        return SourceFormat.ONNX
    if (other := other_file(path)) is not None:
        raise _other(other, path.name)
    raise _unsupported(
        f"{path.name} is not an HDF5 file, .keras archive, SavedModel archive, ONNX or PyTorch file, file of"
        f" jax.export or TFLite file"
        f" (it begins with {head.hex(' ')})"
    )


def no_model(folder: Path, name: str, archive: Path | None = None) -> ConverterError:
    """Return the error for a folder, or for what ``archive`` held, that is no SavedModel.

    Of a folder so many files are looked at as a source may have; more are no model.
    """
    if archive is not None and (other := other_archive(archive)) is not None:
        return _other(other, name)
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    other = other_folder(folder, islice(files, _MOST_FILES), is_unpacked=archive is not None)
    if archive is None:
        return _other(other, name)
    cause = f"the archive {name} holds no SavedModel: it is {other.kind.replace('a folder', 'an archive')}"
    return ConverterError(other.reason, Stage.LOAD, cause, hint=other.way)


def too_large(name: str, size_bytes: int) -> ConverterError:
    """Return the error for a model whose weights no TFLite file can hold."""
    cause = f"{name} has {human_size(size_bytes)} of weights, a TFLite file ends at 2 GiB"
    return ConverterError(FailureReason.SOURCE_TOO_LARGE, Stage.LOAD, cause)


def _other(other: OtherFormat, name: str) -> ConverterError:
    return ConverterError(other.reason, Stage.LOAD, f"{name} is {other.kind}", hint=other.way)


def _unsupported(cause: str) -> ConverterError:
    hint = (
        "give a Keras .h5 or .keras file, a SavedModel (folder, .zip or .tar.gz), an .onnx or .pt2 file, what"
        " jax.export wrote, or a float .tflite file"
    )
    return ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=hint)
