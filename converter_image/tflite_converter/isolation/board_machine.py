"""What a board says of itself: processor, memory, temperature and clock, as far as a container sees them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelconversion_api.reports.board import Machine
from tflite_converter.isolation.machine import processor

_THERMAL: Final = Path("/sys/class/thermal")
_PROCESSORS: Final = Path("/sys/devices/system/cpu")
_CLOCKS: Final = range(1_000, 100_000_000)
"""Kilohertz that a processor may have; what is not known is often 0."""
_TEMPERATURES: Final = range(1, 1_000_000)
"""Millidegrees that a sensor may tell: a zone without one behind it says 0, or something below freezing."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a board's temperature and clock."""

    celsius: float | None
    """Of the hottest zone."""
    megahertz: int | None
    """Of the fastest processor."""
    max_megahertz: int | None


def look(thermal: Path = _THERMAL, processors: Path = _PROCESSORS) -> Look:
    """Read temperature and clock; None for what the board does not show.

    Sources: Documentation/driver-api/thermal/sysfs-api.rst (millidegrees Celsius) and
    Documentation/admin-guide/pm/cpufreq.rst (kilohertz) of Linux.
    """
    clocks = list(_numbers(processors, "cpu[0-9]*/cpufreq/scaling_cur_freq", _CLOCKS))
    highest = list(_numbers(processors, "cpu[0-9]*/cpufreq/cpuinfo_max_freq", _CLOCKS))
    degrees = [value / 1000 for value in _numbers(thermal, "thermal_zone*/temp", _TEMPERATURES)]
    return Look(
        celsius=round(max(degrees), 1) if degrees else None,
        megahertz=max(clocks) // 1000 if clocks else None,
        max_megahertz=max(highest) // 1000 if highest else None,
    )


def machine_between(before: Look, after: Look, node: str, runtime: str) -> Machine:
    """Describe the machine from a look before the measurement and one after it."""
    celsius = None
    if before.celsius is not None and after.celsius is not None:
        celsius = (before.celsius, after.celsius)
    megahertz = None
    if before.megahertz is not None and after.megahertz is not None:
        megahertz = (before.megahertz, after.megahertz)
    return Machine(
        node=node,
        processor=processor(),
        cpus=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        runtime=runtime,
        celsius=celsius,
        megahertz=megahertz,
        max_megahertz=after.max_megahertz,
    )


def _numbers(folder: Path, pattern: str, possible: range) -> Iterator[int]:
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError, ValueError):
            if (value := int(path.read_text())) in possible:
                yield value
