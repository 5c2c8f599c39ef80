"""Facts about training, measured with TensorFlow and printed as JSON.

Run as a program, so that no test loads TensorFlow.

``python training_checks.py FOLDER``: each function below is one fact for each Keras generation.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from make_models import classifier

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.optimization import OptimizationStep
from modelconversion_api.reasons import Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.data.files import DataFiles
from tflite_converter.data.loading import load_dataset
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.protocol import ChildLimits
from tflite_converter.original.freezing import convert_float, freeze
from tflite_converter.original.keras import keras_call, keras_model
from tflite_converter.original.keras_files import describe
from tflite_converter.original.running import run_original
from tflite_converter.training.adam import Adam
from tflite_converter.training.checkpoint import Checkpoint
from tflite_converter.training.fake_quant import Phase, RoundedActivations, has_a_tensor, rounded_kernel
from tflite_converter.training.losses import Objective
from tflite_converter.training.plan import PlannedStep, TrainingPlan
from tflite_converter.training.setup import Examples, Lessons, Say, Setup
from tflite_converter.training.students import check_student, narrowed
from tflite_converter.training.trainer import Trainer
from tflite_converter.training.variables import kernels_of, layers_of
from tflite_converter.workers import float_file
from tflite_converter.workers.jobs import TensorFlowJob, TrainingJob
from tflite_converter.workers.training import optimize

APIS = {"keras2": tf_keras, "keras3": keras}


def data() -> tuple[Any, Any]:
    """Which quadrant is bright, as in make_models."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 4, 320)
    images = generator.normal(0, 0.5, (320, 8, 8, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 * (label // 2), 4 * (label % 2)
        image[row : row + 4, column : column + 4] += 1.0
    return images, labels.astype(np.int64)


def quiet(_text: str, _fraction: float | None) -> None:
    """The listener that does not listen."""


def trainer(api: Any, plan: TrainingPlan, *, labelled: bool = True, say: Say = quiet) -> tuple[Any, Trainer]:
    """A new classifier and what trains it, the same each time."""
    model = classifier(api)
    original = keras_model(model, "", {})
    images, labels = data()
    samples = {original.inputs[0].name: images}
    outputs = run_original(original, samples, lambda _done: None)
    objective = Objective.of(
        Task.CLASSIFICATION, outputs, labelled=labelled, temperature=plan.temperature, alpha=plan.alpha
    )
    examples = Examples(samples, labels if labelled else None, outputs)
    lessons = Lessons(examples.take(np.arange(64, 320)), examples.take(np.arange(64)))
    return model, Trainer(Setup.of(model, keras_call(model), plan, objective, lessons, say=say))


def plan(*steps: tuple[OptimizationStep, int], **changes: Any) -> TrainingPlan:
    planned = tuple(
        PlannedStep(
            step=step,
            epochs=epochs,
            target_sparsity=0.6 if step is OptimizationStep.PRUNING else 0.0,
        )
        for step, epochs in steps
    )
    return TrainingPlan(steps=planned, **({"alpha": 1.0, "learning_rate": 0.01} | changes))


def entry(api: Any, *shape: int) -> Any:
    return api.layers.InputLayer(shape) if api is tf_keras else api.Input(shape)


def weights_of(model: Any) -> list[Any]:
    return [np.asarray(value) for value in model.get_weights()]


def chain(api: Any, folder: Path) -> dict[str, Any]:
    """Pruning, then quantization-aware training, from weights that know nothing."""
    model, trains = trainer(
        api, plan((OptimizationStep.PRUNING, 6), (OptimizationStep.QUANTIZATION_AWARE_TRAINING, 2))
    )
    steps = trains.run(folder / "chain.npz", None, "chain")
    leftover = [layer.name for layer in layers_of(model) if "call" in vars(layer)]
    zeros = [float(np.mean(k.variable.numpy() == 0)) for k in kernels_of(model) if not k.is_depthwise]
    depthwise = [float(np.mean(k.variable.numpy() == 0)) for k in kernels_of(model) if k.is_depthwise]
    return {
        "accuracy": [s.accuracy_after for s in steps],
        "before": steps[0].accuracy_before,
        "sparsity": [s.sparsity for s in steps],
        "zeros": zeros,
        "depthwise": depthwise,
        "leftover": leftover,
    }


def resumed(api: Any, folder: Path) -> dict[str, Any]:
    """The same training in one go, and with a stop after the first epoch of the second step."""
    whole = plan((OptimizationStep.PRUNING, 2), (OptimizationStep.QUANTIZATION_AWARE_TRAINING, 3))
    path, kept = folder / "resumed.npz", folder / "kept.npz"

    def keep(_text: str, fraction: float | None) -> None:
        if fraction is not None and fraction >= 0.6 and not kept.exists() and path.exists():
            found = Checkpoint.read(path, "x")
            if found is not None and found.place == 1:
                kept.write_bytes(path.read_bytes())

    kept.unlink(missing_ok=True)
    model, trains = trainer(api, whole, say=keep)
    straight = trains.run(path, None, "x")
    again, second = trainer(api, whole)
    checkpoint = Checkpoint.read(kept, "x")
    steps = second.run(folder / "again.npz", checkpoint, "x")
    furthest = max(
        float(np.abs(a - b).max()) for a, b in zip(weights_of(model), weights_of(again), strict=True)
    )
    return {
        "place": None if checkpoint is None else [checkpoint.place, checkpoint.epoch],
        "furthest": furthest,
        "same_steps": [
            a.model_copy(update={"seconds": 0.0}).step == b.step and a.best_epoch == b.best_epoch
            for a, b in zip(straight, steps, strict=True)
        ],
    }


def late(api: Any, folder: Path) -> dict[str, Any]:
    """A deadline that is over at once."""
    _, trains = trainer(
        api,
        plan(
            (OptimizationStep.PRUNING, 50),
            (OptimizationStep.QUANTIZATION_AWARE_TRAINING, 50),
            deadline_seconds=0.0,
        ),
    )
    steps = trains.run(folder / "late.npz", None, "late")
    return {"messages": [s.message for s in steps], "sparsity": [s.sparsity for s in steps]}


def diverged(api: Any, folder: Path) -> dict[str, Any]:
    """Weights that are no numbers: which learning rate is too high depends on the processor."""
    model, trains = trainer(api, plan((OptimizationStep.DISTILLATION, 2)))
    model.set_weights([np.full_like(weights, np.nan) for weights in weights_of(model)])
    try:
        trains.run(folder / "diverged.npz", None, "d")
    except ConverterError as error:
        return {
            "reason": error.reason.value,
            "stage": error.stage.value,
            "is_train": error.stage is Stage.TRAIN,
        }
    return {"reason": None}


def rounding(api: Any, folder: Path) -> dict[str, Any]:
    """How far the rounded model and the real int8 file are from the float model, and from each other."""
    from tflite_converter.quantizing.calibration import RangeMethod, calibrate
    from tflite_converter.quantizing.quantization import Recipe, full_integer
    from tflite_converter.tflite.runtime import TFLiteModel

    model = classifier(api)
    images, labels = data()
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=3, verbose=0)
    original = keras_model(model, "", {})
    name = original.inputs[0].name
    samples, tested = {name: images[:200]}, {name: images[200:]}
    call = keras_call(model)
    exact = next(iter(call({name: tf.constant(images[200:])}, False).values())).numpy()
    kernels = kernels_of(model)
    with RoundedActivations(model) as rounds:
        for start in range(0, 200, 20):
            call(rounds.inputs({name: tf.constant(images[start : start + 20])}), False)
        rounds.phase = Phase.MEASURE
        before = [k.variable.numpy() for k in kernels]
        for kernel in kernels:
            kernel.variable.assign(rounded_kernel(kernel.variable, kernel.axes))
        rounded = next(iter(call(rounds.inputs({name: tf.constant(images[200:])}), False).values())).numpy()
        for kernel, values in zip(kernels, before, strict=True):
            kernel.variable.assign(values)
    after = next(iter(call({name: tf.constant(images[200:])}, False).values())).numpy()
    frozen = folder / f"frozen-{api.__name__}"
    freeze(original, frozen)
    content = convert_float(frozen, select_tensorflow_ops=False)
    ranges = calibrate(content, samples, 1, lambda _done: None).ranges(RangeMethod.EXTREMES)
    file = full_integer(content, ranges, Recipe())
    (int8,) = TFLiteModel(file).run_each(tested, lambda _done: None).values()
    return {
        "rounded": float(np.abs(rounded - exact).mean()),
        "int8": float(np.abs(int8 - exact).mean()),
        "apart": float(np.abs(int8 - rounded).mean()),
        "restored": float(np.abs(after - exact).max()),
        "tensors": [type(layer).__name__ for layer in layers_of(model) if has_a_tensor(layer)],
    }


def students(api: Any, folder: Path) -> dict[str, Any]:
    """Narrowed copies of several architectures: parameters and shapes."""
    layers = api.layers
    image = api.Input((8, 8, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    y = layers.Conv2D(16, 3, padding="same")(x)
    x = layers.Add()([x, y])
    x = layers.SeparableConv2D(24, 3)(x)
    outputs = [layers.Activation("softmax")(layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))]
    residual = api.Model(image, [*outputs, layers.Flatten()(layers.Conv2D(2, 1)(x))])
    recurrent = api.Sequential([entry(api, 6, 4), layers.LSTM(8), layers.Dense(2)])
    plain = classifier(api)
    found = {}
    for name, model in {"residual": residual, "recurrent": recurrent, "plain": plain}.items():
        student = narrowed(model, 0.5, 0)
        same = narrowed(model, 0.5, 0)
        check_student(student, model)
        found[name] = {
            "share": student.count_params() / model.count_params(),
            "shapes": [tuple(t.shape) for t in student.outputs] == [tuple(t.shape) for t in model.outputs],
            "repeats": all(
                np.array_equal(a, b) for a, b in zip(weights_of(student), weights_of(same), strict=True)
            ),
        }
    refused = {}
    fixed = api.Input((4,))
    shaped = api.Model(
        fixed, layers.Dense(1)(layers.Flatten()(layers.Reshape((2, 4))(layers.Dense(8)(fixed))))
    )
    single = api.Sequential([entry(api, 4), layers.Dense(3)])
    for name, model in {"reshaped": shaped, "one layer": single}.items():
        try:
            narrowed(model, 0.5, 0)
        except ConverterError as error:
            refused[name] = [error.reason.value, error.cause, error.hint]
    try:
        check_student(single, plain)
    except ConverterError as error:
        refused["other shapes"] = [error.reason.value, error.cause, error.hint]
    return {"found": found, "refused": refused}


def unrolling(api: Any, folder: Path) -> dict[str, Any]:
    """A recurrent model that is trained, and whose unrolled file cannot be converted afterwards."""
    work = folder / f"unrolling-{api.__name__}"
    work.mkdir()
    np.save(work / "steps.npy", np.random.default_rng(0).normal(size=(16, 6, 4)).astype(np.float32))
    source = work / "recurrent.h5"
    api.Sequential([entry(api, 6, 4), api.layers.LSTM(3), api.layers.Dense(2)]).save(source)
    lesson = load_dataset(DataFiles(work / "steps.npy"), Stage.TRAIN, work).save(work, "lesson")
    training = TrainingJob(
        plan=plan((OptimizationStep.PRUNING, 1)), samples=lesson, task=Task.REGRESSION, fingerprint="x"
    )
    job = TensorFlowJob(
        task="optimize",
        limits=ChildLimits(),
        source=source,
        format=SourceFormat.KERAS_H5,
        unroll=True,
        training=training,
    )
    process, convert = Listening(work), float_file.convert_float
    float_file.convert_float = failing(convert)
    try:
        optimized = optimize(job, training, describe(source, job.format), process, lambda _stage: None)
    finally:
        float_file.convert_float = convert
    return {
        "files": sorted(path.name for path in work.glob("*.tflite")),
        "warnings": process.warnings,
        "steps": len(optimized.outcome.steps),
    }


class Listening(Child):
    """A child without a parent, which keeps its warnings."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.warnings: list[str] = []

    def say(self, stage: Stage, text: str, fraction: float | None = None, *, warning: bool = False) -> None:
        super().say(stage, text, fraction, warning=warning)
        if warning:
            self.warnings.append(text)


def failing(convert: Any) -> Any:
    """The converter of float files, which cannot do the unrolled ones."""

    def convert_float(frozen: Path, *, select_tensorflow_ops: bool) -> bytes:
        if frozen.name.endswith("unrolled"):
            (frozen.parent / "unrolled.tflite").write_bytes(b"half of it")
            raise ValueError("too many operations")
        return bytes(convert(frozen, select_tensorflow_ops=select_tensorflow_ops))

    return convert_float


def adam(api: Any, _folder: Path) -> dict[str, Any]:
    """Our optimizer against Keras's on the same gradients."""
    start = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    mine, theirs = tf.Variable(start), api.Variable(start) if api is keras else tf.Variable(start)
    own, reference = Adam([mine]), api.optimizers.Adam(0.01, epsilon=1e-7)
    for number in range(5):
        gradient = tf.constant(np.sin(start + number), tf.float32)
        own.apply([gradient], tf.constant(0.01))
        reference.apply_gradients([(gradient, theirs)])
    return {"apart": float(np.abs(mine.numpy() - np.asarray(theirs)).max())}


def main(folder: Path) -> None:
    """Prints every fact; leaves training data and a student in the folder."""
    images, labels = data()
    np.save(folder / "train.npy", images)
    np.save(folder / "train_labels.npy", labels)
    keras.utils.set_random_seed(3)
    keras.Sequential(
        [
            keras.Input((8, 8, 1), name="picture"),
            keras.layers.AveragePooling2D(4),
            keras.layers.Flatten(),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(4, activation="softmax", name="quadrant"),
        ]
    ).save(folder / "student.keras")
    facts = (chain, resumed, late, diverged, rounding, students, unrolling, adam)
    found = {fact.__name__: {name: fact(api, folder) for name, api in APIS.items()} for fact in facts}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
