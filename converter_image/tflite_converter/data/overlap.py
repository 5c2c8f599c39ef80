"""Which samples two data sets have in common, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from tflite_converter.array_blocks import blocks
from tflite_converter.arrays import Array, IntArray
from tflite_converter.data.dataset import Dataset


def disjoint(dataset: Dataset, other: Dataset) -> IntArray:
    """Return the indices of samples of ``dataset`` whose content is not in ``other``, in order.

    Images and sounds are equal when their files' bytes are. Arrays are equal when their values are, whatever
    their shapes and dtypes: floating-point numbers are compared as float32, which is what .csv files are read
    as and what models take. Files and arrays are never equal.
    """
    known = set(_contents(other))
    indices = [i for i, content in enumerate(_contents(dataset)) if content not in known]
    return np.array(indices, dtype=np.int64)


def _contents(dataset: Dataset) -> Iterator[str | bytes]:
    """Something for each sample that is equal for equal samples only."""
    if dataset.holds_files:
        yield from dataset.file_digests
        return
    arrays = [dataset.arrays[name] for name in sorted(dataset.arrays)]
    widest = max(arrays, key=lambda array: array[:1].nbytes)
    for block in blocks(widest):
        hashes = [hashlib.blake2b(digest_size=16) for _ in range(block.start, block.stop)]
        for array in arrays:
            values = _comparable(array[block])
            for digest, sample in zip(hashes, values, strict=True):
                digest.update(sample)
        for digest in hashes:
            yield digest.digest()


def _comparable(samples: Array) -> Array:
    """Return ``samples`` as rows of bytes that are equal where the values are equal."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32)
    # Adding zero makes 0.0 of -0.0. Integers up to 2**53 are exact.
    exact = samples.astype(np.float64) + 0.0
    return np.ascontiguousarray(exact).reshape(len(samples), -1).view(np.uint8)
