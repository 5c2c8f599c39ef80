"""Which packages of an image have no wheel for an architecture, by the lock; no registry is asked."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""What Python calls an architecture, by its name in images."""
_PYTHON: Final = (3, 13)
"""The images' Python, which is Debian's."""
_GLIBC_MINORS: Final = range(41, 4, -1)
"""Of the C library: Debian trixie's and older ones, which wheels may be built for."""


def without_wheels(requirements: Path, lock: Path, architecture: str) -> list[str]:
    """Return the packages, ``NAME VERSION``, that have a wheel for amd64 and none for ``architecture``.

    Args:
        requirements: What the image installs, as pip reads it.
        lock: The lock of uv that this comes from.
        architecture: A key of :data:`MACHINES`.

    """
    locked = {
        (str(canonicalize_name(package["name"])), str(package["version"])): [
            wheel.get("url", wheel.get("path", "")).rpartition("/")[2] for wheel in package.get("wheels", [])
        ]
        for package in tomllib.loads(lock.read_text())["package"]
        if "version" in package
    }
    lacking = []
    for name, version in _wanted(requirements.read_text(), MACHINES[architecture]):
        wheels = locked.get((name, version), [])
        # What has none for amd64 either is built from its source in both images.
        if _fits(wheels, MACHINES["amd64"]) and not _fits(wheels, MACHINES[architecture]):
            lacking.append(f"{name} {version}")
    return lacking


def _wanted(text: str, machine: str) -> Iterator[tuple[str, str]]:
    environment = {
        "implementation_name": "cpython",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "python_full_version": f"{_PYTHON[0]}.{_PYTHON[1]}.0",
        "python_version": f"{_PYTHON[0]}.{_PYTHON[1]}",
        "sys_platform": "linux",
    }
    for line in text.splitlines():
        if line[:1].isalnum():
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate(environment):
                (specifier,) = requirement.specifier
                yield canonicalize_name(requirement.name), specifier.version


def _fits(wheels: list[str], machine: str) -> bool:
    usable = _tags(machine)
    return any(parse_wheel_filename(wheel)[3] & usable for wheel in wheels)


def _tags(machine: str) -> set[Tag]:
    old = [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    platforms = [*(f"manylinux_2_{minor}_{machine}" for minor in _GLIBC_MINORS), *old]
    interpreter = f"cp{_PYTHON[0]}{_PYTHON[1]}"
    return {*cpython_tags(_PYTHON, platforms=platforms), *compatible_tags(_PYTHON, interpreter, platforms)}
