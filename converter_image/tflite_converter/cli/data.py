"""The flags that name data, as the files that are read."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, overload

from modelconversion_api.data import Images
from tflite_converter.cli.given import Given
from tflite_converter.cli.groups import IMAGES
from tflite_converter.data.files import DataFiles


class _Labels(Protocol):
    @property
    def labels_uri(self) -> str | None: ...
    @property
    def label_column(self) -> str | None: ...


class _Required(_Labels, Protocol):
    @property
    def uri(self) -> str: ...


class _Optional(_Labels, Protocol):
    @property
    def uri(self) -> str | None: ...


def images_of(given: Given) -> Images | None:
    """Return how images become samples; None where the data are no images.

    Raises:
        UsageError: ``--image-resize`` without ``--image-scaling``.

    """
    return given.build(IMAGES) if given.fields(IMAGES) else None


@overload
def data_files(data: _Required, images: Images | None, *, shared_column: bool = ...) -> DataFiles: ...
@overload
def data_files(
    data: _Optional | None, images: Images | None, *, shared_column: bool = ...
) -> DataFiles | None: ...
def data_files(
    data: _Optional | None, images: Images | None, *, shared_column: bool = False
) -> DataFiles | None:
    """Return the files of one kind of data; None where none was named.

    With ``shared_column``, the column of labels may be meant for other data: a file of labels wins over it.
    """
    if data is None or data.uri is None:
        return None
    labels = None if data.labels_uri is None else Path(data.labels_uri)
    column = None if shared_column and labels is not None else data.label_column
    return DataFiles(Path(data.uri), labels, column, images)
