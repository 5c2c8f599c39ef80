"""Messages that a parent and any of its child processes exchange."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.base import ApiModel
from modelconversion_api.limits import MessageText
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat


class ChildLimits(ApiModel):
    """What a child may use."""

    readable: tuple[Path, ...] = ()
    """Files and folders it may read besides Python's own and its work folder."""
    programs: tuple[Path, ...] = ()
    """Programs it may run, and what of the system they need; none but for a compiler's child."""
    devices: tuple[Path, ...] = ()
    """Devices of an accelerator that it may use."""
    memory_limit_bytes: int | None = None
    """Limit of its data (RLIMIT_DATA)."""


class Preparation(ApiModel):
    """What a child that is started before its job is known can do until then."""

    limits: ChildLimits
    source: Path | None = None
    """The model that it will read; None where it reads none."""
    format: SourceFormat | None = None


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
