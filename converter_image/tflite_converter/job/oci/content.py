"""What is pushed: container images and ModelPacks of TFLite files, and what refers to them.

https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and
https://github.com/modelpack/model-spec/blob/v0.0.7/docs/spec.md. Nothing of it tells a time or a machine:
the same files give the same digests.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.reasons import Stage
from tflite_converter.files.untrusted import open_regular
from tflite_converter.job.stores.base import CHUNK, digest_of

Json = dict[str, Any]
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
_IMAGE_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_IMAGE_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_MODEL_MANIFEST: Final = "application/vnd.cncf.model.manifest.v1+json"
_MODEL_CONFIG: Final = "application/vnd.cncf.model.config.v1+json"
_MODEL_WEIGHT: Final = "application/vnd.cncf.model.weight.v1.raw"
FILE_PATH: Final = "org.cncf.model.filepath"
TITLE: Final = "org.opencontainers.image.title"
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_FOLDER: Final = "models"


@dataclass(frozen=True)
class Blob:
    """Bytes for a registry."""

    media_type: str
    sha256: str
    size_bytes: int
    chunks: Callable[[], Iterator[bytes]]
    """The bytes, from the beginning each time."""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest as registries write it."""
        return f"sha256:{self.sha256}"

    @property
    def descriptor(self) -> Json:
        """How a manifest names it."""
        found: Json = {"mediaType": self.media_type, "digest": self.digest, "size": self.size_bytes}
        return found | ({"annotations": dict(self.annotations)} if self.annotations else {})


@dataclass(frozen=True)
class Manifest:
    """A manifest, and the blobs that it names."""

    blobs: tuple[Blob, ...]
    content: bytes
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """What it is known by."""
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def descriptor(self) -> Json:
        """How another manifest, or an index, names it."""
        found: Json = {"mediaType": MANIFEST, "digest": self.digest, "size": len(self.content)}
        found |= {"artifactType": self.artifact_type} if self.artifact_type else {}
        return found | ({"annotations": dict(self.annotations)} if self.annotations else {})


def image(files: Sequence[Path]) -> Manifest:
    """Return a container image of one layer, which has ``files`` under ``/models``.

    Raises:
        ConverterError: ArtifactInvalid where one is no plain file.

    """
    layer = _blob(_IMAGE_LAYER, lambda: _tar(files))
    config = {
        # TFLite files are for every processor, but an image must name one; volumes do not look at it.
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
        "history": [{"created_by": "model-conversion-operator"}],
    }
    return _manifest(of_bytes(_IMAGE_CONFIG, written(config)), [layer])


def model_pack(name: str, files: Sequence[Path]) -> Manifest:
    """Return a ModelPack, which has each file as a layer of its own. Raises as :func:`image`."""
    layers = [_blob(_MODEL_WEIGHT, partial(_read, file), {FILE_PATH: file.name}) for file in files]
    config = {
        "descriptor": {"name": name},
        "config": {"format": "tflite"},
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }
    return _manifest(of_bytes(_MODEL_CONFIG, written(config)), layers, artifact_type=_MODEL_MANIFEST)


def referrer(
    subject: Manifest, artifact_type: str, name: str, content: bytes, annotations: Mapping[str, str]
) -> Manifest:
    """Return a manifest with one file that refers to another manifest.

    ``annotations`` stand in the list of what refers to it as well.
    """
    layer = of_bytes(artifact_type, content, {TITLE: name, **annotations})
    empty = of_bytes(_EMPTY, b"{}")
    return _manifest(empty, [layer], artifact_type=artifact_type, subject=subject, annotations=annotations)


def index(manifests: Iterable[Json]) -> bytes:
    """Return an index of manifests by their descriptors."""
    return written({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(manifests)})


def written(value: Json) -> bytes:
    """Return JSON that is the same each time."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def of_bytes(media_type: str, content: bytes, annotations: Mapping[str, str] | None = None) -> Blob:
    """Return a blob of bytes in memory."""
    return _blob(media_type, lambda: iter([content]), annotations)


def _manifest(
    config: Blob,
    layers: Sequence[Blob],
    *,
    artifact_type: str | None = None,
    subject: Manifest | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    document: Json = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor,
        "layers": [layer.descriptor for layer in layers],
    }
    if artifact_type is not None:
        document["artifactType"] = artifact_type
    if subject is not None:
        names = ("mediaType", "digest", "size")
        document["subject"] = {name: subject.descriptor[name] for name in names}
    if annotations:
        document["annotations"] = dict(annotations)
    return Manifest((config, *layers), written(document), artifact_type, annotations or {})


def _blob(
    media_type: str, chunks: Callable[[], Iterator[bytes]], annotations: Mapping[str, str] | None = None
) -> Blob:
    stored = digest_of(chunks())
    return Blob(media_type, stored.sha256, stored.size_bytes, chunks, annotations or {})


def _read(file: Path) -> Iterator[bytes]:
    with open_regular(file, MAX_TFLITE_BYTES, Stage.PUBLISH) as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def _tar(files: Sequence[Path]) -> Iterator[bytes]:
    """Yield a tar of ``files`` without holding one of them in memory or writing it down."""
    yield _header(_FOLDER, tarfile.DIRTYPE, 0o755, 0)
    for file in files:
        size = file.lstat().st_size
        yield _header(f"{_FOLDER}/{file.name}", tarfile.REGTYPE, 0o444, size)
        yield from _read(file)
        yield bytes(-size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _header(name: str, kind: bytes, mode: int, size: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.type, header.mode, header.size = kind, mode, size
    return header.tobuf(tarfile.PAX_FORMAT)
