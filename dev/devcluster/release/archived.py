"""An image in an OCI archive, told which release it is of: what is pushed of it.

The layers stay as they are, byte by byte. Only the configuration says more than in the archive: an image is
built before anybody knows that its revision will be released, and is not built again for two labels.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from devcluster.errors import ReleaseError
from devcluster.release.registry import OCI_MANIFEST, Registry, sha256

Json = dict[str, Any]

_PLATFORM: Final = ("architecture", "os", "variant")


@dataclass(frozen=True)
class Archived:
    """An image: the bytes of manifest and configuration that are pushed, and the archive with the layers."""

    archive: Path
    manifest: bytes
    config: bytes

    @property
    def digest(self) -> str:
        """The digest of the manifest."""
        return sha256(self.manifest)

    @property
    def layers(self) -> list[Json]:
        """The descriptors of the layers."""
        return list(json.loads(self.manifest)["layers"])

    @property
    def base(self) -> str:
        """The digest of what is in the lowest layer, however that is compressed."""
        return str(json.loads(self.config)["rootfs"]["diff_ids"][0])

    def entry(self) -> Json:
        """Return what an index says of the image."""
        config = json.loads(self.config)
        platform = {name: config[name] for name in _PLATFORM if config.get(name)}
        described = {"mediaType": OCI_MANIFEST, "digest": self.digest, "size": len(self.manifest)}
        return described | {"platform": platform}

    def push(
        self, registry: Registry, repository: str, also_in: Mapping[str, str], tell: Callable[[], None]
    ) -> None:
        """Push everything of it, the manifest last, by its digest.

        Args:
            registry: The registry.
            repository: Where in it.
            also_in: Repositories of the registry that have a layer already, by its digest.
            tell: Is called after each layer.

        """
        for layer in self.layers:
            digest = layer["digest"]
            with blob(self.archive, digest) as opened:
                registry.push_blob(repository, digest, layer["size"], opened, also_in=also_in.get(digest))
            tell()
        registry.push_bytes(repository, self.config)
        registry.push_manifest(repository, self.digest, OCI_MANIFEST, self.manifest)


def read(archive: Path, labels: Mapping[str, str], created: str) -> Archived:
    """Read an archive of one image, and give the image labels.

    Args:
        archive: Written by buildah.
        labels: Labels of the image, which are the manifest's annotations as well.
        created: When the image was made, by RFC 3339.

    Raises:
        ReleaseError: It is no archive of one image.

    """
    try:
        with tarfile.open(archive) as tar:
            (described,) = json.loads(_content(tar, "index.json"))["manifests"]
            manifest = json.loads(_content(tar, _path(described["digest"])))
            config = json.loads(_content(tar, _path(manifest["config"]["digest"])))
            own = config.setdefault("config", {})
            own["Labels"] = (own.get("Labels") or {}) | dict(labels)
            config["created"] = created
    except (KeyError, TypeError, ValueError, OSError, tarfile.TarError) as error:
        raise ReleaseError(f"{archive} is no archive of one image: {error}") from error
    written = json.dumps(config, sort_keys=True).encode()
    manifest["config"] |= {"digest": sha256(written), "size": len(written)}
    manifest["mediaType"] = OCI_MANIFEST
    manifest["annotations"] = (manifest.get("annotations") or {}) | dict(labels)
    return Archived(archive, json.dumps(manifest, sort_keys=True).encode(), written)


@contextmanager
def blob(archive: Path, digest: str) -> Iterator[Callable[[], BinaryIO]]:
    """Give what opens a blob of an archive."""
    with tarfile.open(archive) as tar:
        yield lambda: cast("BinaryIO", tar.extractfile(_path(digest)))


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(name)
    if member is None:
        raise ReleaseError(f"{name} in {tar.name!r} is no file")
    return member.read()


def _path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"
