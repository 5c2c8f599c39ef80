"""Writes into a TFLite file what it is and how it was made, and reads that again.

Two entries of the file's ``metadata`` table: the standard one, from which Android Studio and the TFLite Task
Library take names and ranges, and the conversion record, which says from which model, data and versions the
file came. The rest of the file stays byte for byte what it was; see :mod:`tflite_converter.tflite.rewriting`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import flatbuffers

from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.rewriting import with_entries
from tflite_converter.tflite.types import NamedTensor, TFLiteFile
from tflite_converter.tflite.versions import runtime_entry

RECORD_NAME: Final = "edgeml.dev/conversion"
"""Name of the conversion record among a file's metadata."""
STANDARD_NAME: Final = "TFLITE_METADATA"

_IDENTIFIER: Final = b"M001"
_MIN_PARSER_VERSION: Final = "1.0.0"
"""The first version knows every field that is written here."""

Range = tuple[float, float]
"""Smallest and largest value of a tensor, as real numbers."""


def with_metadata(
    content: bytes,
    record: dict[str, object],
    *,
    name: str,
    description: str,
    version: str = "",
    ranges: Mapping[str, Range] | None = None,
    layouts: Mapping[str, str] | None = None,
) -> bytes:
    """``content`` with the standard metadata and ``record`` in it, in the place of earlier ones.

    Args:
        content: a TFLite file.
        record: the conversion record, of what JSON has; written with sorted keys, so that the same record
            gives the same bytes.
        name: the model's name.
        description: what it is, for people.
        version: the model's version, where it has one.
        ranges: smallest and largest value by input or output name.
        layouts: what to say of the order of dimensions, by input or output name.

    Raises:
        ConverterError: UnreadableModel or UnsupportedFormat for a file that is none; SourceTooLarge where the
            result would be 2 GiB or more.
        ValueError, TypeError: a record that JSON cannot carry, NaN among it.

    """
    file = read_file(content, name)
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    standard = _standard(file, (name, description, version), ranges or {}, layouts or {})
    entries = {STANDARD_NAME: standard, RECORD_NAME: text.encode(), **runtime_entry(file)}
    return with_entries(content, file, entries)


def read_record(file: TFLiteFile) -> dict[str, Any] | None:
    """Return the conversion record in ``file``; None where there is none, or none that can be read."""
    content = file.metadata.get(RECORD_NAME)
    if content is None:
        return None
    try:
        record = json.loads(bytes(content))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _standard(
    file: TFLiteFile,
    words: tuple[str, str, str],
    ranges: Mapping[str, Range],
    layouts: Mapping[str, str],
) -> bytes:
    """Return the ``ModelMetadata`` table. Layout: ``metadata_schema.fbs`` of tensorflow/tflite-support."""
    builder = flatbuffers.Builder(1024)
    name, description, version = words
    inputs = _tensors(builder, file.inputs, ranges, layouts)
    outputs = _tensors(builder, file.outputs, ranges, layouts)
    # SubGraphMetadata: name, description, input_tensor_metadata, output_tensor_metadata, ...
    graph = _table(builder, {2: inputs, 3: outputs})
    graphs = _vector(builder, [graph])
    texts = {0: name, 1: description, 2: version, 7: _MIN_PARSER_VERSION}
    # ModelMetadata: name, description, version, subgraph_metadata, author, license, associated_files,
    # min_parser_version.
    fields = {slot: builder.CreateString(text) for slot, text in texts.items() if text}
    builder.Finish(_table(builder, {**fields, 3: graphs}), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def _tensors(
    builder: Any,
    tensors: Sequence[NamedTensor],
    ranges: Mapping[str, Range],
    layouts: Mapping[str, str],
) -> int:
    tables = []
    for named in tensors:
        # TensorMetadata: name, description, dimension_names, content, process_units, stats, ...
        fields = {0: builder.CreateString(named.name)}
        if (layout := layouts.get(named.name)) is not None:
            fields[1] = builder.CreateString(layout)
        limits = ranges.get(named.name)
        if limits is not None and all(map(math.isfinite, limits)):
            low, high = (_floats(builder, value) for value in limits)
            fields[5] = _table(builder, {0: high, 1: low})  # Stats: max, min
        tables.append(_table(builder, fields))
    return _vector(builder, tables)


def _table(builder: Any, fields: Mapping[int, int]) -> int:
    """Return a table of offsets by slot; what they point to is written already."""
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, offset in sorted(fields.items()):
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return int(builder.EndObject())


def _vector(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _floats(builder: Any, value: float) -> int:
    builder.StartVector(4, 1, 4)
    builder.PrependFloat32(value)
    return int(builder.EndVector())
