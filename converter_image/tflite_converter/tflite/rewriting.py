"""Puts metadata into a TFLite file without touching the rest of it.

FlatBuffers refer forward, from a table to what lies behind it. So a new root table in front of the old
bytes can take over the old graph, operators, signatures and buffers where they are, and only the list of
buffers and the list of metadata are written anew::

    root table | buffers list | metadata list | new Buffer and Metadata tables | the old file | new data

The old root stays as a few dozen bytes that nothing refers to. The old file moves by a multiple of 16 bytes,
so what was aligned stays aligned.

From 256 KiB of constants on, litert-quantizer writes them behind the FlatBuffer and refers to them by their
place in the file. TFLite Micro (tensorflow/tflite-micro#3197) and TensorFlow Lite up to 2.17 do not look
there; the first gives nonsense without an error. So on this occasion constants are taken into the FlatBuffer.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from ai_edge_litert import schema_py_generated as schema
from flatbuffers.table import Table

from modelconversion_api.limits import MAX_TFLITE_BYTES
from tflite_converter.files.formats import too_large
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.reader import unreadable
from tflite_converter.tflite.types import TFLiteFile

_ALIGNMENT: Final = 16
"""Of the data in a buffer, as the schema asks."""
_MODEL_SLOTS: Final = 10
"""version, operator_codes, subgraphs, description, buffers, metadata_buffer, metadata, signature_defs,
external_buffer_groups, external_buffers"""
_VERSION, _BUFFERS, _METADATA = 0, 4, 6

_MODEL_VTABLE: Final = 8
_MODEL_TABLE: Final = _MODEL_VTABLE + 4 + 2 * _MODEL_SLOTS
_MODEL_END: Final = _MODEL_TABLE + 4 + 4 * _MODEL_SLOTS
_BUFFER_VTABLE: Final = struct.pack("<HHH2x", 6, 8, 4)
"""A Buffer with ``data`` alone: 8 bytes, the offset of the data at byte 4."""
_METADATA_VTABLE: Final = struct.pack("<HHHH", 8, 12, 4, 8)
"""Metadata with ``name`` and ``buffer``: 12 bytes."""


def with_entries(content: bytes, file: TFLiteFile, entries: Mapping[str, bytes]) -> bytes:
    """``content`` with ``entries`` among its metadata, in the place of those that have the same names.

    ``file`` is what :func:`read_file` made of ``content``.

    Raises:
        ConverterError: SourceTooLarge beyond 2 GiB; UnreadableModel for a layout that cannot be kept.

    """
    result = _Rewriting(content, file, entries).result()
    after = read_file(result, file.name)
    if (after.subgraphs, after.signatures) != (file.subgraphs, file.signatures):
        raise unreadable(file.name, "its constants lie amid its tables")
    return result


class _Rewriting:
    """One file; positions are bytes from the start of the old or the new file."""

    def __init__(self, content: bytes, file: TFLiteFile, entries: Mapping[str, bytes]) -> None:
        self._content = memoryview(content)
        self._file = file
        self._entries = entries
        self._model = schema.Model.GetRootAs(content, 0)
        self._root = Table(content, struct.unpack_from("<I", content)[0])
        if (self._vtable_bytes() - 4) // 2 > _MODEL_SLOTS:
            raise unreadable(file.name, "it has fields that only a newer schema knows")
        if self._has_outside_options():
            raise unreadable(file.name, "a custom operator keeps its options behind the FlatBuffer")

    def result(self) -> bytes:
        """Return the new file."""
        data, kept_bytes = self._new_data()
        names = {buffer: name for name, buffer in self._entry_buffers().items()}
        old_metadata = [p for p, name in self._old_metadata() if name not in self._entries]
        count = max(len(self._old_buffers()), *(i + 1 for i in data), 0)

        buffers_list = _MODEL_END
        metadata_list = buffers_list + 4 + 4 * count
        buffer_vtable = metadata_list + 4 + 4 * (len(old_metadata) + len(names))
        buffer_tables = buffer_vtable + len(_BUFFER_VTABLE)
        metadata_vtable = buffer_tables + 8 * len(data)
        metadata_tables = metadata_vtable + len(_METADATA_VTABLE)
        strings_start = metadata_tables + 12 * len(names)
        strings = [_string(name) for name in names.values()]
        moved = _aligned(strings_start + sum(map(len, strings)))

        # Each piece of data has its length in front, and begins at a multiple of 16.
        places: dict[int, int] = {}
        end = moved + kept_bytes
        tail: list[bytes | memoryview] = []
        for index, piece in data.items():
            start = _aligned(end + 4)
            tail += [bytes(start - 4 - end), struct.pack("<I", len(piece)), piece]
            places[index] = start - 4
            end = start + len(piece)
        end_padding = bytes(_aligned(end) - end)
        if end + len(end_padding) >= MAX_TFLITE_BYTES:
            raise too_large(f"{self._file.name} with its metadata", end)

        tables = {index: buffer_tables + 8 * i for i, index in enumerate(data)}
        buffers = [tables.get(i, moved + old) for i, old in enumerate(self._old_buffers())]
        buffers += [tables[i] for i in range(len(buffers), count)]
        metadata = [moved + p for p in old_metadata]
        metadata += [metadata_tables + 12 * i for i in range(len(names))]

        front = bytearray(self._model_table(moved, buffers_list, metadata_list))
        front += _offsets(buffers_list, buffers) + _offsets(metadata_list, metadata)
        front += _BUFFER_VTABLE
        for index, at in tables.items():
            front += struct.pack("<iI", at - buffer_vtable, places[index] - (at + 4))
        front += _METADATA_VTABLE
        string_at = strings_start
        for i, (index, string) in enumerate(zip(names, strings, strict=True)):
            at = metadata_tables + 12 * i
            front += struct.pack("<iII", at - metadata_vtable, string_at - (at + 4), index)
            string_at += len(string)
        front += b"".join(strings)
        front += bytes(moved - len(front))
        return b"".join([front, self._content[:kept_bytes], *tail, end_padding])

    def _model_table(self, moved: int, buffers_list: int, metadata_list: int) -> bytes:
        """Root offset, identifier, and the root table with the old one's fields."""
        vtable, fields = [], []
        for slot in range(_MODEL_SLOTS):
            at = _MODEL_TABLE + 4 + 4 * slot
            old = self._root.Offset(4 + 2 * slot)
            if slot == _VERSION:
                value = self._model.Version()
            elif slot in (_BUFFERS, _METADATA):
                value = (buffers_list if slot == _BUFFERS else metadata_list) - at
            elif old:
                value = moved + self._root.Indirect(self._root.Pos + old) - at
            else:
                vtable.append(0)
                fields.append(0)
                continue
            vtable.append(4 + 4 * slot)
            fields.append(value)
        return b"".join(
            [
                struct.pack("<I4s", _MODEL_TABLE, b"TFL3"),
                struct.pack(f"<{2 + _MODEL_SLOTS}H", len(vtable) * 2 + 4, 4 + 4 * _MODEL_SLOTS, *vtable),
                struct.pack(f"<i{_MODEL_SLOTS}I", _MODEL_TABLE - _MODEL_VTABLE, *fields),
            ]
        )

    def _new_data(self) -> tuple[dict[int, bytes | memoryview], int]:
        """Return the data to write anew, by buffer, and how many bytes of the old file stay."""
        data: dict[int, bytes | memoryview] = {}
        kept_bytes = len(self._content)
        for i in range(self._model.BuffersLength()):
            buffer = self._model.Buffers(i)
            start, size = buffer.Offset(), buffer.Size()
            if start > 1 and size:
                data[i] = self._content[start : start + size]
                kept_bytes = min(kept_bytes, start)
        for name, index in self._entry_buffers().items():
            data[index] = self._entries[name]
        return data, kept_bytes

    def _entry_buffers(self) -> dict[str, int]:
        """Return the buffer that each entry gets: that of the entry it replaces, or a new one."""
        taken = {t.buffer for t in self._file.tensors()}
        by_name: dict[str, int] = {}
        for i in range(self._model.MetadataLength()):
            entry = self._model.Metadata(i)
            name = (entry.Name() or b"").decode("utf-8", errors="replace")
            if name in self._entries and entry.Buffer() not in taken:
                by_name[name] = entry.Buffer()
            else:
                taken.add(entry.Buffer())
        # Two entries that shared a buffer no longer do; buffer 0 is empty by convention.
        seen: set[int] = {0}
        following = max(self._model.BuffersLength(), 1)
        for name in self._entries:
            if by_name.get(name, 0) in seen | taken:
                by_name[name] = following
                following += 1
            seen.add(by_name[name])
        return {name: by_name[name] for name in self._entries}

    def _old_buffers(self) -> list[int]:
        return self._targets(_BUFFERS)

    def _old_metadata(self) -> list[tuple[int, str]]:
        names = [
            (self._model.Metadata(i).Name() or b"").decode("utf-8", errors="replace")
            for i in range(self._model.MetadataLength())
        ]
        return list(zip(self._targets(_METADATA), names, strict=True))

    def _targets(self, slot: int) -> list[int]:
        """Where the tables lie that the vector in ``slot`` refers to."""
        offset = self._root.Offset(4 + 2 * slot)
        if not offset:
            return []
        start = self._root.Vector(offset)
        places = range(start, start + 4 * self._root.VectorLen(offset), 4)
        return [self._root.Indirect(place) for place in places]

    def _vtable_bytes(self) -> int:
        (distance,) = struct.unpack_from("<i", self._content, self._root.Pos)
        (size,) = struct.unpack_from("<H", self._content, self._root.Pos - distance)
        return int(size)

    def _has_outside_options(self) -> bool:
        graphs = [self._model.Subgraphs(i) for i in range(self._model.SubgraphsLength())]
        return any(
            graph.Operators(i).LargeCustomOptionsOffset() > 1
            for graph in graphs
            for i in range(graph.OperatorsLength())
        )


def _offsets(at: int, targets: list[int]) -> bytes:
    """Return a vector of offsets that is written at ``at``."""
    relative = (target - (at + 4 + 4 * i) for i, target in enumerate(targets))
    return struct.pack(f"<I{len(targets)}I", len(targets), *relative)


def _string(text: str) -> bytes:
    """Length, text, a zero, and padding to four bytes."""
    raw = text.encode()
    return struct.pack("<I", len(raw)) + raw + bytes(4 - len(raw) % 4)


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT
