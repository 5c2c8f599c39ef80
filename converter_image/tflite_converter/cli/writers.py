"""Who wrote a Keras file, read in a confined process: HDF5 is parsed by native code."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from modelconversion_api.base import ApiModel
from modelconversion_api.spec import SourceFormat


class KerasDescription(NamedTuple):
    """What a Keras file says of itself."""

    writer: str | None
    """E.g. ``keras 2.4.0``; None where the file does not say it."""
    problem: str | None
    """Why the file cannot be converted, where that shows at once."""


class _Description(ApiModel):
    writer: str | None = None
    problem: str | None = None


def keras_description(path: Path, source_format: SourceFormat) -> KerasDescription:
    """Read the version of Keras in the file at ``path``, without a layer of it.

    Raises:
        ConverterError: ConverterCrashed or OutOfMemory where the file breaks the library that reads it.

    """
    from tflite_converter.isolation.isolated import run_isolated

    def read() -> _Description:
        return _described(path, source_format)

    words = f"reading {path.name}"
    found = run_isolated(words, _Description, [path], read, who="the process that reads Keras files")
    return KerasDescription(found.writer, found.problem)


def _described(path: Path, source_format: SourceFormat) -> _Description:
    from tflite_converter.errors import ConverterError
    from tflite_converter.original.keras_files import describe, version_of

    version = version_of(path, source_format)
    writer = None if version is None else f"keras {version}"
    try:
        describe(path, source_format)
    except ConverterError as error:
        return _Description(writer=writer, problem=error.message)
    return _Description(writer=writer)
