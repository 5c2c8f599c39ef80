"""Files of Debian packages, unpacked into the cache folder: nothing of the machine is changed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from devcluster.cache import cache_dir, locked
from devcluster.errors import PackageUnavailableError


def files_of_package(package: str, paths: Sequence[str]) -> Path:
    """Return a folder with files of ``package``, which ``paths`` name in it; downloaded the first time.

    Each lies in the folder under its last name.

    Raises:
        PackageUnavailableError: this is no Debian, or its packages cannot be downloaded.

    """
    folder = cache_dir() / f"{package}-debian"
    names = [Path(path).name for path in paths]
    with locked(package, lambda: None):
        if not all((folder / name).exists() for name in names):
            _unpack(package, paths, folder)
    return folder


def _unpack(package: str, paths: Sequence[str], folder: Path) -> None:
    missing = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing:
        raise PackageUnavailableError(
            f"{package} is not installed, and there is no {' and no '.join(missing)} to unpack its Debian "
            f"package with: install {package}"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{package}-") as name:
        partial = Path(name)
        _download(package, partial)
        (archive,) = partial.glob("*.deb")
        _run(package, ["dpkg-deb", "-x", archive.name, "all"], partial)
        (partial / "kept").mkdir()
        for path in paths:
            (partial / "all" / path).rename(partial / "kept" / Path(path).name)
        shutil.rmtree(folder, ignore_errors=True)
        (partial / "kept").rename(folder)  # in one step: a folder of this name is always complete


def _download(package: str, folder: Path) -> None:
    download = ["download", "-qq", package]
    try:
        _run(package, ["apt-get", *download], folder)
    except PackageUnavailableError:
        # The machine may have no lists of packages yet: these are read here, and thrown away.
        (folder / "lists" / "partial").mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        apt = [
            "apt-get",
            "-o",
            f"Dir::State::lists={folder / 'lists'}",
            "-o",
            f"Dir::Cache={folder / 'cache'}",
        ]
        _run(package, [*apt, "update", "-qq"], folder)
        _run(package, [*apt, *download], folder)


def _run(package: str, command: Sequence[str], folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise PackageUnavailableError(
            f"{package} is not installed, and `{' '.join(command)}` failed: install {package}. It said: "
            f"{result.stderr.strip()[-500:]}"
        )
