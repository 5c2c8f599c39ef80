"""Pushes a release: each image with what is said of it, and the chart last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from devcluster.cache import locked
from devcluster.errors import ReleaseError
from devcluster.images.build import ensure
from devcluster.images.buildah import Buildah
from devcluster.images.node_images import Image
from devcluster.images.packages import debian_packages, python_packages, system
from devcluster.images.sbom import bill
from devcluster.progress import Progress
from devcluster.release.archived import Archived, read
from devcluster.release.plan import Build
from devcluster.release.registry import OCI_INDEX, Registry, sha256
from devcluster.release.signing import Signer, attach_attestations, attach_signature
from devcluster.release.source import Source
from devcluster.release.statements import CYCLONEDX, SLSA, Origin, statement

Json = dict[str, Any]

_LABEL: Final = "org.opencontainers.image"


@dataclass(frozen=True)
class Made:
    """An image for one platform, with what is said of it."""

    build: Build
    image: Archived
    statements: list[Json]


@dataclass(frozen=True)
class Released:
    """An image that was pushed, for all its platforms."""

    name: str
    repository: str
    """Registry, path and name."""
    digest: str
    """Of the index."""
    value: str | None
    """The chart's value that names it."""
    platforms: dict[str, str] = field(default_factory=dict)
    """Digest of the image for each platform."""

    @property
    def reference(self) -> str:
        """What is pulled."""
        return f"{self.repository}@{self.digest}"


class Publisher:
    """Makes and pushes the images of one release.

    Args:
        registry: Where to.
        prefix: Path in it.
        version: Tag of everything.
        source: What it is made from.
        origin: How it is made.
        signer: None for nothing to be signed.
        into: Folder for bills of materials and provenance.
        overwrite: Whether a tag may become another image.
        console: Where it says what it does.

    """

    def __init__(
        self,
        registry: Registry,
        prefix: str,
        version: str,
        source: Source,
        origin: Origin,
        signer: Signer | None,
        into: Path,
        *,
        overwrite: bool,
        home: str,
        console: Console,
    ) -> None:
        self._registry = registry
        self._prefix = f"{prefix}/" if prefix else ""
        self._version = version
        self._source = source
        self._origin = origin
        self._signer = signer
        self._into = into
        self._overwrite = overwrite
        self._home = home
        self._console = console
        self._layers: dict[str, str] = {}

    def check_revision(self, builds: Iterable[Build]) -> None:
        """Refuse a version that is out already from another revision, before anything is built.

        Raises:
            ReleaseError: An image of this version is there, and is not to be another one.

        """
        for path in dict.fromkeys(self.path(build) for build in builds):
            content = self._registry.manifest(path, self._version)
            if content is None or self._overwrite:
                continue
            there = (json.loads(content).get("annotations") or {}).get(f"{_LABEL}.revision")
            if there != self._source.revision:
                raise ReleaseError(
                    f"{self._registry.host}/{path}:{self._version} is there already, from the revision"
                    f" {there or 'of which it says nothing'}, and people may have it: release a new version,"
                    " or OVERWRITE=1"
                )

    def make(self, build: Build) -> Made:
        """Build an image, and write what is said of it into the folder."""
        built = ensure(build.recipe, self._console)
        image = read(built.archive, self._labels(), self._source.created)
        repository = self.repository(build)
        document = json.loads(self._bill(built, f"{repository}:{self._version}", image.digest))
        subjects = {repository: image.digest}
        statements = [
            statement(SLSA, subjects, self._origin.of_image(build, image.base)),
            statement(CYCLONEDX, subjects, document),
        ]
        name = f"{build.unit.recipe.name}-{build.architecture}"
        for end, written in (("provenance", statements[0]), ("cdx", document)):
            (self._into / f"{name}.{end}.json").write_text(json.dumps(written, indent=2) + "\n")
        return Made(build, image, statements)

    def repository(self, build: Build) -> str:
        """Return registry, path and name of an image."""
        return f"{self._registry.host}/{self.path(build)}"

    def push(self, made: Sequence[Made]) -> Released:
        """Push an image for all its platforms, then what is said of it; the tag comes last.

        Args:
            made: The same image, once for each platform.

        Raises:
            ReleaseError: The registry does not take it, or has another image of this version.

        """
        path, unit = self.path(made[0].build), made[0].build.unit
        entries = [each.image.entry() for each in made]
        described = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        index = json.dumps(described | {"annotations": self._labels()}, sort_keys=True).encode()
        digest, before = sha256(index), self._registry.digest_of(path, self._version)
        if before not in (None, digest) and not self._overwrite:
            raise ReleaseError(
                f"{self._registry.host}/{path}:{self._version} is another image already ({before}), and"
                " people may have it: release a new version, or OVERWRITE=1"
            )
        count = sum(len(each.image.layers) for each in made)
        with Progress(self._console, f"Pushing {unit.recipe.name}", count) as progress:
            for each in made:
                each.image.push(self._registry, path, self._layers, lambda: progress.advance(1, ""))
                self._layers |= {layer["digest"]: path for layer in each.image.layers}
                self._say(path, each.image.digest, each.statements)
        self._registry.push_manifest(path, digest, OCI_INDEX, index)
        platforms = {f"linux/{each.build.architecture}": each.image.digest for each in made}
        repository = self.repository(made[0].build)
        parts = {f"{repository}@{part}": part for part in platforms.values()}
        self._say(
            path, digest, [statement(SLSA, {repository: digest}, self._origin.of_parts("index", parts))]
        )
        self._registry.push_manifest(path, self._version, OCI_INDEX, index)
        return Released(unit.recipe.name, repository, digest, unit.value, platforms)

    def say_of_chart(self, path: str, digest: str, images: Mapping[str, str]) -> Json:
        """Sign the chart, and what it is made of; return the statement.

        Args:
            path: Where it is below the prefix.
            digest: Of its manifest.
            images: Digests of the images that it names, by reference.

        """
        path = f"{self._prefix}{path}"
        name = f"{self._registry.host}/{path}"
        told = statement(SLSA, {name: digest}, self._origin.of_parts("chart", images))
        self._say(path, digest, [told])
        return told

    def path(self, build: Build) -> str:
        """Return path and name of an image in the registry."""
        return f"{self._prefix}{build.unit.recipe.name}"

    def _labels(self) -> dict[str, str]:
        labels = {f"{_LABEL}.version": self._version, f"{_LABEL}.source": self._home}
        return labels | ({f"{_LABEL}.revision": self._source.revision} if self._source.revision else {})

    def _say(self, path: str, digest: str, statements: Sequence[Json]) -> None:
        if self._signer is not None:
            attach_attestations(self._registry, path, digest, statements, self._signer)
            attach_signature(self._registry, path, digest, self._signer)

    def _bill(self, built: Image, reference: str, digest: str) -> str:
        buildah = Buildah()
        with locked("images", lambda: self._console.print("Another run is building images: waiting")):
            if not buildah.exists(built.reference):  # the archive outlives the store
                buildah.run("pull", "--quiet", f"oci-archive:{built.archive}")
            try:
                with buildah.container(built.reference) as (_, root):
                    python, debian = python_packages(root), debian_packages(root)
                    return bill(reference, digest, system(root), python, debian)
            finally:
                buildah.tidy()
