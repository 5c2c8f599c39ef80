"""From a file of records to columns in a folder, whatever the format: what runs in the confined process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from modelconversion_api.limits import MAX_DATA_BYTES
from tflite_converter.data.errors import unreadable
from tflite_converter.data.records.messages import Form, ReadingJob, ReadingResult


def read(
    job: ReadingJob,
    folder: Path,
    *,
    most_bytes: int = MAX_DATA_BYTES,
    tell: Callable[[float], None] = lambda _done: None,
) -> ReadingResult:
    """Write the columns into ``folder``, and say what is there.

    ``most_bytes`` is the most that they may take there. ``tell`` hears how much is done.

    Raises:
        ConverterError: DataUnreadable, LabelsMismatch; NoSpace.

    """
    if job.form is Form.PARQUET:
        try:
            from tflite_converter.data.records import parquet  # its library is for this format only
        except ImportError as error:  # as in the image for boards
            hint = "read it where the whole converter is installed, or save it as a .npy file"
            raise unreadable(job.name, "there is no reader of Parquet here", job.stage, hint=hint) from error
        return parquet.read(job, folder, most_bytes, tell)
    from tflite_converter.data.records import tfrecord

    return tfrecord.read(job, folder, most_bytes, tell)
