"""One kind of training after another, in a loop of our own for both Keras generations. Child process only."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from modelconversion_api.fields.optimization import OptimizationStep, TrainedStep
from tflite_converter.training.checkpoint import Checkpoint
from tflite_converter.training.plan import seconds_for
from tflite_converter.training.setup import Setup
from tflite_converter.training.step import Place, Step
from tflite_converter.training.variables import restore


class Trainer:
    """Trains one model by its plan; every step begins with the best weights of the one before."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._masks: list[Any] | None = None
        """Where pruning has left weights: 1 where one may be other than zero. Later steps keep to it."""

    def run(self, checkpoint: Path, resumed: Checkpoint | None, fingerprint: str) -> list[TrainedStep]:
        """Train all steps; the model then has the best weights of the last one.

        Each epoch leaves its state at ``checkpoint``, marked with ``fingerprint``. Training continues from
        ``resumed`` where there is one.

        Raises:
            ConverterError: TrainingDiverged where the loss is not a number; TrainingFailed where a step could
                change nothing of the model.

        """
        setup = self._setup
        steps = setup.plan.steps
        finished = [] if resumed is None else list(resumed.finished)
        deadline = time.monotonic() + setup.plan.deadline_seconds
        for number in range(len(finished), len(steps)):
            left = max(0.0, deadline - time.monotonic())
            ends = time.monotonic() + seconds_for(steps[number:], left)
            state = resumed if resumed is not None and resumed.place == number else None
            if state is not None:
                restore(setup.weights, state.arrays["weights"])
                self._keep_zeros_of(state.finished)
            step = Step(setup, Place(number, ends, checkpoint, fingerprint, tuple(finished)), self._masks)
            trained = step.train(state)
            finished.append(trained)
            self._keep_zeros_of([trained])
        return finished

    def _keep_zeros_of(self, finished: Sequence[TrainedStep]) -> None:
        """Take the zeros that there are for those of pruning, where one of ``finished`` was pruning."""
        if any(step.step is OptimizationStep.PRUNING for step in finished):
            self._masks = [
                tf.Variable(tf.cast(tf.not_equal(variable, 0.0), variable.dtype), trainable=False)
                for variable in self._setup.prunable
            ]
