"""What the programs of this package have in common: errors told in a line, and files that are generated."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from devcluster.errors import DevClusterError


def tells_errors(main: Callable[[], int]) -> Callable[[], int]:
    """Make a program say what is wrong, and end with 1, where it raises :class:`DevClusterError`."""

    @functools.wraps(main)
    def run() -> int:
        try:
            return main()
        except DevClusterError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run


def write_or_check(wanted: Mapping[Path, str], root: Path, *, check: bool, source: str, command: str) -> int:
    """Write generated files below ``root``; with ``check`` only say which are not what ``source`` makes.

    Returns the exit code: 1 where ``check`` found one that ``command`` has to write.
    """
    outdated = [file for file, text in wanted.items() if not file.exists() or file.read_text() != text]
    for file, text in wanted.items():
        name = file.relative_to(root)
        if file not in outdated:
            print(f"{name} is up to date")
        elif check:
            print(f"error: {name}: out of date with {source}: run `{command}`", file=sys.stderr)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            print(f"wrote {name}")
    return 1 if outdated and check else 0
