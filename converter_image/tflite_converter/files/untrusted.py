"""Opening and reading what a process that ran a model has left."""

from __future__ import annotations

import io
import math
import os
import stat
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic_core import from_json

from modelconversion_api.base import ApiModel
from modelconversion_api.limits import MAX_REPORT_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError

_LARGEST: Final = (1 << 63) - 1
"""A resource's status takes no whole number beyond: one that is would never be written."""

Report = TypeVar("Report", bound=ApiModel)


def read_report_file(path: Path, kind: type[Report], stage: Stage) -> Report:
    """Read a report of at most :data:`MAX_REPORT_BYTES`; refuse NaN, infinity and numbers beyond 64 bits.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    with open_regular(path, MAX_REPORT_BYTES, stage) as stream:
        content = stream.read()
    try:
        is_sound = _has_sound_numbers(from_json(content, allow_inf_nan=False))
        report = kind.model_validate_json(content)
    except ValueError as error:  # pydantic's ValidationError is one
        raise _invalid(f"{path.name} does not follow the contract", stage) from error
    if not is_sound:
        raise _invalid(f"{path.name} does not follow the contract: a number is too large", stage)
    return report


def _has_sound_numbers(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_has_sound_numbers, value.values()))
    if isinstance(value, list):
        return all(map(_has_sound_numbers, value))
    if isinstance(value, int):
        return abs(value) <= _LARGEST
    return not isinstance(value, float) or math.isfinite(value)


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
