"""The exceptions of the converter, all in one tree.

::

    Exception
    └── ConverterError        a conversion that ended for a reason of the contract; carries its stage
        └── UsageError        a command line that cannot be carried out (exit code 2)

Everything else that is raised is a bug, and is reported as ``InternalError``.
"""

from __future__ import annotations

import errno
import os
import re

from modelconversion_api.limits import FAILURE_LENGTH, QUOTE_LENGTH
from modelconversion_api.reasons import FAILURES, USAGE_EXIT_CODE, FailureReason, Stage, exit_code
from modelconversion_api.text import shortened


class ConverterError(Exception):
    """A conversion that cannot go on.

    ``cause`` says what is wrong with this model, file or store; ``hint`` says what to do about it and is the
    contract's unless given.
    """

    def __init__(self, reason: FailureReason, stage: Stage, cause: str, *, hint: str | None = None) -> None:
        super().__init__(cause)
        self.reason = reason
        self.stage = stage
        self.cause = cause
        self.hint = FAILURES[reason].hint if hint is None else hint

    @property
    def message(self) -> str:
        """Cause and hint, at most :data:`FAILURE_LENGTH` characters; a long cause makes room for the hint."""
        hint = f". Hint: {shortened(self.hint, FAILURE_LENGTH // 2)}"
        return shortened(self.cause, FAILURE_LENGTH - len(hint)) + hint

    @property
    def exit_code(self) -> int:
        """The exit code that the contract gives to the reason."""
        return exit_code(self.reason)

    def __str__(self) -> str:
        return self.message


class UsageError(ConverterError):
    """A command line whose options do not fit together."""

    def __init__(self, cause: str, *, hint: str) -> None:
        super().__init__(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)

    @property
    def exit_code(self) -> int:
        """2, as for any wrong command line."""
        return USAGE_EXIT_CODE


def from_os_error(error: OSError, stage: Stage, doing: str) -> ConverterError:
    """The reason behind a failed file operation while ``doing`` something, e.g. ``writing the artifacts``."""
    what = os.strerror(error.errno) if error.errno else str(error)
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ConverterError(FailureReason.NO_SPACE, stage, f"{doing}: {what}{where}")
    return ConverterError(FailureReason.OUTPUT_NOT_WRITABLE, stage, f"{doing}: {what}{where}")


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text as :func:`quoted` does; its type where it has none."""
    return quoted(str(error)) or type(error).__name__


def quoted(text: str) -> str:
    """Return the first line of ``text`` that is not blank, at most :data:`QUOTE_LENGTH` characters.

    Without the full stop at its end: our own sentence goes on behind it.
    """
    lines = (line.strip() for line in re.split(r"[\r\n]", text))
    return shortened(next(filter(None, lines), ""), QUOTE_LENGTH).rstrip(".")
