"""Files that are no models, made by hand: what a person may well upload by mistake, or with bad intent."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from source_plan import Case

from modelconversion_api.reasons import FailureReason

_HUGE = (3 << 30,)
"""Bytes of weights that a file of a few kilobytes declares: HDF5 gives no room to what is not written."""


@dataclass(frozen=True)
class HandMade:
    """A file, and what must be said of it."""

    name: str
    suffix: str
    words: str
    case: Case
    make: Callable[[Path], None]


def make_file(file: HandMade, folder: Path) -> Path:
    """The file, in ``folder``."""
    path = folder / file.name
    file.make(path)
    return path


def huge_h5(path: Path) -> None:
    """A Keras .h5 file that declares 3 GiB of weights and has a few kilobytes."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": []}})
        file.create_dataset("model_weights/dense/kernel", _HUGE, np.int8, chunks=(1 << 20,))


def huge_keras(path: Path) -> None:
    """The same as a .keras file."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file.create_dataset("layers/dense/vars/0", _HUGE, np.int8, chunks=(1 << 20,))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.6.0"}))
        archive.writestr("config.json", json.dumps({"class_name": "Sequential", "config": {"layers": []}}))
        archive.writestr("model.weights.h5", weights.getvalue())


def _other_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros(3)


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")


def _bytes(content: bytes) -> Callable[[Path], None]:
    return lambda path: _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


_FORMAT, _UNREADABLE = FailureReason.UNSUPPORTED_FORMAT, FailureReason.UNREADABLE_MODEL
_TOO_LARGE = FailureReason.SOURCE_TOO_LARGE

FILES = (
    HandMade("huge.h5", "h5", "3 GiB of weights declared", Case("huge.h5", _TOO_LARGE, "3.0GiB"), huge_h5),
    HandMade(
        "huge.keras",
        "keras",
        "3 GiB of weights declared",
        Case("huge.keras", _TOO_LARGE, "3.0GiB"),
        huge_keras,
    ),
    HandMade("images.h5", "h5", "HDF5 without Keras", Case("images.h5", _FORMAT, "'images'"), _other_h5),
    HandMade(
        "model.pt", "zip", "a pickle in a .zip", Case("model.pt", _FORMAT, "a PyTorch file"), _other_zip
    ),
    HandMade(
        "model.pkl", ".pkl", "a pickle", Case("model.pkl", _FORMAT, "pickled"), _bytes(b"\x80\x04}\x94.")
    ),
    HandMade("model.h5", "h5", "random bytes", Case("r", _FORMAT, "8e "), _bytes(b"\x8e" * 64)),
    HandMade("empty.h5", "h5", "an empty file", Case("empty.h5", _UNREADABLE, "is empty"), _bytes(b"")),
)
