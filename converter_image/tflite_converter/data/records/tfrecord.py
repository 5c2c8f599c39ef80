"""TFRecord files of ``tf.train.Example``: a feature is a column, of one kind and length in all records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from tflite_converter.data.audio.headers import is_sound
from tflite_converter.data.errors import unreadable
from tflite_converter.data.images import is_image
from tflite_converter.data.records.columns import Column, Kind, Plan, plan
from tflite_converter.data.records.example import ExampleError, SequenceError, Value, parse
from tflite_converter.data.records.frames import FrameError, records
from tflite_converter.data.records.messages import LABELS, ReadingJob, ReadingResult, Wanted
from tflite_converter.data.records.store import SAME_LENGTH, Store
from tflite_converter.errors import ConverterError
from tflite_converter.files.names import name_of, readable

_BATCH: Final = 256
"""So many records are written at once."""
_BATCH_BYTES: Final = 16 << 20
_LONGEST_TEXT: Final = 1024
_HEAD_BYTES: Final = 12
_SEQUENCE: Final = "it holds tf.train.SequenceExample, whose samples have no one length"


def read(job: ReadingJob, folder: Path, most_bytes: int, tell: Callable[[float], None]) -> ReadingResult:
    """Write the features of all records into ``folder``; the files are parts of one data set.

    Raises:
        ConverterError: DataUnreadable, with the number of the record; LabelsMismatch; NoSpace.

    """
    chosen: Plan | None = None
    done = 0
    with Store(folder, job.name, job.stage, most_bytes) as store:
        writer: _Writer | None = None
        for part, path in enumerate(job.files):
            for number, features in _examples(path, job, most_bytes):
                if writer is None:
                    chosen = _planned(features, job)
                    writer = _Writer(job, store, chosen)
                writer.add(features, done, f"record {number}{_inside(path, job)}")
                done += 1
            tell((part + 1) / len(job.files))
        if writer is not None:
            writer.flush()
    if chosen is None:
        return ReadingResult(samples=0)
    notes = chosen.notes
    if writer is not None and writer.raw:
        feature = f"the bytes of the feature {readable(min(writer.raw))!r} of {job.name}"
        notes += (f"{feature} are no file: each was taken for a number from 0 to 255",)
    return ReadingResult(
        samples=done,
        arrays=() if chosen.encoded else chosen.samples,
        files=store.files,
        label_column=chosen.labels,
        notes=notes,
    )


def _inside(path: Path, job: ReadingJob) -> str:
    return "" if len(job.files) == 1 else f" of {name_of(path)}"


def _examples(path: Path, job: ReadingJob, most_bytes: int) -> Iterator[tuple[int, dict[str, Value]]]:
    """Yield the number of each record in its file, from 0, and its features."""
    number = 0
    try:
        for number, record in enumerate(records(path, most_bytes)):
            yield number, parse(record)
    except FrameError as error:
        why = f"record {error.number}{_inside(path, job)}: {error.why}"
        hint = "copy it again, or write it again"
        raise unreadable(job.name, why, job.stage, hint=hint) from error
    except SequenceError as error:
        hint = "write one tf.train.Example for each sample, with features of one length"
        raise unreadable(job.name, _SEQUENCE, job.stage, hint=hint) from error
    except ExampleError as error:
        why = f"record {number}{_inside(path, job)} is no tf.train.Example: {error}"
        hint = "write one tf.train.Example for each sample"
        raise unreadable(job.name, why, job.stage, hint=hint) from error


def _planned(features: dict[str, Value], job: ReadingJob) -> Plan:
    # The order of a map's entries in a record means nothing, and differs from record to record.
    columns = {name: _column(features[name]) for name in sorted(features)}
    if not columns:
        hint = "write one tf.train.Example for each sample"
        raise unreadable(job.name, "its first record has no feature", job.stage, hint=hint)
    return plan(
        columns,
        job.label_column,
        wanted=job.wanted,
        ordered=False,
        name=job.name,
        stage=job.stage,
    )


def _column(value: Value) -> Column:
    if len(value) == 0:
        return Column(Kind.OTHER, "nothing in the first record")
    if not isinstance(value, list):
        return Column(Kind.NUMBER if len(value) == 1 else Kind.TENSOR, "numbers")
    if len(value) > 1:
        return Column(Kind.OTHER, "several texts for each sample")
    if (found := _file_kind(value[0])) is not None:
        return Column(Kind.ENCODED, found.value)
    return Column(Kind.TEXT, "text") if _text(value[0]) is not None else Column(Kind.TENSOR, "bytes")


def _file_kind(content: bytes) -> Wanted | None:
    if is_image(content):
        return Wanted.IMAGES
    return Wanted.SOUNDS if is_sound(content[:_HEAD_BYTES]) else None


def _text(content: bytes) -> str | None:
    """Return short bytes that are text as such; None for others."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if len(text) <= _LONGEST_TEXT and text.isprintable() else None


