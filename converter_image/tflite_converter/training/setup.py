"""The parts of a training that stay the same: the model itself, its data, the plan. Child process only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.training.losses import Objective
from tflite_converter.training.plan import TrainingPlan
from tflite_converter.training.variables import Call, Kernel, kernels_of, prunable, tensorflow_variables

Say = Callable[[str, float | None], None]
"""Tells the parent what is done, and which share of the whole training."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Bound samples with what they are to become."""

    inputs: NamedArrays
    """``{input: (n, ...)}``"""
    labels: Array | None
    """``(n,)`` or ``(n, k)``; None where only the original's outputs are learned."""
    original: NamedArrays
    """The original's outputs, ``{output: (n, ...)}``."""

    @property
    def count(self) -> int:
        """The number of samples, ``n``."""
        return len(next(iter(self.inputs.values())))

    def take(self, chosen: Array) -> Examples:
        """Return the samples at the indices ``chosen``, in that order."""
        return Examples(
            {name: array[chosen] for name, array in self.inputs.items()},
            None if self.labels is None else self.labels[chosen],
            {name: array[chosen] for name, array in self.original.items()},
        )


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a model learns from, and what chooses its best epoch."""

    training: Examples
    held_out: Examples


@dataclass(frozen=True, slots=True)
class Setup:
    """One model with all that a step of its training needs."""

    model: Any
    """The Keras model, of either generation."""
    call: Call
    weights: list[Any]
    """All tf.Variables of the model."""
    trained: list[Any]
    """Those that gradients change."""
    kernels: list[Kernel]
    prunable: list[Any]
    """Variables that pruning may touch."""
    plan: TrainingPlan
    objective: Objective
    lessons: Lessons
    say: Say

    @classmethod
    def of(
        cls, model: Any, call: Call, plan: TrainingPlan, objective: Objective, lessons: Lessons, *, say: Say
    ) -> Setup:
        """Return the setup of ``model``; all of its layers become trainable.

        Also a backbone that was frozen for transfer learning must learn about int8.
        """
        model.trainable = True
        kernels = kernels_of(model)
        return cls(
            model=model,
            call=call,
            weights=tensorflow_variables(model.weights),
            trained=tensorflow_variables(model.trainable_variables),
            kernels=kernels,
            prunable=prunable(kernels),
            plan=plan,
            objective=objective,
            lessons=lessons,
            say=say,
        )
