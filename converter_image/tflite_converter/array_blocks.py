"""Arrays that may be larger than memory, looked at a block of samples at a time."""

from __future__ import annotations

from collections.abc import Iterator

from tflite_converter.arrays import Array

BLOCK_BYTES = 16 << 20


def blocks(array: Array) -> Iterator[slice]:
    """Slices over the first axis that cover ``array``: about :data:`BLOCK_BYTES` each, or one sample."""
    rows = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield slice(start, min(start + rows, len(array)))
