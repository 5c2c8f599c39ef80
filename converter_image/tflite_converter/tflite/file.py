"""Reads a TFLite file without running it: operators, tensors, constants, signatures, metadata.

A file is somebody else's bytes: whatever is wrong with it becomes one :class:`ConverterError`. Constants are
views into the content that was given, never copies.
"""

from __future__ import annotations

import struct
from collections import Counter
from functools import lru_cache
from typing import Final

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import Inventory, OperatorCount, TensorDetail
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import is_tflite
from tflite_converter.tflite.reader import Reader, unreadable
from tflite_converter.tflite.types import NamedTensor, TFLiteFile

_ASTRAY: Final = (struct.error, IndexError, ValueError, TypeError, OverflowError)
"""What FlatBuffers' unchecked accessors raise when an offset leads astray."""

_MOST_KEPT_BYTES: Final = 64 << 20
"""A larger file is let go of as soon as nobody looks at it."""

NO_OUTPUT = "none"
"""The dtype of an operator that gives nothing."""


def read_file(content: bytes | memoryview, name: str) -> TFLiteFile:
    """Read the file ``content``; constants stay views into it, so map a large file into memory.

    Raises:
        ConverterError: UnsupportedFormat for what is not a TFLite file; UnreadableModel for one that is
            truncated, corrupt, or made to mislead its reader.

    """
    if isinstance(content, bytes) and len(content) <= _MOST_KEPT_BYTES:
        return _kept(content, name)
    return _read(content, name)


@lru_cache(maxsize=2)
def _kept(content: bytes, name: str) -> TFLiteFile:
    """Read it once for all who look at the same file one after another; nobody can change what was read."""
    return _read(content, name)


def _read(content: bytes | memoryview, name: str) -> TFLiteFile:
    view = memoryview(content)
    if not view.nbytes:
        raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, f"{name} is empty")
    if not is_tflite(bytes(view[:8])):
        raise ConverterError(
            FailureReason.UNSUPPORTED_FORMAT,
            Stage.LOAD,
            f"{name} is not a TFLite file (bytes 4 to 8 are not TFL3)",
            hint="give a .tflite file, or make one from a Keras model or SavedModel with the command convert",
        )
    try:
        return Reader(view, name).read()
    except _ASTRAY as error:
        raise unreadable(name, "its tables do not fit together") from error


def inventory(file: TFLiteFile) -> Inventory:
    """List what is in ``file``, all subgraphs counted; operators by number, the most frequent first."""
    counts = Counter(
        (o.name, graph.tensors[o.outputs[0]].dtype if o.outputs else NO_OUTPUT)
        for o, graph in file.operators()
    )
    # Tensors may share a buffer; its bytes lie in the file once.
    constants = {t.buffer: t for t in file.tensors() if t.is_constant}
    constant_bytes: Counter[str] = Counter()
    for tensor in constants.values():
        constant_bytes[tensor.dtype] += tensor.nbytes
    custom = {o.name: o.is_flex for o, _ in file.operators() if o.is_custom}
    return Inventory(
        inputs=tuple(map(_detail, file.inputs)),
        outputs=tuple(map(_detail, file.outputs)),
        operators=tuple(
            OperatorCount(operator=name, dtype=dtype, count=count)
            for (name, dtype), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        ),
        tensor_dtypes=dict(sorted(Counter(t.dtype for t in file.tensors()).items())),
        constant_bytes=dict(sorted(constant_bytes.items())),
        per_channel_tensors=sum(t.is_per_channel for t in file.tensors()),
        flex_operators=tuple(sorted(name for name, flex in custom.items() if flex)),
        custom_operators=tuple(sorted(name for name, flex in custom.items() if not flex)),
    )


def is_float(file: TFLiteFile) -> bool:
    """Whether quantizing can start from ``file``: it has float32 weights and no other ones."""
    weights = [t for t in file.tensors() if t.is_constant and t.is_float]
    halved = any(t.dtype != "float32" for t in weights)
    return bool(weights) and not halved and not any(t.is_quantized for t in file.tensors())


def _detail(named: NamedTensor) -> TensorDetail:
    tensor = named.tensor
    quantized = len(tensor.scales) == 1
    return TensorDetail(
        name=named.name,
        shape=list(tensor.shape),
        dtype=tensor.dtype,
        scale=tensor.scales[0] if quantized else None,
        zero_point=(tensor.zero_points or (0,))[0] if quantized else None,
    )
