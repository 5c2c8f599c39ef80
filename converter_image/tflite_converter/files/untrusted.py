"""Opening what a process that ran a model has left."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError


def open_regular(path: Path, limit_bytes: int, stage: Stage) -> io.BufferedReader:
    """Open a regular file for reading; refuse links, devices, pipes and files that are too large.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    try:
        # Without NONBLOCK, opening a pipe would wait for a writer for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _invalid(f"{path.name} cannot be opened as a regular file: {error.strerror}", stage) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size > limit_bytes:
        os.close(fd)
        is_plain = stat.S_ISREG(status.st_mode)
        why = f"is larger than {limit_bytes >> 20} MiB" if is_plain else "is not a regular file"
        raise _invalid(f"{path.name} {why}", stage)
    return os.fdopen(fd, "rb")


def _invalid(cause: str, stage: Stage) -> ConverterError:
    return ConverterError(FailureReason.ARTIFACT_INVALID, stage, cause)
