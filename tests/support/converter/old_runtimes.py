"""Runtimes that devices have: each in an environment of its own, made once and kept in the cache."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devcluster.cache import cache_dir, locked
from tflite_converter.arrays import Array

_PROGRAM = Path(__file__).with_name("run_on_runtime.py")
_INSTALL_SECONDS = 300


@dataclass(frozen=True)
class Runtime:
    """One release of a runtime."""

    package: str
    """Name and version, as pip takes them; empty for the one that the project itself uses."""
    tensorflow: str
    """The TensorFlow Lite that it is."""

    def python(self) -> Path | None:
        """Return the interpreter of its environment; None where no wheel fits this Python or machine."""
        if not self.package:
            return Path(sys.executable)
        folder = cache_dir() / f"runtime-{self.package.replace('==', '-')}-py{sys.version_info.minor}"
        python = folder / "bin" / "python"
        with locked(folder.name, lambda: None):
            if python.is_file():
                return python
            partial = folder.with_name(f"{folder.name}.partial")
            subprocess.run(
                [sys.executable, "-m", "venv", "--clear", partial], check=True, capture_output=True
            )
            pip = [partial / "bin" / "python", "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
            words = [*map(str, pip), self.package, "numpy==1.26.4"]
            done = subprocess.run(words, capture_output=True, timeout=_INSTALL_SECONDS, check=False)
            if done.returncode:
                return None
            partial.rename(folder)
        return python


RUNTIMES = (
    Runtime("tflite-runtime==2.14.0", "2.14"),
    Runtime("ai-edge-litert==1.0.1", "2.18"),
    Runtime("", "9.99"),
)
"""What a Raspberry Pi has from PyPI, the first LiteRT, and the one that measures here."""


def run_files(python: Path, files: Mapping[Path, dict[str, Array]], folder: Path) -> dict[str, Any]:
    """Run files on their samples; return outputs and complaints as the program writes them."""
    listed = {}
    for number, (path, samples) in enumerate(files.items()):
        np.savez(folder / f"samples-{number}.npz", **samples)
        listed[str(path)] = str(folder / f"samples-{number}.npz")
    (folder / "list.json").write_text(json.dumps(listed))
    words = [python, _PROGRAM, folder / "list.json", folder / "answers.npz"]
    subprocess.run([str(word) for word in words], check=True, capture_output=True)
    return dict(np.load(folder / "answers.npz"))
