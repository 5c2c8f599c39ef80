"""Calibration and validation data: read without unpickling, checked, and bound to the model's inputs."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo

from .arrays import Array, IntArray, NamedArrays
from .digests import file_sha256
from .errors import ConverterError

MAX_ARRAY_BYTES = 8 << 30
"""Arrays beyond this are refused before they are read: a small .npz can unpack to anything."""

_CHECK_ROWS = 4096


@dataclass(frozen=True)
class Dataset:
    """Samples, and their classes where there are labels."""

    name: str
    sha256: str
    arrays: NamedArrays
    labels: IntArray | None = None
    """Shape ``(count,)``."""

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.arrays.values())))

    def take(self, indices: IntArray) -> Dataset:
        """The samples at ``indices``, in that order."""
        arrays = {name: np.ascontiguousarray(array[indices]) for name, array in self.arrays.items()}
        return Dataset(self.name, self.sha256, arrays, None if self.labels is None else self.labels[indices])


def load_dataset(path: Path, labels_path: Path | None, stage: Stage) -> Dataset:
    """Reads samples (``.npy`` or ``.npz``, samples first) and labels (``.npy``).

    Everything is checked that can be without the model.

    Raises:
        ConverterError: DataUnreadable, DataTooFew, DataNotFinite, LabelsMismatch.

    """
    arrays = _load_arrays(path, stage)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        raise ConverterError(
            FailureReason.DATA_SHAPE_MISMATCH,
            stage,
            f"the arrays in {path.name} have different numbers of samples: {counts}",
        )
    count = next(iter(counts.values()))
    if count == 0:
        raise ConverterError(FailureReason.DATA_TOO_FEW, stage, f"{path.name} holds no sample")
    for array in arrays.values():
        _check_finite(array, path.name, stage)
    labels = None if labels_path is None else _load_labels(labels_path, count, stage)
    return Dataset(path.name, file_sha256(path), arrays, labels)


def bind(dataset: Dataset, inputs: Sequence[TensorInfo], stage: Stage) -> dict[str, Array]:
    """The arrays by the model's input names, in the inputs' dtypes: ``{input: (n, *input shape[1:])}``.

    A single array fits a single input whatever it is called; several are matched by name.

    Raises:
        ConverterError: DataShapeMismatch, with what the model takes and what was given.

    """
    if len(inputs) == 1 and len(dataset.arrays) == 1:
        (array,) = dataset.arrays.values()
        return {inputs[0].name: _fitted(array, inputs[0], dataset.name, stage)}
    by_name = {safe_name(name): array for name, array in dataset.arrays.items()}
    wanted = [info.name for info in inputs]
    if missing := [name for name in wanted if name not in by_name]:
        raise ConverterError(
            FailureReason.DATA_SHAPE_MISMATCH,
            stage,
            f"{dataset.name} has no array for the model's input {', '.join(map(repr, missing))}:"
            f" it holds {sorted(dataset.arrays)}, the model takes {wanted}",
            hint="save one array for each input: np.savez(path, input_name=array, ...)",
        )
    return {info.name: _fitted(by_name[info.name], info, dataset.name, stage) for info in inputs}


def check_labels_range(dataset: Dataset, classes: int, stage: Stage) -> None:
    """Refuses labels that the model has no class for.

    Raises:
        ConverterError: LabelsMismatch.

    """
    if dataset.labels is not None and (highest := int(dataset.labels.max())) >= classes:
        raise ConverterError(
            FailureReason.LABELS_MISMATCH,
            stage,
            f"the labels of {dataset.name} go up to {highest}, but the model's classes to {classes - 1}",
        )


def random_inputs(inputs: Sequence[TensorInfo], samples: int, seed: int) -> dict[str, Array]:
    """Seeded stand-in data where there is none: standard normal, for integer inputs 0 or 1.

    Open dimensions other than the batch become 16.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for info in inputs:
        shape = (samples, *(16 if size < 0 else size for size in info.shape[1:]))
        dtype = np.dtype(info.dtype)
        if dtype.kind == "f":
            made[info.name] = generator.standard_normal(shape).astype(dtype)
        else:
            made[info.name] = generator.integers(0, 2, shape).astype(dtype)
    return made


