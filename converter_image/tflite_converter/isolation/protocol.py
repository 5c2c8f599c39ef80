"""Messages that a parent and any of its child processes exchange."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.limits import MessageText
from modelconversion_api.reasons import FailureReason, Stage

PROGRESS_FD_ENV: Final = "CONVERTER_PROGRESS_FD"
SPEECHLESS_EXIT_CODE: Final = 77
"""A child ends with it when it has no memory left even to say so."""


class ChildLimits(ApiModel):
    """What a child may use."""

    readable: tuple[Path, ...] = ()
    """Files and folders it may read besides Python's own and its work folder."""
    programs: tuple[Path, ...] = ()
    """Programs it may run, and what of the system they need; none but for a compiler's child."""
    memory_limit_bytes: int | None = None
    """Limit of its data (RLIMIT_DATA)."""


class WorkerFailure(ApiModel):
    """Why a child, or one of its tasks, gave up."""

    reason: FailureReason
    stage: Stage
    cause: str
    hint: str | None = None


class WorkerProgress(ApiModel):
    """One line on the progress pipe."""

    stage: Stage
    text: MessageText
    fraction: float | None = None
    warning: bool = False


def result_file(program: str) -> str:
    """Name of the file that ``program`` leaves when it is done."""
    return f"{program}.result.json"


def error_file(program: str) -> str:
    """Name of the file that ``program`` leaves when it gives up."""
    return f"{program}.error.json"
