"""Adam on tf.Variables, the same for both Keras generations, with a state that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import tensorflow as tf

_BETA_1: Final = 0.9
_BETA_2: Final = 0.999
_EPSILON: Final = 1e-7


class Adam:
    """Kingma and Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1."""

    def __init__(self, variables: Sequence[Any]) -> None:
        self._variables = list(variables)
        self._steps = tf.Variable(0.0, trainable=False)
        self._means = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._variables]
        self._squares = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._variables]

    @property
    def variables(self) -> list[Any]:
        """Its state, for a checkpoint."""
        return [self._steps, *self._means, *self._squares]

    def apply(self, gradients: Sequence[Any], rate: Any) -> None:
        """One step; a variable without a gradient (None) stays as it is."""
        steps = self._steps.assign_add(1.0)
        scale = rate * tf.sqrt(1.0 - _BETA_2**steps) / (1.0 - _BETA_1**steps)
        for variable, gradient, mean, square in zip(
            self._variables, gradients, self._means, self._squares, strict=True
        ):
            if gradient is None:
                continue
            dense = tf.convert_to_tensor(gradient)
            mean.assign(_BETA_1 * mean + (1.0 - _BETA_1) * dense)
            square.assign(_BETA_2 * square + (1.0 - _BETA_2) * tf.square(dense))
            step = tf.cast(scale, variable.dtype) * mean / (tf.sqrt(square) + _EPSILON)
            variable.assign_sub(step)
