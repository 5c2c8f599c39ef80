"""What files are verified in, for tests: the folder that ``converter_image/guests/roots.sh`` makes.

Debian's packages and wheels for three architectures, 130 MB to download and 330 MB on disk. Needs neither
root nor a registry of images, but apt-get and Debian's keys, on x86-64.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.cache import REPOSITORY, cache_dir, locked
from devcluster.errors import BinariesError
from devcluster.programs import tells_errors
from devcluster.tools.installer import find_uv

_SOURCE: Final = REPOSITORY / "converter_image" / "guests"
_PIP: Final = "pip==25.3"
_NEEDED: Final = ("apt-get", "dpkg-deb")
_KEYS: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_LOG_TAIL: Final = 2000


def guests_folder() -> Path:
    """Return where the roots are on this machine, whether they are there or not."""
    digest = hashlib.sha256()
    for file in sorted(_SOURCE.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    return cache_dir() / f"guests-{digest.hexdigest()[:12]}"


def lacking() -> str | None:
    """Say what this machine lacks to make the roots; None where it has all."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"they are for x86-64, and this machine is {platform.machine()}"
    missing = [program for program in _NEEDED if shutil.which(program) is None]
    missing += [] if _KEYS.exists() else ["package debian-archive-keyring"]
    return f"there is no {', '.join(missing)}" if missing else None


def ensure_guests(console: Console) -> Path:
    """Return the folder of the roots; the first call on a machine makes it.

    Raises:
        BinariesError: It cannot be made.

    """
    folder = guests_folder()
    if folder.exists():
        return folder
    if why := lacking():
        raise BinariesError(f"what files are verified in cannot be made here: {why}")
    with locked("guests", lambda: console.print("Another run is making the guests: waiting")):
        if not folder.exists():
            _make(folder, console)
    return folder


def _make(folder: Path, console: Console) -> None:
    uv = find_uv()
    # uv itself installs nothing for 32-bit Arm.
    pip = f"{uv} tool run --quiet --from {_PIP} pip" if uv else f"{sys.executable} -m pip"
    console.print("Fetching Python and runtimes of other architectures and ages", soft_wrap=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".guests-") as name:
        partial = Path(name) / "roots"
        result = subprocess.run(
            ["/bin/sh", str(_SOURCE / "roots.sh"), str(partial)],
            env=os.environ | {"PIP": pip},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BinariesError(
                f"roots.sh failed; check that apt-get and pip can download:\n{result.stderr[-_LOG_TAIL:]}"
            )
        for older in folder.parent.glob("guests-*"):
            if older.is_dir():
                shutil.rmtree(older, ignore_errors=True)
        partial.rename(folder)
    console.print(
        f"Guests are in {folder} ({time.monotonic() - started:.0f} s, once a machine)", soft_wrap=True
    )


@tells_errors
def main() -> int:
    """Make the roots where that can be; tests that want them say why they are left out elsewhere."""
    console = Console()
    if (why := lacking()) and not guests_folder().exists():
        console.print(f"Files are not verified on other processors in these tests: {why}", soft_wrap=True)
        return 0
    print(ensure_guests(console))
    return 0


if __name__ == "__main__":
    sys.exit(main())
