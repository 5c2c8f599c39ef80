"""The cache folder, outside the work tree, and its lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""The work tree that this package belongs to."""


def cache_dir() -> Path:
    """``$XDG_CACHE_HOME/model-conversion-operator``, made if need be."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "model-conversion-operator"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the cache's lock ``name``, so that two runs do not do the same work at once.

    ``on_wait`` is called once when another run holds it. The lock ends with the process, however it ends.
    """
    with (cache_dir() / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
