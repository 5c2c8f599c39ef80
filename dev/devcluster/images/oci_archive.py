"""OCI image archives: writes those that hold nothing but a program, and reads what is in any.

The format: https://github.com/opencontainers/image-spec. Layers are not compressed here, for these archives
go no further than the next program on this machine.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devcluster.errors import ImageError

Json = dict[str, Any]

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_EPOCH: Final = "1970-01-01T00:00:00Z"
_MEDIA: Final = "application/vnd.oci.image"


@dataclass(frozen=True)
class Layer:
    """A layer of an image and the instruction that made it."""

    instruction: str
    digest: str
    size: int
    """As it is in the archive."""
    content: str
    """The digest of what is in it, however that is compressed."""


def write_program_image(
    archive: Path, reference: str, programs: Mapping[str, Path], entrypoint: Sequence[str], user: int = 65532
) -> None:
    """Write an image that holds programs, each at its path, and nothing else; alike for alike programs."""
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w") as out:
        layer_file = archive.with_suffix(".layer")
        with tarfile.open(layer_file, "w") as layer:
            for path, program in sorted(programs.items()):
                info = tarfile.TarInfo(path.lstrip("/"))
                info.size, info.mode = program.stat().st_size, 0o755
                with program.open("rb") as data:
                    layer.addfile(info, data)
        with layer_file.open("rb") as data:
            layer_digest = hashlib.file_digest(data, "sha256").hexdigest()
        size = layer_file.stat().st_size
        info = tarfile.TarInfo(f"blobs/sha256/{layer_digest}")
        info.size = size
        with layer_file.open("rb") as data:
            out.addfile(info, data)
        layer_file.unlink()
        config = {
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            "config": {"Entrypoint": list(entrypoint), "User": f"{user}:{user}"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            "history": [{"created": _EPOCH, "created_by": f"ADD {' '.join(programs)}"}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _add(out, f"{_MEDIA}.config.v1+json", config),
            "layers": [
                {"mediaType": f"{_MEDIA}.layer.v1.tar", "digest": f"sha256:{layer_digest}", "size": size}
            ],
        }
        entry = _add(out, f"{_MEDIA}.manifest.v1+json", manifest)
        entry["annotations"] = {"org.opencontainers.image.ref.name": reference}
        _add_file(out, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())
        _add_file(out, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    partial.rename(archive)


def _add(out: tarfile.TarFile, media_type: str, document: Json) -> Json:
    """Add a JSON blob; its descriptor."""
    data = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    _add_file(out, f"blobs/sha256/{digest}", data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def _add_file(out: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    out.addfile(info, io.BytesIO(data))


def layers(archive: Path) -> list[Layer]:
    """Return the layers of the one image in an archive, the base first.

    Raises:
        ImageError: It is no OCI archive, or holds several images.

    """
    try:
        with tarfile.open(archive) as tar:
            entries = _read(tar, "index.json")["manifests"]
            if len(entries) != 1:
                raise ImageError(f"{archive} holds {len(entries)} images; one was expected")
            manifest = _read(tar, _blob(entries[0]["digest"]))
            config = _read(tar, _blob(manifest["config"]["digest"]))
    except (KeyError, OSError, tarfile.TarError, ValueError) as error:
        raise ImageError(f"{archive} is no OCI image archive: {error}") from error
    instructions = [h.get("created_by", "") for h in config.get("history", []) if not h.get("empty_layer")]
    described = manifest["layers"]
    if len(instructions) != len(described):  # history is optional
        instructions = [""] * len(described)
    return [
        Layer(instruction, layer["digest"], layer["size"], content)
        for instruction, layer, content in zip(
            instructions, described, config["rootfs"]["diff_ids"], strict=True
        )
    ]


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _read(tar: tarfile.TarFile, name: str) -> Json:
    member = tar.extractfile(name)
    if member is None:
        raise ImageError(f"{name} in {tar.name!r} is no file")
    document: Json = json.loads(member.read())
    return document
