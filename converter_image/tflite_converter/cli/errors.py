"""How every command ends: a line on standard error and the contract's exit code, never a traceback."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.cli.hints import message_of
from tflite_converter.errors import TerminatedError, on_sigterm, reason_of


@contextmanager
def ends_with_a_message() -> Iterator[None]:
    """Turn a failure inside into a message and its exit code; only a bug shows a traceback."""
    signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    except typer.Exit:
        raise
    except BrokenPipeError:
        raise typer.Exit(1) from None  # the reader of the output has closed it, as head and less do
    except (Exception, TerminatedError) as error:  # of SIGINT, typer makes 130, as shells expect
        failure = reason_of(error, Stage.CONVERT, "the command")
        if failure.reason is FailureReason.INTERNAL_ERROR:
            traceback.print_exc()
        typer.echo(f"error: {message_of(failure)}", err=True)
        raise typer.Exit(failure.exit_code) from None
