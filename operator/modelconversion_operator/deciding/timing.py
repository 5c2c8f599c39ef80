"""When a conversion is looked at again although no watch speaks."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

RESYNC_SECONDS: Final = 300.0
"""An unfinished conversion is looked at this often."""
REJECTED_RETRY_SECONDS: Final = 15.0
"""A Job that was refused is tried again after this time."""
BY_ITSELF_SECONDS: Final = 30.0
"""A Job whose last container has ended ends by itself soon, unless something else keeps its pod up."""
SANDBOX_SECONDS: Final = 30.0
"""A pod whose sandbox is gone for so long gets no other."""
STRAYS_SECONDS: Final = 5.0
"""How soon to look again whether an earlier run's Job is gone."""
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(minutes=1), timedelta(hours=1)


def pause_after(failures: int) -> timedelta:
    """Return how long to wait after so many failures in a row: twice as long each time, an hour at most."""
    doublings = min(max(failures - 1, 0), 10)
    return min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)
