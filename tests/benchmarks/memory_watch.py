"""Runs a command and watches the memory of its whole process tree."""

from __future__ import annotations

import contextlib
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

_EVERY_SECONDS = 0.05


@dataclass(frozen=True)
class Watched:
    """A command that has ended."""

    output: str
    seconds: float
    peak_bytes: int
    """Largest proportional set size (shared pages in shares) of all its processes together."""
    marked_peak_bytes: int
    """The same while one of the processes had the mark in its command line, and none the other one."""


def run(command: list[str], *, mark: str, cwd: Path, unless: str | None = None) -> Watched:
    """Runs ``command`` to its end; raises ``RuntimeError`` with its output when it fails."""
    started = time.monotonic()
    with (cwd / "output.txt").open("w+") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        peak = marked = 0
        while process.poll() is None:
            members = _tree(process.pid)
            lines = [_command_line(pid) for pid in members]  # first: a process may end at any time
            total = sum(_proportional(pid) for pid in members)
            peak = max(peak, total)
            if any(mark in line for line in lines) and not any(unless in line for line in lines if unless):
                marked = max(marked, total)
            time.sleep(_EVERY_SECONDS)
        seconds = time.monotonic() - started
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{text[-2000:]}")
    return Watched(text, seconds, peak, marked)


def _tree(root: int) -> list[int]:
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        # A thread may have started a child, and may be gone a moment later.
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                pending.extend(map(int, (task / "children").read_text().split()))
    return found


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
