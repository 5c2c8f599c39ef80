"""What the process that reads records is told, and what it answers."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import Stage
from tflite_converter.isolation.parent import Program
from tflite_converter.isolation.protocol import ChildLimits

READING: Final = Program(
    "reading", "tflite_converter.data.records.worker", "the process that reads Parquet and TFRecord"
)
ENCODED_FOLDER: Final = "encoded"
LABELS: Final = "labels"
"""Of the file with the labels, without its suffix."""


class Form(StrEnum):
    """A format of records."""

    PARQUET = "parquet"
    TFRECORD = "tfrecord"


class Wanted(StrEnum):
    """Files that can be in a column."""

    IMAGES = "images"
    SOUNDS = "sounds"


class ReadingJob(ApiModel):
    """Which records to read, and for what."""

    limits: ChildLimits
    form: Form
    files: tuple[Path, ...]
    """Parts of one data set, in their order."""
    name: str
    """What messages call the data."""
    stage: Stage
    label_column: str | None = None
    wanted: Wanted | None = None
    """The kind of files in a column that become samples, as the user said how."""


class ReadingResult(ApiModel):
    """What the process has left in its folder."""

    isolation: tuple[str, ...] = ()
    samples: int
    arrays: tuple[str, ...] = ()
    """Names of the arrays; the first one is in ``0.npy``."""
    files: int = 0
    """How many files there are in :data:`ENCODED_FOLDER`, named by their numbers from 0."""
    label_column: str | None = None
    """The column in the file of labels; None where there is none."""
    class_names: tuple[str, ...] = ()
    """Where the file itself names the classes of its labels."""
    notes: tuple[str, ...] = ()
