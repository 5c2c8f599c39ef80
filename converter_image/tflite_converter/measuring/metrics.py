"""How close an artifact's outputs are to the original's and to the labels.

All functions take outputs by tensor name, each of shape ``(n, *output shape)``, for the same ``n`` samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from edge_inference.confidence import are_logits
from modelconversion_api.fields.data import Task
from modelconversion_api.reports.measurements import AccuracyMetric, AgreementMetric, Fidelity, Scores
from tflite_converter.arrays import Array, FloatArray, IntArray, NamedArrays
from tflite_converter.measuring.tasks import is_scores

SNR_LIMIT_DB = 200.0
"""SNR is clipped here: beyond it, float32 rounding is all that is left."""

_THRESHOLD, _LOGIT_THRESHOLD = 0.5, 0.0
_WHOLE = "iub"
"""Kinds of numbers that are the same or not, and never near."""
_SMALLEST_PROBABILITY = 1e-6
"""Int8 scores can be 0, whose logarithm no divergence survives."""
POWER_FLOOR = 4e-4
"""Share of an output's power that counts as variance at least: an output that varies by less than a fiftieth
of its size is judged as if it varied by that. 8 bits say little more."""
_NEIGHBOUR_SAMPLES = 2000
"""Nearest neighbours are looked for among this many samples: the work grows with the square."""


def agreement(metric: AgreementMetric, reference: NamedArrays, outputs: NamedArrays) -> float:
    """Agreement of ``outputs`` with ``reference``, 0 to 1.

    Raises:
        ValueError: The metric is of boxes or masks, which
            :class:`~tflite_converter.measuring.evaluation.Reference` knows how to read.

    """
    match metric:
        case AgreementMetric.TOP1:
            (name,) = reference
            return float(np.mean(top1(reference[name]) == top1(outputs[name])))
        case AgreementMetric.LABEL_MATCH:
            return _mean(_matching(r, outputs[n]) for n, r in reference.items())
        case AgreementMetric.R2:
            return r2(reference, outputs)
        case AgreementMetric.COSINE:
            return cosine(reference, outputs)
        case AgreementMetric.DETECTIONS | AgreementMetric.MEAN_IOU:
            raise ValueError(f"{metric.value} is not of plain outputs")


def fidelity(task: Task, reference: NamedArrays, outputs: NamedArrays) -> Fidelity:
    """Return the figures that fit ``task``, rounded for a report."""
    errors = [as_float(outputs[n]) - as_float(r) for n, r in reference.items()]
    common = {
        "mse": _mean(float(np.mean(np.square(e))) for e in errors),
        "mae": _mean(float(np.mean(np.abs(e))) for e in errors),
    }
    if task is Task.CLASSIFICATION and is_scores(reference):
        (name,) = reference
        return _rounded(Fidelity(**common, **_of_classes(reference[name], outputs[name])))
    if task in (Task.CLASSIFICATION, Task.MULTI_LABEL):
        match = agreement(AgreementMetric.LABEL_MATCH, reference, outputs)
        drift = _mean(float(np.mean(np.abs(e))) for e in errors)
        return _rounded(Fidelity(**common, label_match=match, confidence_drift=drift))
    if task is Task.EMBEDDING:
        return _rounded(Fidelity(**common, cosine=cosine(reference, outputs)))
    return _rounded(Fidelity(**common, cosine=cosine(reference, outputs), r2=r2(reference, outputs)))


def scores(task: Task, samples: NamedArrays, outputs: NamedArrays, labels: Array) -> Scores | None:
    """Compare outputs with labels by the metrics of ``task``; None where that is not possible.

    A single output of shape ``(n, C)`` is taken as scores of classes (the greatest wins), ``(n, 1)`` as the
    probability of class 1 (from 0.5 on) or its logit (from 0 on).
    """
    if len(outputs) != 1:
        return None
    (values,) = outputs.values()
    match task:
        case Task.CLASSIFICATION if labels.ndim == 1 and labels.dtype.kind in "iu":
            return _classes(values, labels)
        case Task.MULTI_LABEL:
            decisions = labels.reshape(len(labels), -1)
            if decisions.shape != values.shape:
                return None
            return Scores(
                metric=AccuracyMetric.MACRO_F1, accuracy=_round(macro_f1(_yes(values), decisions > 0))
            )
        case Task.REGRESSION if labels.size == values.size:
            truth = labels.reshape(values.shape)
            error = as_float(values) - as_float(truth)
            return Scores(
                metric=AccuracyMetric.R2,
                accuracy=_round(r2({"": truth}, {"": values})),
                mse=_round(float(np.mean(np.square(error)))),
                mae=_round(float(np.mean(np.abs(error)))),
            )
        case Task.RECONSTRUCTION if labels.ndim == 1 and set(np.unique(labels)) == {0, 1}:
            inputs = next((s for s in samples.values() if s.size == values.size), None)
            if inputs is None:
                return None
            distance = np.square(as_float(values) - as_float(inputs).reshape(values.shape))
            error = np.mean(distance.reshape(len(values), -1), axis=1)
            return Scores(metric=AccuracyMetric.ROC_AUC, accuracy=_round(roc_auc(error, labels == 1)))
        case Task.EMBEDDING if labels.ndim == 1 and len(labels) > 1:
            share = nearest_neighbour(values, labels)
            return Scores(metric=AccuracyMetric.NEAREST_NEIGHBOUR, accuracy=_round(share))
        case _:
            return None


def predicted(values: Array) -> IntArray:
    """Return the class of each row of scores ``(n, C)`` or probabilities ``(n, 1)``."""
    return _yes(values[:, 0]).astype(np.int64) if values.shape[1] == 1 else top1(values)


def top1(values: Array) -> IntArray:
    """Return the class with the greatest score of each row."""
    best: IntArray = np.argmax(values, axis=1).astype(np.int64)
    return best


def snr_db(reference: NamedArrays, outputs: NamedArrays) -> float | None:
    """Signal-to-noise ratio over all outputs in dB: ``10 log10(sum r^2 / sum (r - o)^2)``.

    None where both are equal. Clipped to ±:data:`SNR_LIMIT_DB`.
    """
    signal = sum(float(np.sum(np.square(as_float(r)))) for r in reference.values())
    noise = sum(float(np.sum(np.square(as_float(r) - as_float(outputs[n])))) for n, r in reference.items())
    if noise == 0.0:
        return None
    if signal == 0.0 or not math.isfinite(noise):
        return -SNR_LIMIT_DB
    return float(np.clip(10.0 * math.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))


def cosine(reference: NamedArrays, outputs: NamedArrays) -> float:
    """Mean cosine similarity of the flattened samples, averaged over the outputs, clipped to [0, 1]."""
    return _mean(_mean_cosine(r, outputs[n]) for n, r in reference.items())


def r2(reference: NamedArrays, outputs: NamedArrays) -> float:
    """Share of the reference's variance over the samples that is kept, averaged over the outputs, [0, 1].

    ``1 - sum (r - o)^2 / sum (r - mean r)^2`` with the mean of each position over the samples.
    """
    return _mean(_r2(as_float(r), as_float(outputs[n])) for n, r in reference.items())


def macro_f1(predictions: Array, truth: Array) -> float:
    """Mean over the columns of F1 = 2 TP / (2 TP + FP + FN); a column without any yes on both sides is 1."""
    hits = np.sum(predictions & truth, axis=0)
    misses = np.sum(predictions ^ truth, axis=0)
    total = 2 * hits + misses
    return float(np.mean(np.divide(2 * hits, total, out=np.ones(len(total)), where=total > 0)))


def roc_auc(score: FloatArray, positive: Array) -> float:
    """Chance that a positive sample scores higher than a negative one, ties half (Mann-Whitney U)."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts - 1) / 2.0)[inverse]
    positives = int(positive.sum())
    negatives = len(positive) - positives
    return float((rank[positive].sum() - positives * (positives + 1) / 2.0) / (positives * negatives))


