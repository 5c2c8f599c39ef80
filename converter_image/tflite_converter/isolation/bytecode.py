"""Compile a child's libraries before it starts, where nobody has done so yet.

uv installs packages without bytecode unless it is told otherwise. A child may not write into the
installation, so it would compile TensorFlow's 2,500 modules at every start: more work than a conversion.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_HINT = "python -m compileall -q -j 0"


def compile_imports(
    packages: Sequence[str], environment: Mapping[str, str], warn: Callable[[str], None]
) -> None:
    """Import ``packages`` once in a process that may write their bytecode, unless that has been done.

    The process gets ``environment`` and nothing of a model. ``warn`` hears what is done and why, and, where
    the installation cannot be written, which command compiles it. Packages are imported in their order: the
    last one's bytecode shows that all are compiled.
    """
    source = _source(packages[-1]) if packages else None
    if source is None or Path(importlib.util.cache_from_source(str(source))).exists():
        return
    site = source.parents[1]
    if not os.access(source.parent, os.W_OK):
        warn(
            f"the Python packages in {site} are not compiled and cannot be written: every conversion compiles"
            f" them again. To mend it, run as their owner: {_HINT} {site}"
        )
        return
    warn(f"compiling the Python packages in {site}, once")
    writing = {name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # Its failure is no failure here: the child imports the same and says what is wrong.
    subprocess.run(
        [sys.executable, "-P", "-c", f"import {', '.join(packages)}"],
        env=writing,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )


def _source(package: str) -> Path | None:
    """Return the file of a top-level package's ``__init__``; None where it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin) if spec is not None and spec.origin is not None else None
