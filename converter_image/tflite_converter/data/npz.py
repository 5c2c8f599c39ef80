"""``.npy`` and ``.npz`` files: read without unpickling, and refused where they unpack to too much."""

from __future__ import annotations

import io
import json
import lzma
import math
import mmap
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import numpy as np

from modelconversion_api.limits import MAX_DATA_BYTES
from modelconversion_api.reasons import Stage
from modelconversion_api.text import human_size
from tflite_converter.array_blocks import blocks
from tflite_converter.arrays import Array, IntArray, NamedArrays
from tflite_converter.data.errors import not_finite, unreadable
from tflite_converter.data.foreign import foreign
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.files.names import name_of, readable

MAX_ARRAY_BYTES = MAX_DATA_BYTES
"""Arrays beyond this are refused before they are read: a small .npz can unpack to anything."""
NPY_MAGIC = b"\x93NUMPY"

_NAMES = "names.json"
_HEAD_BYTES: Final = 512
_MAX_HEADER_BYTES: Final = 1 << 16
_ZIP_HEADER_BYTES: Final = 30
_ZIP_ENCRYPTED: Final = 0x1
_BAD_ARCHIVE: Final = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError)
_IN_ITS_HEADER: Final = "it is truncated: it ends within its header"


def read_arrays(
    path: Path,
    stage: Stage,
    *,
    name: str | None = None,
    may_be_text: bool = False,
    most_bytes: int | None = None,
) -> dict[str, Array]:
    """Map the arrays of a ``.npz`` file by name, or of a ``.npy`` file as ``{"data": array}``.

    Each holds numbers and has at least one dimension, the samples. That of a ``.npy`` file is mapped into
    memory: what is not looked at is not read. With ``may_be_text`` an array may hold text as well, which can
    be the names of classes.

    Raises:
        ConverterError: DataUnreadable.

    """
    name = name or name_of(path)
    try:
        if zipfile.is_zipfile(path):
            arrays = _read_npz(path, MAX_ARRAY_BYTES if most_bytes is None else most_bytes)
        else:
            _check_npy(path, stage, name)
            arrays = {"data": np.load(path, mmap_mode="r", allow_pickle=False)}
    except (ValueError, OSError, EOFError, KeyError, *_BAD_ARCHIVE, MemoryError) as error:
        raise _unreadable(name, first_line(error), stage) from error
    if not arrays:
        raise unreadable(name, "it holds no array", stage)
    for key, array in arrays.items():
        if array.dtype.kind not in ("fiubUS" if may_be_text else "fiub"):
            raise no_numbers(key, array, name, stage)
        if array.ndim == 0:
            raise unreadable(name, f"{key!r} is a single number, not samples", stage)
    return arrays


def no_numbers(key: str, array: Array, name: str, stage: Stage) -> ConverterError:
    """Return what to say of an array that holds something else than real numbers."""
    hint = {
        "V": "numpy.lib.recfunctions.structured_to_unstructured(array) makes rows of numbers of it",
        "c": "give the real and the imaginary parts as numbers of their own",
    }.get(array.dtype.kind, "save the numbers alone; text is only for labels")
    return unreadable(name, f"{key!r} holds {array.dtype} values, not real numbers", stage, hint=hint)


def is_npz(path: Path) -> bool:
    """Whether a zip archive holds arrays and nothing else; of a truncated one, whether its first is one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return _begins_with_array(path)
    except (OSError, ValueError):
        return False
    names = [name for name in names if not is_junk(name)]
    return bool(names) and all(name.endswith(".npy") for name in names)


def is_junk(name: str) -> bool:
    """Whether a member of an archive is what an operating system leaves there, or a folder."""
    return name.startswith("__MACOSX/") or name.rpartition("/")[2] in ("", ".DS_Store")


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


def map_array(path: Path, key: str, stage: Stage) -> Array:
    """Map the array of a ``.npy`` file that a process left, which may be anything.

    Raises:
        ConverterError: DataUnreadable.

    """
    if path.is_symlink() or not path.is_file():
        raise _unreadable(key, "it is not there", stage)
    try:
        _check_npy(path, stage, key)
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(key, first_line(error), stage) from error
    return array


def check_finite(
    array: Array,
    name: str,
    stage: Stage,
    indices: IntArray | None = None,
    after_part: Callable[[float], None] = lambda _done: None,
) -> None:
    """Refuses NaN and infinity in ``array``, a block at a time: a memory-mapped file may exceed memory.

    ``indices`` are the places of its samples in the file, where they are not in its order. ``after_part``
    hears how much is done.

    Raises:
        ConverterError: DataNotFinite, with how many there are and where the first one is.

    """
    if array.dtype.kind != "f":
        return
    bad, first = 0, None
    for block in blocks(array):
        after_part(block.start / len(array))
        wrong = ~np.isfinite(array[block])
        if wrong_values := int(wrong.sum()):
            bad += wrong_values
            if first is None:
                at = np.argwhere(wrong)[0]
                first = (block.start + int(at[0]), *map(int, at[1:]))
    if first is not None:
        if indices is not None:
            first = (int(indices[first[0]]), *first[1:])
        count = f"{bad} NaN or infinite value{'s' if bad > 1 else ''}"
        raise not_finite(f"{name} holds {count}, the first at index {first}", stage)


def expect_few_reads(array: Array) -> None:
    """Tell the system that few samples of a mapped file are read: unless told, it reads much around each."""
    mapped = getattr(array, "_mmap", None)
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_RANDOM)


def _read_npz(path: Path, most_bytes: int) -> dict[str, Array]:
    """Raise ``ValueError`` with the true cause for what is no sound archive of arrays."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > most_bytes:
            raise ValueError(f"it unpacks to more than {human_size(most_bytes)}")
        entries = [entry for entry in archive.infolist() if not is_junk(entry.filename)]
        if strange := [entry.filename for entry in entries if not entry.filename.endswith(".npy")]:
            raise ValueError(f"it holds {readable(strange[0])!r}, which is not an array")
        for entry in entries:
            key = entry.filename.removesuffix(".npy")
            if entry.flag_bits & _ZIP_ENCRYPTED:
                raise ValueError(f"its array {readable(key)!r} is encrypted")
            try:
                with archive.open(entry) as member:
                    _check_array(member, entry.file_size)
                with archive.open(entry) as member:
                    arrays[key] = np.lib.format.read_array(member, allow_pickle=False)
            except (ValueError, EOFError, OSError, *_BAD_ARCHIVE) as error:
                raise ValueError(f"its array {readable(key)!r} is bad: {first_line(error)}") from error
    return arrays


