"""The source model on disk: which format it has, its digest, and what is inside an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.errors import ConverterError
from tflite_converter.files.archives import is_archive, unpack
from tflite_converter.files.digests import source_digest
from tflite_converter.files.formats import detect_format, is_keras_archive, no_model
from tflite_converter.files.names import name_of
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


def open_source(path: Path, expected: SourceFormat, expected_sha256: str | None, folder: Path) -> SourceModel:
    """Detect the format of ``path``; unpack an archive of a SavedModel into ``folder``.

    Raises:
        ConverterError: SourceNotFound, UnreadableModel, UnsupportedFormat, SourceTooLarge, DigestMismatch.

    """
    if not path.is_file() or not is_archive(path) or is_keras_archive(path):
        detected = detect_format(path, expected)
        sha256, size = source_digest(path)
        _check(path, sha256, expected_sha256)
        return SourceModel(path, detected, sha256, size)
    sha256, _ = source_digest(path)
    _check(path, sha256, expected_sha256)
    root = _saved_model(unpack(path, folder, stage=Stage.LOAD, what="a SavedModel"), path)
    detected = detect_format(root, expected)
    return SourceModel(root, detected, sha256, source_digest(root)[1])


def _saved_model(folder: Path, archive: Path) -> Path:
    """Return the one folder inside that holds a SavedModel."""
    folders = sorted({path.parent for mark in SAVED_MODELS for path in folder.rglob(mark)})
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
