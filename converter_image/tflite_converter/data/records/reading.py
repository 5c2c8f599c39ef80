"""The parent's side of records: starts the process that reads them, and takes what it left as data."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conversion_engine.process import is_confined
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import printable
from tflite_converter.arrays import Array
from tflite_converter.data.errors import unreadable
from tflite_converter.data.npz import map_array
from tflite_converter.data.records.making import read
from tflite_converter.data.records.messages import (
    ENCODED_FOLDER,
    LABELS,
    READING,
    Form,
    ReadingJob,
    ReadingResult,
    Wanted,
)
from tflite_converter.errors import ConverterError, from_os_error
from tflite_converter.isolation import machine
from tflite_converter.isolation.parent import DEFAULT_SILENCE_SECONDS, Watch, run_worker
from tflite_converter.isolation.protocol import ChildLimits
from tflite_converter.progress import Listener

_LEAST_MEMORY_BYTES: Final = 1 << 30
"""What the process may take at least: a batch of rows, and the page of each column that they lie in."""
_SHARE_OF_MEMORY: Final = 2
"""It may take half of what there is where that is more: a wide table has many pages."""


@dataclass(frozen=True)
class Records:
    """What a file of records holds."""

    arrays: dict[str, Array]
    """Samples by name, mapped into memory; empty for files."""
    files: tuple[Path, ...]
    """Images or sounds, absolute."""
    labels: Array | None
    """As the file has them: numbers, or text."""
    label_column: str | None
    class_names: tuple[str, ...]
    notes: tuple[str, ...]


def read_records(
    files: Sequence[Path],
    form: Form,
    folder: Path,
    *,
    name: str,
    stage: Stage,
    label_column: str | None,
    wanted: Wanted | None,
    tell: Listener,
) -> Records:
    """Read files of records, parts of one data set, in a process of their own.

    What it writes is under ``folder`` and must stay there while the data is in use. A process that is
    confined already cannot start another, and reads them itself.

    Args:
        files: The files in their order.
        form: Their format.
        folder: Where to unpack; it is made when it is not there.
        name: What messages call the data.
        stage: The stage to blame.
        label_column: The column of labels that the user names.
        wanted: The files in a column that become samples.
        tell: Hears of progress.

    Raises:
        ConverterError: DataUnreadable, DataTooFew, LabelsMismatch; NoSpace.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="records-", dir=folder.resolve()))
    except OSError as error:
        raise from_os_error(error, stage, f"unpacking {name}") from error
    job = ReadingJob(
        limits=ChildLimits(
            readable=tuple(path.resolve() for path in files), memory_limit_bytes=_memory_limit()
        ),
        form=form,
        files=tuple(path.resolve() for path in files),
        name=name,
        stage=stage,
        label_column=label_column,
        wanted=wanted,
    )
    result = read(job, place) if is_confined() else _apart(job, place, tell)
    if result.samples <= 0:
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, f"{name} holds no sample")
    return Records(
        {key: map_array(place / f"{number}.npy", key, stage) for number, key in enumerate(result.arrays)},
        _encoded(place / ENCODED_FOLDER, result.files, name, stage),
        None if result.label_column is None else map_array(place / f"{LABELS}.npy", LABELS, stage),
        result.label_column,
        result.class_names,
        tuple(map(printable, result.notes)),
    )


def _memory_limit() -> int:
    return max(_LEAST_MEMORY_BYTES, (machine.memory_limit_bytes() or 0) // _SHARE_OF_MEMORY)


def _apart(job: ReadingJob, place: Path, tell: Listener) -> ReadingResult:
    try:
        return run_worker(READING, job, ReadingResult, place, Watch(DEFAULT_SILENCE_SECONDS, None), tell)
    except ConverterError as error:
        if error.reason not in (FailureReason.CONVERTER_CRASHED, FailureReason.OUT_OF_MEMORY):
            raise
        # Native code that is handed nonsense, or a page that unpacks to gigabytes.
        why = f"it is corrupt, or a part of it is too large ({error.cause})"
        raise unreadable(job.name, why, job.stage, hint=_SMALLER) from error


_SMALLER: Final = "write it again, with smaller row groups or records"


def _encoded(folder: Path, count: int, name: str, stage: Stage) -> tuple[Path, ...]:
    """Return the files of a column, of which the process may have made anything."""
    files = tuple(folder / str(number) for number in range(count))
    if any(folder.is_symlink() or path.is_symlink() or not path.is_file() for path in files):
        raise unreadable(name, "the process that read it left no files", stage, hint=_SMALLER)
    return files
