"""Parquet files, batch by batch, with arro3: the Parquet of arrow-rs, which is Rust."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import arro3.core as arrow
import numpy as np
from arro3.core import Array as ArrowArray
from arro3.core import DataType, Field, RecordBatch, RecordBatchReader, Schema
from arro3.io import read_parquet

from tflite_converter.arrays import Array
from tflite_converter.data.errors import unreadable
from tflite_converter.data.records.columns import Column, Kind, Plan, plan
from tflite_converter.data.records.footer import COPY_AGAIN, Footer, ParquetError, read_footer
from tflite_converter.data.records.messages import LABELS, ReadingJob, ReadingResult
from tflite_converter.data.records.store import SAME_LENGTH, Store, too_large
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.files.names import name_of, readable

_BATCH_BYTES: Final = 16 << 20
_MOST_ROWS: Final = 1 << 16
_MAX_DIMENSIONS: Final = 8
_INDEX: Final = "__index_level_"
"""How pandas calls a column of row names that it writes."""
_FILE_BYTES: Final = "bytes"
"""The field of a column of images or sounds of Hugging Face's ``datasets``; beside it there is ``path``."""
_TENSOR: Final = b"arrow.fixed_shape_tensor"
_TEXTS: Final = (DataType.is_string, DataType.is_large_string, DataType.is_string_view)
_BINARIES: Final = (DataType.is_binary, DataType.is_binary_view)
_LISTS: Final = (DataType.is_list, DataType.is_large_list, DataType.is_fixed_size_list)


def read(job: ReadingJob, folder: Path, most_bytes: int, tell: Callable[[float], None]) -> ReadingResult:
    """Write the columns of Parquet files, whose rows follow each other, into ``folder``.

    Raises:
        ConverterError: DataUnreadable, LabelsMismatch; NoSpace.

    """
    footers = [_footer(path, job, most_bytes) for path in job.files]
    rows = sum(footer.rows for footer in footers)
    if sum(footer.unpacked_bytes for footer in footers) > most_bytes:
        raise too_large(job.name, job.stage, most_bytes)
    schema = _opened(job.files[0], footers[0], job).schema
    if twice := [key for key in schema.names if schema.names.count(key) > 1]:
        why = f"it has more than one column {readable(twice[0])!r}"
        raise unreadable(job.name, why, job.stage, hint="give each column a name of its own")
    columns = _columns(schema)
    chosen = plan(
        columns,
        job.label_column,
        wanted=job.wanted,
        ordered=True,
        name=job.name,
        stage=job.stage,
    )
    done = 0
    with Store(folder, job.name, job.stage, most_bytes) as store:
        writer = _Writer(job, store, chosen, schema)
        for path, footer in zip(job.files, footers, strict=True):
            reader = _opened(path, footer, job)
            _check_same(reader.schema, schema, path, job)
            for batch in _batches(reader, path, job):
                writer.write(batch, done)
                done += batch.num_rows
                tell(done / max(1, rows))
    if done != rows:
        raise unreadable(
            job.name, f"it has {done} rows, and says that it has {rows}", job.stage, hint=COPY_AGAIN
        )
    left_out = tuple(key for key in schema.names if key.startswith(_INDEX))
    notes = chosen.notes
    if left_out:
        notes += (f"the column {left_out[0]!r} of {job.name} holds names of rows: it was left out",)
    arrays = () if chosen.encoded else ("data",) if chosen.is_table else chosen.samples
    return ReadingResult(
        samples=done,
        arrays=arrays if done else (),
        files=store.files,
        label_column=chosen.labels if done else None,
        class_names=chosen.class_names,
        notes=notes,
    )


def _footer(path: Path, job: ReadingJob, most_bytes: int) -> Footer:
    try:
        return read_footer(path, most_bytes)
    except ParquetError as error:
        raise unreadable(_name(path, job), error.why, job.stage, hint=error.hint) from error


def _name(path: Path, job: ReadingJob) -> str:
    return job.name if len(job.files) == 1 else name_of(path)


