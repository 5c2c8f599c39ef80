"""What is said of an image, in in-toto's form: how it was made (SLSA), and what is in it (CycloneDX).

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance.
The same inputs give the same statement: it has no time and no number of a run in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from devcluster.cache import REPOSITORY
from devcluster.release.plan import Build
from devcluster.release.source import Source

Json = dict[str, Any]

SLSA: Final = "https://slsa.dev/provenance/v1"
CYCLONEDX: Final = "https://cyclonedx.org/bom"
_PAGE: Final = "blob/main/docs/RELEASING.md"


def statement(predicate_type: str, subjects: Mapping[str, str], predicate: Json) -> Json:
    """Return a statement.

    Args:
        predicate_type: What kind of thing is said.
        subjects: Digests (``sha256:...``) of what it is about, by names of these.
        predicate: What is said.

    """
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
            for name, digest in sorted(subjects.items())
        ],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


class Origin:
    """Where a release comes from, and what makes it.

    Args:
        home: Address of the project.
        source: The work tree.
        version: What is released.
        tools: Versions of the programs that make it, by their names.

    """

    def __init__(self, home: str, source: Source, version: str, tools: Mapping[str, str]) -> None:
        self._home = home
        self._source = source
        self._version = version
        self._tools = dict(tools)

    def of_image(self, build: Build, base: str) -> Json:
        """Return the predicate about an image.

        Args:
            build: What was built.
            base: Digest of what is in the image's lowest layer.

        """
        recipe = build.recipe
        parameters = {
            "dockerfile": recipe.dockerfile,
            "target": recipe.target or "",
            "arguments": {"ENGINE": recipe.engine} if recipe.engine else {},
            "platform": f"linux/{build.architecture}",
        }
        files = (recipe.dockerfile, *build.unit.requirement_files())
        distribution = {
            "name": "base",
            "uri": "docker.io/library/debian:trixie-slim",
            "digest": {"sha256": base.removeprefix("sha256:")},
            "annotations": {
                "digest": "of the files of the lowest layer (diff ID)",
                "made": "by debootstrap from Debian's packages, without a registry",
            },
        }
        materials = [distribution, *(_material(file) for file in files)]
        return self._predicate("image", parameters, materials, {"recipe": recipe.key(), "timestamp": 0})

    def of_parts(self, kind: str, parts: Mapping[str, str]) -> Json:
        """Return the predicate about something that is put together of released parts: an index, a chart."""
        materials = [
            {"name": name, "uri": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
            for name, digest in sorted(parts.items())
        ]
        return self._predicate(kind, {}, materials, {})

    def _predicate(self, kind: str, parameters: Json, materials: Sequence[Json], internal: Json) -> Json:
        source, tag = self._source, self._source.tag_of(self._version)
        reference = f"@refs/tags/{tag}" if tag else ""
        tree = {
            "name": "source",
            "uri": f"git+{self._home}{reference}",
            "digest": {"gitCommit": source.revision} if source.revision else {},
            # A statement about a dirty tree must not pass for one about its commit.
            "annotations": {"dirty": source.dirty},
        }
        return {
            "buildDefinition": {
                "buildType": f"{self._home}/{_PAGE}#{kind}",
                "externalParameters": {"version": self._version} | parameters,
                "internalParameters": internal,
                "resolvedDependencies": [tree, *materials],
            },
            "runDetails": {
                "builder": {"id": f"{self._home}/{_PAGE}#who-builds", "version": self._tools},
                "metadata": {},
            },
        }


def _material(name: str) -> Json:
    content = Path(REPOSITORY, name).read_bytes()
    return {"name": name, "uri": f"file:{name}", "digest": {"sha256": hashlib.sha256(content).hexdigest()}}
