"""What a front half has left, as one file that another conversion of the same model can go on from.

Both the code that fills such a file and what is read from it later are a model's own: it is unpacked without
trusting a name, a size or a kind of entry in it.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError
from tflite_converter.files.untrusted import open_regular
from tflite_converter.workers.front import FrontResult, TensorFlowResult

FRONT_FILE: Final = "front.tar"
"""The file, in the output folder of the conversion that made it and the input folder of one that takes it."""
FRONT_RESULT_FILE: Final = "front.json"
"""What the front half found, beside it."""
KEPT_FILES: Final = (FRONT_FILE, FRONT_RESULT_FILE)
MAX_FRONT_BYTES: Final = 2 << 30
"""Most bytes of files that are kept."""
MAX_TAR_BYTES: Final = MAX_FRONT_BYTES + (32 << 20)
"""Largest file that they are kept in."""
MAX_RESULT_BYTES: Final = 1 << 20
_OF_NAMES: Final = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
_MOST_FILES: Final = 10_000
_CHUNK: Final = 1 << 20

_Name = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class KeptResult(ApiModel):
    """What stands beside the file."""

    result: TensorFlowResult
    """What the front half found; of an engine, without what only TensorFlow's child says."""
    removed: Annotated[tuple[_Name, ...], Field(max_length=16)] = ()
    """Files of the samples that it has taken away."""


def names_in(work: Path) -> frozenset[str]:
    """Return what lies in a folder, for telling later what a front half has added."""
    return frozenset(path.name for path in work.iterdir())


def pack(work: Path, before: frozenset[str], result: FrontResult, folder: Path) -> None:
    """Write what was added to ``work`` since ``before`` into ``folder``.

    Raises:
        ConverterError: ArtifactInvalid where it is larger than :data:`MAX_FRONT_BYTES`, or no regular file.
        OSError: The file cannot be written.

    """
    after = names_in(work)
    target = folder / FRONT_FILE
    try:
        with tarfile.open(target, "x:", format=tarfile.PAX_FORMAT) as tar:
            paths = list(_files(work, sorted(after - before)))
            _check_size(sum(path.lstat().st_size for path in paths))
            for path in paths:
                _add(tar, path, path.relative_to(work).as_posix())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    found = TensorFlowResult.model_validate(result.model_dump())
    kept = KeptResult(result=found, removed=tuple(sorted(before - after)))
    (folder / FRONT_RESULT_FILE).write_text(kept.model_dump_json(by_alias=True))


def _check_size(size_bytes: int) -> None:
    if size_bytes > MAX_FRONT_BYTES:
        raise _invalid(f"it is larger than {MAX_FRONT_BYTES >> 20} MiB")


def _files(folder: Path, names: list[str]) -> Iterator[Path]:
    """Yield the files below some names in a folder, in one order everywhere.

    Without links: a loader links to the source where its suffix counts, and each run has that itself.
    """
    for name in names:
        path = folder / name
        if path.is_symlink():
            continue
        if path.is_dir():
            yield from _files(path, sorted(names_in(path)))
        else:
            yield path


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file without anything of this machine or moment: the same content gives the same bytes."""
    with open_regular(path, MAX_FRONT_BYTES, Stage.CONVERT) as stream:
        entry = tarfile.TarInfo(name)
        entry.size = os.fstat(stream.fileno()).st_size
        entry.mode = 0o600
        tar.addfile(entry, stream)


def unpack(folder: Path, work: Path, staging: Path) -> TensorFlowResult:
    """Put a kept front half from ``folder`` into ``work``, and return what it found.

    It is unpacked in ``staging`` first, a folder of the same file system that is made and removed: where
    something is wrong, ``work`` is as it was.

    Raises:
        ConverterError: ArtifactInvalid where it would write anywhere but into new files of ``work``.
        OSError: The disk is full, or fails.

    """
    staging.mkdir()
    try:
        with open_regular(folder / FRONT_RESULT_FILE, MAX_RESULT_BYTES, Stage.LOAD) as stream:
            kept = KeptResult.model_validate_json(stream.read(MAX_RESULT_BYTES))
        with (
            open_regular(folder / FRONT_FILE, MAX_TAR_BYTES, Stage.LOAD) as stream,
            tarfile.open(fileobj=stream, mode="r:") as tar,
        ):
            _extract(tar, staging)
        if taken := names_in(staging) & names_in(work):
            raise _invalid(f"it would replace {min(taken)!r}")
        for name in names_in(staging):
            (staging / name).rename(work / name)
    except OSError as error:
        if error.errno not in _OF_NAMES:
            raise
        raise _invalid(f"it has an entry that cannot be: {error}") from error
    # tarfile lets a few errors of its own arithmetic through; pydantic's is a ValueError.
    except (ValueError, OverflowError, tarfile.TarError, EOFError) as error:
        raise _invalid(f"{type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    for name in kept.removed:
        (work / name).unlink(missing_ok=True)
    return kept.result


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    left, files = MAX_FRONT_BYTES, 0
    for entry in tar:
        files, left = files + 1, left - entry.size
        parts = entry.name.split("/")
        if not entry.isreg() or entry.issparse() or {"", ".", ".."} & set(parts):
            raise _invalid(f"it has an entry that is no file of its own: {entry.name[:64]!r}")
        if files > _MOST_FILES or left < 0:
            raise _invalid("it has too much in it")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as target, tar.extractfile(entry) or io.BytesIO() as source:
            shutil.copyfileobj(source, target, _CHUNK)


def _invalid(cause: str) -> ConverterError:
    return ConverterError(FailureReason.ARTIFACT_INVALID, Stage.LOAD, cause)