def nearest_neighbour(vectors: Array, labels: IntArray) -> float:
    """Share of samples whose nearest other sample by cosine has the same label."""
    some = as_float(vectors[:_NEIGHBOUR_SAMPLES]).reshape(min(len(vectors), _NEIGHBOUR_SAMPLES), -1)
    norms = np.linalg.norm(some, axis=1, keepdims=True)
    unit = np.divide(some, norms, out=np.zeros_like(some), where=norms > 0)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -np.inf)
    nearest = np.argmax(similar, axis=1)
    truth = labels[: len(some)]
    return float(np.mean(truth[nearest] == truth))


def _of_classes(reference: Array, output: Array) -> dict[str, float]:
    p, q = _distributions(reference, output)
    five = min(5, p.shape[1])
    best, best_judged = (np.argsort(-x, axis=1, kind="stable")[:, :five] for x in (p, q))
    shared = [len(np.intersect1d(a, b)) / five for a, b in zip(best, best_judged, strict=True)]
    first = top1(p)
    rows = np.arange(len(p))
    clipped = np.maximum(q, _SMALLEST_PROBABILITY)
    divergence = np.sum(p * np.log(np.maximum(p, _SMALLEST_PROBABILITY) / clipped), axis=1)
    return {
        "top1": float(np.mean(first == top1(q))),
        "top5": float(np.mean(shared)),
        "kl_divergence": max(0.0, float(np.mean(divergence))),
        "confidence_drift": float(np.mean(np.abs(p[rows, first] - q[rows, first]))),
    }


