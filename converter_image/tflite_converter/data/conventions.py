"""Names that arrays and folders have by habit: which part is for training, and which array is the labels."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from modelconversion_api.reasons import Stage

_TRAIN: Final = ("train", "training")
_VALIDATION: Final = ("val", "valid", "validation", "dev")
_TEST: Final = ("test", "testing")
_SPLITS: Final = (*_TRAIN, *_VALIDATION, *_TEST)
"""In the order in which calibration and training choose."""
_SAMPLES: Final = ("x", "images", "image", "data", "features", "samples", "inputs", "arr_0")
_LABELS: Final = ("y", "labels", "label", "targets", "target", "classes", "arr_1")
"""``arr_0`` and ``arr_1`` are what ``numpy.savez(path, x, y)`` writes."""
_PART = re.compile(rf"(?P<what>[a-z]+?)[_-]?(?P<split>{'|'.join(_SPLITS)})", re.IGNORECASE)
_PART_FIRST = re.compile(rf"(?P<split>{'|'.join(_SPLITS)})[_-]?(?P<what>[a-z]+)", re.IGNORECASE)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")


class Pair(NamedTuple):
    """The arrays that a data set takes."""

    samples: str
    labels: str | None
    split: str | None
    """The part of the data that they are, e.g. ``train``; None where there are no parts."""


def is_split(name: str) -> bool:
    """Whether a folder is called as a part of a data set is."""
    return name.lower() in _SPLITS


def parts_of_a_set(names: Collection[str]) -> bool:
    """Whether all names are the same but for the part of a data set in them.

    ``training_set`` and ``test_set`` are, ``train2017`` and ``val2017``, and ``seg_train`` and ``seg_test``;
    ``freight_train`` and ``passenger_train`` are not, for both would be the same part.
    """
    splits = [_splits_in(name) for name in names]
    beside = {tuple(w.lower() for w in _WORD.findall(name) if w.lower() not in _SPLITS) for name in names}
    kinds = {found[0][:2] for found in splits if len(found) == 1}
    return all(len(found) == 1 for found in splits) and len(beside) == 1 and len(kinds) > 1


def choose_split(names: Iterable[str], stage: Stage) -> str:
    """Return the part that serves ``stage``, out of at least one.

    Where files are measured that is the validation part, or else the test part; elsewhere the training part.
    """
    measures = stage is Stage.EVALUATE
    order = (*_VALIDATION, *_TEST, *_TRAIN) if measures else _SPLITS
    return min(names, key=lambda name: min(map(order.index, _splits_in(name))))


def _splits_in(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name) if word.lower() in _SPLITS]


def part_of(files: Sequence[str], stage: Stage) -> tuple[str, tuple[str, ...]] | None:
    """Return the part of a data set that serves ``stage``, and its files; None where no names say parts.

    ``data/train-00000-of-00002.parquet`` and ``mnist-test.tfrecord-00000-of-00001`` say one each.

    Raises:
        ValueError: with the first file whose name says none, or several, beside parts of at least two kinds.

    """
    splits = {file: _splits_in(file) for file in files}
    unclear = [file for file, found in splits.items() if len(set(found)) != 1]
    names = {found[0] for file, found in splits.items() if file not in unclear}
    if len({name[:2] for name in names}) < 2:
        return None
    if unclear:
        raise ValueError(unclear[0])
    chosen = choose_split(names, stage)
    return chosen, tuple(file for file in files if splits[file][0] == chosen)


def pair_of(names: Collection[str], stage: Stage) -> Pair | None:
    """Return which of several arrays are samples and labels; None where their names do not say it.

    ``x_train, y_train, x_test, y_test`` are such names, ``train_images`` and ``train_labels``, or ``X`` and
    ``y``.
    """
    parts = {name: part for name in names if (part := _part(name)) is not None}
    if len(parts) == len(names) and (splits := {p.split for n, p in parts.items() if _is_samples(p.what)}):
        split = choose_split(splits, stage)
        return _only_pair({name: part.what for name, part in parts.items() if part.split == split}, split)
    return _only_pair({name: name for name in names}, None) if len(names) > 1 else None


class _Part(NamedTuple):
    what: str
    split: str


def _part(name: str) -> _Part | None:
    match = _PART.fullmatch(name) or _PART_FIRST.fullmatch(name)
    return None if match is None else _Part(match["what"], match["split"].lower())


def _only_pair(names: dict[str, str], split: str | None) -> Pair | None:
    """Return the pair where one name is of samples, at most one other of labels, and there is no third."""
    samples = [name for name, what in names.items() if _is_samples(what)]
    labels = [name for name, what in names.items() if is_labels(what)]
    if len(samples) != 1 or len(labels) > 1 or len(names) != len(samples) + len(labels):
        return None
    return Pair(samples[0], labels[0] if labels else None, split)


def is_labels(what: str) -> bool:
    """Whether an array or a column is called as labels are."""
    return what.lower() in _LABELS


def _is_samples(what: str) -> bool:
    return what.lower() in _SAMPLES
