"""Gives up everything but one program and its files, and becomes that program.

``python -m tflite_converter.isolation.guest REQUEST``. For programs that run a model and know nothing of our
sandbox: a runtime of another time or another processor. Descriptors stay open, the environment does not.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from conversion_engine import sandbox
from conversion_engine.files import error_file
from conversion_engine.process import PROGRESS_FD_ENV, ends_with_its_parent

NAME: Final = "guest"
"""Prefix of the file that says why nothing was run."""
_MOST_FILE_BYTES: Final = 256 << 20
"""What one file of the guest may have, its output as well."""


def request(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    readable: Sequence[Path],
    writable: Path,
    memory_bytes: int,
) -> str:
    """Return what :func:`main` takes.

    Args:
        command: The program's path, and its arguments.
        environment: All variables that it gets.
        readable: Folders that it may read.
        writable: The one folder that it may write to.
        memory_bytes: How much data it may have (RLIMIT_DATA).

    """
    return json.dumps(
        {
            "command": list(command),
            "environment": dict(environment),
            "readable": list(map(str, readable)),
            "writable": str(writable),
            "memory": memory_bytes,
        }
    )


def main() -> int:
    """Confine this process as the request says, and become the program."""
    asked = json.loads(sys.argv[1])
    environment: dict[str, str] = asked["environment"]
    folder, program = Path(asked["writable"]), Path(asked["command"][0])
    if PROGRESS_FD_ENV in os.environ:
        environment[PROGRESS_FD_ENV] = os.environ[PROGRESS_FD_ENV]
    ends_with_its_parent()
    limits = {
        resource.RLIMIT_DATA: asked["memory"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: _MOST_FILE_BYTES,
    }
    for kind, most in limits.items():
        resource.setrlimit(kind, (most, most))
    held = sandbox.enter_as_guest(map(Path, asked["readable"]), [folder], program)
    # It may start programs, for that is how it begins; only where Landlock holds is there but one.
    if not {sandbox.OWN_FILES, sandbox.NO_NETWORK} <= set(held):
        return _refuse(folder, "the kernel here has no Landlock, without which no other runtime is started")
    try:
        os.execve(program, asked["command"], environment)  # noqa: S606 - a shell would be one more program
    except OSError as error:
        return _refuse(folder, f"{program} does not start: {error.strerror}")


def _refuse(folder: Path, cause: str) -> int:
    """Leave the reason why nothing is run, and return the exit code."""
    failure = {"reason": "InternalError", "stage": "Evaluate", "cause": cause}
    (folder / error_file(NAME)).write_text(json.dumps(failure))
    return 1


if __name__ == "__main__":
    sys.exit(main())
