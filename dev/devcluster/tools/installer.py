"""What installs packages of the Python index on this machine."""

from __future__ import annotations

import os
import shutil
import sys

from devcluster.cache import cache_dir


def find_uv() -> str | None:
    """Path of uv: of the `uv run` that this is part of, on PATH, or where dev/bootstrap.sh puts it."""
    own = sorted(cache_dir().glob("uv-*/bin/uv"))
    return os.environ.get("UV") or shutil.which("uv") or (str(own[-1]) if own else None)


def pip() -> list[str]:
    """Return the beginning of a pip command."""
    uv = find_uv()
    return [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
