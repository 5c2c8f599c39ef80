"""Every output judged by itself, and its columns where they may mean different things.

One figure over all outputs hides those that are dead: a large one drowns the error of a small one.
All functions take arrays of shape ``(n, ...)`` for the same ``n`` samples.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from modelconversion_api.fields.data import Task
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.measurements import AgreementMetric, OutputFidelity
from tflite_converter.arrays import Array, FloatArray, NamedArrays
from tflite_converter.measuring.metrics import POWER_FLOOR, agreement, as_float, r2, snr_db, top1
from tflite_converter.measuring.tasks import is_distribution, lies_in_unit

MOST_OUTPUTS: Final = 64
"""How many are reported."""
_FEW_COLUMNS: Final = 64
"""Up to so many columns of a vector are taken for quantities of their own; more are features of one kind."""
_MOST_COLUMNS: Final = 128
"""More columns than this are places of one quantity, e.g. pixels."""
_DIFFERENT_SCALES: Final = 10.0
"""Columns whose deviations differ by more are quantities of their own, as boxes and scores are."""
_CONSTANT: Final = 1e-3
"""A column that varies by less than this share of its size is as good as constant."""
_DIGITS: Final = 6


def judge(
    task: Task, metric: AgreementMetric, reference: NamedArrays, outputs: NamedArrays
) -> tuple[OutputFidelity, ...]:
    """Compare each output with the original's, in the reference's order.

    ``metric`` is that of the task; an output of another kind beside it, e.g. of class numbers, is compared by
    its own.
    """
    alone = len(reference) == 1
    return tuple(
        _judge(task, metric if alone else _beside_others(metric, r), name, r, outputs[name])
        for name, r in reference.items()
    )


def judged_whole(
    metric: AgreementMetric, share: float, name: str, reference: NamedArrays, outputs: NamedArrays
) -> tuple[OutputFidelity, ...]:
    """Return ``share``, the agreement of outputs that only mean something together, as that of ``name``."""
    ratio = snr_db(reference, outputs)
    decibels = None if ratio is None else round(ratio, 2)
    return (OutputFidelity(name=name, metric=metric, agreement=round(share, _DIGITS), snr_db=decibels),)


def incomparable(originals: NamedArrays, outputs: NamedArrays) -> tuple[FailureReason, str] | None:
    """Return in what outputs are not the original's, so that no metric could compare them.

    Both are ``{output: (n, ...)}``. The words go on after the name of what gave the outputs.
    """
    for name, expected in originals.items():
        got = outputs.get(name)
        if got is None or got.shape != expected.shape:
            shape = None if got is None else got.shape
            words = f"gives {name!r} with shape {shape}, the original {expected.shape}"
            return FailureReason.EVALUATION_FAILED, words
        if not np.isfinite(got.astype(np.float64)).all() and np.isfinite(expected.astype(np.float64)).all():
            words = f"gives NaN or infinite values in {name!r} where the original does not"
            return FailureReason.OUTPUT_NOT_FINITE, words
    return None


def worst(judged: tuple[OutputFidelity, ...]) -> OutputFidelity:
    """Return the output that agrees least."""
    return min(judged, key=lambda output: output.agreement)


def under_floor(
    judged: tuple[OutputFidelity, ...],
    reference: NamedArrays,
    outputs: NamedArrays,
    floor: float | None,
    *,
    is_real: bool = True,
) -> list[str]:
    """Return a sentence for each output that makes an artifact unusable.

    ``floor`` is the least agreement; None for that of each output's metric, and 0 for none. On random inputs
    (not ``is_real``) an original may hardly vary: what is near enough passes there.
    """
    if floor == 0.0:
        return []
    sentences = []
    for output in judged:
        least = FLOORS[output.metric] if floor is None else floor
        original, file = reference[output.name], outputs[output.name]
        if not is_real and (output.snr_db is None or output.snr_db >= _NEAR_DB):
            continue
        place = f"{output.name}{output.worst_column or ''}"
        if _is_constant(file) and _varies(output.metric, original):
            sentences.append(f"unusable: it gives the same {place!r} for every sample, the original does not")
        elif not output.agreement >= least and not _is_near(output.metric, original, file):
            figure = f"{output.agreement:.1%}"
            sentences.append(f"unusable: output {place!r} agrees in {figure}, under the floor of {least:.0%}")
        elif (fault := _other_values(output, original, file)) is not None:
            sentences.append(f"unusable: {fault}")
    return sentences


def cautions(judged: tuple[OutputFidelity, ...]) -> list[str]:
    """Return a sentence for each output that is usable and has columns which always give the same."""
    return [
        f"{output.constant_columns} column{'s' if output.constant_columns > 1 else ''} of output"
        f" {output.name!r} always gives the same, the original does not"
        for output in judged
        if output.constant_columns
    ]


FLOORS: Final = {
    AgreementMetric.TOP1: 0.75,
    AgreementMetric.LABEL_MATCH: 0.75,
    AgreementMetric.R2: 0.5,
    AgreementMetric.COSINE: 0.5,
    AgreementMetric.DETECTIONS: 0.5,
    AgreementMetric.MEAN_IOU: 0.5,
}
"""The least agreement of an output that is of any use. Guessing one of two classes gives 0.5, and the mean of
all samples for each of them an R2 of 0. A box or a mask that is half beside is none."""
_NEAR_DB: Final = 20.0
"""Signal-to-noise ratio from which on an output on random inputs is near enough."""
_WHOLE: Final = 1.25
"""What shares may add up to."""
_NEAR: Final = 0.9
"""Share of the scores' variance from which on other classes win only where the original hardly decides."""