def safe_name(name: str) -> str:
    """A tensor name that is a Python identifier's letters: TFLite signatures and .npz keys share it."""
    return re.sub(r"\W", "_", name.split(":")[0])


def _load_arrays(path: Path, stage: Stage) -> dict[str, Array]:
    if not path.is_file():
        raise ConverterError(
            FailureReason.SOURCE_NOT_FOUND,
            stage,
            f"File not found: {path}",
            hint="correct the path of the data",
        )
    try:
        if zipfile.is_zipfile(path):
            arrays = _load_npz(path)
        else:
            arrays = {"data": np.load(path, mmap_mode="r", allow_pickle=False)}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise _unreadable(path, _first_line(error), stage) from error
    if not arrays:
        raise _unreadable(path, "it holds no array", stage)
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise _unreadable(path, f"{name!r} holds {array.dtype} values, not numbers", stage)
        if array.ndim == 0:
            raise _unreadable(path, f"{name!r} is a single number, not samples", stage)
    return arrays


def _load_npz(path: Path) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _load_labels(path: Path, count: int, stage: Stage) -> IntArray:
    (labels, *others) = _load_arrays(path, stage).values()
    if others:
        raise _labels(f"{path.name} holds more than one array", stage)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise _labels(f"{path.name} has shape {labels.shape}, expected ({count},)", stage)
    if labels.dtype.kind not in "iub":
        raise _labels(f"{path.name} holds {labels.dtype} values, expected integers", stage)
    if len(labels) != count:
        raise _labels(f"{path.name} has {len(labels)} labels for {count} samples", stage)
    if int(labels.min()) < 0:
        raise _labels(f"{path.name} holds negative labels", stage)
    return np.asarray(labels, dtype=np.int64)


def _check_finite(array: Array, name: str, stage: Stage) -> None:
    """Looks at a few thousand rows at a time: a memory-mapped file may be larger than memory."""
    if array.dtype.kind != "f":
        return
    bad, first = 0, None
    for start in range(0, len(array), _CHECK_ROWS):
        wrong = ~np.isfinite(array[start : start + _CHECK_ROWS])
        if found := int(wrong.sum()):
            bad += found
            if first is None:
                at = np.argwhere(wrong)[0]
                first = (start + int(at[0]), *map(int, at[1:]))
    if first is not None:
        raise ConverterError(
            FailureReason.DATA_NOT_FINITE,
            stage,
            f"{name} holds {bad} NaN or infinite value{'s' if bad > 1 else ''}, the first at index {first}",
        )


def _fitted(array: Array, info: TensorInfo, name: str, stage: Stage) -> Array:
    """``array`` in the dtype of input ``info``, after a check of its shape and values."""
    expected, got = tuple(info.shape[1:]), array.shape[1:]
    if len(expected) != len(got) or any(e not in (-1, g) for e, g in zip(expected, got, strict=True)):
        raise _shape(
            f"{name} has samples of shape {got}, but the model's input {info.name!r} takes {expected}", stage
        )
    dtype = np.dtype(info.dtype)
    if dtype.kind in "iu" and array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
        raise _shape(f"{name} holds fractions, but the model's input {info.name!r} takes {dtype}", stage)
    if dtype.kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise _shape(f"{name} holds values outside the range of the input's {dtype}", stage)
    return np.ascontiguousarray(array, dtype=dtype)


def _shape(cause: str, stage: Stage) -> ConverterError:
    return ConverterError(FailureReason.DATA_SHAPE_MISMATCH, stage, cause)


def _labels(cause: str, stage: Stage) -> ConverterError:
    return ConverterError(FailureReason.LABELS_MISMATCH, stage, cause)


def _unreadable(path: Path, why: str, stage: Stage) -> ConverterError:
    return ConverterError(FailureReason.DATA_UNREADABLE, stage, f"{path.name} cannot be read: {why}")


def _first_line(error: Exception) -> str:
    text = str(error)
    if "pickle" in text or "Python objects" in text:
        # numpy recommends allow_pickle=True here, which would run code from the file.
        return "it holds pickled Python objects, which are never loaded"
    return text.splitlines()[0] if text else type(error).__name__
