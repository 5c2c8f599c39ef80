"""What training makes small: the distance to the labels, the original's outputs, or both. Child only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import tensorflow as tf

from modelconversion_api.fields.data import Task
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.measuring.tasks import is_distribution, is_scores

_SMALLEST: Final = 1e-7
"""Probabilities below it count as this: the logarithm of 0 has no gradient."""


@dataclass(frozen=True)
class Objective:
    """The loss of one model.

    For classes the loss against the labels is the cross-entropy, and that against the original is the
    Kullback-Leibler divergence of both at the temperature ``T``, times ``T`` squared, so that its gradients
    keep their size (Hinton et al., "Distilling the knowledge in a neural network", 2015). Yes-or-no outputs
    have the binary cross-entropy, reconstructions the mean squared error against the input, all others the
    mean squared error.
    """

    task: Task
    is_distribution: bool
    """Whether the model gives probabilities; their logarithms are then logits as good as any."""
    has_scores: bool
    """Whether there is one output with a score for each of several classes."""
    in_unit: bool
    """Whether the outputs lie between 0 and 1."""
    labelled: bool
    learns_from_original: bool
    temperature: float
    alpha: float

    @classmethod
    def of(
        cls,
        task: Task,
        outputs: NamedArrays,
        *,
        labelled: bool,
        temperature: float,
        alpha: float,
    ) -> Objective:
        """Choose the objective of a model with ``outputs`` (``{output: (n, ...)}``)."""
        values = list(outputs.values())
        return cls(
            task=task,
            is_distribution=is_distribution(outputs),
            has_scores=is_scores(outputs),
            in_unit=all(bool(((v >= 0) & (v <= 1)).all()) for v in values),
            labelled=labelled,
            learns_from_original=alpha < 1.0 or not (labelled or task is Task.RECONSTRUCTION),
            temperature=temperature,
            alpha=alpha,
        )

    def __call__(
        self,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        labels: Any,
        original: Mapping[str, Any],
    ) -> Any:
        """Return the mean loss of a batch, a scalar."""
        # Of a model of mixed precision they may be halves.
        outputs = {name: tf.cast(tensor, tf.float32) for name, tensor in outputs.items()}
        has_truth = self.labelled or self.task is Task.RECONSTRUCTION
        total = tf.constant(0.0)
        if has_truth:
            weight = self.alpha if self.learns_from_original else 1.0
            total += weight * self._against_truth(inputs, outputs, labels)
        if self.learns_from_original:
            weight = 1.0 - self.alpha if has_truth else 1.0
            total += weight * self._against_original(outputs, original)
        return total

    def _against_truth(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any], labels: Any) -> Any:
        if self.task is Task.RECONSTRUCTION:
            by_shape = {tuple(t.shape[1:]): t for t in inputs.values()}
            errors = [
                tf.reduce_mean(tf.square(out - tf.cast(by_shape[tuple(out.shape[1:])], out.dtype)))
                for out in outputs.values()
                if tuple(out.shape[1:]) in by_shape
            ]
            return tf.add_n(errors)
        (output,) = outputs.values()
        if self.task is Task.CLASSIFICATION and self.has_scores:
            logits = self._logits(output)
            classes = tf.cast(labels, tf.int64)
            return tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=classes, logits=logits)
            )
        truth = tf.reshape(tf.cast(labels, output.dtype), tf.shape(output))
        if self.task.has_classes:
            return self._binary(truth, output)
        return tf.reduce_mean(tf.square(output - truth))

    def _against_original(self, outputs: Mapping[str, Any], original: Mapping[str, Any]) -> Any:
        losses = []
        for name, output in outputs.items():
            target = tf.cast(original[name], output.dtype)
            if self.task is Task.CLASSIFICATION and self.has_scores:
                losses.append(self._divergence(target, output))
            elif self.task.has_classes and self.in_unit:
                losses.append(self._binary(target, output))
            else:
                losses.append(tf.reduce_mean(tf.square(output - target)))
        return tf.add_n(losses)

    def _divergence(self, expected: Any, output: Any) -> Any:
        warm = self.temperature
        target = tf.nn.softmax(self._logits(expected) / warm)
        mine = tf.nn.log_softmax(self._logits(output) / warm)
        theirs = tf.nn.log_softmax(self._logits(expected) / warm)
        return warm**2 * tf.reduce_mean(tf.reduce_sum(target * (theirs - mine), axis=-1))

    def _binary(self, truth: Any, output: Any) -> Any:
        if self.in_unit:
            clipped = tf.clip_by_value(output, _SMALLEST, 1.0 - _SMALLEST)
            return -tf.reduce_mean(truth * tf.math.log(clipped) + (1.0 - truth) * tf.math.log(1.0 - clipped))
        return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=output))

    def _logits(self, scores: Any) -> Any:
        return tf.math.log(tf.maximum(scores, _SMALLEST)) if self.is_distribution else scores


def batch_of(arrays: NamedArrays, chosen: Array) -> dict[str, Any]:
    """Return the samples at the indices ``chosen`` as tensors."""
    return {name: tf.constant(array[chosen]) for name, array in arrays.items()}
