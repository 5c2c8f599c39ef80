"""One kind of training, from its first epoch to its best weights. Child process only."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from modelconversion_api.fields.optimization import OptimizationStep, TrainedStep
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.metrics import scores
from tflite_converter.training.adam import Adam
from tflite_converter.training.checkpoint import Checkpoint
from tflite_converter.training.fake_quant import Phase, RoundedActivations, rounded_kernels
from tflite_converter.training.losses import batch_of
from tflite_converter.training.plan import RAMP, rate_at, sparsity_at
from tflite_converter.training.setup import Setup
from tflite_converter.training.variables import restore, share_of_zeros, snapshot

_OBSERVED_BATCHES: Final = 16
"""Batches that the activations' ranges are averaged over before any are rounded."""
_SPARSITY_CHANGES: Final = 100
"""How often, at most, pruning chooses anew which weights are zero."""
_WORDS: Final = {
    OptimizationStep.DISTILLATION: "distilling",
    OptimizationStep.PRUNING: "pruning",
    OptimizationStep.QUANTIZATION_AWARE_TRAINING: "training for int8",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step stands in the whole training."""

    number: int
    """Its place among the plan's steps, from 0."""
    ends: float
    """When its time is over, on the clock of ``time.monotonic``."""
    checkpoint: Path
    fingerprint: str
    finished: tuple[TrainedStep, ...]
    """The steps before it."""


@dataclass(frozen=True, slots=True)
class _Quality:
    """Loss and accuracy on what was held out."""

    loss: float
    accuracy: float | None

    @property
    def score(self) -> tuple[float, float]:
        """The order of epochs: accuracy first, then loss; NaN is never better."""
        return (0.0 if self.accuracy is None else self.accuracy), -self.loss

    def __str__(self) -> str:
        accuracy = "" if self.accuracy is None else f", accuracy {self.accuracy:.1%}"
        return f"held-out loss {self.loss:.4g}{accuracy}"


@dataclass(slots=True)
class _Course:
    """How far a step is, and the best that it has found."""

    before: _Quality
    epoch: int
    """Epochs that are done."""
    best: Sequence[Array]
    """Weights of the best epoch."""
    best_epoch: int
    score: tuple[float, float]

    @classmethod
    def continued(cls, state: Checkpoint) -> _Course:
        return cls(
            _Quality(*state.before), state.epoch, state.arrays["best"], state.best_epoch, state.best_score
        )

    def offer(self, quality: _Quality, weights: Sequence[Any]) -> None:
        """Keep the weights of this epoch, if they are the best so far."""
        if quality.score > self.score:
            self.score, self.best_epoch, self.best = quality.score, self.epoch, snapshot(weights)


class Step:
    """One kind of training.

    ``masks`` are those of an earlier pruning, whose zeros stay: one for each prunable variable.
    """

    def __init__(self, setup: Setup, place: Place, masks: list[Any] | None) -> None:
        self._setup = setup
        self._place = place
        self._planned = setup.plan.steps[place.number]
        self._kind = self._planned.step
        self._prunes = self._kind is OptimizationStep.PRUNING
        self._adam = Adam(setup.trained)
        is_aware = self._kind is OptimizationStep.QUANTIZATION_AWARE_TRAINING
        if self._prunes and not setup.prunable:
            raise _nothing("pruning: it has no convolution, dense or recurrent kernel")
        if is_aware and not setup.kernels:
            raise _nothing("quantization-aware training: it has no kernel")
        self._rounding = RoundedActivations(setup.model) if is_aware else None
        self._masks = (
            [tf.Variable(tf.ones_like(v), trainable=False) for v in setup.prunable] if self._prunes else masks
        )
        # Dropout and the batch's own statistics are for a model that begins from nothing.
        self._begins_anew = self._kind is OptimizationStep.DISTILLATION
        count = setup.lessons.training.count
        self._batch = min(setup.plan.batch_size, count)
        self._batches = max(1, count // self._batch)
        self._total = self._planned.epochs * self._batches
        # One of each for every phase: what becomes of activations is decided when a function is traced.
        self._train_batch = tf.function(self._learn, autograph=False, reduce_retracing=True)
        self._measure_batch = tf.function(self._measured, autograph=False, reduce_retracing=True)
        self._observe_batch = tf.function(self._forward, autograph=False, reduce_retracing=True)

    def train(self, state: Checkpoint | None) -> TrainedStep:
        """Train until the epochs or the time are over; the model then has its best weights.

        Training goes on from ``state`` where there is one.

        Raises:
            ConverterError: TrainingDiverged.

        """
        with ExitStack() as stack:
            if self._rounding is not None:
                stack.enter_context(self._rounding)
            return self._train(state)

    def _train(self, state: Checkpoint | None) -> TrainedStep:
        started, message = time.monotonic(), None
        course = self._begin() if state is None else self._go_on(state)
        while course.epoch < self._planned.epochs:
            in_time = self._run_epoch(course.epoch)
            course.epoch += 1
            done = course.epoch * self._batches if in_time else self._total
            self._prune(done)
            quality = self._evaluate()
            if self._is_sparse_enough(done):
                course.offer(quality, self._setup.weights)
            self._leave_checkpoint(course)
            self._tell(course.epoch * self._batches, f", {quality}")
            if not in_time:
                message = f"the deadline ended it in epoch {course.epoch} of {self._planned.epochs}"
                break
        restore(self._setup.weights, course.best)
        after = self._evaluate()
        return TrainedStep(
            step=self._kind,
            epochs=self._planned.epochs,
            epochs_run=course.epoch,
            best_epoch=course.best_epoch,
            loss_before=None if self._begins_anew else course.before.loss,
            loss_after=after.loss,
            accuracy_before=None if self._begins_anew else course.before.accuracy,
            accuracy_after=after.accuracy,
            sparsity=share_of_zeros(self._setup.prunable),
            parameters=sum(int(np.prod(v.shape)) for v in self._setup.weights),
            seconds=round(time.monotonic() - started, 3),
            message=message,
        )

    def _begin(self) -> _Course:
        """Set the activations' ranges, and measure what the step begins with."""
        self._tell(0, "")
        if self._rounding is not None:
            self._rounding.phase = Phase.OBSERVE
            inputs = self._setup.lessons.training.inputs
            for start in range(0, min(_OBSERVED_BATCHES, self._batches) * self._batch, self._batch):
                self._observe_batch(batch_of(inputs, np.arange(start, start + self._batch)))
        before = self._evaluate()
        # Where nothing must change first (zeros, a first epoch), the step may begin with its best.
        score = before.score if self._rounding is not None else (-math.inf, -math.inf)
        return _Course(before, 0, snapshot(self._setup.weights), 0, score)

    def _go_on(self, state: Checkpoint) -> _Course:
        """Set all that a checkpoint holds besides the weights."""
        done = state.epoch * self._batches
        self._tell(done, "")
        restore(self._adam.variables, state.arrays["adam"])
        if self._rounding is not None:
            restore(self._rounding.variables, state.arrays["ranges"])
        self._prune(done)
        return _Course.continued(state)

    def _run_epoch(self, epoch: int) -> bool:
        """Go once through the data; False where the time is over."""
        plan, examples = self._setup.plan, self._setup.lessons.training
        order = np.random.default_rng((plan.seed, self._place.number, epoch)).permutation(examples.count)
        every = max(1, self._batches // 10)
        highest, ramp = plan.rate(self._kind), RAMP if self._prunes else 0.0
        self._set_phase(Phase.TRAIN)
        for number in range(self._batches):
            if time.monotonic() > self._place.ends:
                return False
            done = epoch * self._batches + number
            chosen = order[number * self._batch : (number + 1) * self._batch]
            loss = self._train_batch(
                batch_of(examples.inputs, chosen),
                None if examples.labels is None else tf.constant(examples.labels[chosen]),
                batch_of(examples.original, chosen),
                tf.constant(rate_at(done, self._total, highest, ramp), tf.float32),
            )
            self._check(float(loss), f"in epoch {epoch + 1}")
            if (done + 1) % max(1, self._total // _SPARSITY_CHANGES) == 0:
                self._prune(done + 1)
            if (number + 1) % every == 0:
                self._tell(done + 1, f", loss {float(loss):.4g}")
        return True

    def _rounded(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return inputs if self._rounding is None else self._rounding.inputs(inputs)

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return self._setup.call(self._rounded(inputs), False)

    def _learn(self, inputs: dict[str, Any], labels: Any, original: dict[str, Any], rate: Any) -> Any:
        """Make one step of the optimizer, and return the loss before it."""
        setup = self._setup
        exact = self._round_kernels()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(setup.trained)
            outputs = setup.call(self._rounded(inputs), self._begins_anew)
            loss = setup.objective(inputs, outputs, labels, original)
        gradients = tape.gradient(loss, setup.trained)
        self._restore_kernels(exact)
        self._adam.apply(gradients, rate)
        for variable, mask in zip(setup.prunable, self._masks or (), strict=False):
            variable.assign(variable * mask)
        return loss

    def _measured(self, inputs: dict[str, Any], labels: Any, original: dict[str, Any]) -> Any:
        """Return the loss and the outputs of a batch."""
        exact = self._round_kernels()
        outputs = {name: tf.identity(tensor) for name, tensor in self._forward(inputs).items()}
        loss = self._setup.objective(inputs, outputs, labels, original)
        self._restore_kernels(exact)
        return loss, outputs

    def _round_kernels(self) -> list[Any]:
        """Put rounded values into the kernels, where the step does so, and return the exact ones."""
        if self._rounding is None:
            return []
        kernels = self._setup.kernels
        exact = [tf.identity(kernel.variable) for kernel in kernels]
        for kernel, values in zip(kernels, rounded_kernels(kernels), strict=True):
            kernel.variable.assign(values)
        return exact

    def _restore_kernels(self, exact: Sequence[Any]) -> None:
        for kernel, values in zip(self._setup.kernels, exact, strict=False):
            kernel.variable.assign(values)

    def _prune(self, done: int) -> None:
        """Choose which weights are zero after ``done`` of all steps: the smallest of each kernel."""
        if not self._prunes:
            return
        sparsity = self._sparsity_at(done)
        for variable, mask in zip(self._setup.prunable, self._masks or (), strict=True):
            values = np.abs(variable.numpy())
            zeros = math.floor(sparsity * values.size)
            mask_values = np.ones(values.size, dtype=values.dtype)
            # By rank, not by a threshold: equal values must not make more zeros than were asked for.
            mask_values[np.argsort(values, axis=None, kind="stable")[:zeros]] = 0.0
            mask.assign(mask_values.reshape(values.shape))
            variable.assign(variable * mask)

    def _is_sparse_enough(self, done: int) -> bool:
        """Whether an epoch's weights may be kept: those of pruning only when all zeros are there."""
        return not self._prunes or self._sparsity_at(done) >= self._planned.target_sparsity

    def _sparsity_at(self, done: int) -> float:
        planned = self._planned
        return sparsity_at(done, self._total, planned.initial_sparsity, planned.target_sparsity)

    def _evaluate(self) -> _Quality:
        """Measure on what was held out, as int8 where the step trains for it."""
        held_out, objective = self._setup.lessons.held_out, self._setup.objective
        self._set_phase(Phase.MEASURE)
        total = 0.0
        parts: dict[str, list[Array]] = {name: [] for name in held_out.original}
        for start in range(0, held_out.count, self._batch):
            chosen = np.arange(start, min(start + self._batch, held_out.count))
            labels = None if held_out.labels is None else tf.constant(held_out.labels[chosen])
            loss, outputs = self._measure_batch(
                batch_of(held_out.inputs, chosen), labels, batch_of(held_out.original, chosen)
            )
            total += float(loss) * len(chosen)
            for name, tensor in outputs.items():
                parts[name].append(tensor.numpy())
        self._check(total, "on what was held out")
        accuracy = None
        if held_out.labels is not None and objective.labelled:
            whole = {name: np.concatenate(part) for name, part in parts.items()}
            figures = scores(objective.task, held_out.inputs, whole, held_out.labels)
            accuracy = None if figures is None else figures.accuracy
        return _Quality(total / held_out.count, accuracy)

    def _check(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            cause = f"the loss became {loss} {where} of {_WORDS[self._kind]}"
            raise ConverterError(FailureReason.TRAINING_DIVERGED, Stage.TRAIN, cause)

    def _set_phase(self, phase: Phase) -> None:
        if self._rounding is not None:
            self._rounding.phase = phase

    def _leave_checkpoint(self, course: _Course) -> None:
        place = self._place
        Checkpoint(
            fingerprint=place.fingerprint,
            place=place.number,
            epoch=course.epoch,
            best_epoch=course.best_epoch,
            best_score=course.score,
            before=(course.before.loss, course.before.accuracy),
            finished=list(place.finished),
            arrays={
                "weights": snapshot(self._setup.weights),
                "best": list(course.best),
                "adam": snapshot(self._adam.variables),
                "ranges": [] if self._rounding is None else snapshot(self._rounding.variables),
            },
        ).write(place.checkpoint)

    def _tell(self, done: int, text: str) -> None:
        """Say how much of all steps' epochs is done."""
        number = self._place.number
        epochs = [step.epochs for step in self._setup.plan.steps]
        fraction = (sum(epochs[:number]) + done / self._batches) / sum(epochs)
        epoch = min(epochs[number], math.ceil(max(1, done) / self._batches))
        words = f"{_WORDS[self._kind]}, epoch {epoch} of {epochs[number]}{text}"
        self._setup.say(words, min(1.0, fraction))


def _nothing(subject: str) -> ConverterError:
    cause = f"the model has nothing for {subject}"
    return ConverterError(FailureReason.TRAINING_FAILED, Stage.TRAIN, cause)
