"""What is installed below a folder that is the root of an image: Python distributions and Debian packages.

Read from the files of the image: ``METADATA`` (https://packaging.python.org/specifications/core-metadata) and
dpkg's ``status``. Nothing of the image is run, and no lock file is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from importlib.metadata import PackageMetadata, PathDistribution
from pathlib import Path
from typing import Final

_DPKG: Final = "var/lib/dpkg"
_NOT_FILES: Final = ("proc", "sys", "dev", "run", "tmp")
"""Folders of a root that hold nothing of the image, or the kernel's."""
_CLASSIFIER: Final = "License :: "
_NO_NAME: Final = "OSI Approved"
"""The classifier above those that name a licence."""
_LONGEST_LICENSE: Final = 100
"""Characters; what is longer in the field ``License`` is the text of one, and no name."""
_INSTALLED: Final = "installed"


@dataclass(frozen=True, order=True)
class PythonPackage:
    """A distribution, and where it is."""

    name: str
    version: str
    place: str
    """The folder that its packages lie in, such as ``/opt/venv/lib/python3.13/site-packages``."""
    license: str = ""
    """An SPDX expression or a name; empty where the distribution names none."""


@dataclass(frozen=True, order=True)
class DebianPackage:
    """A package that dpkg has as installed."""

    name: str
    version: str
    architecture: str


@dataclass(frozen=True)
class System:
    """The distribution of the root, by its ``os-release``."""

    id: str
    version: str


def python_packages(root: Path) -> list[PythonPackage]:
    """Return all distributions below ``root``, also those that another one brings along, in one order."""
    return sorted(set(_python_packages(root)))


def _python_packages(root: Path) -> Iterator[PythonPackage]:
    for top, folders, _ in os.walk(root):
        here = Path(top)
        if here == root:
            folders[:] = [name for name in folders if name not in _NOT_FILES]
        for name in folders:
            if name.endswith(".dist-info") and (here / name / "METADATA").is_file():
                metadata = PathDistribution(here / name).metadata
                place = f"/{here.relative_to(root)}"
                yield PythonPackage(metadata["Name"], metadata["Version"], place, _license(metadata))


def _license(metadata: PackageMetadata) -> str:
    """Return what a distribution says of its licence: the expression, classifiers, or a short text."""
    if expression := _first(metadata, "License-Expression"):
        return expression
    told = [c.removeprefix(_CLASSIFIER).split(" :: ")[-1] for c in _all(metadata, "Classifier", _CLASSIFIER)]
    if names := sorted(set(told) - {_NO_NAME}):
        return " AND ".join(names)
    text = _first(metadata, "License")
    return text if len(text) <= _LONGEST_LICENSE and "\n" not in text and text != "UNKNOWN" else ""


def _all(metadata: PackageMetadata, field: str, begin: str = "") -> list[str]:
    return [text for text in map(str, metadata.get_all(field) or []) if text.startswith(begin)]


def _first(metadata: PackageMetadata, field: str) -> str:
    return next(iter(_all(metadata, field)), "").strip()


def debian_packages(root: Path) -> list[DebianPackage]:
    """Return the installed packages below ``root`` in one order; none where there is no dpkg.

    They are those of ``status``, and of ``status.d``, where images without dpkg have one file a package.
    """
    folder = root / _DPKG
    files = [folder / "status", *sorted((folder / "status.d").glob("*"))]
    return sorted(
        DebianPackage(stanza["Package"], stanza["Version"], stanza["Architecture"])
        for file in files
        if file.is_file() and not file.name.endswith(".md5sums")
        for stanza in _stanzas(file.read_text())
        # In status.d nothing is half installed, and nothing is said of it.
        if stanza.get("Status", _INSTALLED).split()[-1] == _INSTALLED
    )


def _stanzas(text: str) -> Iterator[Message]:
    for stanza in re.split(r"\n\s*\n", text.strip()):
        if stanza:
            yield HeaderParser().parsestr(stanza)


def system(root: Path) -> System:
    """Return what the root's ``os-release`` says; ``linux`` without a version where there is none."""
    file = root / "etc/os-release"
    if not file.is_file():
        return System("linux", "")
    pairs = (line.partition("=")[::2] for line in file.read_text().splitlines() if "=" in line)
    known = {name: value.strip().strip("\"'") for name, value in pairs}
    return System(known.get("ID", "linux"), known.get("VERSION_ID", ""))
