"""Names of what an engine and the converter leave for each other in one folder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

FLOAT_FILE: Final = "float.tflite"
"""What ``convert`` writes: float weights, one signature."""
EVALUATION_FOLDER: Final = "evaluation"
"""The samples that ``run`` runs the original on, in the layout of the file's inputs."""
REFERENCE_FOLDER: Final = "reference"
"""What ``run`` writes: the original's outputs, in the layout of the file's outputs."""
_NAMES: Final = "names.json"


def result_file(program: str) -> str:
    """Name of the file that ``program`` leaves when it is done."""
    return f"{program}.result.json"


def error_file(program: str) -> str:
    """Name of the file that ``program`` leaves when it gives up."""
    return f"{program}.error.json"


def write_names(folder: Path, names: Iterable[str]) -> list[Path]:
    """Make ``folder`` for arrays, and return where each is to be written, as ``.npy`` without pickle.

    Names stand in a file of their own: those of tensors may be anything, and those of files may not.
    """
    folder.mkdir(exist_ok=True)
    named = list(names)
    (folder / _NAMES).write_text(json.dumps(named))
    return [folder / f"{place}.npy" for place in range(len(named))]


def read_names(folder: Path) -> dict[str, Path]:
    """Return where the arrays of :func:`write_names` are, by name.

    Raises:
        OSError, ValueError: there are none, or the list of names is none.

    """
    names = json.loads((folder / _NAMES).read_text())
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{_NAMES} is no list of names")
    return {name: folder / f"{place}.npy" for place, name in enumerate(names)}
