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

from devcluster.cache import REPOSITORY
from devcluster.programs import generate

_NUMBER: Final = r"\d+\.\d+\.\d+[\w.+-]*"
_NAMES: Final = "model-conversion-operator|tflite-converter|tflite-converter-edgetpu|edge-monitor"
_IMAGES: Final = rf"((?:{_NAMES}):){_NUMBER}"
_INSTALLED: Final = rf"(--version ){_NUMBER}"
PLACES: Final[Mapping[str, str]] = {
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


def _files() -> dict[Path, str]:
    number = version()
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
