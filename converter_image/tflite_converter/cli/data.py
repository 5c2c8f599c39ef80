"""The flags that name data, as the files that are read."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol, overload

from modelconversion_api.fields.audio import Audio
from modelconversion_api.fields.data import Images, Task, Validation
from modelconversion_api.fields.detection import Detection
from tflite_converter.cli.given import Given
from tflite_converter.cli.groups import AUDIO, DETECTION, IMAGES
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


def detection_of(given: Given, validation: Validation) -> Detection | None:
    """Return how a detector's outputs are read; None for what is no detector.

    Raises:
        UsageError: The task is Detection without a decoder, or there is a decoder, or a value of masks that
            counts for nothing, for another task.

    """
    task = validation.task
    if validation.ignore_label is not None and task is not Task.SEGMENTATION:
        raise UsageError("--ignore-label is for masks", hint="add --task Segmentation, or leave it out")
    detection = given.build_asked(DETECTION)
    if detection is None and task is Task.DETECTION:
        hint = "say by --decoder what the model's outputs hold, e.g. --decoder YOLOv8"
        raise UsageError("--task Detection needs --decoder", hint=hint)
    if detection is not None and task is not Task.DETECTION:
        raise UsageError("--decoder is for detectors", hint="add --task Detection, or leave it out")
    return detection


@overload
def data_files(
    data: _Required,
    decoding: Decoding,
    *,
    shared_column: bool = ...,
    task: Task | None = ...,
    detection: Detection | None = ...,
) -> DataFiles: ...
@overload
def data_files(
    data: _Optional | None,
    decoding: Decoding,
    *,
    shared_column: bool = ...,
    task: Task | None = ...,
    detection: Detection | None = ...,
) -> DataFiles | None: ...
def data_files(
    data: _Optional | None,
    decoding: Decoding,
    *,
    shared_column: bool = False,
    task: Task | None = None,
    detection: Detection | None = None,
) -> DataFiles | None:
    """Return the files of one kind of data; None where none was named.

    With ``shared_column``, the column of labels may be meant for other data: a file of labels wins over it.
    ``task`` and ``detection`` say what labels may be where models are measured on the data.
    """
    if data is None or data.uri is None:
        return None
    labels = None if data.labels_uri is None else Path(data.labels_uri)
    column = None if shared_column and labels is not None else data.label_column
    first = None if detection is None else detection.first_category
    return DataFiles(Path(data.uri), labels, column, decoding.images, decoding.audio, task, first)
