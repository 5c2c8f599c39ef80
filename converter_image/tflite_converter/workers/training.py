"""The task ``optimize``: train the original, or a student of it, and write its float file. Child only."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.optimization import TrainedStep
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.labels import classes_of
from tflite_converter.data.sampling import draw
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import detect_format
from tflite_converter.isolation.child import Child
from tflite_converter.measuring.tasks import with_classes
from tflite_converter.original.keras import in_place_of, keras_call, keras_model, read_keras
from tflite_converter.original.keras_files import KerasFile, describe
from tflite_converter.original.model import OriginalModel
from tflite_converter.original.precision import with_single_ends
from tflite_converter.original.running import run_original
from tflite_converter.training.checkpoint import CHECKPOINT_FILE, Checkpoint
from tflite_converter.training.losses import Objective
from tflite_converter.training.setup import Examples, Lessons, Setup
from tflite_converter.training.students import check_student, narrowed
from tflite_converter.training.trainer import Trainer
from tflite_converter.training.variables import Call
from tflite_converter.workers.float_file import bind_samples, write_float, write_reference
from tflite_converter.workers.front import TrainingOutcome
from tflite_converter.workers.jobs import (
    TRAINING_LABELS_FILE,
    TensorFlowJob,
    TrainingJob,
)

FEWEST_SAMPLES = 10
"""Training on fewer would say nothing, and choosing an epoch by the held-out part of them less."""
_LEARNED_FROM_LABELS = (Task.CLASSIFICATION, Task.MULTI_LABEL, Task.REGRESSION)
"""The labels of other tasks say what is odd or alike, not what the model should give."""


@dataclass(frozen=True, slots=True)
class Optimized:
    """The tensors of a model that was trained and written, and what training did."""

    inputs: list[TensorInfo]
    outputs: list[TensorInfo]
    outcome: TrainingOutcome


def optimize(
    job: TensorFlowJob,
    training: TrainingJob,
    file: KerasFile,
    process: Child,
    lap: Callable[[Stage], None],
) -> Optimized:
    """Train the model in ``file`` or its student, and write its float file into the child's folder.

    ``lap`` is told each stage that is over.

    Raises:
        ConverterError: TrainingFailed, TrainingDiverged, DataTooFew; those of loading and converting.

    """
    process.say(Stage.LOAD, "loading the model to train it")
    model = read_keras(file, process.folder)
    original = with_single_ends(keras_model(model, file.writer, job.input_shapes))
    original = bind_samples(job, original, process.folder)
    samples = training.samples.bind(original.inputs, Stage.TRAIN)
    lap(Stage.LOAD)

    write_reference(original, process)
    lap(Stage.EVALUATE)

    words = "running the original model on the training data"
    step = process.counter(Stage.EVALUATE, words, len(next(iter(samples.values()))))
    # Its outputs are computed before anything is trained: the original may be what is.
    outputs = run_original(original, samples, step)
    trainee, call = _trainee(training, model, original, process.folder)
    outcome = _train(trainee, call, original, Examples(samples, None, outputs), training, process)
    lap(Stage.TRAIN)

    files = write_float(with_single_ends(in_place_of(original, trainee, call)), job, process)
    lap(Stage.CONVERT)
    return Optimized(original.inputs, files.frozen.output_infos, outcome)


def _trainee(training: TrainingJob, model: Any, original: OriginalModel, folder: Path) -> tuple[Any, Call]:
    """Return the Keras model that is trained, and how to run it by the original's names."""
    plan = training.plan
    if not plan.distils:
        return model, keras_call(model)
    if training.student is None:
        student = narrowed(model, plan.width, plan.seed)
    else:
        student = _read_student(training.student, folder / "student")
        check_student(student, model)
    return student, _by_names_of(original, student)


def _read_student(path: Path, folder: Path) -> Any:
    """Return the Keras model at ``path``; ``folder`` is made for its link."""
    folder.mkdir(exist_ok=True)
    file = describe(path, detect_format(path))
    importlib.import_module("keras" if file.is_keras_3 else "tf_keras")
    return read_keras(file, folder)


def _by_names_of(original: OriginalModel, student: Any) -> Call:
    """Return how to run ``student`` by the original's names of inputs and outputs, in their order."""
    run, output_names = keras_call(student), _output_names(original)
    own_names = [info.name for info in keras_model(student, "", {}).inputs]
    input_names = [info.name for info in original.inputs]

    def call(tensors: dict[str, Any], training: bool) -> dict[str, Any]:
        inputs = {own: tensors[name] for own, name in zip(own_names, input_names, strict=True)}
        outputs = run(inputs, training)
        # By name where the names are the same, and by place otherwise.
        if list(outputs) == output_names:
            return outputs
        return dict(zip(output_names, outputs.values(), strict=True))

    return call


