"""What the machine, or the container's control group, has and has done: memory, kills, the processor."""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import resource
from pathlib import Path
from typing import Final

_HEADROOM = 0.92
"""Share of the memory that a child may take: the parent and the kernel need the rest, and a child that is
ended a moment early has a reason, while a container that the kernel ends has none."""

_CGROUP = Path("/sys/fs/cgroup")
_LIMITS = (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes")
_QUOTAS = (
    (_CGROUP / "cpu.max", _CGROUP / "cpu.max"),
    (_CGROUP / "cpu" / "cpu.cfs_quota_us", _CGROUP / "cpu" / "cpu.cfs_period_us"),
)
_KILLS = (_CGROUP / "memory.events", _CGROUP / "memory" / "memory.oom_control")


def memory_limit_bytes() -> int | None:
    """How much memory a child may take: most of the container's limit, else of the machine's."""
    limits = [_machine_memory()]
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            limits.append(int(path.read_text()))  # "max" is not a number
    known = [value for value in limits if value]
    return int(min(known) * _HEADROOM) if known else None


def out_of_memory_kills() -> int:
    """How often the kernel has killed in this container for want of memory; 0 where it does not say."""
    for path in _KILLS:
        with contextlib.suppress(OSError, ValueError, KeyError):
            fields = dict(line.split() for line in path.read_text().splitlines())
            return int(fields["oom_kill"])
    return 0


def resident_bytes(pid: int) -> int:
    """Anonymous memory of a process and of its own children; 0 when it is gone.

    Pages that a child shares with its parent since the fork count twice: a little early is the safe side.
    """
    return sum(_status_bytes(member, "RssAnon") for member in _family(pid))


def spare_bytes(pid: int) -> int:
    """How much less memory a process has than it had at most; 0 when it is gone."""
    return max(0, _status_bytes(pid, "VmHWM") - _status_bytes(pid, "VmRSS"))


def share_of_data_limit(pid: int) -> float:
    """How much of the data that it may have (RLIMIT_DATA) a process has taken, of 1.0.

    0.0 where it has no limit or is gone.
    """
    try:
        most, _ = resource.prlimit(pid, resource.RLIMIT_DATA)
    except (OSError, ValueError):
        return 0.0
    return 0.0 if most in (0, resource.RLIM_INFINITY) else _status_bytes(pid, "VmData") / most


def processors() -> int:
    """How many processors this process may keep busy: those of its set, within the container's quota."""
    count = len(os.sched_getaffinity(0))
    for quota_path, period_path in _QUOTAS:
        with contextlib.suppress(OSError, ValueError):
            # Version 2 has both in one file: "200000 100000", or "max 100000".
            quota, period, *_ = f"{quota_path.read_text()} {period_path.read_text()}".split()
            if int(quota) > 0:
                count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count)


def processor() -> str:
    """Architecture and processor, e.g. ``x86_64, Intel(R) Xeon(R) ...``."""
    with contextlib.suppress(OSError):
        return ", ".join([platform.machine(), *names_in(Path("/proc/cpuinfo").read_text(errors="replace"))])
    return platform.machine()


_ARM: Final = 0x41
_CORES: Final = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD49: "Neoverse-N2",
    0xD4F: "Neoverse-V2",
}
"""Arm's part numbers: arch/arm64/include/asm/cputype.h of Linux."""


def names_in(text: str) -> list[str]:
    """Return the processors' names out of ``/proc/cpuinfo``, each once; Arm's kernels give numbers only."""
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    parts = re.findall(
        r"^CPU implementer\s*:\s*(0x[0-9a-f]+)$(?:\n.+)*?\nCPU part\s*:\s*(0x[0-9a-f]+)$", text, re.MULTILINE
    )
    names += [
        _CORES.get(int(part, 16), f"Arm part {part}") if int(maker, 16) == _ARM else f"part {part} of {maker}"
        for maker, part in parts
    ]
    return list(dict.fromkeys(names))


def _family(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return [pid]
    return [pid, *map(int, text.split())]


def _status_bytes(pid: int, field: str) -> int:
    """Return a size that the kernel tells of a process; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    match = re.search(rf"^{field}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
