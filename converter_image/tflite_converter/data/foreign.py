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
from tflite_converter.files.strays import stray

_PICKLE = re.compile(rb"\x80[\x02-\x05]|c(numpy|copy_reg|__builtin__)[\w.]*\n|\([ldt]p?\d+\n")
_PRINTED: Final = "numpy.save('data.npy', array) where it was printed"
_FOLDER: Final = "give a folder of images"
_SOUND: Final = "give a folder of WAV or FLAC files, and say how the model was trained to hear them (audio)"
_IDX = re.compile(rb"\0\0[\x08\x09\x0b-\x0e][\x01-\x04]")
_TEXTS: Final[tuple[tuple[re.Pattern[bytes], str, str], ...]] = (
    (
        re.compile(rb"<\?xml"),
        "XML, not a table",
        "save the numbers as a .npy or .csv file; of a download, see whether it is an error message",
    ),
    (
        re.compile(rb"(%[^\n]*\n\s*)*@relation", re.IGNORECASE),
        "an ARFF file",
        "numpy.save('data.npy', scipy.io.arff.loadarff(path)[0].tolist())",
    ),
    (
        re.compile(rb"[-+\d.eE]+(,[-+\d.eE]+)*( \d+:[-+\d.eE]+)+\s*(#.*)?\n"),
        "text of the LIBSVM format",
        "numpy.save('data.npy', sklearn.datasets.load_svmlight_file(path)[0].toarray())",
    ),
    (re.compile(rb"(array\()?\[\[?\s*-?\d[-+.\deE]*\s+-?[\d.]"), "an array as Python prints it", _PRINTED),
    (re.compile(rb"array\(\["), "an array as Python prints it", _PRINTED),
)
_KINDS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"ARROW1", "an Arrow file", "pandas.read_feather(path).to_csv('data.csv', index=False)"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "numpy.save('data.npy', h5py.File(path)['NAME OF THE ARRAY'][:])"),
    (b"MATLAB 5.0", "a MATLAB file", "numpy.save('data.npy', scipy.io.loadmat(path)['NAME OF THE ARRAY'])"),
    (b"\xd0\xcf\x11\xe0", "an old Excel file", "save it as .csv"),
    (b"BZh", "a file compressed by bzip2", "decompress it: bunzip2 --keep"),
    (b"\xfd7zXZ", "a file compressed by xz", "decompress it: unxz --keep"),
    (b"\x28\xb5\x2f\xfd", "a file compressed by zstd", "decompress it: unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive", "pack it as .zip"),
    (b"Rar!", "a RAR archive", "pack it as .zip"),
    (b"%PDF", "a PDF document", "give a .npy, .npz or .csv file, or images"),
    (b"SQLite format 3", "an SQLite database", "export the table as .csv"),
    (b"\xff\xfe\x00\x00", "UTF-32 text", "save it as UTF-8, or as a .npy, .npz or .csv file of numbers"),
    (b"\x89PNG\r\n\x1a\n", "a single image", _FOLDER),
    (b"\xff\xd8\xff", "a single image", _FOLDER),
    (b"GIF8", "a single image", _FOLDER),
    (b"BM", "a single image", _FOLDER),
    (b"II*\x00", "a single image", _FOLDER),
    (b"MM\x00*", "a single image", _FOLDER),
    (b"OggS", "a sound file", _SOUND),
    (b"ID3", "a sound file", _SOUND),
    (b"fLaC", "a sound file", _SOUND),
    (b"Obj\x01", "an Avro file", "save the numbers as a .npy or .csv file"),
    (b"ORC", "an ORC file", "pandas.read_orc(path).to_csv('data.csv', index=False)"),
    (b"\xff\xff\xff\xff", "an Arrow stream", "save the numbers as a .npy or .csv file"),
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
    kind_and_way = _text_kind(head) if _is_text(head) else _binary_kind(path, head)
    return kind_and_way and unreadable(name, f"it is {kind_and_way[0]}", stage, hint=kind_and_way[1])


def _text_kind(head: bytes) -> tuple[str, str] | None:
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return stray(begin) or next(((kind, way) for pattern, kind, way in _TEXTS if pattern.match(begin)), None)


def _binary_kind(path: Path, head: bytes) -> tuple[str, str] | None:
    for magic, kind, way in _KINDS:
        if head.startswith(magic):
            return kind, way
    if _IDX.match(head):
        what = {1: "labels", 3: "images"}.get(head[3], "numbers")
        return f"an IDX file of {what}, as MNIST has them", "numpy.save them as a .npy file"
    if head.startswith(b"RIFF"):
        return ("a single image", _FOLDER) if head[8:12] == b"WEBP" else ("a sound or video file", _SOUND)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_archive(path)
    return None


def _kind_of_archive(path: Path) -> tuple[str, str] | None:
    """Return what a zip archive is that is not meant as one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    if "[Content_Types].xml" in names:
        return "an Excel workbook", "save the sheet as .csv (UTF-8)"
    if "content.xml" in names:
        return "an OpenDocument sheet", "save the sheet as .csv (UTF-8)"
    if any(name.endswith("data.pkl") for name in names):
        way = "numpy.save('data.npy', torch.load(path).numpy())"
        return "a PyTorch file, which holds pickled Python objects", way
    if {"config.json", "metadata.json"} <= set(names):
        return "a Keras model", "give the model with --model, and samples here"
    return None


def _is_text(head: bytes) -> bool:
    """Whether a file begins as UTF-8 text, of which the last character may be cut."""
    try:
        head[: len(head) - 4 if len(head) > 4 else len(head)].decode()
    except UnicodeDecodeError as error:
        return error.end >= len(head) - 4 and b"\0" not in head
    return b"\0" not in head
