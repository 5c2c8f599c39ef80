"""``python -m modelconversion_operator.webhooks``."""

import asyncio
import sys

from modelconversion_api import log
from modelconversion_operator.errors import OperatorError
from modelconversion_operator.webhooks.receiver import run
from modelconversion_operator.webhooks.settings import load


def main() -> int:
    """Receive webhooks until told to stop; gives the exit code: 0 stopped, 1 cannot run, 2 wrong settings."""
    try:
        settings = load()
    except OperatorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    log.configure(settings.log_level, as_json=settings.log_format == "json")
    try:
        asyncio.run(run(settings))
    except OperatorError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