def _output_names(original: OriginalModel) -> list[str]:
    """Return the names of the original's outputs, in its order."""
    import tensorflow as tf

    specs = {
        info.name: tf.TensorSpec([None if size < 0 else size for size in info.shape], info.dtype)
        for info in original.inputs
    }
    traced = tf.function(original.call, autograph=False).get_concrete_function(specs)
    return list(traced.structured_outputs)


def _train(
    trainee: Any,
    call: Call,
    original: OriginalModel,
    examples: Examples,
    training: TrainingJob,
    process: Child,
) -> TrainingOutcome:
    """Train by the plan; ``examples`` have no labels yet."""
    plan = training.plan
    if not original.open_batch:
        plan = plan.model_copy(update={"batch_size": 1})
    is_input = training.samples.has_labels_for_input(examples.inputs)
    labels = None if is_input else _read_labels(training, examples.original, process)
    lessons = _split(Examples(examples.inputs, labels, examples.original), training)
    objective = Objective.of(
        training.task,
        examples.original,
        labelled=labels is not None,
        temperature=plan.temperature,
        alpha=plan.alpha,
    )
    setup = Setup.of(
        trainee,
        call,
        plan,
        objective,
        lessons,
        say=lambda text, fraction: process.say(Stage.TRAIN, text, fraction),
    )
    state = _read_checkpoint(training, process)
    steps = Trainer(setup).run(process.folder / CHECKPOINT_FILE, state, training.fingerprint)
    _warn_of(steps, process)
    return TrainingOutcome(
        steps=tuple(steps),
        samples=lessons.training.count,
        held_out=lessons.held_out.count,
        labelled=labels is not None,
    )


def _split(examples: Examples, training: TrainingJob) -> Lessons:
    """Hold out some examples, of every class where there are classes.

    Raises:
        ConverterError: DataTooFew.

    """
    plan, count = training.plan, examples.count
    if count < FEWEST_SAMPLES:
        cause = f"{training.samples.name} has {count} samples to train on, fewer than {FEWEST_SAMPLES}"
        raise ConverterError(FailureReason.DATA_TOO_FEW, Stage.TRAIN, cause, hint="give more training data")
    most = max(1, round(plan.validation_fraction * count))
    held_out = draw(count, most, plan.seed, classes_of(examples.labels))
    rest = np.setdiff1d(np.arange(count), held_out)
    return Lessons(examples.take(rest), examples.take(held_out))


def _warn_of(steps: list[TrainedStep], process: Child) -> None:
    for step in steps:
        if step.message:
            process.say(Stage.TRAIN, f"{step.step.value}: {step.message}", warning=True)


def _read_checkpoint(training: TrainingJob, process: Child) -> Checkpoint | None:
    if training.checkpoint is None:
        return None
    state = Checkpoint.read(training.checkpoint, training.fingerprint)
    if state is None:
        text = "the checkpoint is not of this model, data and plan: training begins anew"
        process.say(Stage.TRAIN, text, warning=True)
    else:
        process.say(Stage.TRAIN, "going on from the checkpoint")
    return state


def _read_labels(training: TrainingJob, outputs: NamedArrays, process: Child) -> Array | None:
    """Return the labels as the loss takes them; None where there are none, or none that are of use."""
    path, task = process.folder / TRAINING_LABELS_FILE, training.task
    if not path.is_file():
        return None
    labels = with_classes(task, outputs, np.load(path, allow_pickle=False))
    if labels is None or task not in _LEARNED_FROM_LABELS:
        return None
    if not _labels_fit(task, outputs, labels):
        text = f"the training labels do not fit a {task.value} model: the original's outputs are learned"
        process.say(Stage.TRAIN, text, warning=True)
        return None
    return labels


def _labels_fit(task: Task, outputs: NamedArrays, labels: Array) -> bool:
    """Whether there is one output, and a label for each of its samples, or values."""
    if len(outputs) != 1:
        return False
    (values,) = outputs.values()
    if task is Task.CLASSIFICATION and values.ndim == 2 and values.shape[1] > 1:
        return labels.ndim == 1 and bool(labels.min() >= 0 and labels.max() < values.shape[1])
    return bool(labels.size == values.size)
