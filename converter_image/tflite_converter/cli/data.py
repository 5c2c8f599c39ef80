"""The flags that name data, as the files that are read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol, overload

from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images
from tflite_converter.cli.given import Given
from tflite_converter.cli.groups import AUDIO, IMAGES
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import UsageError


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


class Decoding(NamedTuple):
    """How files become samples; at most one of the two is given."""

    images: Images | None
    audio: Audio | None


def decoding_of(given: Given) -> Decoding:
    """Return how images or sounds become samples; None for both where the data are numbers.

    Raises:
        UsageError: A flag lacks others, e.g. ``--image-resize`` without ``--image-scaling``; flags for images
            and for sounds.

    """
    images = given.build(IMAGES) if given.fields(IMAGES) else None
    audio = given.build(AUDIO) if given.fields(AUDIO) else None
    if images is not None and audio is not None:
        hint = "data hold images or sounds: leave out the flags of one"
        raise UsageError("--image-scaling and --audio-features exclude each other", hint=hint)
    return Decoding(images, audio)


@overload
def data_files(data: _Required, decoding: Decoding, *, shared_column: bool = ...) -> DataFiles: ...
@overload
def data_files(
    data: _Optional | None, decoding: Decoding, *, shared_column: bool = ...
) -> DataFiles | None: ...
def data_files(
    data: _Optional | None, decoding: Decoding, *, shared_column: bool = False
) -> DataFiles | None:
    """Return the files of one kind of data; None where none was named.

    With ``shared_column``, the column of labels may be meant for other data: a file of labels wins over it.
    """
    if data is None or data.uri is None:
        return None
    labels = None if data.labels_uri is None else Path(data.labels_uri)
    column = None if shared_column and labels is not None else data.label_column
    return DataFiles(Path(data.uri), labels, column, decoding.images, decoding.audio)
