"""What the program ends with, and how an error is told."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import typer

from modelconversion_client import errors

P = ParamSpec("P")
R = TypeVar("R")

FAILED: Final = 1
"""A conversion has failed."""
USAGE: Final = 2
INTERRUPTED: Final = 130


class UsageProblem(errors.ConversionClientError):
    """What was typed does not go together."""


class StoreError(errors.ConversionClientError):
    """The store cannot be used from here."""


EXIT_CODES: Final[dict[type[errors.ConversionClientError], int]] = {
    UsageProblem: USAGE,
    errors.AccessError: 3,
    errors.UnreachableError: 3,
    errors.ExpiredError: 3,
    errors.TooLargeError: 3,
    errors.ServerError: 3,
    errors.UnauthorizedError: 4,
    errors.ForbiddenError: 4,
    errors.NotInstalledError: 6,
    errors.NotFoundError: 5,
    errors.RefusedError: 7,
    errors.ConflictError: 7,
    errors.NotRetryableError: 7,
    errors.WaitTimeoutError: 8,
    StoreError: 9,
}
"""The program's exit code by what went wrong; the first that fits counts."""


def exit_code(error: errors.ConversionClientError) -> int:
    """Return what the program ends with after ``error``."""
    return next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind))


def tells_errors(command: Callable[P, R]) -> Callable[P, R]:
    """Have a command say an error's cause and next step, and end with its code."""

    @functools.wraps(command)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except errors.ConversionClientError as error:
            sys.stderr.write(f"error: {error.cause}\n  next: {error.next_step}\n")
            raise typer.Exit(exit_code(error)) from error
        except KeyboardInterrupt as error:
            sys.stderr.write("interrupted; what was begun in the cluster goes on\n")
            raise typer.Exit(INTERRUPTED) from error

    return told
