"""What is known of data that calibrates and evaluates: manifest, classes, ranges, and what looks wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelconversion_api.reports.calibration import ClassCount, DataInfo, DataRole, InputCoverage, Stability
from tflite_converter.array_blocks import blocks
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.dataset import Dataset

USUAL_SAMPLES = 100
"""Fewer calibration samples than this are warned of. TensorFlow's guide to post-training quantization says
"around ~100-500 samples"."""
RANGE_FACTOR = 4.0
"""Ranges of calibration and evaluation data may differ by this factor; two bits of eight are lost at it."""
CONSTANT_SHARE = 0.5
"""Share of positions with one value from which on it is warned of. The borders of images are constant too."""
TOLERATED_UNSTABLE = 0.1
"""Share of activations whose ranges may differ between two halves before the data is called too little."""

_EIGHT_BIT = 255
_NAMES_SHOWN = 5


def data_info(whole: Dataset, chosen: Dataset, role: DataRole, seed: int) -> DataInfo:
    """Return the manifest of ``chosen``, the samples of ``whole`` that were used as ``role``."""
    return DataInfo(
        role=role,
        name=whole.name,
        format=whole.format,
        sha256=whole.sha256 or None,
        labels_sha256=whole.labels_sha256,
        samples=chosen.count,
        available=whole.count,
        seed=seed,
        stratified=whole.classes is not None and chosen.count < whole.count,
        preprocessing=dict(chosen.preprocessing),
    )


def class_counts(whole: Dataset, chosen: Dataset) -> tuple[ClassCount, ...]:
    """How many samples of each class there are in ``whole`` and in ``chosen``, by label; () without classes.

    Named classes are all listed, also those without a sample.
    """
    if whole.classes is None or chosen.classes is None:
        return ()
    labels, available = np.unique(whole.classes, return_counts=True)
    there = dict(zip(labels.tolist(), available.tolist(), strict=True))
    labels, used = np.unique(chosen.classes, return_counts=True)
    taken = dict(zip(labels.tolist(), used.tolist(), strict=True))
    names = dict(enumerate(whole.class_names))
    return tuple(
        ClassCount(
            label=label, name=names.get(label), available=there.get(label, 0), drawn=taken.get(label, 0)
        )
        for label in sorted(there.keys() | names.keys())
    )


def coverage(chosen: NamedArrays, others: NamedArrays | None) -> tuple[InputCoverage, ...]:
    """Return the range of ``chosen`` for each input, and the share of ``others`` outside it.

    Both are ``{input: (n, ...)}`` of finite numbers, with the same inputs. Works through a block of samples
    at a time.
    """
    return tuple(
        _covered(name, array, None if others is None else others[name]) for name, array in chosen.items()
    )


def sample_warnings(info: DataInfo, classes: Sequence[ClassCount]) -> list[str]:
    """Warn about too few calibration samples, in total and for each class."""
    warnings = []
    if info.samples < USUAL_SAMPLES:
        plural = "s" if info.samples > 1 else ""
        warnings.append(f"only {info.samples} calibration sample{plural}: {USUAL_SAMPLES} or more is usual")
    if absent := [c.name or str(c.label) for c in classes if c.drawn == 0]:
        shown = ", ".join(absent[:_NAMES_SHOWN]) + (", …" if len(absent) > _NAMES_SHOWN else "")
        warnings.append(
            f"no calibration sample of {len(absent)} of the {len(classes)} classes ({shown}):"
            " activations that only they cause have no range"
        )
    return warnings


def stability_warnings(stability: Stability | None) -> list[str]:
    """Warn where two halves of the calibration samples show that there are too few."""
    if stability is None or stability.unstable <= TOLERATED_UNSTABLE * stability.tensors:
        return []
    return [
        (
            f"{stability.unstable} of {stability.tensors} activations have other ranges on another half of"
            " the calibration samples: give more, or more varied ones"
        )
    ]


def range_warnings(calibration: NamedArrays, evaluation: NamedArrays | None) -> list[str]:
    """Warn about unusual values of floating-point inputs, one sentence each.

    Both arguments are ``{input: (n, ...)}`` of finite numbers, ``n`` at least 1; ``evaluation`` is other
    data for the same model, or None.
    """
    warnings: list[str | None] = []
    for name, array in calibration.items():
        if array.dtype.kind != "f":
            continue
        warnings.append(_constant_warning(name, array))
        other = None if evaluation is None else evaluation.get(name)
        if other is not None and other.size:
            warnings.append(_comparison_warning(name, array, other))
    return [text for text in warnings if text is not None]


def _covered(name: str, array: Array, others: Array | None) -> InputCoverage:
    low, high = _extremes(array)
    minimum, maximum = float(low.min()), float(high.max())
    total = sum(float(array[block].sum(dtype=np.float64)) for block in blocks(array))
    mean = total / array.size
    # In a second pass: the sum of squares less the square of the sum would lose all digits far from zero.
    squares = sum(float(np.square(array[block].astype(np.float64) - mean).sum()) for block in blocks(array))
    return InputCoverage(
        name=name,
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        deviation=float(np.sqrt(squares / array.size)),
        constant_features=int((low == high).sum()) if len(array) > 1 else 0,
        outside=None if others is None or others.size == 0 else _outside(others, minimum, maximum),
    )


def _extremes(array: Array) -> tuple[Array, Array]:
    """Return the lowest and the highest value over the samples, each of shape ``array.shape[1:]``."""
    low, high = array[0], array[0]
    for block in blocks(array):
        low = np.minimum(low, array[block].min(axis=0))
        high = np.maximum(high, array[block].max(axis=0))
    return np.asarray(low), np.asarray(high)


def _outside(array: Array, minimum: float, maximum: float) -> float:
    beyond = sum(
        int(np.count_nonzero((array[block] < minimum) | (array[block] > maximum))) for block in blocks(array)
    )
    return beyond / array.size


def _constant_warning(name: str, array: Array) -> str | None:
    low, high = _extremes(array)
    lowest, highest = low.min(), high.max()
    if lowest == highest:
        return f"every value of the calibration data for input {name!r} is {lowest:g}: it sets no range"
    constant = int((low == high).sum())
    if len(array) > 1 and constant > CONSTANT_SHARE * low.size:
        return (
            f"{constant} of the {low.size} positions of input {name!r} have one value in all"
            f" {len(array)} calibration samples"
        )
    return None


def _comparison_warning(name: str, calibration: Array, evaluation: Array) -> str | None:
    unscaled = _looks_eight_bit(calibration), _looks_eight_bit(evaluation)
    in_unit = _lies_in_unit(calibration), _lies_in_unit(evaluation)
    if (unscaled[0] and in_unit[1]) or (in_unit[0] and unscaled[1]):
        whole, scaled = ("calibration", "evaluation") if unscaled[0] else ("evaluation", "calibration")
        return (
            f"the {whole} data for input {name!r} are whole numbers up to {_EIGHT_BIT}, but the {scaled} data"
            " lie between 0 and 1: scale both as in training"
        )
    (low, high), (other_low, other_high) = _range(calibration), _range(evaluation)
    width, other_width = high - low, other_high - other_low
    both = max(high, other_high) - min(low, other_low)
    ranges = f"{low:g} to {high:g}, against {other_low:g} to {other_high:g}"
    if width > 0 and both > RANGE_FACTOR * width:
        return (
            f"the evaluation data for input {name!r} reach far beyond the calibration data ({ranges}):"
            " what is beyond is clipped"
        )
    if other_width > 0 and both > RANGE_FACTOR * other_width:
        return (
            f"the calibration data for input {name!r} reach far beyond the evaluation data ({ranges}):"
            " most of the 256 steps of an int8 input are never used"
        )
    return None


def _range(array: Array) -> tuple[float, float]:
    low, high = _extremes(array)
    return float(low.min()), float(high.max())


def _lies_in_unit(array: Array) -> bool:
    low, high = _range(array)
    return low >= 0 and high <= 1


def _looks_eight_bit(array: Array) -> bool:
    """Whether these are whole numbers from 0 to 255, and not only 0 and 1."""
    low, high = _range(array)
    if low < 0 or not 1 < high <= _EIGHT_BIT:
        return False
    return all(bool((array[block] == np.trunc(array[block])).all()) for block in blocks(array))
