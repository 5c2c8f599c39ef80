"""Runs the operator with a clock that jumps: ``python moved_clock.py FILE``; FILE holds the seconds to add.

Everything that the operator's own code and ``time.time`` say about the time of day is moved. The kernel's
clock is not, for that needs root and would move every other program's: so TLS and the log's times, which the
operator does not decide by, stay as they are.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

from modelconversion_operator import clock, main, reconciler
from modelconversion_operator.cluster import leader

_FILE = Path(sys.argv[1])
_real_time = time.time


def _offset() -> float:
    return float(_FILE.read_text() or 0)


class MovedDatetime(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> MovedDatetime:
        moved = datetime.now(tz) + timedelta(seconds=_offset())
        return cls.fromtimestamp(moved.timestamp(), tz)


if __name__ == "__main__":
    for module in (clock, leader, reconciler):
        if hasattr(module, "datetime"):
            module.datetime = MovedDatetime
    time.time = lambda: _real_time() + _offset()
    sys.exit(main.main([]))