def _judge(task: Task, metric: AgreementMetric, name: str, original: Array, file: Array) -> OutputFidelity:
    own, axis = _metric(metric, original), None
    if own is AgreementMetric.R2:
        axis = _column_axis(task, original)
    # Places of a picture may be dead, such as its corners: that is told, but not judged.
    told = 1 if task is Task.RECONSTRUCTION and _are_few_columns(original) else axis
    ratio = snr_db({name: original}, {name: file})
    if axis is None:
        share, column = agreement(own, {name: original}, {name: file}), None
    else:
        shares = _column_shares(original, file, axis)
        place = int(np.argmin(shares))
        share, column = float(shares[place]), _column_name(original.ndim, axis, place)
    return OutputFidelity(
        name=name,
        metric=own,
        agreement=round(share, _DIGITS),
        snr_db=None if ratio is None else round(ratio, 2),
        worst_column=column,
        constant_columns=0 if told is None else _constant_columns(original, file, told),
    )


def _other_values(output: OutputFidelity, original: Array, file: Array) -> str | None:
    """Say where scores agree in their order, and are others all the same.

    Rounding to the nearest step never makes an error that is larger than a value, nor shares that add up to
    much more than a whole: such scores are stored in other steps than they are read in.
    """
    if original.dtype.kind in "iub" or output.metric not in (
        AgreementMetric.TOP1,
        AgreementMetric.LABEL_MATCH,
    ):
        return None
    if output.snr_db is not None and output.snr_db < 0.0:
        return f"the error of output {output.name!r} is larger than its values ({output.snr_db:.1f} dB)"
    if is_distribution({"": original}):
        total = float(np.mean(np.sum(as_float(file), axis=-1)))
        if total > _WHOLE:
            return f"the shares of output {output.name!r} add up to {total:.2f}"
    return None


def _metric(metric: AgreementMetric, original: Array) -> AgreementMetric:
    """Return how one output is compared: class numbers and probabilities beside numbers are neither."""
    if metric is not AgreementMetric.R2:
        return metric
    if original.dtype.kind in "iub":
        return AgreementMetric.LABEL_MATCH
    return AgreementMetric.TOP1 if is_distribution({"": original}) else metric


