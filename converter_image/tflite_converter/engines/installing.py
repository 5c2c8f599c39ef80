"""An engine's environment: made by uv from its lock, with the engine and the contract copied into it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import conversion_engine
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.engines.finding import Engine, users_place
from tflite_converter.errors import ConverterError, quoted

_HERE: Final = Path(__file__).resolve().parents[1]
_NEWEST_PYTHON: Final = 14
_STAMP: Final = ".made-from"
_TOOLS: Final = "engine_tools"
"""What engines have in common, which is no part of the converter: it needs their packages."""
_IGNORED: Final = shutil.ignore_patterns("__pycache__")


def install(
    engine: Engine,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    python: Path | None = None,
    *,
    whole_lock: bool = False,
) -> Path:
    """Make the environment in the user's place, or bring it up to date; return its Python.

    An environment that cannot be finished is not left behind as if it were whole: the engine is copied last.

    Args:
        engine: Which one.
        environment: Environment variables.
        tell: Takes lines about what is being done.
        python: The Python to make it with; found unless given.
        whole_lock: Whether to take from the lock also what the engine has from an index of its own.

    Raises:
        ConverterError: EngineNotFound, with what is missing: uv, a Python, the package registry, the sources.

    """
    project = project_of(engine)
    folder = users_place(environment) / engine.name
    sources = (Path(conversion_engine.__file__).parent, _HERE.parent / _TOOLS, project / engine.package)
    apart = None if whole_lock else engine.apart
    locks = [project / "uv.lock", *([project / f"{apart}-cpu.txt"] if apart else [])]
    stamp, digest = folder / _STAMP, _digest([*locks, *sources])
    if python is None and stamp.is_file() and stamp.read_text() == digest:
        return folder / "bin/python"
    uv, python = _uv(environment), python or _python(engine, environment)
    tell(f"making {folder} with {python}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove(engine, folder)
    command = [str(uv), "sync", "--locked", "--project", str(project), "--python", str(python)]
    # Inexact: what is not to be installed would be removed.
    command += ["--inexact", "--no-install-package", apart] if apart else []
    settings = {
        **environment,
        "UV_PROJECT_ENVIRONMENT": str(folder),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_COMPILE_BYTECODE": "1",
    }
    settings.pop("VIRTUAL_ENV", None)
    _done(engine, command, settings, "the package registry can be reached (UV_INDEX_URL names another one)")
    if apart:
        # --no-deps: the lock has them all.
        added = [str(uv), "pip", "install", "--python", str(folder / "bin/python"), "--no-deps"]
        added += ["--requirements", str(locks[1])]
        _done(engine, added, settings, f"the index that {locks[1]} names can be reached")
    for source in sources:
        shutil.copytree(source, _packages(folder) / source.name, ignore=_IGNORED)
    stamp.write_text(digest)
    return folder / "bin/python"


def _done(engine: Engine, command: list[str], settings: Mapping[str, str], needed: str) -> None:
    done = subprocess.run(command, env=dict(settings), capture_output=True, text=True, check=False)
    if done.returncode:
        words = quoted("\n".join(line for line in done.stderr.splitlines() if "error" in line.lower()))
        cause = f"{engine.words} could not be installed: {words or quoted(done.stderr)}"
        hint = f"see that {needed}, and try again"
        raise ConverterError(FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint=hint)


def project_of(engine: Engine) -> Path:
    """Return the folder with an engine's sources and lock: beside this package in a clone.

    Raises:
        ConverterError: EngineNotFound.

    """
    project = _HERE.parent / "engines" / engine.name
    if not (project / "uv.lock").is_file():
        cause = f"the sources of {engine.words} are not in this installation"
        hint = "use an image that has it, or a clone of the project"
        raise ConverterError(FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint=hint)
    return project


def _digest(parts: Iterable[Path]) -> str:
    """Return a digest of files, and of the Python files in folders."""
    digest = hashlib.sha256()
    for part in parts:
        for path in [part] if part.is_file() else sorted(part.glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _packages(folder: Path) -> Path:
    return next(folder.glob("lib/python3.*/site-packages"))


def _remove(engine: Engine, folder: Path) -> None:
    """Remove the engine itself, so that a half-made environment has none; packages that fit are kept."""
    (folder / _STAMP).unlink(missing_ok=True)
    for packages in folder.glob("lib/python3.*/site-packages"):
        for name in (engine.package, _TOOLS, conversion_engine.__name__):
            shutil.rmtree(packages / name, ignore_errors=True)


def _uv(environment: Mapping[str, str]) -> Path:
    """Return uv: on PATH, beside this Python, or where `make install` puts it."""
    cache = Path(
        environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache"
    )
    named = shutil.which("uv", path=environment.get("PATH"))
    made = sorted((cache / "model-conversion-operator").glob("uv-*/bin/uv"), reverse=True)
    candidates = [*([Path(named)] if named else []), Path(sys.executable).parent / "uv", *made]
    uv = next((path for path in candidates if path.is_file() and os.access(path, os.X_OK)), None)
    if uv is None:
        cause = "uv, which makes an engine's environment, is not installed"
        raise ConverterError(
            FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint="install it: pip install uv"
        )
    return uv


def _python(engine: Engine, environment: Mapping[str, str]) -> Path:
    """Return a Python that the engine runs on and that runs: pyenv's shims are there for all, and may fail.

    Raises:
        ConverterError: EngineNotFound.

    """
    for candidate in _pythons(engine, environment):
        code = f"import sys; sys.exit(sys.version_info < ({engine.python.replace('.', ', ')}))"
        tried = subprocess.run([candidate, "-c", code], capture_output=True, check=False)
        if tried.returncode == 0:
            return candidate
    cause = f"{engine.words} needs Python {engine.python} or newer, and there is none on PATH"
    hint = (
        f"install one, or name it: tflite-converter engines --install {engine.name} --python /PATH/TO/python"
    )
    raise ConverterError(FailureReason.ENGINE_NOT_FOUND, Stage.LOAD, cause, hint=hint)


def _pythons(engine: Engine, environment: Mapping[str, str]) -> Iterator[Path]:
    oldest = int(engine.python.partition(".")[2])
    pyenv = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/")) / ".pyenv")
    for minor in range(oldest, _NEWEST_PYTHON + 1):
        if (found := shutil.which(f"python3.{minor}", path=environment.get("PATH"))) is not None:
            yield Path(found)
        yield from sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python"))
    yield Path(sys.executable)
