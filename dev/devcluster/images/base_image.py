"""A stand-in for the image ``debian:trixie-slim``, which needs no registry: Debian's packages, unpacked.

As in that image, documentation and translations are left out, now and in what is installed later.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster import host
from devcluster.cache import cache_dir
from devcluster.errors import HostError, ImageError
from devcluster.images.buildah import Buildah

REFERENCE: Final = "docker.io/library/debian:trixie-slim"
"""What the Dockerfiles' default base is called in full."""
_SUITE: Final = "trixie"
_LEFT_OUT: Final = ("doc", "info", "lintian", "linda", "locale", "man")
_STALE: Final = ("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/ldconfig")


def ensure_base_image(buildah: Buildah, console: Console) -> None:
    """Make the image unless the store has it."""
    if buildah.exists(REFERENCE):
        return
    console.print(f"Unpacking Debian {_SUITE} for the images' base", soft_wrap=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".debian-") as name:
        root = Path(name, "root")
        try:
            host.run("debootstrap", "--variant=minbase", _SUITE, root)
        except HostError as error:
            log = root / "debootstrap" / "debootstrap.log"
            detail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise ImageError(f"{error}\n{detail}") from error
        _slim(root)
        buildah.from_folder(root, REFERENCE, ["/bin/bash"])


def _slim(root: Path) -> None:
    for folder in _STALE:
        for entry in (root / folder).glob("*"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    kept_out = [f"path-exclude /usr/share/{folder}/*" for folder in _LEFT_OUT]
    # Licenses must come along.
    rules = [*kept_out, "path-include /usr/share/doc/*/copyright"]
    (root / "etc/dpkg/dpkg.cfg.d/slim").write_text("\n".join([*rules, ""]))
    for folder in _LEFT_OUT:
        for file in (root / "usr/share" / folder).rglob("*"):
            if (file.is_file() or file.is_symlink()) and file.name != "copyright":
                file.unlink()
