"""What a manifest holds that strangers have pushed: which of its layers are a model's files.

Manifests of images (https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md), ModelPacks
(https://github.com/modelpack/model-spec/blob/v0.0.7/docs/spec.md), whose layers have paths, and artifacts as
ORAS pushes them, whose layers have titles. All of it is read from bytes whose digest was checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, NoReturn

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import printable, shortened
from tflite_converter.errors import ConverterError
from tflite_converter.files.archives import safe_relative_path
from tflite_converter.job.oci.content import FILE_PATH, INDEX, MANIFEST, TITLE

DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPTED: Final = ", ".join((MANIFEST, DOCKER_MANIFEST, INDEX, _DOCKER_INDEX))
"""What a registry is asked for; indexes too, so that they can be told from what is not there."""
_MOST_LAYERS: Final = 1000
_MOST_DIGITS: Final = 15
_MOST_NAMED: Final = 5
_DIGEST: Final = re.compile("sha256:([0-9a-f]{64})")
_BESIDE: Final = re.compile(r"application/vnd[.]cncf[.]model[.](doc|code|dataset)[.]v1[.]")
"""Layers of a ModelPack that are no part of the model itself."""
_TAR: Final = re.compile(r"[.+](tar|tar[.+]gzip)$")
_UNREADABLE: Final = re.compile(r"[.+](zstd|encrypted)([.+]|$)")
_SAVED_MODELS: Final = ("saved_model.pb", "saved_model.pbtxt")


@dataclass(frozen=True)
class Layer:
    """A blob that a manifest names."""

    media_type: str
    sha256: str
    size_bytes: int
    path: str
    """Of the file that it is, or that is packed in it; empty where it says none."""

    @property
    def is_packed(self) -> bool:
        """Whether it is a tar file, compressed or not."""
        return _TAR.search(self.media_type) is not None


@dataclass(frozen=True)
class Chosen:
    """What of a manifest is the model, or the data."""

    files: Mapping[str, Layer]
    """Layers by their paths in a folder; a single one is a file, whatever it is called."""
    inside: str | None = None
    """Where in the one layer, if that is packed, it lies: a path, or empty for all of it. Else None."""

    @property
    def file(self) -> Layer | None:
        """The one layer; None for a folder."""
        return next(iter(self.files.values())) if len(self.files) == 1 else None


def layers_of(content: bytes, name: str) -> tuple[Layer, ...]:
    """Return the layers of a manifest.

    Raises:
        ConverterError: UnsupportedFormat, for an index too; SourceTooLarge for more than 1000 layers.

    """
    try:
        manifest = json.loads(content)
        if isinstance(manifest.get("manifests"), list):
            raise _index(manifest["manifests"], name)
        found = manifest["layers"]
        if len(found) > _MOST_LAYERS:
            cause = f"{name} has {len(found)} layers, and {_MOST_LAYERS} is the limit"
            raise ConverterError(FailureReason.SOURCE_TOO_LARGE, Stage.FETCH, cause)
        return tuple(_layer(one, name) for one in found)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unsupported(f"{name} is no manifest of an image or artifact") from error


def _index(manifests: Sequence[Any], name: str) -> ConverterError:
    digests = [one["digest"] for one in manifests if _DIGEST.fullmatch(one["digest"])]
    said = ", ".join(digests[:_MOST_NAMED]) or "none"
    return _unsupported(f"{name} is an index of {len(manifests)} manifests ({said})", "name one of them")


def _layer(descriptor: Mapping[str, Any], name: str) -> Layer:
    media_type, digest, size = descriptor["mediaType"], descriptor["digest"], descriptor["size"]
    annotations = descriptor.get("annotations") or {}
    path = annotations.get(FILE_PATH) or annotations.get(TITLE) or ""
    if (said := _DIGEST.fullmatch(digest)) is None:
        raise _unsupported(f"{name} has a layer with the digest {_shown(digest)}, which is no sha256")
    if type(size) is not int or not 0 <= size < 10**_MOST_DIGITS:
        raise ValueError("a layer without a size")
    if path:
        path = safe_relative_path(path.removeprefix("./"), Stage.FETCH, FailureReason.UNSUPPORTED_FORMAT)
    return Layer(str(media_type), said[1], size, path)


def referrers_in(content: bytes, artifact_type: str) -> list[str]:
    """Return the digests of what a list of referrers has of one type; none of what is no such list."""
    try:
        manifests = json.loads(content)["manifests"]
        of_type = [one["digest"] for one in manifests if one.get("artifactType") == artifact_type]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []
    return [digest for digest in of_type if isinstance(digest, str) and _DIGEST.fullmatch(digest)]


def choose(layers: Sequence[Layer], path: str, name: str) -> Chosen:
    """Return what is meant: by its path, or where there is none, the one file or SavedModel that there is.

    Raises:
        ConverterError: SourceNotFound where nothing has that path; UnsupportedFormat where several files
            could be meant, none, or one that is packed in a way that is not read here.

    """
    model = [layer for layer in layers if path or not _BESIDE.match(layer.media_type)]
    chosen = _by_path(model, path) if path else _only(model)
    if chosen is None:
        _refuse(model, path, name)
    for layer in chosen.files.values():
        if _UNREADABLE.search(layer.media_type):
            cause = f"{name} has a layer of the type {_shown(layer.media_type)}, which is not read here"
            raise _unsupported(cause, "push it as it is, or as a .tar or .tar.gz file")
    return chosen


def _by_path(layers: Sequence[Layer], path: str) -> Chosen | None:
    exact = [layer for layer in layers if layer.path == path]
    if len(exact) == 1:
        return Chosen({path: exact[0]}, path if exact[0].is_packed else None)
    if folder := _folder(layers, path):
        return Chosen(folder)
    packed = [layer for layer in layers if layer.is_packed]
    return Chosen({path: packed[0]}, path) if len(packed) == 1 and not exact else None


def _only(layers: Sequence[Layer]) -> Chosen | None:
    if len(layers) == 1:
        return Chosen({layers[0].path: layers[0]}, "" if layers[0].is_packed else None)
    marks = [layer.path for layer in layers if PurePosixPath(layer.path).name in _SAVED_MODELS]
    places = {str(PurePosixPath(mark).parent).removeprefix(".") for mark in marks}
    return Chosen(_folder(layers, places.pop())) if len(places) == 1 else None


def _folder(layers: Sequence[Layer], path: str) -> dict[str, Layer]:
    """Return the files below a folder by their paths in it; none where two of them have the same."""
    prefix = f"{path}/" if path else ""
    inside = [one for one in layers if one.path.startswith(prefix) and one.path and not one.is_packed]
    found = {one.path.removeprefix(prefix): one for one in inside}
    parents = {str(parent) for one in found for parent in PurePosixPath(one).parents}
    return found if len(found) == len(inside) and not parents & found.keys() else {}


def _refuse(layers: Sequence[Layer], path: str, name: str) -> NoReturn:
    names = [_shown(layer.path or layer.media_type) for layer in layers]
    held = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    if path:
        cause = f"{name} has no one file or folder {_shown(path)}; it has {held or 'no files'}"
        raise ConverterError(FailureReason.SOURCE_NOT_FOUND, Stage.FETCH, cause, hint=_NAMED)
    cause = (
        f"{name} has {len(names)} files, and is no SavedModel: {held}" if names else f"{name} has no model"
    )
    raise _unsupported(cause)


def _shown(text: object) -> str:
    return shortened(printable(str(text)), 120)


_NAMED: Final = "name the file behind the digest of the uri, e.g. @sha256:DIGEST/models/person.tflite"


def _unsupported(cause: str, hint: str = _NAMED) -> ConverterError:
    return ConverterError(FailureReason.UNSUPPORTED_FORMAT, Stage.FETCH, cause, hint=hint)