class _Writer:
    """Collects records, and brings them into a store."""

    def __init__(self, job: ReadingJob, store: Store, chosen: Plan) -> None:
        self._job = job
        self._store = store
        self._encoded = chosen.samples[0] if chosen.encoded else None
        arrays = () if chosen.encoded else chosen.samples
        self._files = {name: str(place) for place, name in enumerate(arrays)}
        if chosen.labels is not None:
            self._files[chosen.labels] = LABELS
        self._values: dict[str, list[Value]] = {name: [] for name in self._files}
        self._waiting = self._bytes = 0
        self._row = 0
        self.raw: set[str] = set()
        """Features whose bytes were taken for numbers."""

    def add(self, features: dict[str, Value], row: int, place: str) -> None:
        """Add a record; ``place`` is what messages call it."""
        if self._encoded is not None:
            self._store.add_files([self._file(features, self._encoded, place)])
        for name, values in self._values.items():
            value = self._value(features, name, place)
            if values and (len(value) != len(values[0]) or type(value) is not type(values[0])):
                why = f"{place} has {len(value)} values in {readable(name)!r}, others have {len(values[0])}"
                raise unreadable(self._job.name, why, self._job.stage, hint=SAME_LENGTH)
            if values and not isinstance(value, list) and value.dtype != np.asarray(values[0]).dtype:
                why = f"{place} has {value.dtype} in {readable(name)!r}, others have another type"
                raise unreadable(self._job.name, why, self._job.stage, hint="write one type of list")
            values.append(value)
            self._bytes += sum(map(len, value)) if isinstance(value, list) else value.nbytes
        self._waiting += 1
        if self._waiting == _BATCH or self._bytes > _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is collected."""
        for name, values in self._values.items():
            if values and isinstance(values[0], list):
                texts = [each[0].decode() for each in values if isinstance(each, list)]
                self._store.add_texts(self._files[name], name, texts, self._row)
            elif values:
                numbers = np.stack([np.asarray(each) for each in values])
                if numbers.shape[1] == 1:
                    numbers = numbers[:, 0]
                self._store.add_numbers(self._files[name], name, numbers, self._row)
            values.clear()
        self._row += self._waiting
        self._waiting = self._bytes = 0

    def _file(self, features: dict[str, Value], name: str, place: str) -> bytes:
        value = self._value(features, name, place, raw=False)
        wanted = self._job.wanted
        if not isinstance(value, list) or _file_kind(value[0]) is not wanted:
            why = f"{place} has no {wanted} in {readable(name)!r}"
            raise unreadable(self._job.name, why, self._job.stage, hint="leave the record out")
        return value[0]

    def _value(self, features: dict[str, Value], name: str, place: str, *, raw: bool = True) -> Value:
        """Return what a record has in a feature; bytes that are no text as numbers."""
        value = features.get(name, [])
        if len(value) == 0:
            why = f"{place} has no value in the feature {readable(name)!r}"
            raise self._refused(why, "give every record the same features, or leave the record out")
        if not isinstance(value, list):
            return value
        if len(value) > 1:
            raise self._refused(f"{place} has {len(value)} texts in {readable(name)!r}", "give one a sample")
        if not raw or (self._files[name] == LABELS and _text(value[0]) is not None):
            return value
        self.raw.add(name)
        return np.frombuffer(value[0], dtype=np.uint8)

    def _refused(self, why: str, hint: str) -> ConverterError:
        return unreadable(self._job.name, why, self._job.stage, hint=hint)
