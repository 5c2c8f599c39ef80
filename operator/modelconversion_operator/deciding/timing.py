"""When a conversion is looked at again although no watch speaks."""

from __future__ import annotations

from typing import Final

RESYNC_SECONDS: Final = 300.0
"""An unfinished conversion is looked at this often."""
REJECTED_RETRY_SECONDS: Final = 15.0
"""A Job that was refused is tried again after this time."""
