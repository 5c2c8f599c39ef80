"""Write the version of pyproject.toml wherever else it stands.

``python -m devcluster.generated.version [--check]``
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from packaging.version import Version

from devcluster.cache import REPOSITORY
from devcluster.errors import ReleaseError
from devcluster.programs import generate

_NUMBER: Final = r"\d+\.\d+\.\d+[\w.+-]*"
_NAMES: Final = "model-conversion-operator|tflite-converter|tflite-converter-edgetpu|edge-monitor"
_IMAGES: Final = rf"((?:{_NAMES}):){_NUMBER}"
_INSTALLED: Final = rf"(--version ){_NUMBER}"
PLACES: Final[Mapping[str, str]] = {
    "operator/pyproject.toml": rf'(?m)^(version = "){_NUMBER}',
    "operator/krew/kubectl-mconv": rf"(\\[s3\\]==){_NUMBER}",
    "helm/model-conversion-operator/Chart.yaml": rf"(?m)^((?:version|appVersion): ){_NUMBER}$",
    "Dockerfile": rf"(?m)^(ARG VERSION=){_NUMBER}$|{_IMAGES}",
    "converter_image/Dockerfile": rf"(?m)^(ARG VERSION=){_NUMBER}$|{_IMAGES}",
    "examples/monitor/Dockerfile": _IMAGES,
    "examples/monitor/monitor.yaml": _IMAGES,
    "docs/COMPILERS.md": _IMAGES,
    "docs/INSTALL.md": rf"{_IMAGES}|{_INSTALLED}",
    "README.md": _INSTALLED,
    "helm/model-conversion-operator/README.md": rf"{_IMAGES}|{_INSTALLED}",
    "helm/model-conversion-operator/values.yaml": _IMAGES,
}
"""Each file, and what stands before the version in it."""


def version() -> str:
    """Return the project's version."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def with_version(text: str, pattern: str, number: str) -> str:
    """Return ``text`` with ``number`` after everything that ``pattern`` says stands before a version."""
    return re.sub(pattern, lambda match: f"{next(filter(None, match.groups()))}{number}", text)


def changelog_problem(changelog: str, number: str) -> str | None:
    """Return what ``CHANGELOG.md`` has against a version, or None.

    It begins with what is not released; the newest version below that is this one, or an older one while this
    one is worked on.
    """
    first, *released = re.findall(r"(?m)^## \[([^]]+)\]", changelog) or [""]
    if first != "Unreleased":
        return "CHANGELOG.md does not begin with `## [Unreleased]`"
    if released and Version(released[0]) > Version(number):
        return f"CHANGELOG.md has version {released[0]}, and pyproject.toml has {number}: raise that"
    if number in released[1:]:
        return f"CHANGELOG.md has versions after {number}, which pyproject.toml has: put them in order"
    return None


def _files() -> dict[Path, str]:
    number = version()
    if problem := changelog_problem((REPOSITORY / "CHANGELOG.md").read_text(), number):
        raise ReleaseError(problem)
    return {
        REPOSITORY / name: with_version((REPOSITORY / name).read_text(), pattern, number)
        for name, pattern in PLACES.items()
    }


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    return generate(
        _files,
        program="devcluster.generated.version",
        words="Write the version of pyproject.toml wherever else it stands.",
        source="pyproject.toml",
    )


if __name__ == "__main__":
    sys.exit(main())
