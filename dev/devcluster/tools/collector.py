"""The OpenTelemetry Collector that the tests run against: built from the Go modules of ``dev/collector``."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.cache import REPOSITORY, cache_dir, locked
from devcluster.tools.gobuild import GoCaches, Program, build

_MODULE: Final = REPOSITORY / "dev" / "collector"
_NAME: Final = "collector"


def ensure_collector(console: Console) -> Path:
    """Return the program; the first call on a machine builds it, in some four minutes on two cores.

    Raises:
        BinariesError: It cannot be built.

    """
    files = [_MODULE / name for name in ("go.mod", "go.sum", "main.go")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    folder = cache_dir() / f"collector-{digest[:12]}"
    if not folder.exists():
        with locked("collector", lambda: console.print("Another run is building the Collector: waiting")):
            if not folder.exists():
                with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".collector-") as name:
                    partial = Path(name) / "bin"
                    partial.mkdir()
                    with GoCaches() as caches:
                        title = "an OpenTelemetry Collector"
                        build(title, (Program(_NAME, "."),), partial, None, console, caches, _MODULE)
                    partial.rename(folder)  # in one step: a folder of this name is always complete
    return folder / _NAME
