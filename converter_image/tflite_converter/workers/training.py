"""The task ``optimize``: trains the original, or a student of it, and writes its float file. Child only."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelconversion_api.data import Task
from modelconversion_api.optimization import TrainedStep
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.binding import random_inputs
from tflite_converter.data.labels import classes_of
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.data.sampling import draw
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import detect_format
from tflite_converter.isolation.child import Child
from tflite_converter.measuring.tasks import with_classes
from tflite_converter.original.freezing import convert_float, freeze, run_original
from tflite_converter.original.keras import keras_call, keras_model, read_keras
from tflite_converter.original.keras_files import describe
from tflite_converter.original.model import OriginalModel
from tflite_converter.training.checkpoint import CHECKPOINT_FILE, Checkpoint
from tflite_converter.training.losses import Objective
from tflite_converter.training.students import check_student, narrowed
from tflite_converter.training.trainer import Examples, Trainer
from tflite_converter.training.variables import Call
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    EVALUATION_FOLDER,
    FLOAT_FILE,
    FROZEN_FOLDER,
    REFERENCE_FOLDER,
    TRAINING_LABELS_FILE,
    UNROLLED_FILE,
    TensorFlowJob,
    TrainingJob,
    TrainingOutcome,
)

FEWEST_SAMPLES = 10
"""Training on fewer would say nothing, and choosing an epoch by the held-out part of them less."""
_LEARNED_FROM_LABELS = (Task.CLASSIFICATION, Task.MULTI_LABEL, Task.REGRESSION)
"""The labels of other tasks say what is odd or alike, not what the model should give."""


def optimize(
    job: TensorFlowJob, training: TrainingJob, process: Child, lap: Callable[[Stage], None]
) -> tuple[list[TensorInfo], list[TensorInfo], TrainingOutcome]:
    """Does it in the child's folder; gives inputs, outputs, and what training did.

    Raises:
        ConverterError: TrainingFailed, TrainingDiverged, DataTooFew; those of loading and converting.

    """
    folder = process.folder
    process.say(Stage.LOAD, "loading the model to train it")
    model, described = read_keras(job.source, job.format, folder)
    original = keras_model(model, f"keras {described.keras_version}", job.input_shapes)
    _bind_all(job, original, folder)
    samples = training.samples.bind(original.inputs, Stage.TRAIN)
    lap(Stage.LOAD)

    process.say(Stage.EVALUATE, "running the original model")
    evaluation = read_folder(folder / EVALUATION_FOLDER)
    write_folder(folder / REFERENCE_FOLDER, run_original(original, evaluation, lambda _done: None))
    lap(Stage.EVALUATE)

    count = len(next(iter(samples.values())))
    step = process.counter(Stage.EVALUATE, "running the original model on the training data", count)
    # What it gives is computed before anything is trained: the original may be what is.
    outputs = run_original(original, samples, step)
    trained, renamed = _trainee(training, model, original, folder)
    outcome = _train(training, trained, renamed, original, samples, outputs, process)
    lap(Stage.TRAIN)

    process.say(Stage.CONVERT, "freezing the trained model")
    result = keras_model(trained, original.writer, job.input_shapes) if trained is model else original
    result = replace(result, call=lambda tensors: renamed(tensors, False))
    found = _write(result, trained, job, process)
    lap(Stage.CONVERT)
    return original.inputs, found, outcome


def _trainee(training: TrainingJob, model: Any, original: OriginalModel, folder: Path) -> tuple[Any, Call]:
    """The Keras model that is trained, and how to run it by the original's names."""
    plan = training.plan
    if not plan.distils:
        return model, keras_call(model)
    if training.student is None:
        student = narrowed(model, plan.width, plan.seed)
    else:
        place = folder / "student"
        place.mkdir(exist_ok=True)
        form = detect_format(training.student)
        importlib.import_module("keras" if describe(training.student, form).is_keras_3 else "tf_keras")
        student, _ = read_keras(training.student, form, place)
        check_student(student, model)
    run, wanted = keras_call(student), _output_names(original)
    own = [info.name for info in keras_model(student, "", {}).inputs]
    names = [info.name for info in original.inputs]

    def call(tensors: dict[str, Any], training: bool) -> dict[str, Any]:
        found = run({mine: tensors[name] for mine, name in zip(own, names, strict=True)}, training)
        return dict(zip(wanted, found.values(), strict=True)) if list(found) != wanted else found

    return student, call


def _output_names(original: OriginalModel) -> list[str]:
    """The names of what the original gives, in its order."""
    import tensorflow as tf

    specs = {
        info.name: tf.TensorSpec([None if size < 0 else size for size in info.shape], info.dtype)
        for info in original.inputs
    }
    traced = tf.function(original.call, autograph=False).get_concrete_function(specs)
    return list(traced.structured_outputs)


