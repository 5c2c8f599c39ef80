"""etcd, kube-apiserver and kube-controller-manager: downloaded where that is possible, else built once."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from . import download, gobuild
from .cache import cache_dir, locked
from .errors import DevClusterError

KUBERNETES_VERSION = "v1.36.0"
_PARTIAL = ".control-plane-"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")


def ensure_control_plane_binaries(console: Console) -> Path:
    """The folder that holds :data:`PROGRAMS`.

    The first call on a machine downloads or builds them; later ones return at once. Raises
    :class:`~devcluster.errors.BinariesError`.
    """
    folder = cache_dir() / f"control-plane-{_key()}"
    if _complete(folder):
        return folder
    with locked("control-plane", lambda: console.print("Another run is fetching the control plane: waiting")):
        if _complete(folder):
            return folder
        started = time.monotonic()
        for leftover in folder.parent.glob(f"{_PARTIAL}*"):  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=_PARTIAL, ignore_cleanup_errors=True
        ) as name:
            partial = Path(name) / "bin"
            partial.mkdir()
            if not _download(partial, console):
                gobuild.build(partial, KUBERNETES_VERSION, console)
                for program in PROGRAMS:
                    (partial / program).symlink_to("localkube")
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)  # in one step: a folder of this name is always complete
        console.print(
            f"Control plane programs are in {folder} ({time.monotonic() - started:.0f} s, once a machine)",
            soft_wrap=True,
        )
    return folder


def _download(destination: Path, console: Console) -> bool:
    """Whether all programs could be downloaded into ``destination``."""
    archives = download.release_archives(KUBERNETES_VERSION)
    try:
        for archive in archives:
            download.probe(archive)
        for archive in archives:
            download.fetch(archive, destination, console)
    except download.UnavailableError as error:
        console.print(
            f"The official {archive.name} archive cannot be downloaded here ({error}): building from source",
            soft_wrap=True,
        )
    return all((destination / program).exists() for program in PROGRAMS)


def _complete(folder: Path) -> bool:
    return all((folder / program).exists() for program in PROGRAMS)


def _key() -> str:
    """Changes when what would be built changes."""
    digest = hashlib.sha256(KUBERNETES_VERSION.encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((gobuild.MODULE / name).read_bytes())
    return digest.hexdigest()[:12]


def main() -> int:
    """Make sure that the programs are there."""
    console = Console()
    try:
        print(ensure_control_plane_binaries(console))
    except DevClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
