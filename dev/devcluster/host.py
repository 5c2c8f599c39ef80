"""What a real node and image builds need of the machine: root, and programs that Debian packages bring."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.cache import cache_dir, locked
from devcluster.errors import HostError

SYSTEM_PATH: Final = os.pathsep.join(
    [os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"]  # root's PATH lacks them in places
)
CNI_FOLDERS: Final = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
"""Where distributions put the network plugins."""
_LOG_TAIL: Final = 2000


@dataclass(frozen=True)
class Tool:
    """A program as :func:`find` knows it, and the Debian package that has it."""

    program: str
    package: str


BUILD_TOOLS: Final = (Tool("buildah", "buildah"), Tool("debootstrap", "debootstrap"))
NODE_TOOLS: Final = (
    Tool("containerd", "containerd"),
    Tool("containerd-shim-runc-v2", "containerd"),
    Tool("ctr", "containerd"),
    Tool("runc", "runc"),
    Tool("nft", "nftables"),
    Tool("ip", "iproute2"),
    Tool("umount", "mount"),
    Tool("cni/bridge", "containernetworking-plugins"),
)


def find(program: str) -> str | None:
    """Return the path of a program; ``cni/NAME`` is a network plugin, which is on no PATH."""
    folder, _, name = program.rpartition("/")
    if not folder:
        return shutil.which(program, path=SYSTEM_PATH)
    plugins = (place / name for place in CNI_FOLDERS)
    return next((str(plugin) for plugin in plugins if plugin.exists()), None)


def cni_folder() -> Path:
    """Return the folder of the network plugins."""
    return Path(tool("cni/bridge")).parent


def missing(tools: Iterable[Tool], find: Callable[[str], str | None] = find) -> list[Tool]:
    """Return the tools that are not there."""
    return [tool for tool in tools if find(tool.program) is None]


def ensure_host_tools(tools: Sequence[Tool], console: Console) -> None:
    """Install the packages of tools that are missing; raises :class:`HostError` where that cannot be."""
    if os.geteuid() != 0:
        raise HostError("a real node and image builds need root: run this as root, e.g. with sudo")
    if not missing(tools):
        return
    with locked("host-packages", lambda: console.print("Another run is installing packages: waiting")):
        lacking = missing(tools)
        if not lacking:
            return
        packages = sorted({tool.package for tool in lacking})
        apt = shutil.which("apt-get")
        if apt is None:
            raise HostError(
                f"{', '.join(tool.program for tool in lacking)} are missing, and there is no apt-get to "
                f"install them with: install what Debian calls {', '.join(packages)}"
            )
        console.print(f"Installing the Debian packages {', '.join(packages)} with apt-get", soft_wrap=True)
        log = cache_dir() / "host-packages.log"
        with log.open("w") as output:
            for arguments in (
                ["update"],
                # Nothing of the machine may go for it, e.g. Docker for containerd.
                ["install", "-y", "--no-install-recommends", "--no-remove", *packages],
            ):
                code = subprocess.run(
                    [apt, *arguments],
                    env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
                if code:
                    raise HostError(
                        f"`apt-get {' '.join(arguments)}` failed; its log {log} ends:\n"
                        f"{log.read_text(errors='replace')[-_LOG_TAIL:]}"
                    )
    if still := missing(tools):
        names = ", ".join(tool.program for tool in still)
        raise HostError(f"{names} are missing even with {packages} installed")


def tool(program: str) -> str:
    """Return the path of a program that :func:`ensure_host_tools` has seen."""
    path = find(program)
    if path is None:
        raise HostError(f"{program} is missing")
    return path


def run(*command: str | Path, check: bool = True, stdin: str | None = None) -> str:
    """Run a tool; its output. Raises :class:`HostError` with its message when it fails, if ``check``."""
    program, *arguments = map(str, command)
    result = subprocess.run(
        [tool(program), *arguments], input=stdin, capture_output=True, text=True, check=False
    )
    if check and result.returncode:
        raise HostError(f"`{' '.join([program, *arguments])}` failed: {result.stderr.strip()[-_LOG_TAIL:]}")
    return result.stdout
