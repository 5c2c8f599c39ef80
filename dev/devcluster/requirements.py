"""Writes what the container images install, from uv.lock: ``python -m devcluster.requirements [--check]``.

pip reads these files in the images' builds, where uv is not wanted. Every package has its digests, so that a
registry cannot give a build anything but what the lock has seen.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from typing import Final

from .cache import REPOSITORY
from .errors import DevClusterError, ProcessError

FILES: Final = {
    "operator/requirements.txt": ("--no-dev", "--extra", "operator"),
    "converter_image/requirements.txt": ("--no-dev", "--extra", "converter"),
    "dev/build-requirements.txt": ("--only-group", "build"),
}
"""Each file, and which part of uv.lock is in it."""
_HEADER: Final = "# From uv.lock, by `make requirements`; `make lint` checks that it is up to date.\n"


def exported(selection: tuple[str, ...]) -> str:
    """A part of uv.lock, as pip reads it."""
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` sets UV to its own path
    if uv is None:
        raise ProcessError("uv is missing: `source dev/bootstrap.sh` installs it")
    command = [uv, "export", "--quiet", "--locked", "--no-emit-project", "--format=requirements-txt"]
    command += ["--no-header", "--no-annotate", *selection]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if result.returncode:
        raise ProcessError(f"{' '.join(command)} failed: {result.stderr.strip()}")
    return _HEADER + result.stdout


def main() -> int:
    """Write the files, or say which are out of date."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.requirements", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is out of date")
    options = parser.parse_args()
    stale = []
    try:
        for name, selection in FILES.items():
            file, text = REPOSITORY / name, exported(selection)
            if file.exists() and file.read_text() == text:
                continue
            stale.append(name)
            if not options.check:
                file.write_text(text)
    except DevClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if stale and options.check:
        print(f"{', '.join(stale)} is not what uv.lock says: run `make requirements`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
