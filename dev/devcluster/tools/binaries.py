"""The programs of a local cluster: downloaded where that is possible, else built once a machine.

The control plane's are what ``make demo`` and ``make test`` need; a node's, which only ``make e2e`` needs,
are built apart from them. What both are made of is compiled once where both are missing.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.cache import cache_dir, locked
from devcluster.errors import UnavailableError
from devcluster.programs import tells_errors
from devcluster.tools import download
from devcluster.tools.collector import ensure_collector
from devcluster.tools.gobuild import MODULE, GoCaches, Program, build, shared_caches

KUBERNETES_VERSION = "v1.36.0"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
NODE_PROGRAMS = ("kubelet", "kube-proxy", "kube-scheduler", "coredns", "pause")
_CONTROL_PLANE: Final = (Program("localkube", ".", PROGRAMS),)
_NODE: Final = (
    Program("localnode", "./node", NODE_PROGRAMS[:3]),
    Program("coredns", "./dns"),
    Program("pause", "./pause"),
)
_PARTIAL = ".programs-"


def ensure_control_plane_binaries(console: Console) -> Path:
    """Return the folder that holds :data:`PROGRAMS`.

    The first call on a machine downloads or builds them; later ones return at once. Raises
    :class:`~devcluster.errors.BinariesError`.
    """
    folder = _control_plane_folder()
    if not _complete(folder, PROGRAMS):
        with _fetching(console), GoCaches() as caches:
            _fetch_control_plane(folder, console, caches)
    return folder


def ensure_node_binaries(console: Console) -> Path:
    """Return the folder that holds :data:`NODE_PROGRAMS`, and the control plane's programs too.

    Raises :class:`~devcluster.errors.BinariesError`.
    """
    folder = cache_dir() / f"node-{_key('node', 'dns', 'pause')}"
    control_plane = _control_plane_folder()
    if not (_complete(folder, NODE_PROGRAMS) and _complete(control_plane, PROGRAMS)):
        with _fetching(console), GoCaches() as caches:
            _fetch_control_plane(control_plane, console, caches)
            title = f"Kubernetes {KUBERNETES_VERSION}'s node programs and CoreDNS"
            _install(
                folder,
                NODE_PROGRAMS,
                lambda partial: build(title, _NODE, partial, KUBERNETES_VERSION, console, caches),
                console,
            )
    return folder


def _control_plane_folder() -> Path:
    return cache_dir() / f"control-plane-{_key('.')}"


@contextmanager
def _fetching(console: Console) -> Iterator[None]:
    with locked("control-plane", lambda: console.print("Another run is fetching the programs: waiting")):
        yield


def _fetch_control_plane(folder: Path, console: Console, caches: GoCaches) -> None:
    title = f"etcd and Kubernetes {KUBERNETES_VERSION} (8 to 12 minutes on 2 cores)"

    def fetch(partial: Path) -> None:
        if not _download(partial, console):
            build(title, _CONTROL_PLANE, partial, KUBERNETES_VERSION, console, caches)

    _install(folder, PROGRAMS, fetch, console)


def _install(
    folder: Path, programs: tuple[str, ...], fetch: Callable[[Path], None], console: Console
) -> None:
    """Have ``fetch`` fill a folder, and put it into its place in one step: what is there is complete."""
    if _complete(folder, programs):
        return
    started = time.monotonic()
    for leftover in folder.parent.glob(f"{_PARTIAL}*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_PARTIAL, ignore_cleanup_errors=True) as name:
        partial = Path(name) / "bin"
        partial.mkdir()
        fetch(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    console.print(
        f"{', '.join(programs)} are in {folder} ({time.monotonic() - started:.0f} s, once a machine)",
        soft_wrap=True,
    )


def _download(destination: Path, console: Console) -> bool:
    """Whether all programs could be downloaded into ``destination``."""
    archives = download.release_archives(KUBERNETES_VERSION)
    try:
        for archive in archives:
            download.probe(archive)
        for archive in archives:
            download.fetch(archive, destination, console)
    except UnavailableError as error:
        console.print(
            f"The official {archive.name} archive cannot be downloaded here ({error}): building from source",
            soft_wrap=True,
        )
    return _complete(destination, PROGRAMS)


def _complete(folder: Path, programs: tuple[str, ...]) -> bool:
    return all((folder / program).exists() for program in programs)


def _key(*packages: str) -> str:
    """Return a digest of what would be built."""
    digest = hashlib.sha256(KUBERNETES_VERSION.encode())
    for file in ("go.mod", "go.sum", *(f"{package}/main.go" for package in packages)):
        digest.update((MODULE / file).read_bytes())
    return digest.hexdigest()[:12]


@tells_errors
def main() -> int:
    """Make sure that the programs are there."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.tools.binaries", description=__doc__)
    parser.add_argument("--node", action="store_true", help="a node's programs too, in the same build")
    parser.add_argument("--collector", action="store_true", help="the Collector of the tests too")
    options = parser.parse_args()
    console = Console()
    with shared_caches():
        print(ensure_control_plane_binaries(console) if not options.node else ensure_node_binaries(console))
        if options.collector:
            print(ensure_collector(console))
    return 0


if __name__ == "__main__":
    sys.exit(main())
