"""How close an artifact's outputs are to the original's.

All functions take outputs by tensor name, each of shape ``(n, *output shape)``, for the same ``n`` samples.
"""

from __future__ import annotations

import math

import numpy as np

from modelconversion_api.report import AgreementMetric

from .arrays import Array, FloatArray, IntArray, NamedArrays

SNR_LIMIT_DB = 200.0
"""SNR is clipped here: beyond it, float32 rounding is all that is left."""


def is_classifier(outputs: NamedArrays) -> bool:
    """Whether there is one output with a score for each of at least two classes."""
    return len(outputs) == 1 and all(o.ndim == 2 and o.shape[1] >= 2 for o in outputs.values())


def agreement_metric(samples: NamedArrays, outputs: NamedArrays) -> AgreementMetric:
    """Top-1 for classifiers, cosine for everything else.

    A vector of the input's own shape is a reconstruction (an autoencoder's), not the scores of classes.
    """
    reconstructs = any(s.shape[1:] == o.shape[1:] for s in samples.values() for o in outputs.values())
    return AgreementMetric.TOP1 if is_classifier(outputs) and not reconstructs else AgreementMetric.COSINE


def agreement(metric: AgreementMetric, reference: NamedArrays, outputs: NamedArrays) -> float:
    """Agreement of ``outputs`` with ``reference``, 0 to 1."""
    if metric is AgreementMetric.TOP1:
        (name,) = reference
        return float(np.mean(_top1(reference[name]) == _top1(outputs[name])))
    return float(np.mean([_mean_cosine(reference[name], outputs[name]) for name in reference]))


def accuracy(outputs: NamedArrays, labels: IntArray) -> float | None:
    """Share of samples put into their class; None when the model gives no classes.

    A single output of shape ``(n, C)`` is taken as scores (the greatest wins), ``(n, 1)`` as the
    probability of class 1 (from 0.5 on).
    """
    if is_classifier(outputs):
        (scores,) = outputs.values()
        return float(np.mean(_top1(scores) == labels))
    if len(outputs) == 1:
        (scores,) = outputs.values()
        if scores.shape[1:] == (1,) and labels.size and labels.max() <= 1:
            return float(np.mean((scores[:, 0] >= 0.5) == labels))
    return None


def snr_db(reference: NamedArrays, outputs: NamedArrays) -> float | None:
    """Signal-to-noise ratio over all outputs in dB: ``10 log10(sum r^2 / sum (r - o)^2)``.

    None where both are equal. Clipped to ±:data:`SNR_LIMIT_DB`.
    """
    signal = sum(float(np.sum(np.square(_as_float(r)))) for r in reference.values())
    noise = sum(float(np.sum(np.square(_as_float(r) - _as_float(outputs[n])))) for n, r in reference.items())
    if noise == 0.0:
        return None
    if signal == 0.0 or not math.isfinite(noise):
        return -SNR_LIMIT_DB
    return float(np.clip(10.0 * math.log10(signal / noise), -SNR_LIMIT_DB, SNR_LIMIT_DB))


def _top1(scores: Array) -> IntArray:
    best: IntArray = np.argmax(scores, axis=1).astype(np.int64)
    return best


def _as_float(values: Array) -> FloatArray:
    return values.astype(np.float64)


def _mean_cosine(reference: Array, output: Array) -> float:
    """Mean cosine similarity of the flattened samples; 1 for two zero vectors, clipped to [0, 1]."""
    a, b = (_as_float(x).reshape(len(x), -1) for x in (reference, output))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    cosine = np.divide(np.sum(a * b, axis=1), norms, out=np.zeros(len(a)), where=norms > 0)
    cosine = np.where(both_zero, 1.0, np.nan_to_num(cosine))
    return float(np.mean(np.clip(cosine, 0.0, 1.0)))
