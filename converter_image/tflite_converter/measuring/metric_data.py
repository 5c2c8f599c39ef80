"""What a user's own metrics get: outputs and labels as ``.npz`` files, of as many samples as fit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from modelconversion_api.fields.metrics import LABELS_FILE, ORIGINAL
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.npz import write_npz

LABELS: Final = "labels"
"""The array in the file of labels."""
MOST_BYTES: Final = 256 << 20
"""Most bytes of one file's arrays; one sample is always there, however large it is."""
LARGEST_FILE: Final = 1 << 30
"""Most bytes that are taken over from a child."""


def fitting(outputs: NamedArrays, labels: Array | None) -> int:
    """Return how many samples of ``{output: (n, ...)}`` and ``labels`` ``(n, ...)`` are given."""
    count = len(next(iter(outputs.values())))
    largest = max(sum(values.nbytes for values in outputs.values()), 0 if labels is None else labels.nbytes)
    each = largest / max(1, count)
    return min(count, max(1, int(MOST_BYTES / max(1.0, each))))


def write_basis(folder: Path, outputs: NamedArrays, labels: Array | None) -> int:
    """Write the original's outputs, and the labels as they were given; return how many samples there are."""
    folder.mkdir(exist_ok=True)
    count = fitting(outputs, labels)
    write_outputs(folder / f"{ORIGINAL}.npz", outputs, count)
    if labels is not None:
        write_npz(folder / LABELS_FILE, {LABELS: labels[:count]})
    return count


def write_outputs(path: Path, outputs: NamedArrays, count: int) -> None:
    """Write the first ``count`` samples of ``{output: (n, ...)}``."""
    write_npz(path, {name: values[:count] for name, values in outputs.items()})
