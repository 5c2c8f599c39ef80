"""``.npy`` and ``.npz`` files: read without unpickling, and refused where they unpack to too much."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np

from modelconversion_api.limits import MAX_DATA_BYTES
from modelconversion_api.reasons import Stage
from tflite_converter.array_blocks import blocks
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.errors import not_finite, unreadable
from tflite_converter.errors import first_line

MAX_ARRAY_BYTES = MAX_DATA_BYTES
"""Arrays beyond this are refused before they are read: a small .npz can unpack to anything."""
NPY_MAGIC = b"\x93NUMPY"

_NAMES = "names.json"


def read_arrays(path: Path, stage: Stage) -> dict[str, Array]:
    """Map the arrays of a ``.npz`` file by name, or of a ``.npy`` file as ``{"data": array}``.

    Each holds numbers and has at least one dimension, the samples.

    Raises:
        ConverterError: DataUnreadable.

    """
    try:
        if zipfile.is_zipfile(path):
            arrays = _read_npz(path)
        else:
            arrays = {"data": np.load(path, mmap_mode="r", allow_pickle=False)}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, MemoryError) as error:
        raise unreadable(path.name, _why(error), stage) from error
    if not arrays:
        raise unreadable(path.name, "it holds no array", stage)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise unreadable(path.name, f"{name!r} holds {array.dtype} values, not numbers", stage)
        if array.ndim == 0:
            raise unreadable(path.name, f"{name!r} is a single number, not samples", stage)
    return arrays


def is_npz(path: Path) -> bool:
    """Whether a zip archive holds arrays and nothing else."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def write_npz(path: Path, arrays: NamedArrays) -> None:
    """Write ``arrays`` so that :func:`numpy.load` reads them back.

    :func:`numpy.savez` takes names as keyword arguments, so an array called ``file`` breaks it.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def write_folder(folder: Path, arrays: NamedArrays) -> None:
    """Write ``arrays`` for :func:`read_folder` to map: what several processes read, none copies."""
    folder.mkdir(exist_ok=True)
    (folder / _NAMES).write_text(json.dumps(list(arrays)))
    for place, array in enumerate(arrays.values()):
        np.save(folder / f"{place}.npy", array, allow_pickle=False)


def read_folder(folder: Path) -> dict[str, Array]:
    """Map the arrays of :func:`write_folder` into memory for reading."""
    names = json.loads((folder / _NAMES).read_text())
    return {
        name: np.load(folder / f"{place}.npy", mmap_mode="r", allow_pickle=False)
        for place, name in enumerate(names)
    }


def check_finite(array: Array, name: str, stage: Stage) -> None:
    """Refuses NaN and infinity in ``array``, a block at a time: a memory-mapped file may exceed memory.

    Raises:
        ConverterError: DataNotFinite, with how many there are and where the first one is.

    """
    if array.dtype.kind != "f":
        return
    bad, first = 0, None
    for block in blocks(array):
        wrong = ~np.isfinite(array[block])
        if wrong_values := int(wrong.sum()):
            bad += wrong_values
            if first is None:
                at = np.argwhere(wrong)[0]
                first = (block.start + int(at[0]), *map(int, at[1:]))
    if first is not None:
        count = f"{bad} NaN or infinite value{'s' if bad > 1 else ''}"
        raise not_finite(f"{name} holds {count}, the first at index {first}", stage)


def _read_npz(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB")
        if strange := [name for name in archive.namelist() if not name.endswith(".npy")]:
            raise ValueError(f"it holds {strange[0]!r}, which is not an array")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _why(error: BaseException) -> str:
    text = str(error)
    if "pickle" in text or "Python objects" in text:
        # numpy recommends allow_pickle=True here, which would run code from the file.
        return "it holds pickled Python objects, which are never loaded"
    return first_line(error)
