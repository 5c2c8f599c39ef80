"""One kind of training after another, in a loop of our own for both Keras generations. Child process only."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf

from modelconversion_api.optimization import OptimizationStep, TrainedStep
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.metrics import scores
from tflite_converter.training.adam import Adam
from tflite_converter.training.checkpoint import Checkpoint
from tflite_converter.training.fake_quant import Phase, RoundedActivations, rounded_kernels
from tflite_converter.training.losses import Objective, batch_of
from tflite_converter.training.plan import RAMP, PlannedStep, TrainingPlan, rate_at, seconds_for, sparsity_at
from tflite_converter.training.variables import (
    Call,
    kernels_of,
    prunable,
    restore,
    share_of_zeros,
    snapshot,
    tensorflow_variables,
)

Say = Callable[[str, float | None], None]
"""Tells the parent what is done, and how much of the training."""
_OBSERVED_BATCHES: Final = 16
"""Batches that the activations' ranges are averaged over before any are rounded."""
_SPARSITY_CHANGES: Final = 100
"""How often, at most, pruning chooses anew which weights are zero."""
_WORDS: Final = {
    OptimizationStep.DISTILLATION: "distilling",
    OptimizationStep.PRUNING: "pruning",
    OptimizationStep.QUANTIZATION_AWARE_TRAINING: "training for int8",
}