def _opened(path: Path, footer: Footer, job: ReadingJob) -> RecordBatchReader:
    rows = max(1, min(_MOST_ROWS, _BATCH_BYTES // footer.row_bytes))
    try:
        return read_parquet(path, batch_size=rows)
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        raise _corrupt(path, job, error) from error


def _batches(reader: RecordBatchReader, path: Path, job: ReadingJob) -> Iterator[RecordBatch]:
    while True:
        try:
            batch = next(reader)
        except StopIteration:
            return
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a panic of Rust is no Exception
            raise _corrupt(path, job, error) from error
        yield batch


def _corrupt(path: Path, job: ReadingJob, error: BaseException) -> ConverterError:
    return unreadable(_name(path, job), f"it is corrupt ({first_line(error)})", job.stage, hint=COPY_AGAIN)


def _check_same(schema: Schema, first: Schema, path: Path, job: ReadingJob) -> None:
    """Refuse a part with other columns than the first one."""
    if [(f.name, f.type) for f in _fields(schema)] != [(f.name, f.type) for f in _fields(first)]:
        why = f"its columns are others than those of {name_of(job.files[0])}"
        raise unreadable(_name(path, job), why, job.stage, hint="give parts of one data set")


def _fields(schema: Schema) -> list[Field]:
    return [schema.field(place) for place in range(len(schema.names))]


def _columns(schema: Schema) -> dict[str, Column]:
    features = _features(schema)
    columns = {}
    for field in _fields(schema):
        if not field.name.startswith(_INDEX):
            kind = _kind(field.type)
            names = _class_names(features.get(field.name)) if kind is Kind.NUMBER else ()
            columns[field.name] = Column(kind, _words(field.type), names)
    return columns


def _features(schema: Schema) -> dict[str, Any]:
    """Return what ``datasets`` says of the columns."""
    try:
        features = json.loads(schema.metadata.get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(feature: object) -> tuple[str, ...]:
    names = feature.get("names") if isinstance(feature, dict) else None
    is_sound = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if names and is_sound else ()


def _is(kind: DataType, tests: Sequence[Callable[[DataType], bool]]) -> bool:
    return any(test(kind) for test in tests)


def _kind(kind: DataType, depth: int = 0) -> Kind:
    if _is_number(kind):
        return Kind.TENSOR if depth else Kind.NUMBER
    if _is(kind, _LISTS) and depth < _MAX_DIMENSIONS and kind.value_type is not None:
        return Kind.TENSOR if _kind(kind.value_type, depth + 1) is Kind.TENSOR else Kind.OTHER
    if depth:
        return Kind.OTHER
    if DataType.is_dictionary(kind) and kind.value_type is not None:
        return _kind(kind.value_type) if _is(kind.value_type, _TEXTS) else Kind.OTHER
    if _is(kind, _TEXTS):
        return Kind.TEXT
    return Kind.ENCODED if _holds_files(kind) else Kind.OTHER


def _is_number(kind: DataType) -> bool:
    return DataType.is_integer(kind) or DataType.is_floating(kind) or DataType.is_boolean(kind)


def _holds_files(kind: DataType) -> bool:
    if DataType.is_struct(kind):
        # Of no type where no row has them.
        kinds = (*_BINARIES, DataType.is_null)
        return any(field.name == _FILE_BYTES and _is(field.type, kinds) for field in kind.fields)
    return _is(kind, _BINARIES)


def _words(kind: DataType) -> str:
    """Say in words what a column holds."""
    if _is(kind, _TEXTS):
        return "text"
    if _holds_files(kind):
        return "images or sounds"
    for test, words in (
        (DataType.is_temporal, "times"),
        (DataType.is_decimal, "decimals"),
        (DataType.is_struct, "structures"),
        (DataType.is_null, "nothing"),
    ):
        if test(kind):
            return words
    return "lists of something else" if _is(kind, _LISTS) else "values of another type"


class _Writer:
    """Brings batches into a store."""

    def __init__(self, job: ReadingJob, store: Store, chosen: Plan, schema: Schema) -> None:
        self._job = job
        self._store = store
        self._plan = chosen
        self._shapes = {field.name: _tensor_shape(field, job) for field in _fields(schema)}
        kinds = [_number_type(schema.field(key).type) for key in chosen.samples] if chosen.is_table else []
        self._table_type = np.result_type(*kinds) if kinds else None

    def write(self, batch: RecordBatch, row: int) -> None:
        """Write a batch, whose first row has the number ``row`` in the whole."""
        chosen = self._plan
        if chosen.labels is not None:
            self._labels(chosen.labels, batch.column(chosen.labels), row)
        if chosen.encoded:
            self._files(chosen.samples[0], batch.column(chosen.samples[0]), row)
        elif self._table_type is not None:
            # In the type that holds them all, as pandas's to_numpy has it.
            columns = [self._numbers(key, batch.column(key), row) for key in chosen.samples]
            table = np.stack([values.astype(self._table_type) for values in columns], axis=1)
            self._store.add_numbers("0", "data", table, row)
        else:
            for place, key in enumerate(chosen.samples):
                self._store.add_numbers(str(place), key, self._numbers(key, batch.column(key), row), row)

    def _labels(self, column: str, values: ArrowArray, row: int) -> None:
        if _kind(values.type) is Kind.TEXT:
            self._expect_values(column, values, row)
            text = values.cast(DataType.string()) if DataType.is_dictionary(values.type) else values
            self._store.add_texts(LABELS, column, list(map(str, text.to_pylist())), row)
        else:
            self._store.add_numbers(LABELS, column, self._numbers(column, values, row), row)

    def _files(self, column: str, values: ArrowArray, row: int) -> None:
        if DataType.is_struct(values.type):
            self._expect_values(column, values, row)
            place = [field.name for field in values.type.fields].index(_FILE_BYTES)
            values = arrow.struct_field(values, place)
            if values.null_count or DataType.is_null(values.type):
                first = row + (0 if DataType.is_null(values.type) else _first_null(values))
                why = f"row {first} of its column {readable(column)!r} has the path of a file, not its bytes"
                hint = "write it with the files in it (datasets.table.embed_table_storage)"
                raise unreadable(self._job.name, why, self._job.stage, hint=hint)
        self._expect_values(column, values, row)
        self._store.add_files(values.to_pylist())

    def _numbers(self, column: str, values: ArrowArray, row: int) -> Array:
        array = self._array(column, values, row, each=1)
        shape = self._shapes.get(column)
        return array if shape is None else array.reshape(len(array), *shape)

    def _array(self, column: str, values: ArrowArray, row: int, each: int) -> Array:
        """Return a column as ``(n, ...)``; ``each`` is how many of ``values`` belong to a row."""
        self._expect_values(column, values, row, each)
        kind = values.type
        if not _is(kind, _LISTS):
            return np.asarray(values.to_numpy())
        flat = arrow.list_flatten(values)
        if DataType.is_fixed_size_list(kind):
            size = kind.list_size or 0
        else:
            lengths = np.diff(np.asarray(arrow.list_offsets(values).to_numpy()))
            size = int(lengths[0]) if len(lengths) else 0
            if (other := np.flatnonzero(lengths != size)).size:
                place = row + int(other[0]) // each
                got = int(lengths[other[0]])
                why = f"row {place} of its column {readable(column)!r} has a list of {got}, others of {size}"
                raise unreadable(self._job.name, why, self._job.stage, hint=SAME_LENGTH)
        if size == 0 or len(flat) != size * len(values):
            why = f"row {row} of its column {readable(column)!r} has an empty list"
            raise unreadable(self._job.name, why, self._job.stage, hint=SAME_LENGTH)
        inner = self._array(column, flat, row, each * size)
        return inner.reshape(len(values), size, *inner.shape[1:])

    def _expect_values(self, column: str, values: ArrowArray, row: int, each: int = 1) -> None:
        """Refuse what is missing, with its row."""
        if values.null_count:
            place = row + _first_null(values) // each
            why = f"row {place} of its column {readable(column)!r} has no value (NULL)"
            raise unreadable(self._job.name, why, self._job.stage, hint=_FILL_IN)


_FILL_IN: Final = "fill it in, or leave out the row; rows are counted from 0"


def _first_null(values: ArrowArray) -> int:
    """Return the place of the first NULL, of which there is one: by halves."""
    start, length = 0, len(values)
    while length > 1:
        half = length // 2
        if not values.slice(start, half).null_count:
            start, half = start + half, length - half
        length = half
    return start


def _number_type(kind: DataType) -> np.dtype[Any]:
    return np.asarray(arrow.Array.from_numpy(np.empty(0, np.int8)).cast(kind).to_numpy()).dtype


def _tensor_shape(field: Field, job: ReadingJob) -> tuple[int, ...] | None:
    """Return the shape that a column of Arrow's tensors declares; None for other columns.

    Raises:
        ConverterError: DataUnreadable where the values are stored in another order of dimensions.

    """
    metadata = field.metadata
    if metadata.get(b"ARROW:extension:name") != _TENSOR:
        return None
    size = field.type.list_size
    try:
        said = json.loads(metadata[b"ARROW:extension:metadata"])
        shape = tuple(int(each) for each in said["shape"])
        order = list(said.get("permutation") or range(len(shape)))
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        shape, order = (), []
    if min(shape, default=0) < 1 or int(np.prod(shape, dtype=object)) != size:
        why = f"the shape of its column {readable(field.name)!r} does not fit its values"
        raise unreadable(job.name, why, job.stage, hint=COPY_AGAIN)
    if order != sorted(order):
        why = f"the dimensions of its column {readable(field.name)!r} are stored in another order"
        raise unreadable(job.name, why, job.stage, hint="write the tensors in their own order")
    return shape
