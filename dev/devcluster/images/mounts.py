"""What is mounted below a folder."""

from __future__ import annotations

import re
from pathlib import Path

from devcluster import host


def unmount_below(folder: Path) -> None:
    """Unmount everything below ``folder``, the last mounted first."""
    for mount in mounts_below(folder):
        host.run("umount", "--lazy", mount, check=False)


def mounts_below(folder: Path) -> list[str]:
    """Mount points below ``folder``, the last mounted first."""
    return mount_points(Path("/proc/self/mountinfo").read_text(), folder)


def mount_points(mountinfo: str, folder: Path) -> list[str]:
    """Mount points below ``folder`` in the kernel's list, the last mounted first."""
    points = [_unescaped(line.split(" ")[4]) for line in mountinfo.splitlines() if line]
    return [point for point in reversed(points) if Path(point).is_relative_to(folder)]


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
