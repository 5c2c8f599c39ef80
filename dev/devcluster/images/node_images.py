"""The images that a real node needs itself: each holds one program and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devcluster.cache import cache_dir
from devcluster.images.oci_archive import write_program_image


@dataclass(frozen=True)
class Image:
    """An image in an archive."""

    reference: str
    archive: Path


def images_dir() -> Path:
    """Return the cache folder of image archives."""
    folder = cache_dir() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def program_image(program: Path, key: str) -> Image:
    """Return the image that holds ``program``, which ``key`` tells from other builds of it."""
    image = Image(f"localhost/{program.name}:{key}", images_dir() / f"{program.name}-{key}.tar")
    if not image.archive.exists():
        for older in image.archive.parent.glob(f"{program.name}-*.tar"):
            older.unlink()
        path = f"/usr/bin/{program.name}"
        write_program_image(image.archive, image.reference, {path: program}, [path])
    return image