def _distributions(reference: Array, output: Array) -> tuple[FloatArray, FloatArray]:
    """Rows that add up to 1: the softmax of both where the reference's are logits."""
    p, q = as_float(reference), as_float(output)
    if np.all(p >= 0.0) and np.allclose(p.sum(axis=1), 1.0, atol=0.05):
        # Int8 scores of many classes, each rounded to 1/256, need not add up.
        return _share(p), _share(np.maximum(q, 0.0))
    return _softmax(p), _softmax(q)


def _share(values: FloatArray) -> FloatArray:
    total = values.sum(axis=1, keepdims=True)
    even = np.full_like(values, 1.0 / values.shape[1])
    shares: FloatArray = np.divide(values, total, out=even, where=total > 0.0)
    return shares


def _softmax(logits: FloatArray) -> FloatArray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: FloatArray = shifted / shifted.sum(axis=1, keepdims=True)
    return probabilities


def _classes(values: Array, labels: IntArray) -> Scores | None:
    if values.ndim != 2:
        return None
    predictions = predicted(values)
    classes = np.arange(max(2, values.shape[1]))
    present = classes[np.isin(classes, labels) | np.isin(classes, predictions)]
    f1 = macro_f1(predictions[:, None] == present, labels[:, None] == present)
    top5 = None
    if values.shape[1] > 5:
        best = np.argsort(-values.astype(np.float64), axis=1, kind="stable")[:, :5]
        top5 = _round(float(np.mean(np.any(best == labels[:, None], axis=1))))
    return Scores(
        metric=AccuracyMetric.TOP1,
        accuracy=_round(float(np.mean(predictions == labels))),
        top5=top5,
        macro_f1=_round(f1),
    )


def threshold(values: Array) -> float:
    """Return the least score that means yes: 0.5 of a probability, 0 (sigmoid 0.5) of a logit."""
    return _LOGIT_THRESHOLD if are_logits(values) else _THRESHOLD


def _matching(reference: Array, output: Array) -> float:
    """Return the share of values that are the same whole number, or of scores that are on the same side."""
    if reference.dtype.kind in _WHOLE:
        return float(np.mean(reference == output))
    return float(np.mean(_yes(reference) == _yes(output, threshold(reference))))


def _yes(values: Array, least: float | None = None) -> Array:
    decided: Array = values >= (threshold(values) if least is None else least)
    return decided


def _r2(reference: FloatArray, output: FloatArray) -> float:
    noise = float(np.sum(np.square(reference - output)))
    if noise == 0.0:
        return 1.0
    variance = float(np.sum(np.square(reference - reference.mean(axis=0))))
    floor = POWER_FLOOR * float(np.sum(np.square(reference)))
    total = max(variance, floor)
    return float(np.clip(1.0 - noise / total, 0.0, 1.0)) if total > 0 and math.isfinite(noise) else 0.0


def _mean_cosine(reference: Array, output: Array) -> float:
    """Mean cosine similarity of the flattened samples; 1 for two zero vectors, clipped to [0, 1]."""
    a, b = (as_float(x).reshape(len(x), -1) for x in (reference, output))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    similar = np.divide(np.sum(a * b, axis=1), norms, out=np.zeros(len(a)), where=norms > 0)
    similar = np.where(both_zero, 1.0, np.nan_to_num(similar))
    return float(np.mean(np.clip(similar, 0.0, 1.0)))


def as_float(values: Array) -> FloatArray:
    """Return the values in double precision; a complex number as its two parts, one behind the other."""
    if values.dtype.kind == "c":
        parts: FloatArray = np.stack([values.real, values.imag], axis=-1).astype(np.float64)
        return parts
    return values.astype(np.float64)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _round(value: float) -> float:
    return round(value, 6)


def _rounded(exact: Fidelity) -> Fidelity:
    """Six significant digits: errors of small outputs must not all be 0."""
    digits = {name: float(f"{value:.6g}") for name, value in exact if value is not None}
    return Fidelity(**digits)
