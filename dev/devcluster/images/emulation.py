"""Lets images of another architecture be built and run here: by qemu, through the kernel's binfmt_misc.

The kernel hands programs of that architecture to qemu, in every container, as long as the block lasts.
It takes root.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster import host
from devcluster.errors import HostError, ImageError
from devcluster.tools.guests import ensure_guests

NATIVE: Final = {"x86_64": "amd64", "aarch64": "arm64"}
"""This machine's architecture, by what its kernel calls it."""
_QEMU: Final = {"arm64": "qemu-aarch64"}
EMULATED: Final = tuple(_QEMU)
"""Architectures that there is an emulator for."""
_REGISTER: Final = Path("/proc/sys/fs/binfmt_misc")
_ENTRY: Final = "model-conversion-{architecture}"
_MAGIC: Final = {
    # The head of an ELF file for the machine; bits that differ between its programs are left out by the mask.
    "arm64": (
        r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
        r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
    )
}


def is_native(architecture: str) -> bool:
    """Whether this machine runs programs of ``architecture`` by itself."""
    return NATIVE.get(platform.machine()) == architecture


@contextmanager
def emulated(architecture: str, console: Console) -> Iterator[None]:
    """Run programs of ``architecture`` while the block runs.

    Raises:
        ImageError: the kernel lets nobody register an emulator here, or there is none for it.

    """
    if is_native(architecture):
        yield
        return
    if architecture not in _QEMU:
        raise ImageError(
            f"images for {architecture} cannot be built here: there is an emulator for arm64 only"
        )
    entry = _REGISTER / _ENTRY.format(architecture=architecture)
    _register(architecture, ensure_guests(console) / "bin" / _QEMU[architecture], entry)
    try:
        yield
    finally:
        entry.write_text("-1")


def _register(architecture: str, emulator: Path, entry: Path) -> None:
    magic, mask = _MAGIC[architecture]
    try:
        if not (_REGISTER / "register").exists():
            host.run("mount", "-t", "binfmt_misc", "binfmt_misc", _REGISTER)
        if entry.exists():
            entry.write_text("-1")
        # F opens the emulator now, so that it is found in every root.
        (_REGISTER / "register").write_text(f":{entry.name}:M::{magic}:{mask}:{emulator}:F")
    except (OSError, HostError) as error:
        raise ImageError(
            f"images for {architecture} cannot be built here, for no emulator can be registered in"
            f" {_REGISTER}: {error}"
        ) from error
