"""The source model on disk: which format it has, its digest, and what is inside an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.files.archives import is_archive, safe_relative_path, unpack
from tflite_converter.files.digests import file_sha256, folder_sha256, source_digest
from tflite_converter.files.formats import (
    detect_format,
    is_model_archive,
    no_model,
    onnx_file,
    onnx_files,
    too_large,
)
from tflite_converter.files.names import name_of, readable
from tflite_converter.files.onnx_file import read_onnx
from tflite_converter.files.other_formats import SAVED_MODELS


@dataclass(frozen=True)
class SourceModel:
    """A source that is there and can be loaded."""

    path: Path
    """The file or SavedModel folder to load; inside the work folder where it was unpacked."""
    format: SourceFormat
    sha256: str
    """Of what the user named, archive or not."""
    size_bytes: int
    """Of the model itself: unpacked, where it was packed."""
    belonging: tuple[Path, ...] = ()
    """Files beside ``path`` that hold a part of the model: the external data of an ONNX file."""


def open_source(
    path: Path,
    expected: SourceFormat,
    expected_sha256: str | None,
    folder: Path,
    inside: str | None = None,
) -> SourceModel:
    """Detect the format of ``path``; unpack an archive of a SavedModel or an ONNX model into ``folder``.

    ``inside``: where the model lies in the layer of an image or artifact, which is packed, and may hold any
    model; empty for all that is in it. None for what is no such layer.

    Raises:
        ConverterError: SourceNotFound, UnreadableModel, UnsupportedFormat, SourceTooLarge, DigestMismatch,
            UnsafeModel.

    """
    if inside is not None:
        return _in_layer(path, expected, expected_sha256, folder, inside)
    if not path.is_file() or not is_archive(path) or is_model_archive(path):
        detected = detect_format(path, expected)
        if detected is SourceFormat.ONNX:
            return _onnx(path, None, expected_sha256)
        sha256, size = source_digest(path)
        _check(path, sha256, expected_sha256)
        return SourceModel(path, detected, sha256, size)
    sha256, _ = source_digest(path)
    _check(path, sha256, expected_sha256)
    root = unpack(path, folder, stage=Stage.LOAD, what="a SavedModel or an ONNX model")
    saved_models = _saved_models(root)
    if not saved_models and onnx_files(root):
        detect_format(root, expected)
        return _onnx(root, sha256, None)
    root = _only(saved_models, root, path)
    detected = detect_format(root, expected)
    return SourceModel(root, detected, sha256, source_digest(root)[1])


def _in_layer(
    layer: Path, expected: SourceFormat, expected_sha256: str | None, folder: Path, inside: str
) -> SourceModel:
    sha256, _ = source_digest(layer)
    _check(layer, sha256, expected_sha256)
    root = unpack(layer, folder, stage=Stage.LOAD, what="a model", whole=True)
    meant = root / safe_relative_path(inside, Stage.LOAD) if inside else root
    if meant.is_dir():
        meant = _model_in(meant, root)
    elif not meant.is_file():
        cause = f"the layer has no file or folder {readable(inside)}; it has {_names(root, root)}"
        raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.LOAD, cause, hint=_NAME_IT)
    detected = detect_format(meant, expected)
    if detected is SourceFormat.ONNX:
        return _onnx(meant, sha256, None)
    return SourceModel(meant, detected, sha256, source_digest(meant)[1])


def _model_in(folder: Path, root: Path) -> Path:
    """Return the one model in a folder: a SavedModel, what has ONNX files, or the only file."""
    saved_models = _saved_models(folder)
    if len(saved_models) == 1:
        return saved_models[0]
    files = _files(folder)
    if len(files) == 1:
        return files[0]
    if not saved_models and onnx_files(folder):
        return folder
    cause = f"the layer has {len(files)} files, and is no SavedModel or ONNX model: {_names(folder, root)}"
    raise ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.LOAD, cause, hint=_NAME_IT)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _names(folder: Path, root: Path) -> str:
    names = [readable(path.relative_to(root).as_posix()) for path in _files(folder)]
    return ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "") or "none"


_MOST_NAMED: Final = 5
_NAME_IT: Final = "name the file behind the digest of the uri, e.g. @sha256:DIGEST/models/person.tflite"


def _onnx(path: Path, sha256: str | None, expected_sha256: str | None) -> SourceModel:
    """Return the ONNX model at ``path``, a file or a folder, with its external data.

    ``sha256``: the digest of the archive that it came in; None where it came in none. It is that of the file
    then, or that of a folder with its external data.
    """
    file = onnx_file(path)
    belonging = external_data(file)
    if sha256 is None:
        if belonging:
            parts = (file, *belonging)
            sha256 = folder_sha256({p.relative_to(file.parent).as_posix(): file_sha256(p) for p in parts})
        else:
            sha256 = file_sha256(file)
        _check(file, sha256, expected_sha256)
    size = sum(part.stat().st_size for part in (file, *belonging))
    if size > MAX_TFLITE_BYTES:
        raise too_large(file.name, size)
    return SourceModel(file, SourceFormat.ONNX, sha256, size, belonging)


def external_data(file: Path) -> tuple[Path, ...]:
    """Return the files with constants of an ONNX model, which lie in its folder.

    Raises:
        ConverterError: UnsafeModel for a path that leads out of the folder, UnreadableModel for a file that
            is not there.

    """
    found = []
    for location in read_onnx(file).external:
        relative = safe_relative_path(location.removeprefix("./"), Stage.LOAD, FailureReason.UNSAFE_MODEL)
        parts = relative.split("/")
        steps = [file.parent.joinpath(*parts[: n + 1]) for n in range(len(parts))]
        if any(step.is_symlink() for step in steps):
            cause = f"the external data {readable(relative)!r} of {file.name} is a symbolic link"
            hint = "put the file itself beside the model"
            raise ConverterError(FailureReason.UNSAFE_MODEL, Stage.LOAD, cause, hint=hint)
        if not steps[-1].is_file():
            cause = f"{file.name} has a part of its weights in {readable(relative)!r}, which is not beside it"
            hint = "give the folder, or a .zip of it, with the .onnx file and all that was exported with it"
            raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=hint)
        found.append(steps[-1])
    return tuple(found)


def _saved_models(folder: Path) -> list[Path]:
    """Return the folders inside that hold a SavedModel."""
    return sorted({path.parent for mark in SAVED_MODELS for path in folder.rglob(mark)})


def _only(folders: list[Path], folder: Path, archive: Path) -> Path:
    """Return the one folder that holds a SavedModel."""
    if len(folders) == 1:
        return folders[0]
    name = name_of(archive)
    if not folders:
        raise no_model(folder, name, archive)
    raise ConverterError(
        FailureReason.UNSUPPORTED_FORMAT,
        Stage.LOAD,
        f"the archive {name} holds {len(folders)} SavedModels",
        hint="pack one SavedModel folder: tar czf model.tar.gz -C FOLDER .",
    )


def _check(path: Path, sha256: str, expected: str | None) -> None:
    if expected not in (None, sha256):
        cause = f"{path.name} has the digest {sha256}, expected {expected}"
        raise ConverterError(FailureReason.DIGEST_MISMATCH, Stage.LOAD, cause)