def _train(
    training: TrainingJob,
    trained: Any,
    call: Call,
    original: OriginalModel,
    samples: NamedArrays,
    outputs: NamedArrays,
    process: Child,
) -> TrainingOutcome:
    plan, path = training.plan, process.folder / TRAINING_LABELS_FILE
    labels: Array | None = np.load(path, allow_pickle=False) if path.is_file() else None
    labels = _usable(training, outputs, labels, process)
    if not original.open_batch:
        plan = plan.model_copy(update={"batch_size": 1})
    examples = Examples(samples, labels, outputs)
    if examples.count < FEWEST_SAMPLES:
        cause = (
            f"{training.samples.name} has {examples.count} samples to train on, fewer than {FEWEST_SAMPLES}"
        )
        raise ConverterError(FailureReason.DATA_TOO_FEW, Stage.TRAIN, cause, hint="give more training data")
    held = draw(
        examples.count,
        max(1, round(plan.validation_fraction * examples.count)),
        plan.seed,
        classes_of(labels),
    )
    rest = np.setdiff1d(np.arange(examples.count), held)
    objective = Objective.of(
        training.task,
        outputs,
        labelled=labels is not None,
        temperature=plan.temperature,
        alpha=plan.alpha,
    )
    trainer = Trainer(
        trained,
        call,
        plan,
        objective,
        examples.take(rest),
        examples.take(held),
        lambda text, fraction: process.say(Stage.TRAIN, text, fraction),
    )
    steps = trainer.run(process.folder / CHECKPOINT_FILE, _resumed(training, process), training.fingerprint)
    return TrainingOutcome(
        steps=tuple(_told(steps, process)),
        samples=len(rest),
        held_out=len(held),
        labelled=labels is not None,
    )


def _told(steps: list[TrainedStep], process: Child) -> list[TrainedStep]:
    for step in steps:
        if step.message:
            process.say(Stage.TRAIN, f"{step.step.value}: {step.message}", warning=True)
    return steps


def _resumed(training: TrainingJob, process: Child) -> Checkpoint | None:
    if training.checkpoint is None:
        return None
    found = Checkpoint.read(training.checkpoint, training.fingerprint)
    if found is None:
        text = "the checkpoint is not of this model, data and plan: training begins anew"
        process.say(Stage.TRAIN, text, warning=True)
    else:
        process.say(Stage.TRAIN, "going on from the checkpoint")
    return found


def _usable(
    training: TrainingJob, outputs: NamedArrays, labels: Array | None, process: Child
) -> Array | None:
    """The labels as the loss takes them; None where the task has no use for them."""
    task = training.task
    labels = with_classes(task, outputs, labels)
    if labels is None or task not in _LEARNED_FROM_LABELS:
        return None
    single = next(iter(outputs.values())) if len(outputs) == 1 else None
    if single is None:
        fits = False
    elif task is Task.CLASSIFICATION and single.ndim == 2 and single.shape[1] > 1:
        fits = labels.ndim == 1 and bool(labels.min() >= 0 and labels.max() < single.shape[1])
    else:
        fits = bool(labels.size == single.size)
    if not fits:
        text = f"the training labels do not fit a {task.value} model: the original's outputs are learned"
        process.say(Stage.TRAIN, text, warning=True)
        return None
    return labels


def _bind_all(job: TensorFlowJob, original: OriginalModel, folder: Path) -> None:
    """Writes calibration and evaluation samples as the model takes them."""
    if job.calibration is not None:
        bound = job.calibration.bind(original.inputs, Stage.CALIBRATE)
        write_folder(folder / CALIBRATION_FOLDER, bound)
    if job.evaluation is not None:
        evaluation = job.evaluation.bind(original.inputs, Stage.EVALUATE)
    else:
        evaluation = random_inputs(original.inputs, job.random_samples, job.seed)
    write_folder(folder / EVALUATION_FOLDER, evaluation)


def _write(result: OriginalModel, trained: Any, job: TensorFlowJob, process: Child) -> list[TensorInfo]:
    """The float file of the trained model, and the unrolled one where it is wanted."""
    folder = process.folder
    outputs = freeze(result, folder / FROZEN_FOLDER)
    (folder / FLOAT_FILE).write_bytes(
        convert_float(folder / FROZEN_FOLDER, select_tensorflow_ops=job.select_tensorflow_ops)
    )
    if job.unroll and keras_model(trained, "", job.input_shapes).unroll():
        unrolled = folder / f"{FROZEN_FOLDER}-unrolled"
        freeze(result, unrolled)
        (folder / UNROLLED_FILE).write_bytes(convert_float(unrolled, select_tensorflow_ops=False))
    return outputs
