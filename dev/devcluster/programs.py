"""What the programs of this package have in common: errors told in a line, and files that are generated."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec

from devcluster.cache import REPOSITORY
from devcluster.errors import DevClusterError

P = ParamSpec("P")


def tells_errors(main: Callable[P, int]) -> Callable[P, int]:
    """Make a program say what is wrong, and end with 1, where it raises :class:`DevClusterError`."""

    @functools.wraps(main)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except DevClusterError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1

    return run


@tells_errors
def generate(files: Callable[[], Mapping[Path, str]], *, program: str, words: str, source: str) -> int:
    """Write generated files, or with ``--check`` say which are not what ``source`` makes.

    Args:
        files: Make the text of each file.
        program: The module that ``python -m`` runs.
        words: Description for ``--help``.
        source: Where the files come from, for messages.

    Returns:
        The exit code: 1 where ``--check`` found a file that is out of date, and where making one failed.

    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=words)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    check = parser.parse_args().check
    texts = files()
    outdated = [file for file, text in texts.items() if not file.exists() or file.read_text() != text]
    for file, text in texts.items():
        name = file.relative_to(REPOSITORY)
        if file not in outdated:
            print(f"{name} is up to date")
        elif check:
            print(f"error: {name}: out of date with {source}: run `make generated`", file=sys.stderr)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            print(f"wrote {name}")
    return 1 if outdated and check else 0
