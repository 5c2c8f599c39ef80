"""The operator's command line."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys

from modelconversion_api import log
from modelconversion_operator import process
from modelconversion_operator.errors import OperatorError
from modelconversion_operator.settings import load

_GC_THRESHOLD = 10_000
"""Objects made between two looks of the garbage collector; Python's 700 are one answer of the API server."""


def main(arguments: list[str] | None = None) -> int:
    """Run the operator; gives the exit code: 0 stopped, 1 cannot run, 2 wrong settings."""
    try:
        settings = load(arguments)
    except OperatorError as error:
        sys.stderr.write(f"error: {error}\nSee modelconversion-operator --help.\n")
        return 2
    log.configure(settings.log_level, as_json=settings.log_format == "json")
    if settings.log_level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells of every event it has seen
    # What the imports have made lives as long as the process: looking through it again and again for garbage
    # would cost as much as reading the API server's answers does.
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    try:
        asyncio.run(process.run(settings))
    except OperatorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
