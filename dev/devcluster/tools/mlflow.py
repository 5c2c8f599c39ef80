"""MLflow's own server, for tests: in an environment of its own, for its packages are many (620 MB)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from devcluster.cache import cache_dir, locked
from devcluster.errors import BinariesError
from devcluster.tools.installer import find_uv

_VERSION: Final = "3.17.2"
_LOG_TAIL: Final = 2000


def ensure_mlflow(console: Console) -> Path:
    """Return the path of the program ``mlflow``; the first call on a machine installs it.

    Raises:
        BinariesError: It cannot be installed.

    """
    folder = cache_dir() / f"mlflow-{_VERSION}"
    program = folder / "bin" / "mlflow"
    if program.exists():
        return program
    with locked("mlflow", lambda: console.print("Another run is installing MLflow: waiting")):
        if not program.exists():
            _install(folder, console)
    return program


def main() -> int:
    """Make sure that it is there."""
    print(ensure_mlflow(Console()))
    return 0


def _install(folder: Path, console: Console) -> None:
    uv = find_uv()
    if uv is None:
        raise BinariesError("MLflow is installed by uv, and there is none: `make install` brings it")
    console.print(f"Installing MLflow {_VERSION}")
    shutil.rmtree(folder, ignore_errors=True)
    # In place: the programs of an environment name its folder.
    python, wanted = str(folder / "bin" / "python"), f"mlflow[auth]=={_VERSION}"
    commands = (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", python, wanted],
    )
    for command in commands:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if result.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise BinariesError(f"MLflow cannot be installed:\n{result.stderr[-_LOG_TAIL:]}")


if __name__ == "__main__":
    sys.exit(main())
