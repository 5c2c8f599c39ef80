"""The child process with TensorFlow: the only place where it, and the model's own code, run.

``python -m tflite_converter.workers.tensorflow FOLDER``: see :mod:`tflite_converter.isolation.child`.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.data.binding import SavedSamples, random_inputs
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.original.errors import classify
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    EVALUATION_FOLDER,
    FLOAT_FILE,
    FROZEN_FOLDER,
    INT8_FILE,
    REFERENCE_FOLDER,
    UNROLLED_FILE,
    TensorFlowJob,
    TensorFlowResult,
)
from tflite_converter.workers.programs import TENSORFLOW

if TYPE_CHECKING:
    from tflite_converter.original.loading import OriginalModel


def work(job: TensorFlowJob, process: Child) -> ApiModel:
    """Does what ``job`` says."""
    match job.task:
        case "float":
            return _make_float(job, process)
        case "optimize":
            return _optimize(job, process)
        case "int8":
            return _make_int8(job, process)


def _make_float(job: TensorFlowJob, process: Child) -> TensorFlowResult:
    folder = process.folder
    clock = _Clock()
    process.say(Stage.LOAD, "starting TensorFlow")
    # Describes the file before TensorFlow is imported: a bad one is refused within a second.
    is_keras_3 = False
    if job.format in (SourceFormat.KERAS_H5, SourceFormat.KERAS):
        from tflite_converter.original.keras_files import describe

        is_keras_3 = describe(job.source, job.format).is_keras_3
    _import_tensorflow(is_keras_3=is_keras_3)
    from tflite_converter.original.freezing import convert_float, freeze, run_original
    from tflite_converter.original.loading import load_model

    importing = clock.now()
    process.say(Stage.LOAD, "loading the model")
    model = load_model(job.source, job.format, folder, job.input_shapes)
    # Before the conversion: data that does not fit must not cost one first.
    _bind(job.calibration, model, folder / CALIBRATION_FOLDER, Stage.CALIBRATE)
    if not _bind(job.evaluation, model, folder / EVALUATION_FOLDER, Stage.EVALUATE):
        inputs = random_inputs(model.inputs, job.random_samples, job.seed)
        write_folder(folder / EVALUATION_FOLDER, inputs)
    evaluation = read_folder(folder / EVALUATION_FOLDER)
    clock.lap(Stage.LOAD)

    process.say(Stage.CONVERT, "freezing the graph")
    outputs = freeze(model, folder / FROZEN_FOLDER)
    process.say(Stage.CONVERT, "writing the float file")
    select = job.select_tensorflow_ops
    (folder / FLOAT_FILE).write_bytes(convert_float(folder / FROZEN_FOLDER, select_tensorflow_ops=select))
    if job.unroll and model.unroll():
        process.say(Stage.CONVERT, "writing the float file with its time steps unrolled")
        _write_unrolled(model, process)
    clock.lap(Stage.CONVERT)

    process.say(Stage.EVALUATE, "running the original model")
    step = process.counter(Stage.EVALUATE, "running the original model", len(next(iter(evaluation.values()))))
    write_folder(folder / REFERENCE_FOLDER, run_original(model, evaluation, step))
    clock.lap(Stage.EVALUATE)
    return TensorFlowResult(
        inputs=model.inputs,
        outputs=outputs,
        writer=model.writer,
        seconds=clock.seconds,
        import_seconds=importing,
        tool_versions=_versions(),
        isolation=process.isolation,
    )


def _optimize(job: TensorFlowJob, process: Child) -> TensorFlowResult:
    """Trains the model, or a smaller one, before the float file is written."""
    if job.training is None:
        raise ValueError("the task optimize needs to be told what to train")
    clock = _Clock()
    process.say(Stage.LOAD, "starting TensorFlow")
    from tflite_converter.original.keras_files import describe

    _import_tensorflow(is_keras_3=describe(job.source, job.format).is_keras_3)
    from tflite_converter.workers.training import optimize

    importing = clock.now()
    inputs, outputs, outcome = optimize(job, job.training, process, clock.lap)
    return TensorFlowResult(
        inputs=inputs,
        outputs=outputs,
        writer="",
        seconds=clock.seconds,
        import_seconds=importing,
        isolation=process.isolation,
        training=outcome,
    )


def _import_tensorflow(*, is_keras_3: bool) -> None:
    """Half of what a small model takes; done at once, so that its time is known."""
    importlib.import_module("tensorflow")
    importlib.import_module("keras" if is_keras_3 else "tf_keras")
    # TFLiteConverter collects garbage on its way: a third of a small model's conversion went into a look at
    # what was just imported.
    gc.freeze()


def _write_unrolled(model: OriginalModel, process: Child) -> None:
    """A second float file for full integer; where it cannot be made, the first has to do."""
    from tflite_converter.original.freezing import convert_float, freeze

    folder = process.folder / f"{FROZEN_FOLDER}-unrolled"
    try:
        freeze(model, folder)
        (process.folder / UNROLLED_FILE).write_bytes(convert_float(folder, select_tensorflow_ops=False))
    except Exception as error:
        why = classify(error, Stage.CONVERT, at_memory_limit=False).cause
        process.say(Stage.CONVERT, f"its time steps cannot be unrolled: {why}", warning=True)


def _make_int8(job: TensorFlowJob, process: Child) -> TensorFlowResult:
    from tflite_converter.original.freezing import convert_int8

    process.say(Stage.QUANTIZE, "converting to int8 with TensorFlow's own quantizer")
    samples = read_folder(process.folder / CALIBRATION_FOLDER)
    (process.folder / INT8_FILE).write_bytes(convert_int8(process.folder / FROZEN_FOLDER, samples))
    return TensorFlowResult(inputs=[], outputs=[], writer="", isolation=process.isolation)


def _bind(samples: SavedSamples | None, model: OriginalModel, path: Path, stage: Stage) -> bool:
    """Writes the samples to ``path`` as the model takes them; False where there are none."""
    if samples is None:
        return False
    write_folder(path, samples.bind(model.inputs, stage))
    return True


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self._started = time.monotonic()

    def now(self) -> float:
        """Seconds since the last lap."""
        return time.monotonic() - self._started

    def lap(self, stage: Stage) -> None:
        """Adds the time since the last lap to ``stage``."""
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._started
        self._started = now


def _versions() -> dict[str, str]:
    found = {}
    for name in ("tensorflow", "tensorflow-cpu", "keras", "tf-keras"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _classify(error: BaseException, stage: Stage, at_memory_limit: bool) -> ConverterError:
    return classify(error, stage, at_memory_limit=at_memory_limit)


if __name__ == "__main__":
    child.run(TENSORFLOW.name, TensorFlowJob, lambda job: job.limits, work, _classify)
