"""What a release is made from: the revision in git, whether anything differs from it, its tag."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import yaml

from devcluster.cache import REPOSITORY
from devcluster.errors import ReleaseError

CHART: Final = REPOSITORY / "helm" / "model-conversion-operator"
_UNTAGGED: Final = "UNTAGGED=1 releases all the same"


@dataclass(frozen=True)
class Source:
    """The state of the work tree."""

    revision: str
    """The commit, 40 hexadecimal digits; empty without git."""
    dirty: bool
    """Whether a file differs from the commit, or is in none."""
    tags: tuple[str, ...]
    """Tags of the commit."""
    seconds: int
    """When it was committed, since 1970."""

    @property
    def created(self) -> str:
        """When it was committed, by RFC 3339."""
        return datetime.fromtimestamp(self.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def tag_of(self, version: str) -> str | None:
        """Return the tag of a version, where the commit has it."""
        return next((tag for tag in self.tags if tag == f"v{version}"), None)


def source() -> Source:
    """Ask git about the work tree."""
    revision = _git("rev-parse", "HEAD")
    if not revision:
        return Source("", True, (), 0)
    tags = tuple((_git("tag", "--points-at", "HEAD") or "").split())
    seconds = int(_git("show", "--no-patch", "--format=%ct", "HEAD") or 0)
    return Source(revision, bool(_git("status", "--porcelain")), tags, seconds)


def _git(*arguments: str) -> str | None:
    if (git := shutil.which("git")) is None:
        return None
    done = subprocess.run([git, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def home() -> str:
    """Return the address of the project, which the chart names."""
    return str(yaml.safe_load((CHART / "Chart.yaml").read_text())["sources"][0])


def check_source(found: Source, version: str, changelog: str, *, untagged: bool) -> str | None:
    """Hold the work tree against what a release is made from; return what is amiss if ``untagged`` allows it.

    Args:
        found: The work tree.
        version: That of ``pyproject.toml``.
        changelog: ``CHANGELOG.md``.
        untagged: Whether a tree that is not the tag of its version may be released.

    Raises:
        ReleaseError: Something is amiss.

    """
    amiss = []
    if not found.revision:
        amiss.append("this is no checkout of git, so nobody could tell what was released")
    elif found.dirty:
        amiss.append("files differ from the commit, or are in none (`git status` names them)")
    if found.revision and found.tag_of(version) is None:
        named = ", ".join(found.tags) or "none"
        amiss.append(
            f"the commit has no tag v{version}, which is the version of pyproject.toml (its tags: {named})"
        )
    if not re.search(rf"(?m)^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog):
        amiss.append(f"CHANGELOG.md has no section `## [{version}] - YYYY-MM-DD`")
    if amiss and not untagged:
        raise ReleaseError(f"{'; '.join(amiss)}. Put that right, or {_UNTAGGED}")
    return "; ".join(amiss) or None
