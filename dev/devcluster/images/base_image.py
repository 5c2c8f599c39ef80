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
_FOREIGN: Final = "localhost/debian-{architecture}:trixie-slim"
_SUITE: Final = "trixie"
_LEFT_OUT: Final = ("doc", "info", "lintian", "linda", "locale", "man")
_STALE: Final = ("var/cache/apt", "var/lib/apt/lists", "var/log", "var/cache/ldconfig")


def ensure_base_image(buildah: Buildah, console: Console, architecture: str | None = None) -> str:
    """Make the image unless the store has it; return its name.

    ``architecture`` is Debian's name of another one than this machine's, which is then emulated.
    """
    reference = _FOREIGN.format(architecture=architecture) if architecture else REFERENCE
    if buildah.exists(reference):
        return reference
    kind = f" for {architecture}" if architecture else ""
    console.print(f"Unpacking Debian {_SUITE}{kind} for the images' base", soft_wrap=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".debian-") as name:
        root = Path(name, "root")
        try:
            chosen = [f"--arch={architecture}"] if architecture else []
            host.run("debootstrap", *chosen, "--variant=minbase", _SUITE, root)
        except HostError as error:
            log = root / "debootstrap" / "debootstrap.log"
            detail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise ImageError(f"{error}\n{detail}") from error
        _slim(root)
        buildah.from_folder(root, reference, ["/bin/bash"], architecture)
    return reference


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