@dataclass(frozen=True)
class Examples:
    """Bound samples with what they are to become: ``{input: (n, ...)}``, labels, ``{output: (n, ...)}``."""

    inputs: NamedArrays
    labels: Array | None
    original: NamedArrays
    """The original's outputs."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(next(iter(self.inputs.values())))

    def take(self, chosen: Array) -> Examples:
        """Those at ``chosen``."""
        return Examples(
            {name: array[chosen] for name, array in self.inputs.items()},
            None if self.labels is None else self.labels[chosen],
            {name: array[chosen] for name, array in self.original.items()},
        )


class Trainer:
    """Trains one model by a plan; every step begins with the best weights of the one before."""

    def __init__(
        self,
        model: Any,
        call: Call,
        plan: TrainingPlan,
        objective: Objective,
        training: Examples,
        held_out: Examples,
        say: Say,
    ) -> None:
        model.trainable = True  # a backbone that was frozen for transfer learning must learn about int8 too
        self._call = call
        self._plan = plan
        self._objective = objective
        self._training = training
        self._held_out = held_out
        self._say = say
        self._weights = tensorflow_variables(model.weights)
        self._trained = tensorflow_variables(model.trainable_variables)
        self._kernels = kernels_of(model)
        self._prunable = prunable(self._kernels)
        self._model = model
        self._masks: list[Any] | None = None
        """What pruning has left: 1 where a weight may be other than zero. Later steps keep to it."""

    def run(self, checkpoint: Path, resumed: Checkpoint | None, fingerprint: str) -> list[TrainedStep]:
        """All steps; the model then has the best weights of the last one.

        Raises:
            ConverterError: TrainingDiverged where the loss is no number; TrainingFailed where the model has
                nothing that a step could change.

        """
        steps = self._plan.steps
        finished = [] if resumed is None else list(resumed.finished)
        deadline = time.monotonic() + self._plan.deadline_seconds
        for place in range(len(finished), len(steps)):
            left = max(0.0, deadline - time.monotonic())
            ends = time.monotonic() + seconds_for(steps[place:], left)
            begun = resumed if resumed is not None and resumed.place == place else None
            if begun is not None:
                restore(self._weights, begun.arrays["weights"])
                self._remember_zeros(begun.finished)
            run = _Step(self, place, ends, begun)
            finished.append(run.train(checkpoint, fingerprint, finished))
            if steps[place].step is OptimizationStep.PRUNING:
                self._masks = _masks_of(self._prunable)
        return finished

    def _remember_zeros(self, finished: Sequence[TrainedStep]) -> None:
        if any(step.step is OptimizationStep.PRUNING for step in finished):
            self._masks = _masks_of(self._prunable)


class _Step:
    """One kind of training, from its first epoch to its best weights."""

    def __init__(self, trainer: Trainer, place: int, ends: float, resumed: Checkpoint | None) -> None:
        self._of = trainer
        self._place = place
        self._planned: PlannedStep = trainer._plan.steps[place]
        self._kind = self._planned.step
        self._ends = ends
        self._resumed = resumed
        self._adam = Adam(trainer._trained)
        self._rounding = (
            RoundedActivations(trainer._model)
            if self._kind is OptimizationStep.QUANTIZATION_AWARE_TRAINING
            else None
        )
        if self._kind is OptimizationStep.PRUNING and not trainer._prunable:
            raise _nothing("pruning: it has no convolution, dense or recurrent kernel")
        if self._rounding is not None and not trainer._kernels:
            raise _nothing("quantization-aware training: it has no kernel")
        self._pruned = (
            [tf.Variable(tf.ones_like(v), trainable=False) for v in trainer._prunable]
            if self._kind is OptimizationStep.PRUNING
            else trainer._masks
        )
        self._held = RAMP if self._kind is OptimizationStep.PRUNING else 0.0
        # Dropout and the batch's own statistics are for a model that begins from nothing.
        self._in_training = self._kind is OptimizationStep.DISTILLATION
        count = trainer._training.count
        self._batch = min(trainer._plan.batch_size, count)
        self._batches = max(1, count // self._batch)
        self._total = self._planned.epochs * self._batches
        # One of each for every phase: what becomes of activations is decided when a function is traced.
        self._train_batch = tf.function(self._learn, autograph=False, reduce_retracing=True)
        self._measure_batch = tf.function(self._measured, autograph=False, reduce_retracing=True)
        self._observe_batch = tf.function(self._forward, autograph=False, reduce_retracing=True)

    def train(self, checkpoint: Path, fingerprint: str, finished: list[TrainedStep]) -> TrainedStep:
        """Trains until the epochs or the time are over."""
        started = time.monotonic()
        with ExitStack() as stack:
            if self._rounding is not None:
                stack.enter_context(self._rounding)
            return self._train(checkpoint, fingerprint, finished, started)

    def _train(
        self, checkpoint: Path, fingerprint: str, finished: list[TrainedStep], started: float
    ) -> TrainedStep:
        of, epoch, message = self._of, 0, None
        loss, accuracy = self._begin()
        is_new = self._kind is OptimizationStep.DISTILLATION
        # Where nothing must change first (zeros, a first epoch), what the step begins with may be the best.
        is_candidate = self._kind is OptimizationStep.QUANTIZATION_AWARE_TRAINING
        best = snapshot(of._weights)
        score = self._score(loss, accuracy) if is_candidate else (-math.inf, -math.inf)
        best_epoch = 0
        if (resumed := self._resumed) is not None:
            epoch, best_epoch, score = resumed.epoch, resumed.best_epoch, resumed.best_score
            best, (loss, accuracy) = resumed.arrays["best"], resumed.before
        before = loss, accuracy
        while epoch < self._planned.epochs:
            in_time = self._epoch(epoch)
            epoch += 1
            done = epoch * self._batches if in_time else self._total
            if not in_time:
                message = f"the deadline ended it in epoch {epoch} of {self._planned.epochs}"
            self._prune(done)
            loss, accuracy = self._evaluate()
            if self._is_sparse_enough(done) and (found := self._score(loss, accuracy)) > score:
                score, best_epoch, best = found, epoch, snapshot(of._weights)
            self._leave(checkpoint, fingerprint, epoch, best_epoch, score, best, before, finished)
            self._tell(epoch * self._batches, self._figures(loss, accuracy))
            if not in_time:
                break
        restore(of._weights, best)
        loss, accuracy = self._evaluate()
        return TrainedStep(
            step=self._kind,
            epochs=self._planned.epochs,
            epochs_run=epoch,
            best_epoch=best_epoch,
            loss_before=None if is_new else before[0],
            loss_after=loss,
            accuracy_before=None if is_new else before[1],
            accuracy_after=accuracy,
            sparsity=share_of_zeros(of._prunable),
            parameters=sum(int(np.prod(v.shape)) for v in of._weights),
            seconds=round(time.monotonic() - started, 3),
            message=message,
        )

    def _begin(self) -> tuple[float, float | None]:
        """Sets the activations' ranges, or all that a checkpoint holds; what the step begins with."""
        of = self._of
        self._tell(self._resumed.epoch * self._batches if self._resumed else 0, "")
        if self._resumed is not None:
            restore(self._adam.variables, self._resumed.arrays["adam"])
            if self._rounding is not None:
                restore(self._rounding.variables, self._resumed.arrays["ranges"])
            self._prune(self._resumed.epoch * self._batches)
            return self._resumed.before
        if self._rounding is not None:
            self._rounding.phase = Phase.OBSERVE
            for start in range(0, min(_OBSERVED_BATCHES, self._batches) * self._batch, self._batch):
                chosen = np.arange(start, start + self._batch)
                self._observe_batch(batch_of(of._training.inputs, chosen))
        return self._evaluate()

    def _epoch(self, epoch: int) -> bool:
        """One pass over the data; False where the time is over."""
        of = self._of
        order = np.random.default_rng((of._plan.seed, self._place, epoch)).permutation(of._training.count)
        every = max(1, self._batches // 10)
        self._phase(Phase.TRAIN)
        for number in range(self._batches):
            if time.monotonic() > self._ends:
                return False
            done = epoch * self._batches + number
            chosen = order[number * self._batch : (number + 1) * self._batch]
            examples = of._training
            loss = self._train_batch(
                batch_of(examples.inputs, chosen),
                None if examples.labels is None else tf.constant(examples.labels[chosen]),
                batch_of(examples.original, chosen),
                tf.constant(rate_at(done, self._total, of._plan.rate(self._kind), self._held), tf.float32),
            )
            self._check(float(loss), f"in epoch {epoch + 1}")
            if (done + 1) % max(1, self._total // _SPARSITY_CHANGES) == 0:
                self._prune(done + 1)
            if (number + 1) % every == 0:
                self._tell(done + 1, f", loss {float(loss):.4g}")
        return True

    def _forward(self, inputs: dict[str, Any]) -> dict[str, Any]:
        rounded = inputs if self._rounding is None else self._rounding.inputs(inputs)
        return self._of._call(rounded, False)

    def _learn(self, inputs: dict[str, Any], labels: Any, original: dict[str, Any], rate: Any) -> Any:
        """One step of the optimizer; the loss before it."""
        of = self._of
        exact = self._round_kernels()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(of._trained)
            rounded = inputs if self._rounding is None else self._rounding.inputs(inputs)
            loss = of._objective(inputs, of._call(rounded, self._in_training), labels, original)
        gradients = tape.gradient(loss, of._trained)
        self._restore_kernels(exact)
        self._adam.apply(gradients, rate)
        for variable, mask in zip(of._prunable, self._pruned or (), strict=False):
            variable.assign(variable * mask)
        return loss

    def _measured(self, inputs: dict[str, Any], labels: Any, original: dict[str, Any]) -> Any:
        """The loss and the outputs of a batch."""
        exact = self._round_kernels()
        outputs = {name: tf.identity(t) for name, t in self._forward(inputs).items()}
        loss = self._of._objective(inputs, outputs, labels, original)
        self._restore_kernels(exact)
        return loss, outputs

    def _round_kernels(self) -> list[Any]:
        """Puts rounded values into the kernels, where the step does so, and gives the exact ones."""
        if self._rounding is None:
            return []
        exact = [tf.identity(k.variable) for k in self._of._kernels]
        for kernel, values in zip(self._of._kernels, rounded_kernels(self._of._kernels), strict=True):
            kernel.variable.assign(values)
        return exact

    def _restore_kernels(self, exact: Sequence[Any]) -> None:
        for kernel, values in zip(self._of._kernels, exact, strict=False):
            kernel.variable.assign(values)

    def _prune(self, done: int) -> None:
        """Chooses which weights are zero after ``done`` of all steps: the smallest of each kernel."""
        if self._kind is not OptimizationStep.PRUNING:
            return
        planned = self._planned
        wanted = sparsity_at(done, self._total, planned.initial_sparsity, planned.target_sparsity)
        for variable, mask in zip(self._of._prunable, self._pruned or (), strict=True):
            values = np.abs(variable.numpy())
            zeros = math.floor(wanted * values.size)
            kept = np.ones(values.size, dtype=values.dtype)
            # By rank, not by a threshold: equal values must not make more zeros than were asked for.
            kept[np.argsort(values, axis=None, kind="stable")[:zeros]] = 0.0
            mask.assign(kept.reshape(values.shape))
            variable.assign(variable * mask)

    def _is_sparse_enough(self, done: int) -> bool:
        """Whether an epoch's weights may be kept: those of pruning only when all zeros are there."""
        planned = self._planned
        if self._kind is not OptimizationStep.PRUNING:
            return True
        return sparsity_at(done, self._total, planned.initial_sparsity, planned.target_sparsity) >= (
            planned.target_sparsity
        )

    def _evaluate(self) -> tuple[float, float | None]:
        """Loss and accuracy on what was held out, as int8 where the step trains for it."""
        held_out, objective = self._of._held_out, self._of._objective
        self._phase(Phase.MEASURE)
        total = 0.0
        parts: dict[str, list[Array]] = {name: [] for name in held_out.original}
        for start in range(0, held_out.count, self._batch):
            chosen = np.arange(start, min(start + self._batch, held_out.count))
            labels = None if held_out.labels is None else tf.constant(held_out.labels[chosen])
            found = batch_of(held_out.inputs, chosen), labels, batch_of(held_out.original, chosen)
            loss, outputs = self._measure_batch(*found)
            total += float(loss) * len(chosen)
            for name, tensor in outputs.items():
                parts[name].append(tensor.numpy())
        self._check(total, "on what was held out")
        accuracy = None
        if held_out.labels is not None and objective.labelled:
            whole = {name: np.concatenate(part) for name, part in parts.items()}
            found_scores = scores(objective.task, held_out.inputs, whole, held_out.labels)
            accuracy = None if found_scores is None else found_scores.accuracy
        return total / held_out.count, accuracy

    def _check(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            cause = f"the loss became {loss} {where} of {_WORDS[self._kind]}"
            raise ConverterError(FailureReason.TRAINING_DIVERGED, Stage.TRAIN, cause)

    def _phase(self, phase: Phase) -> None:
        if self._rounding is not None:
            self._rounding.phase = phase

    def _score(self, loss: float, accuracy: float | None) -> tuple[float, float]:
        """What an epoch is chosen by: accuracy first, then loss; NaN is never better."""
        return (0.0 if accuracy is None else accuracy), -loss

    def _leave(
        self,
        path: Path,
        fingerprint: str,
        epoch: int,
        best_epoch: int,
        score: tuple[float, float],
        best: Sequence[Array],
        before: tuple[float, float | None],
        finished: list[TrainedStep],
    ) -> None:
        arrays = {
            "weights": snapshot(self._of._weights),
            "best": list(best),
            "adam": snapshot(self._adam.variables),
            "ranges": [] if self._rounding is None else snapshot(self._rounding.variables),
        }
        Checkpoint(fingerprint, self._place, epoch, best_epoch, score, before, list(finished), arrays).write(
            path
        )

    def _tell(self, done: int, text: str) -> None:
        """Says how much of all steps' epochs is done."""
        steps = self._of._plan.steps
        epochs = [s.epochs for s in steps]
        fraction = (sum(epochs[: self._place]) + done / self._batches) / sum(epochs)
        epoch = min(self._planned.epochs, math.ceil(max(1, done) / self._batches))
        words = f"{_WORDS[self._kind]}, epoch {epoch} of {self._planned.epochs}{text}"
        self._of._say(words, min(1.0, fraction))

    def _figures(self, loss: float, accuracy: float | None) -> str:
        right = "" if accuracy is None else f", accuracy {accuracy:.1%}"
        return f", held-out loss {loss:.4g}{right}"


def _masks_of(variables: Sequence[Any]) -> list[Any]:
    """Masks that keep the zeros that are there."""
    return [tf.Variable(tf.cast(tf.not_equal(v, 0.0), v.dtype), trainable=False) for v in variables]


def _nothing(what: str) -> ConverterError:
    cause = f"the model has nothing for {what}"
    return ConverterError(FailureReason.TRAINING_FAILED, Stage.TRAIN, cause)
