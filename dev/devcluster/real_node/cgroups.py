"""The control group that holds a node's pods: one folder in version 2, one a controller in version 1."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

from devcluster.errors import HostError

_ROOT: Final = Path("/sys/fs/cgroup")
_CONTROLLERS: Final = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
_TRIES, _PAUSE_SECONDS = 50, 0.1


def create(name: str) -> None:
    """Make the control group ``name``, with all controllers that the kubelet wants."""
    if (_ROOT / "cgroup.controllers").exists():
        available = (_ROOT / "cgroup.controllers").read_text().split()
        enabled = " ".join(f"+{controller}" for controller in _CONTROLLERS if controller in available)
        try:
            (_ROOT / "cgroup.subtree_control").write_text(enabled)
            (_ROOT / name).mkdir()
            (_ROOT / name / "cgroup.subtree_control").write_text(enabled)
        except OSError as error:
            raise HostError(
                f"the control group {_ROOT / name} cannot be used: {error}. In a container, this needs a "
                "control group namespace of its own, whose root holds no process"
            ) from error
        return
    for controller in _controllers():
        group = controller / name
        group.mkdir()
        for setting in ("cpuset.cpus", "cpuset.mems"):  # empty at first, and then nothing can run in it
            if (group / setting).exists():
                (group / setting).write_text((controller / setting).read_text())


def groups(name: str) -> list[Path]:
    """Return the folders of the control group ``name``."""
    return [place / name for place in (_ROOT, *_controllers()) if (place / name).is_dir()]


def members(name: str) -> set[int]:
    """Return the processes in the control group and those below it."""
    pids = set()
    for top in groups(name):
        for file in top.rglob("cgroup.procs"):
            try:
                pids |= {int(line) for line in file.read_text().split()}
            except OSError:  # it went meanwhile
                continue
    return pids


def kill(name: str) -> None:
    """Kill whatever is in the control group."""
    for _ in range(_TRIES):
        remaining = members(name)
        if not remaining:
            return
        for pid in remaining:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_PAUSE_SECONDS)


def remove(name: str) -> None:
    """Remove the control group; the kernel lets one go a moment after its last process."""
    for _ in range(_TRIES):
        remaining = False
        for top in groups(name):
            for folder in [*sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True), top]:
                try:
                    folder.rmdir()
                except OSError:
                    remaining = remaining or folder.exists()
        if not remaining:
            return
        time.sleep(_PAUSE_SECONDS)


def _controllers() -> list[Path]:
    """Return the folders of version 1's controllers.

    Beside them, ``unified`` is a version 2 without controllers.
    """
    return [p for p in _ROOT.glob("*") if p.is_dir() and not p.is_symlink() and p.name != "unified"]
