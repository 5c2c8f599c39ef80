"""The program ``kubectl_complete-mconv``, which kubectl asks what could come next on its command line.

kubectl gives the words after ``kubectl mconv``, the last of which is not finished, and reads a line for each
word that fits and then a directive of cobra's: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from typing import Final

from modelconversion_client.plugin.main import app

_PROGRAM: Final = "kubectl-mconv"
_FILES, _NO_FILES = ":0", ":4"
"""Whether the shell completes names of files: where nothing else fits."""


def completions(words: list[str]) -> list[str]:
    """Return what could stand in the place of the last word."""
    # Typer completes by its script for bash, which hands the line over like this.
    os.environ |= {
        "_KUBECTL_MCONV_COMPLETE": "complete_bash",
        "COMP_WORDS": shlex.join([_PROGRAM, *words]),
        "COMP_CWORD": str(len(words)),
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        app(prog_name=_PROGRAM)
    return list(filter(None, printed.getvalue().splitlines()))


def main() -> None:
    """Answer kubectl."""
    found = completions(sys.argv[1:] or [""])
    sys.stdout.write("\n".join([*found, _NO_FILES if found else _FILES, ""]))
