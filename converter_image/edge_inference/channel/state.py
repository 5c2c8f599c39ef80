"""What a device remembers of a channel across restarts, written in one piece."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_FILE: Final = "state.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A file on the device, under its digest."""

    sha256: str
    sequence: int
    """Of the pointer that named it."""
    has_baseline: bool


@dataclass(frozen=True, slots=True)
class State:
    """Which file runs, which one did before, and what was seen of the channel."""

    channel: str
    sequence: int = 0
    """The greatest number of a pointer that was believed."""
    named: str = ""
    """Digest of what that pointer names."""
    current: Kept | None = None
    previous: Kept | None = None
    rejected: int = 0
    """Number of the pointer whose file does not run here, or did badly."""
    why: str = ""


def read_state(folder: Path, channel: str) -> State:
    """Return what was written last; a new state where there is none, or it is of another channel."""
    try:
        document = json.loads((folder / _FILE).read_bytes())
        state = State(
            channel=str(document["channel"]),
            sequence=int(document["sequence"]),
            named=str(document["named"]),
            current=_kept(document["current"]),
            previous=_kept(document["previous"]),
            rejected=int(document["rejected"]),
            why=str(document["why"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return State(channel)
    return state if state.channel == channel else State(channel)


def write_state(folder: Path, state: State) -> None:
    """Write it down, so that a device whose power goes has the old one or the new one.

    Raises:
        OSError: It cannot be written.

    """
    part = folder / f".{_FILE}.part"
    with part.open("w") as stream:
        json.dump(asdict(state), stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(folder / _FILE)
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _kept(document: Any) -> Kept | None:
    if document is None:
        return None
    return Kept(str(document["sha256"]), int(document["sequence"]), bool(document["has_baseline"]))
