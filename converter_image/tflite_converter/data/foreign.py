"""Files of data in formats that are not read: named by their first bytes, with a way to one that is."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Final

from modelconversion_api.reasons import Stage
from tflite_converter.data.errors import unreadable
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import name_of

_PICKLE = re.compile(rb"\x80[\x02-\x05]|c(numpy|copy_reg|__builtin__)[\w.]*\n|\([ldt]p?\d+\n")
_KINDS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"PAR1", "a Parquet file", "pandas.read_parquet(path).to_csv('data.csv', index=False)"),
    (b"ARROW1", "an Arrow file", "pandas.read_feather(path).to_csv('data.csv', index=False)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "numpy.save('data.npy', h5py.File(path)['NAME OF THE ARRAY'][:])"),
    (b"MATLAB 5.0", "a MATLAB file", "numpy.save('data.npy', scipy.io.loadmat(path)['NAME OF THE ARRAY'])"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save it as .csv"),
    (b"BZh91AY&SY", "a file compressed by bzip2", "decompress it: bunzip2 --keep"),
    (b"\xfd7zXZ", "a file compressed by xz", "decompress it: unxz --keep"),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd", "decompress it: unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "pack it as .zip"),
    (b"Rar!", "a RAR archive", "pack it as .zip"),
    (b"%PDF", "a PDF document", "give a .npy, .npz or .csv file, or images"),
    (b"SQLite format 3", "an SQLite database", "export the table as .csv"),
    (b"\x00\x00\x08\x01", "an IDX file of labels, as MNIST has them", "numpy.save them as a .npy file"),
    (b"\x00\x00\x08\x03", "an IDX file of images, as MNIST has them", "numpy.save them as a .npy file"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8, or as a .npy, .npz or .csv file of numbers"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8, or as a .npy, .npz or .csv file of numbers"),
)


def is_pickle(head: bytes) -> bool:
    """Whether a file that begins with ``head`` was written by pickle."""
    return _PICKLE.match(head) is not None


def foreign(path: Path, head: bytes, stage: Stage, *, name: str | None = None) -> ConverterError | None:
    """Return what to say of a file that begins with ``head``; None where it is not known.

    ``name`` is what messages call it, the file's own name unless given.
    """
    name = name or name_of(path)
    if is_pickle(head):
        why = "it holds pickled Python objects, which are never loaded"
        return unreadable(name, why, stage, hint="save the array itself: numpy.save('data.npy', array)")
    for magic, kind, way in () if _is_text(head) else _KINDS:
        if head.startswith(magic):
            return unreadable(name, f"it is {kind}", stage, hint=way)
    if head.startswith(b"PK\x03\x04") and _is_workbook(path):
        return unreadable(name, "it is an Excel workbook", stage, hint="save the sheet as .csv (UTF-8)")
    return None


def _is_text(head: bytes) -> bool:
    """Whether a file begins as UTF-8 text, of which the last character may be cut."""
    try:
        head[: len(head) - 4 if len(head) > 4 else len(head)].decode()
    except UnicodeDecodeError as error:
        return error.end >= len(head) - 4 and b"\0" not in head
    return b"\0" not in head


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "[Content_Types].xml" in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return False
