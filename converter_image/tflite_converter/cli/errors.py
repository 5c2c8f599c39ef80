"""How every command ends: a line on standard error and the contract's exit code, never a traceback."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer

from modelconversion_api.reasons import INTERNAL_EXIT_CODE, FailureReason, Stage
from modelconversion_api.text import printable
from tflite_converter.errors import ConverterError, from_os_error


@contextmanager
def ends_with_a_message() -> Iterator[None]:
    """Turn a failure inside into a message and its exit code; only a bug shows a traceback."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        yield
    except ConverterError as error:
        typer.echo(f"error: {printable(error.message)}", err=True)
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, KeyboardInterrupt):
        raise
    except BrokenPipeError:
        raise typer.Exit(1) from None  # the reader of the output has closed it, as head and less do
    except OSError as error:
        failure = from_os_error(error, Stage.CONVERT, "reading or writing files")
        typer.echo(f"error: {failure.message}", err=True)
        raise typer.Exit(failure.exit_code) from None
    except Exception as error:
        traceback.print_exc()
        typer.echo(f"error: this is a bug, please report it with the lines above: {error}", err=True)
        raise typer.Exit(INTERNAL_EXIT_CODE) from None


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise ConverterError(FailureReason.INTERRUPTED, Stage.CONVERT, "stopped by SIGTERM")