def _beside_others(metric: AgreementMetric, original: Array) -> AgreementMetric:
    """Return R2 for a number beside yes-or-no outputs: which side of 0.5 it is on says nothing of it."""
    is_number = metric is AgreementMetric.LABEL_MATCH and original.dtype.kind not in "iub"
    is_share = lies_in_unit(original) and not is_distribution({"": original})
    return AgreementMetric.R2 if is_number and not is_share else metric


def _column_axis(task: Task, original: Array) -> int | None:
    """Return the axis whose places are quantities of their own; None where all values are of one kind."""
    if task is Task.RECONSTRUCTION or original.ndim < 2 or len(original) < 2:
        return None
    if original.ndim == 2:
        return 1 if _are_few_columns(original) else None
    axes = [axis for axis in range(1, original.ndim) if 1 < original.shape[axis] <= _MOST_COLUMNS]
    axis = max(axes, key=lambda a: _spread(original, a), default=None)
    return axis if axis is not None and _spread(original, axis) > _DIFFERENT_SCALES else None


def _are_few_columns(original: Array) -> bool:
    return original.ndim == 2 and 1 < original.shape[1] <= _FEW_COLUMNS


def _columns(values: Array, axis: int) -> FloatArray:
    """Return the values as ``(places along the axis, all others)``."""
    moved: FloatArray = np.moveaxis(as_float(values), axis, 0)
    return moved.reshape(values.shape[axis], -1)


def _spread(original: Array, axis: int) -> float:
    deviations = _columns(original, axis).std(axis=1)
    varying = deviations[deviations > 0.0]
    return float(varying.max() / varying.min()) if len(varying) else 1.0


def _column_shares(original: Array, file: Array, axis: int) -> FloatArray:
    """Return the share of each column's variance over the samples that is kept, 0 to 1."""
    exact, actual = _columns(original, axis), _columns(file, axis)
    noise = np.sum(np.square(exact - actual), axis=1)
    values = as_float(original)
    mean = _columns(values - values.mean(axis=0, keepdims=True), axis)
    total = np.maximum(np.sum(np.square(mean), axis=1), POWER_FLOOR * np.sum(np.square(exact), axis=1))
    kept = 1.0 - np.divide(noise, total, out=np.full(len(noise), np.inf), where=total > 0.0)
    shares: FloatArray = np.clip(
        np.where(noise == 0.0, 1.0, np.nan_to_num(kept, nan=0.0, neginf=0.0)), 0.0, 1.0
    )
    return shares


def _column_name(dimensions: int, axis: int, place: int) -> str:
    return f"[{', '.join(str(place) if i == axis else ':' for i in range(dimensions))}]"


def _constant_columns(original: Array, file: Array, axis: int) -> int:
    exact, actual = _columns(original, axis), _columns(file, axis)
    varies = exact.std(axis=1) > _CONSTANT * np.sqrt(np.mean(np.square(exact), axis=1))
    return int(np.sum(varies & (actual == actual[:, :1]).all(axis=1)))


def _is_constant(file: Array) -> bool:
    """Whether every sample gives the same."""
    return len(file) > 1 and bool((file == file[:1]).all())


def _varies(metric: AgreementMetric, original: Array) -> bool:
    """Whether the original's samples differ in what counts."""
    if metric is AgreementMetric.TOP1:
        return len(np.unique(top1(original))) > 1
    flat = as_float(original).reshape(len(original), -1)
    deviation = np.sqrt(np.mean(np.square(flat - flat.mean(axis=0))))
    return bool(deviation > _CONSTANT * np.sqrt(np.mean(np.square(flat))))


def _is_near(metric: AgreementMetric, original: Array, file: Array) -> bool:
    """Whether scores are near although other classes win: the original's own are nearly equal."""
    if metric not in (AgreementMetric.TOP1, AgreementMetric.LABEL_MATCH) or original.dtype.kind in "iub":
        return False
    return r2({"": original}, {"": file}) >= _NEAR
