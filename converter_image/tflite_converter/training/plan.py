"""What is to be trained, in numbers, and the schedules that need no TensorFlow."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from modelconversion_api.base import ApiModel
from modelconversion_api.fields.optimization import (
    DEFAULT_ALPHA,
    DEFAULT_BATCH_SIZE,
    DEFAULT_TEMPERATURE,
    DEFAULT_TRAINING_SECONDS,
    DEFAULT_VALIDATION_FRACTION,
    DEFAULT_WIDTH,
    OptimizationStep,
    Optimize,
)
from tflite_converter.data.files import DataFiles

LEARNING_RATES: Final = {
    OptimizationStep.DISTILLATION: 2e-3,
    OptimizationStep.PRUNING: 2e-3,
    OptimizationStep.QUANTIZATION_AWARE_TRAINING: 2e-4,
}
"""Where none is given: what begins from nothing moves far, what is nearly right must not be lost."""
RAMP: Final = 0.6
"""Part of pruning's steps over which the sparsity grows; in the rest the weights recover."""


class PlannedStep(ApiModel):
    """One kind of training."""

    step: OptimizationStep
    epochs: int = Field(ge=1)
    target_sparsity: float = 0.0
    initial_sparsity: float = 0.0


class TrainingPlan(ApiModel):
    """All steps in their order."""

    steps: tuple[PlannedStep, ...]
    batch_size: int = DEFAULT_BATCH_SIZE
    learning_rate: float | None = None
    seed: int = 0
    deadline_seconds: float = DEFAULT_TRAINING_SECONDS
    validation_fraction: float = float(DEFAULT_VALIDATION_FRACTION)
    temperature: float = float(DEFAULT_TEMPERATURE)
    alpha: float = float(DEFAULT_ALPHA)
    """Weight of the labels; the rest is what the original gives."""
    width: float = float(DEFAULT_WIDTH)
    """Share of the filters and units that a narrowed student has."""

    @property
    def distils(self) -> bool:
        """Whether it is a student that is trained, and not the model itself."""
        return any(s.step is OptimizationStep.DISTILLATION for s in self.steps)

    def rate(self, step: OptimizationStep) -> float:
        """Return the highest learning rate of a step."""
        return LEARNING_RATES[step] if self.learning_rate is None else self.learning_rate

    def fingerprint(self, *digests: str) -> str:
        """Return a digest of this plan, without its deadline, and of the files with ``digests``."""
        plan = self.model_copy(update={"deadline_seconds": 0.0}).model_dump_json()
        return hashlib.sha256("\n".join((plan, *digests)).encode()).hexdigest()


@dataclass(frozen=True)
class TrainingOptions:
    """What the pipeline is told: the plan and the files."""

    plan: TrainingPlan
    data: DataFiles
    student: Path | None = None
    """A Keras file that learns from the original; None for a narrowed copy of it."""
    checkpoint: Path | None = None
    """A file that training continues from where it is there, and that holds its last epoch."""


def plan_of(optimize: Optimize) -> TrainingPlan:
    """Return the training plan of a request."""
    training, distillation, pruning = optimize.training, optimize.distillation, optimize.pruning
    steps, width = [], DEFAULT_WIDTH
    if distillation is not None:
        steps.append(PlannedStep(step=OptimizationStep.DISTILLATION, epochs=distillation.epochs))
        width = distillation.width or width
    if pruning is not None:
        step = PlannedStep(
            step=OptimizationStep.PRUNING,
            epochs=pruning.epochs,
            target_sparsity=float(pruning.target_sparsity),
            initial_sparsity=float(pruning.initial_sparsity),
        )
        steps.append(step)
    if (aware := optimize.quantization_aware_training) is not None:
        steps.append(PlannedStep(step=OptimizationStep.QUANTIZATION_AWARE_TRAINING, epochs=aware.epochs))
    return TrainingPlan(
        steps=tuple(steps),
        batch_size=training.batch_size,
        learning_rate=None if training.learning_rate is None else float(training.learning_rate),
        seed=training.seed,
        deadline_seconds=training.deadline_seconds,
        validation_fraction=float(training.validation_fraction),
        temperature=float(training.temperature),
        alpha=float(training.alpha),
        width=float(width),
    )


def sparsity_at(done: int, total: int, initial: float, target: float) -> float:
    """Return the share of zeros after ``done`` of ``total`` steps: a cubic from ``initial`` to ``target``.

    It rises fast while there is much to spare and slowly at the end, and reaches ``target`` after
    :data:`RAMP` of the steps (Zhu and Gupta, "To prune, or not to prune", 2017, equation 1).
    """
    ramp = max(1, math.floor(RAMP * total))
    left = 1.0 - min(done, ramp) / ramp
    return target + (initial - target) * left**3


def rate_at(done: int, total: int, highest: float, ramp: float = 0.0) -> float:
    """Return the learning rate after ``done`` of ``total`` steps: half a cosine from ``highest`` to 0.

    It stays at ``highest`` for the part ``ramp`` of the steps: while zeros are still being made, the other
    weights have far to go.
    """
    begin = math.floor(ramp * total)
    return highest * 0.5 * (1.0 + math.cos(math.pi * max(0, done - begin) / max(1, total - begin)))


def seconds_for(steps: Sequence[PlannedStep], left: float) -> float:
    """Return the share of the seconds ``left`` that the first of ``steps`` may take, by their epochs.

    So a long first step that meets the deadline does not leave the others without any time.
    """
    return left * steps[0].epochs / sum(s.epochs for s in steps)
