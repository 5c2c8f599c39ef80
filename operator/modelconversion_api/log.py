"""How the operator and the stages of the Job log: lines for people, or JSON objects for log collectors.

Both write to standard error in one form, so that one rule of a log collector reads both.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from .text import printable


class _TextLines(logging.Formatter):
    """One line a message, whatever is in it; the lines of a traceback are its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        record.message = printable(record.message)
        return super().formatMessage(record)


class _JsonLines(logging.Formatter):
    """One JSON object a line, with the names that log collectors look for."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class _ToStandardError(logging.StreamHandler):  # type: ignore[type-arg]  # generic for type checkers only
    """The handler of this module, by which a second call knows the first one's."""


def configure(level: str, *, as_json: bool) -> None:
    """Send every log message from ``level`` (``info``, ...) on to standard error.

    A second call replaces the first. Handlers of others, e.g. of a test's, stay.
    """
    handler = _ToStandardError(sys.stderr)
    handler.setFormatter(_JsonLines() if as_json else _TextLines())
    root = logging.getLogger()
    for earlier in [other for other in root.handlers if isinstance(other, _ToStandardError)]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(level.upper())
