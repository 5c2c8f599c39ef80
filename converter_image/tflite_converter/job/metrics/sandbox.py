"""Puts the program that confines a user's own metrics where their containers find it.

Their images are foreign, so the program comes with this one (``metric_sandbox.c``), and ``fetch``, in which
no code of a model runs, is who puts it there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from conversion_engine.sandbox import filter_for_programs
from modelconversion_api.fields.metrics import METRIC_SANDBOX_ENV, SANDBOX_FILTER, SANDBOX_PROGRAM
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, from_os_error

PROGRAM_ENV: Final = "METRIC_SANDBOX_PROGRAM"
_PROGRAM: Final = "/opt/metrics/metric-sandbox"
"""Where the image has it, unless a variable names another place."""


def hand_over_sandbox() -> None:
    """Copy the program and its filter into the folder that the operator names.

    Raises:
        ConverterError: MetricFailed where this image has no such program, or this processor no filter;
            NoSpace.

    """
    program, code = Path(os.environ.get(PROGRAM_ENV, _PROGRAM)), filter_for_programs()
    if not program.is_file() or not code:
        cause = (
            f"there is no {program} here to confine metrics with" if code else "no filter for this processor"
        )
        raise ConverterError(FailureReason.METRIC_FAILED, Stage.FETCH, cause)
    folder = Path(os.environ[METRIC_SANDBOX_ENV])
    try:
        shutil.copyfile(program, folder / SANDBOX_PROGRAM)
        (folder / SANDBOX_PROGRAM).chmod(0o555)
        (folder / SANDBOX_FILTER).write_bytes(code)
    except OSError as error:
        raise from_os_error(error, Stage.FETCH, "writing the metrics' sandbox") from error
