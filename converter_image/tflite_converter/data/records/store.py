"""Columns as they are written into a folder: numbers into .npy files that grow, files as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np

from modelconversion_api.limits import MAX_DATA_BYTES
from modelconversion_api.reasons import Stage
from modelconversion_api.text import human_size
from tflite_converter.arrays import Array
from tflite_converter.data.errors import unreadable
from tflite_converter.data.images import MAX_IMAGES
from tflite_converter.data.records.messages import ENCODED_FOLDER
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.files.names import readable

MAX_TEXT: Final = 1024
"""Characters of the name of a class."""


class Store:
    """A folder that takes the columns of one data set, up to the limit of a data set.

    Use it as a context: the files are whole afterwards.
    """

    def __init__(self, folder: Path, name: str, stage: Stage, most_bytes: int = MAX_DATA_BYTES) -> None:
        self._folder = folder
        self._name = name
        self._stage = stage
        self._left = self._most = most_bytes
        self._growing: dict[str, _Growing] = {}
        self._texts: dict[str, list[str]] = {}
        self.files = 0

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is None:
            for file, texts in self._texts.items():
                np.save(self._folder / f"{file}.npy", np.array(texts, dtype=np.str_), allow_pickle=False)
        for growing in self._growing.values():
            growing.close()

    def add_numbers(self, file: str, column: str, values: Array, row: int) -> None:
        """Append ``values``, shape ``(n, ...)``, to ``FILE.npy``; ``row`` is the number of the first.

        Raises:
            ConverterError: DataUnreadable for samples of another shape than those before, or too many;
                NoSpace.

        """
        self._take(values.nbytes)
        growing = self._growing.get(file)
        if growing is None:
            growing = self._growing[file] = _Growing(self._folder / f"{file}.npy", values)
        if values.shape[1:] != growing.shape:
            got, first = _sized(values.shape[1:]), _sized(growing.shape)
            why = f"row {row} of its column {readable(column)!r} has {got}, and row 0 has {first}"
            raise unreadable(self._name, why, self._stage, hint=SAME_LENGTH)
        try:
            growing.write(values)
        except OSError as error:
            raise from_os_error(error, self._stage, f"unpacking {self._name}") from error

    def add_texts(self, file: str, column: str, texts: Sequence[str], row: int) -> None:
        """Append names of classes, which are short."""
        self._take(sum(map(len, texts)))
        for place, text in enumerate(texts):
            if len(text) > MAX_TEXT or "\0" in text:
                why = f"row {row + place} of its column {readable(column)!r} holds no name of a class"
                raise unreadable(self._name, why, self._stage, hint="give short names, or numbers")
        self._texts.setdefault(file, []).extend(texts)

    def add_files(self, contents: Iterable[bytes]) -> None:
        """Write images or sounds as files, named by their numbers.

        Raises:
            ConverterError: DataUnreadable for too many, or too large ones; NoSpace.

        """
        folder = self._folder / ENCODED_FOLDER
        folder.mkdir(exist_ok=True)
        for content in contents:
            self._take(len(content))
            if self.files == MAX_IMAGES:
                why = f"it holds more than {MAX_IMAGES} files"
                raise unreadable(self._name, why, self._stage, hint="give a part of it")
            try:
                (folder / str(self.files)).write_bytes(content)
            except OSError as error:
                raise from_os_error(error, self._stage, f"unpacking {self._name}") from error
            self.files += 1

    def _take(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise too_large(self._name, self._stage, self._most)


SAME_LENGTH: Final = "give every row the same number of values: pad or cut them as the model was trained"


def too_large(name: str, stage: Stage, most_bytes: int) -> ConverterError:
    """Return what to say of data that unpack to more than may be."""
    why = f"it unpacks to more than {human_size(most_bytes)}"
    return unreadable(name, why, stage, hint="give a part of it: calibration takes a few hundred samples")


class _Growing:
    """A ``.npy`` file whose number of rows is known at its end only."""

    def __init__(self, path: Path, first: Array) -> None:
        self.shape = first.shape[1:]
        self._dtype = first.dtype
        self._rows = 0
        self._stream: IO[bytes] = path.open("xb")
        self._write_header()
        self._start = self._stream.tell()

    def write(self, values: Array) -> None:
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._rows += len(values)

    def close(self) -> None:
        self._stream.seek(0)
        self._write_header()
        if self._stream.tell() != self._start:  # numpy leaves room for the digits of the first dimension
            raise AssertionError("the header of a .npy file has grown")
        self._stream.close()

    def _write_header(self) -> None:
        header = np.lib.format.header_data_from_array_1_0(np.empty((0, *self.shape), self._dtype))
        np.lib.format.write_array_header_1_0(self._stream, {**header, "shape": (self._rows, *self.shape)})


def _sized(shape: tuple[int, ...]) -> str:
    count = math.prod(shape)
    return f"{count} value{'' if count == 1 else 's'}" + (f" ({shape})" if len(shape) > 1 else "")
