"""What Artifact Hub shows of the chart, from the files that say it already.

https://artifacthub.io/docs/topics/annotations/helm. What has no other place is in ``Chart.yaml`` itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from devcluster.cache import REPOSITORY

Json = dict[str, Any]

EXAMPLE: Final = REPOSITORY / "examples" / "gesture-classifier.yaml"
_UNRELEASED: Final = "Unreleased"
_PREFIX: Final = "artifacthub.io"
_DOCUMENTS: Final = {
    "Installing": "docs/INSTALL.md",
    "Releases and how to verify them": "docs/RELEASING.md",
    "Security": "docs/SECURITY.md",
    "Changes": "CHANGELOG.md",
}


def shown(version: str, changelog: str, images: Mapping[str, str], home: str) -> dict[str, str]:
    """Return the annotations of a release.

    Args:
        version: Of the release.
        changelog: ``CHANGELOG.md``.
        images: References of images by their names.
        home: Address of the project.

    """
    told = list(changes(changelog, version))
    links = [{"name": name, "url": f"{home}/blob/main/{file}"} for name, file in _DOCUMENTS.items()]
    documents = {
        "changes": told,
        "crdsExamples": [example()],
        "images": [{"name": name, "image": reference} for name, reference in images.items()],
        "links": links,
    }
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    texts = {"license": project["license"]}
    if any(change["kind"] == "security" for change in told):
        texts["containsSecurityUpdates"] = "true"
    texts |= {name: yaml.safe_dump(document, sort_keys=False) for name, document in documents.items()}
    return {f"{_PREFIX}/{name}": text for name, text in texts.items()}


def example() -> Json:
    """Return a ModelConversion that shows what one says."""
    found: Json = yaml.safe_load(EXAMPLE.read_text())
    return found


def changes(changelog: str, version: str) -> Iterator[dict[str, str]]:
    """Yield what changed: kind and first sentence of each entry of a version.

    An entry of a version that has no section yet is one of those that are not released.
    """
    sections: dict[str, str] = dict(re.findall(r"(?ms)^## \[([^]]+)\][^\n]*\n(.*?)(?=^## |\Z)", changelog))
    section = sections.get(version) or sections.get(_UNRELEASED, "")
    for kind, entries in re.findall(r"(?ms)^### (\w+)\n(.*?)(?=^### |\Z)", section):
        for entry in re.findall(r"(?ms)^- (.*?)(?=^- |\Z)", entries):
            words = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", " ".join(entry.split())).replace("**", "")
            yield {"kind": kind.lower(), "description": re.split(r"\.\s(?=[A-Z`])", words)[0].rstrip(".")}
