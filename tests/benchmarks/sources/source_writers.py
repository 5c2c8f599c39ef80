"""TensorFlows of other years: an environment for each, made once and kept in the cache, to write models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster.cache import cache_dir

PROGRAM = Path(__file__).with_name("write_sources.py")
MODELS = Path(__file__).with_name("source_architectures.py")

_INSTALL_SECONDS = 1800
_WRITE_SECONDS = 1800


class NotAvailableError(Exception):
    """This machine has no Python for a writer, or cannot install its packages."""


@dataclass(frozen=True)
class Writer:
    """One version of TensorFlow."""

    version: str
    pythons: tuple[str, ...]
    """Python versions that it has wheels for, the one to try first in front."""
    pins: tuple[str, ...] = ()
    """What it needs besides: its own bounds let in packages that came later and no longer fit."""


WRITERS = (
    Writer("2.3.4", ("3.8", "3.7"), ("protobuf<3.20", "h5py<3")),
    Writer("2.4.4", ("3.8", "3.7"), ("protobuf<3.20",)),
    Writer("2.6.5", ("3.9", "3.8"), ("protobuf<3.20", "keras==2.6.*")),
    Writer("2.8.4", ("3.9", "3.10", "3.8"), ("protobuf<3.20", "numpy<1.24")),
    Writer("2.10.1", ("3.10", "3.9"), ("numpy<1.24",)),
    Writer("2.12.1", ("3.11", "3.10", "3.9")),
    Writer("2.13.1", ("3.11", "3.10", "3.9")),
    Writer("2.15.1", ("3.11", "3.10", "3.9"), ("numpy<2",)),
    Writer("2.16.2", ("3.12", "3.11", "3.10"), ("keras==3.0.5", "setuptools")),
    Writer("2.18.1", ("3.12", "3.11", "3.10"), ("keras==3.6.0",)),
    Writer("2.21.0", ("3.13", "3.12", "3.11"), ("keras>=3.12",)),
)


@dataclass(frozen=True)
class Library:
    """The models of one writer."""

    folder: Path
    versions: dict[str, str]
    """``tensorflow``, ``keras``, ``python``."""
    failed: dict[str, str]
    """Names that this writer could not write, with its own reason."""

    def recorded(self, name: str) -> Path:
        """The .npz file with what the writer gave to the model called ``name``, and got from it."""
        architecture, _, suffix = name.partition(".")
        own = self.folder / f"{name}.npz"
        return own if suffix == "graph" else self.folder / f"{architecture}.npz"


def write(
    writer: Writer, names: Sequence[str], say: Callable[[str], None], *, library: str = "models"
) -> Library:
    """The models called ``names``, written by ``writer``; those of an earlier run where nothing has changed.

    ``library`` is the folder's name in the cache.

    Raises:
        NotAvailableError: where this machine cannot have the writer.

    """
    folder = cache_dir() / "writers" / writer.version
    python = _environment(writer, folder / "environment", say)
    models, stamp = folder / library, folder / f"{library}.stamp"
    wanted = _digest(PROGRAM.read_text(), MODELS.read_text(), *writer.pins, *sorted(names))
    if not stamp.is_file() or stamp.read_text() != wanted:
        say(f"TensorFlow {writer.version} writes {len(names)} models")
        stamp.unlink(missing_ok=True)
        shutil.rmtree(models, ignore_errors=True)
        with (folder / "write.log").open("wb") as log:
            subprocess.run(
                [python, "-W", "ignore", PROGRAM, models, *names],
                check=True,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=_WRITE_SECONDS,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            )
        stamp.write_text(wanted)
    found = json.loads((models / "written.json").read_text())
    failed = {name: why for name, why in found["results"].items() if why is not None}
    return Library(models, found["versions"], failed)


def _environment(writer: Writer, folder: Path, say: Callable[[str], None]) -> Path:
    """The Python of the environment at ``folder``, which is made if need be."""
    python, stamp = folder / "bin" / "python", folder / "complete"
    packages = [f"tensorflow-cpu=={writer.version}", *writer.pins]
    wanted = _digest(*packages)
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    uv = uv_program()
    base = next((found for version in writer.pythons if (found := find_python(version, uv))), None)
    if base is None:
        raise NotAvailableError(f"there is no Python {' or '.join(writer.pythons)}")
    say(f"installing TensorFlow {writer.version}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    commands: list[list[str | Path]] = [
        [uv, "venv", "--quiet", "--python", base, folder],
        [uv, "pip", "install", "--quiet", "--python", python, *packages],
    ]
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_INSTALL_SECONDS)
        if done.returncode != 0:
            (folder.parent / "install.log").write_bytes(done.stderr)
            raise NotAvailableError(
                f"its packages cannot be installed (see {folder.parent.name}/install.log)"
            )
    stamp.write_text(wanted)
    return python


def uv_program() -> str:
    """The uv on PATH, or the one that ``make`` has put into the cache."""
    if (found := shutil.which("uv")) is not None:
        return found
    cached = sorted(cache_dir().glob("uv-*/bin/uv"))
    if not cached:
        raise NotAvailableError("there is no uv: run `make install` first")
    return str(cached[-1])


def find_python(version: str, uv: str) -> str | None:
    """An interpreter of ``version``: on PATH, one that uv knows of, or one of pyenv's."""
    for candidate in _pythons(version, uv):
        code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
        # pyenv's shims are there for every version, and fail for those that are not chosen.
        done = subprocess.run([candidate, "-c", code], check=False, capture_output=True, text=True)
        if done.stdout.strip() == version:
            return candidate
    return None


def _pythons(version: str, uv: str) -> Iterator[str]:
    if (on_path := shutil.which(f"python{version}")) is not None:
        yield on_path
    find = [uv, "python", "find", "--no-python-downloads", "--quiet", version]
    done = subprocess.run(find, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        yield done.stdout.strip()
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