def _check_npy(path: Path, stage: Stage, name: str) -> None:
    """Refuse, with the true cause, what is no sound ``.npy`` file."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
        stream.seek(0)
        if head[:4] == b"PK\x03\x04":
            raise ValueError("it is a truncated .npz file: the list of its arrays, at the end, is missing")
        if not head.startswith(NPY_MAGIC) and (error := foreign(path, head, stage)) is not None:
            raise error
        try:
            _check_array(stream, path.stat().st_size)
        except ValueError as error:
            raise _unreadable(name, first_line(error), stage) from error


def _unreadable(name: str, why: str, stage: Stage) -> ConverterError:
    is_damaged = any(word in why for word in ("truncated", "CRC", "corrupt"))
    return unreadable(name, why, stage, hint="copy it again, or save it again" if is_damaged else None)


def _check_array(stream: IO[bytes], size: int) -> None:
    """Compare the header of an array in ``.npy`` format with the ``size`` of the whole, in bytes.

    Raises:
        ValueError: with what is wrong.

    """
    head = stream.read(len(NPY_MAGIC) + 2)
    if not head:
        raise ValueError("it is empty")
    if not head.startswith(NPY_MAGIC[: len(head)]):
        raise ValueError(f"it is no NumPy array: {_beginning(head)}")
    if len(head) < len(NPY_MAGIC) + 2:
        raise ValueError(_IN_ITS_HEADER)
    version = head[len(NPY_MAGIC)], head[len(NPY_MAGIC) + 1]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"it has version {version[0]}.{version[1]} of the NumPy format, which is not known")
    length_bytes = 2 if version == (1, 0) else 4
    length = stream.read(length_bytes)
    text = stream.read(min(int.from_bytes(length, "little"), _MAX_HEADER_BYTES))
    if len(length) < length_bytes or len(text) < min(int.from_bytes(length, "little"), _MAX_HEADER_BYTES):
        raise ValueError(_IN_ITS_HEADER)
    shape, dtype = _read_header(head + length + text, version)
    if dtype.hasobject:
        # numpy recommends allow_pickle=True here, which would run code from the file.
        raise ValueError("it holds pickled Python objects (dtype object), which are never loaded")
    promised = len(head) + length_bytes + len(text) + math.prod(shape) * dtype.itemsize
    if size < promised:
        what = f"its header promises {dtype} numbers of shape {shape}, {promised} bytes, and it has {size}"
        raise ValueError(f"it is truncated: {what}")


def _read_header(content: bytes, version: tuple[int, int]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    stream = io.BytesIO(content)
    np.lib.format.read_magic(stream)
    try:
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    except Exception as error:  # numpy evaluates the header as Python, and lets nearly anything through
        raise ValueError(f"its header is corrupt ({first_line(error)})") from error
    return shape, dtype


def _beginning(head: bytes) -> str:
    """Say how content that is no array begins."""
    if head.isascii() and all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "it holds text"
    return f"it begins with the bytes {head[:6].hex(' ')}"


def _begins_with_array(path: Path) -> bool:
    """Whether the first member of a zip archive, by the header before it, is a ``.npy`` file."""
    with path.open("rb") as stream:
        head = stream.read(_ZIP_HEADER_BYTES)
        if len(head) < _ZIP_HEADER_BYTES or head[:4] != b"PK\x03\x04":
            return False
        return stream.read(int.from_bytes(head[26:28], "little")).endswith(b".npy")
