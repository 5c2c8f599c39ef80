"""The exceptions of the converter, all in one tree, and the one way from any other exception to a reason.

::

    Exception
    └── ConverterError          a conversion that ended for a reason of the contract; carries its stage
        ├── UsageError          a command line that cannot be carried out (exit code 2)
        └── NoSnippetError      a file that a target's runtime cannot take (``snippets.model``)
    KeyboardInterrupt
    └── TerminatedError         SIGTERM

The command line, the stages of the Job and the children all ask :func:`reason_of`, so that one failure has
one name wherever it happens.
"""

from __future__ import annotations

import errno
import os
import re
from types import FrameType
from typing import Final, NoReturn

from pydantic import ValidationError

from modelconversion_api.limits import FAILURE_LENGTH, QUOTE_LENGTH
from modelconversion_api.reasons import USAGE_EXIT_CODE, FailureReason, Stage, exit_code, known_of
from modelconversion_api.text import printable, shortened

_DISK_IS_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_SHORT_WRITE: Final = re.compile(r"\d+ requested and \d+ written")
"""NumPy's words, without an error number, where a disk is full."""
_MOST_PROBLEMS: Final = 4
"""Fields of a message that an error names."""


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
        self.hint = known_of(reason).hint if hint is None else hint

    @property
    def message(self) -> str:
        """Cause and hint on one printable line of at most :data:`FAILURE_LENGTH` characters.

        A long cause makes room for the hint, which helps more.
        """
        hint = f". Hint: {shortened(printable(self.hint), FAILURE_LENGTH // 2)}"
        return shortened(printable(self.cause), FAILURE_LENGTH - len(hint)) + hint

    @property
    def exit_code(self) -> int:
        """The exit code that the contract gives to the reason."""
        return exit_code(self.reason)

    def __str__(self) -> str:
        return self.message


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, which stops everything: no step's failure, that another way or other files could make good."""


class NotVerifiedError(Exception):
    """A file was not run on a runtime, which says nothing of the file; the message says what to do."""


class NoDriverError(NotVerifiedError):
    """An accelerator has no driver here, or the driver no device; the message says what to do."""


class NothingTakenError(RuntimeError):
    """An accelerator that takes no operator of a file."""


class UsageError(ConverterError):
    """A command line whose options do not fit together."""

    def __init__(self, cause: str, *, hint: str) -> None:
        super().__init__(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)

    @property
    def exit_code(self) -> int:
        """2, as for any wrong command line."""
        return USAGE_EXIT_CODE


def reason_of(
    error: BaseException, stage: Stage, who: str, *, at_memory_limit: bool = False
) -> ConverterError:
    """Return the contract's reason for any exception that ended ``stage``.

    ================================================  =======================================
    ``ConverterError``                                is its own reason
    no memory (``MemoryError``, ``ENOMEM``)           OutOfMemory
    a full disk (``ENOSPC``, ``EDQUOT``)              NoSpace
    any other ``OSError``                             OutputNotWritable
    ``KeyboardInterrupt``, ``TerminatedError``        Interrupted
    everything else                                   InternalError, which is a bug
    ================================================  =======================================

    ``who`` is the process in messages, e.g. ``the LiteRT process``. ``at_memory_limit`` says that it has
    taken nearly all the memory that it may: an allocation that fails in a library can come up as anything.
    """
    if isinstance(error, ConverterError):
        return error
    if (failure := machine_failure(error, stage, who, at_memory_limit=at_memory_limit)) is not None:
        return failure
    if isinstance(error, OSError):
        return from_os_error(error, stage, "reading or writing files")
    words = problems_of(error) if isinstance(error, ValidationError) else first_line(error)
    return ConverterError(FailureReason.INTERNAL_ERROR, stage, f"{type(error).__name__}: {words}")


def machine_failure(
    error: BaseException, stage: Stage, who: str, *, at_memory_limit: bool = False
) -> ConverterError | None:
    """Return the reason for an exception that says nothing about the model: memory, disk, an interruption.

    None for every other exception. Parameters are those of :func:`reason_of`.
    """
    no_memory = isinstance(error, OSError) and error.errno == errno.ENOMEM
    if at_memory_limit or no_memory or isinstance(error, MemoryError):
        return ConverterError(FailureReason.OUT_OF_MEMORY, stage, f"{who} ran out of memory")
    if isinstance(error, OSError) and _is_disk_full(error):
        return from_os_error(error, stage, "writing files")
    if isinstance(error, KeyboardInterrupt):
        name = "SIGTERM" if isinstance(error, TerminatedError) else "SIGINT"
        return ConverterError(FailureReason.INTERRUPTED, stage, f"stopped by {name}")
    return None


def from_os_error(error: OSError, stage: Stage, doing: str) -> ConverterError:
    """Return the reason for a file operation that failed while ``doing`` e.g. ``writing the artifacts``.

    NoSpace for a full disk or quota, otherwise OutputNotWritable.
    """
    words = os.strerror(error.errno) if error.errno else first_line(error)
    where = f" ({error.filename})" if error.filename else ""
    reason = FailureReason.NO_SPACE if _is_disk_full(error) else FailureReason.OUTPUT_NOT_WRITABLE
    return ConverterError(reason, stage, f"{doing}: {words}{where}")


def _is_disk_full(error: OSError) -> bool:
    return error.errno in _DISK_IS_FULL or (error.errno is None and bool(_SHORT_WRITE.search(str(error))))


def on_sigterm(_number: int, _frame: FrameType | None) -> NoReturn:
    """Handle SIGTERM: end what is under way for the reason Interrupted, past whoever minds a step's failure.

    Raises:
        TerminatedError: always.

    """
    raise TerminatedError


def problems_of(error: ValidationError) -> str:
    """Return each field that is wrong and why, at most four; the values themselves are not repeated."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems[:_MOST_PROBLEMS])


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text as :func:`quoted` does; its type where it has none."""
    return quoted(str(error)) or type(error).__name__


def quoted(text: str) -> str:
    """Return the first line of ``text`` that is not blank, at most :data:`QUOTE_LENGTH` characters.

    Without the full stop at its end: our own sentence goes on behind it.
    """
    lines = (line.strip() for line in re.split(r"[\r\n]", text))
    return shortened(next(filter(None, lines), ""), QUOTE_LENGTH).rstrip(".")
