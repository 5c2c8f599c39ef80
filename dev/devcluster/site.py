"""Builds a site with search from the documents: ``python -m devcluster.site [--into FOLDER]``.

The documents stay as they are on a forge, with the same links: what they link to is laid out as in the
repository. A link that leads nowhere ends the build.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from devcluster.cache import REPOSITORY
from devcluster.errors import DevClusterError
from devcluster.programs import tells_errors

_COPIED: Final = (
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE", "docs", "examples"),
    "helm/model-conversion-operator/README.md",
)
_STYLE: Final = """.md-grid { max-width: 84rem; }
.md-typeset td code { word-break: normal; }
"""
"""Room for tables."""
_MARK: Final = "search.json"
"""A file that each site has."""
NAVIGATION: Final[Mapping[str, Sequence[str]]] = {
    "Start": ("README.md", "docs/INSTALL.md", "helm/model-conversion-operator/README.md", "docs/API.md"),
    "Convert": (
        "docs/TFLITE_CONVERSION_GUIDE.md",
        "docs/SOURCES.md",
        "docs/ENGINES.md",
        "docs/STORAGE.md",
        "docs/STORY.md",
        "docs/PROFILES.md",
        "docs/SETS.md",
        "docs/TRIGGERS.md",
        "docs/CHANNELS.md",
        "docs/OPTIMIZATION.md",
        "docs/OWN_METRICS.md",
        "docs/COMPILERS.md",
        "docs/BOARDS.md",
        "docs/TFLITE_DEPLOYMENT_REFERENCE.md",
        "docs/CLIENT.md",
        "docs/VIEWER.md",
        "docs/TROUBLESHOOTING.md",
    ),
    "Operate": (
        "docs/SECURITY.md",
        "docs/metrics.md",
        "docs/NOTIFICATIONS.md",
        "docs/TRACING.md",
        "docs/SCALE.md",
        "docs/FAULTS.md",
        "docs/TRUTH.md",
        "examples/monitor/README.md",
    ),
    "Runbooks": ("docs/runbooks",),
    "Project": (
        "docs/ARCHITECTURE.md",
        "docs/RELEASING.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
    ),
    "Decisions": ("docs/decisions",),
}
"""What stands at the side; a folder stands for its pages."""


def navigation() -> list[dict[str, list[str]]]:
    """Return the pages in the order in which they stand at the side."""

    def pages(place: str) -> list[str]:
        path = REPOSITORY / place
        if not path.is_dir():
            return [place]
        return sorted(str(page.relative_to(REPOSITORY)) for page in path.glob("*.md"))

    return [
        {title: [page for place in places for page in pages(place)]} for title, places in NAVIGATION.items()
    ]


def build(folder: Path) -> None:
    """Build the site into ``folder``, in the place of an earlier one.

    Raises:
        DevClusterError: A link leads nowhere, or the program fails, with what it says; something else than a
            site is in ``folder``.

    """
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise DevClusterError(f"{folder} holds something else than a site: name another folder")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        for name in _COPIED:
            source, target = REPOSITORY / name, work / "pages" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        (work / "zensical.toml").write_text(_settings())
        (work / "pages" / "site.css").write_text(_STYLE)
        program = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
        environment = os.environ | {"NO_COLOR": "1"}
        ran = subprocess.run(program, cwd=work, env=environment, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise DevClusterError(f"the site cannot be built:\n{ran.stdout}{ran.stderr}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(work / "site", folder)


def _settings() -> str:
    # JSON's lists and texts are TOML's as well.
    nav = ", ".join(
        f"{{ {json.dumps(title)} = {json.dumps(pages)} }}"
        for entry in navigation()
        for title, pages in entry.items()
    )
    return f"""[project]
site_name = "Model Conversion Operator"
site_description = "Turns trained models into edge models on Kubernetes"
docs_dir = "pages"
site_dir = "site"
nav = [{nav}]
extra_css = ["site.css"]
[project.theme]
variant = "modern"
font = false
features = ["search.highlight", "content.code.copy", "navigation.top", "navigation.sections"]
[[project.theme.palette]]
scheme = "default"
toggle.icon = "lucide/sun"
toggle.name = "Switch to dark mode"
[[project.theme.palette]]
scheme = "slate"
toggle.icon = "lucide/moon"
toggle.name = "Switch to light mode"
"""


@tells_errors
def main() -> int:
    """Build the site, and say where it is."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.site", description="Build a site with search from the documents."
    )
    parser.add_argument("--into", type=Path, default=REPOSITORY / "site", help="the folder of the site")
    folder: Path = parser.parse_args().into.absolute()
    build(folder)
    print(f"the site is in {folder}; to look at it: python -m http.server --directory {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
