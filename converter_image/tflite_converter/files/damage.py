"""What is wrong with a file that is cut or damaged, out of what libraries say of it."""

from __future__ import annotations

import re
from typing import Final

from tflite_converter.errors import first_line

_CUT_HDF5: Final = re.compile(r"truncated file: eof = (\d+), .*stored_eof = (\d+)")
_NO_ZIP_LIST: Final = "File is not a zip file"


def damage(error: BaseException) -> str:
    """Return what an exception of :mod:`zipfile`, :mod:`tarfile` or h5py says, in plain words where known."""
    words = first_line(error)
    if (match := _CUT_HDF5.search(words)) is not None:
        return f"it is truncated: {match[1]} of its {match[2]} bytes are there"
    if words == _NO_ZIP_LIST:
        return "it is truncated: the list of what is in it, at the end of a zip file, is missing"
    if isinstance(error, EOFError):
        return f"it is truncated ({words})"
    return words
