"""What a report says of a recipe that was tried, whichever search tried it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from modelconversion_api.reports.measurements import Attempt
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.measuring.quality import Quality


def why_not(error: Exception) -> str:
    """Return why a recipe gave no file that runs, in the error's words."""
    return error.cause if isinstance(error, ConverterError) else first_line(error)


def failed(recipe: str, error: Exception, started: float) -> Attempt:
    """Return the attempt that gave no file; ``started`` is its beginning by the monotonic clock."""
    seconds = round(time.monotonic() - started, 3)
    return Attempt(recipe=recipe, passed=False, seconds=seconds, message=why_not(error))


def measured(
    recipe: str,
    content: bytes,
    quality: Quality,
    missed: Sequence[str],
    seconds: float,
    *,
    chosen: bool,
    float_operators: int | None = None,
) -> Attempt:
    """Return the attempt that gave the file ``content``; ``missed`` has a sentence for each missed gate."""
    return Attempt(
        recipe=recipe,
        size_bytes=len(content),
        agreement=round(quality.agreement, 6),
        accuracy=None if quality.accuracy is None else round(quality.accuracy, 6),
        snr_db=None if quality.snr_db is None else round(quality.snr_db, 2),
        float_operators=float_operators,
        passed=not missed,
        chosen=chosen,
        seconds=round(seconds, 3),
        message="; ".join(missed) or None,
    )
