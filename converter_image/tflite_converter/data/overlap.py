"""Which samples two data sets have in common, by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from tflite_converter.array_blocks import blocks
from tflite_converter.arrays import Array, IntArray
from tflite_converter.data.dataset import Dataset

_MARKS: Final = 64
"""How many values of a sample are looked at first: samples that differ do so in one of them, mostly."""


def disjoint(dataset: Dataset, other: Dataset) -> IntArray:
    """Return the indices of samples of ``dataset`` whose content is not in ``other``, in order.

    Images and sounds are equal when their files' bytes are. Arrays are equal when their values are, whatever
    their shapes and dtypes: floating-point numbers are compared as float32, which is what .csv files are read
    as and what models take. Files and arrays are never equal.
    """
    every = np.arange(dataset.count, dtype=np.int64)
    if dataset.holds_files != other.holds_files:
        return every
    if dataset.holds_files:
        known = set(other.file_digests)
        return every[[digest not in known for digest in dataset.file_digests]]
    ours, theirs = list(_marked(dataset)), list(_marked(other))
    alike = set(ours) & set(theirs)
    candidates = [i for i, marks in enumerate(ours) if marks in alike]
    contents = set(_contents(other, [i for i, marks in enumerate(theirs) if marks in alike]))
    found = [i for i, c in zip(candidates, _contents(dataset, candidates), strict=True) if c in contents]
    return np.delete(every, found)


def _marked(dataset: Dataset) -> Iterator[bytes]:
    """Give some values of each sample, from all over it: equal where samples are equal, and seldom else."""
    arrays = _arrays(dataset)
    sizes = [array[:1].size for array in arrays]
    places = np.arange(0, sum(sizes), max(1, sum(sizes) // _MARKS))
    begins = np.cumsum([0, *sizes])
    for block in blocks(_widest(arrays)):
        parts = [
            array[block].reshape(block.stop - block.start, -1)[
                :, places[(places >= begin) & (places < end)] - begin
            ]
            for array, begin, end in zip(arrays, begins[:-1], begins[1:], strict=True)
        ]
        for rows in zip(*map(_comparable, parts), strict=True):
            yield b"".join(row.tobytes() for row in rows)


def _contents(dataset: Dataset, indices: list[int]) -> Iterator[bytes]:
    """Something for each of these samples, in ascending order, that is equal for equal samples only."""
    arrays, chosen = _arrays(dataset), np.array(indices, dtype=np.int64)
    for block in blocks(_widest(arrays)):
        here = chosen[(chosen >= block.start) & (chosen < block.stop)]
        if not here.size:
            continue
        hashes = [hashlib.blake2b(digest_size=16) for _ in here]
        for array in arrays:
            for digest, sample in zip(hashes, _comparable(array[here]), strict=True):
                digest.update(sample)
        for digest in hashes:
            yield digest.digest()


def _arrays(dataset: Dataset) -> list[Array]:
    return [dataset.arrays[name] for name in sorted(dataset.arrays)]


def _widest(arrays: list[Array]) -> Array:
    return max(arrays, key=lambda array: array[:1].nbytes)


def _comparable(samples: Array) -> Array:
    """Return ``samples`` as rows of bytes that are equal where the values are equal."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32)
    # Adding zero makes 0.0 of -0.0. Integers up to 2**53 are exact.
    exact = samples.astype(np.float64) + 0.0
    return np.ascontiguousarray(exact).reshape(len(samples), -1).view(np.uint8)
