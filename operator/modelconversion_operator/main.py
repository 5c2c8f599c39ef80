"""The operator's command line."""

from __future__ import annotations

import asyncio
import logging
import sys

from . import process
from .errors import OperatorError
from .settings import load


def main(arguments: list[str] | None = None) -> int:
    """Run the operator; gives the exit code: 0 stopped, 1 cannot run, 2 wrong settings."""
    try:
        settings = load(arguments)
    except OperatorError as error:
        sys.stderr.write(f"error: {error}\nSee modelconversion-operator --help.\n")
        return 2
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
    )
    if settings.log_level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)  # it tells of every event it has seen
    try:
        asyncio.run(process.run(settings))
    except OperatorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
