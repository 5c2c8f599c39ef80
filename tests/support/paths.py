"""Places in the checkout that tests read from, and beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
DATA: Final = REPOSITORY / "tests" / "data"
SCRIPTS: Final = REPOSITORY / "converter_image"
PUBLISHED_MODELS: Final = REPOSITORY.parent / "shared" / "models"
"""The MLPerf Tiny models; tests that use them are skipped where the folder is absent."""
