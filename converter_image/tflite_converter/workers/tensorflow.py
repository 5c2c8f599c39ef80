"""The child process with TensorFlow: the only place where it, and the model's own code, run.

``python -m tflite_converter.workers.tensorflow FOLDER``: see :mod:`tflite_converter.isolation.child`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from modelconversion_api.base import ApiModel
from modelconversion_api.reasons import Stage
from modelconversion_api.spec import SourceFormat
from tflite_converter.data.npz import read_folder
from tflite_converter.engines.finding import tensorflow_versions
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.protocol import Preparation
from tflite_converter.original.errors import classify
from tflite_converter.original.keras_files import KerasFile, describe
from tflite_converter.workers.front import TensorFlowResult
from tflite_converter.workers.imports import import_tensorflow
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    INT8_FILE,
    TensorFlowJob,
)
from tflite_converter.workers.programs import TENSORFLOW


def work(job: TensorFlowJob, process: Child) -> ApiModel:
    """Do what ``job`` says, in the folder of ``process``."""
    with _explained(job.format, process):
        return _do(job, process)


@contextlib.contextmanager
def _explained(source: SourceFormat, process: Child) -> Iterator[None]:
    """Make a reason of what TensorFlow raises."""
    try:
        yield
    except (ConverterError, MemoryError):
        raise
    except Exception as error:
        at_limit = process.at_memory_limit()
        raise classify(
            error, process.stage, at_memory_limit=at_limit, source=source, doing=process.doing
        ) from error


def _do(job: TensorFlowJob, process: Child) -> ApiModel:
    match job.task:
        case "float":
            return _make_float(job, process)
        case "optimize":
            return _optimize(job, process)
        case "int8":
            return _make_int8(job, process)


def _make_float(job: TensorFlowJob, process: Child) -> TensorFlowResult:
    """Write the float file of the model as it is, the bound samples, and the original's outputs on them."""
    clock = _Clock(process.asked_at)
    file = _started(job.source, job.format, process)
    from tflite_converter.original.loading import load_model
    from tflite_converter.workers.float_file import (
        bind_samples,
        random_warnings,
        write_float,
        write_reference,
    )

    importing = clock.now()
    process.say(Stage.LOAD, "loading the model")
    model = load_model(job.source, file, process.folder, job.input_shapes, job.signature)
    model = bind_samples(job, model, process.folder)
    clock.lap(Stage.LOAD)
    files = write_float(model, job, process)
    clock.lap(Stage.CONVERT)
    random_outputs = write_reference(model, process)
    clock.lap(Stage.EVALUATE)
    return TensorFlowResult(
        inputs=model.inputs,
        outputs=files.frozen.output_infos,
        warnings=(*model.warnings, *files.frozen.warnings, *random_warnings(random_outputs)),
        fused_integers=files.fused_integers,
        fake_quantized=files.frozen.is_fake_quantized,
        own_ranges_fault=files.own_ranges_fault,
        random_outputs=random_outputs,
        control_flow=files.control_flow,
        writer=model.writer,
        seconds=clock.seconds,
        import_seconds=importing,
        tool_versions=tensorflow_versions(),
        isolation=process.isolation,
    )


def _optimize(job: TensorFlowJob, process: Child) -> TensorFlowResult:
    """Train the model, or a smaller one, before the float file is written."""
    clock = _Clock(process.asked_at)
    file = _started(job.source, job.format, process)
    if job.training is None or file is None:
        raise ValueError("the task optimize takes a Keras file, and a message that says what to train")
    from tflite_converter.workers.training import optimize

    importing = clock.now()
    optimized = optimize(job, job.training, file, process, clock.lap)
    return TensorFlowResult(
        inputs=optimized.inputs,
        outputs=optimized.outputs,
        writer="",
        seconds=clock.seconds,
        import_seconds=importing,
        isolation=process.isolation,
        training=optimized.outcome,
    )


def _prepare(preparation: Preparation, process: Child) -> None:
    """Start TensorFlow for a source whose samples are still being read."""
    if preparation.source is None or preparation.format is None:
        raise ValueError("TensorFlow is started for a source and its format")
    with _explained(preparation.format, process):
        _started(preparation.source, preparation.format, process)


@cache
def _started(source: Path, source_format: SourceFormat, process: Child) -> KerasFile | None:
    """Read the description of a Keras file, and import TensorFlow with the Keras generation that it needs.

    In this order: a bad file is refused within a second. The import is half of the work on a small model; it
    is done at once, so that its time is known. None for a source that is no Keras file.
    """
    process.say(Stage.LOAD, "starting TensorFlow")
    file = describe(source, source_format) if source_format.is_keras else None
    import_tensorflow("keras" if file is not None and file.is_keras_3 else "tf_keras")
    return file


def _make_int8(job: TensorFlowJob, process: Child) -> TensorFlowResult:
    from tflite_converter.original.freezing import convert_int8

    process.say(Stage.QUANTIZE, "converting to int8 with TensorFlow's own quantizer")
    samples = None if job.own_ranges else read_folder(process.folder / CALIBRATION_FOLDER)
    (process.folder / INT8_FILE).write_bytes(convert_int8(process.folder / job.frozen, samples))
    return TensorFlowResult(inputs=[], outputs=[], writer="", isolation=process.isolation)


class _Clock:
    """Seconds by stage."""

    def __init__(self, started: float) -> None:
        self.seconds: dict[Stage, float] = {}
        self._started = started

    def now(self) -> float:
        """Return the seconds since the last lap."""
        return time.monotonic() - self._started

    def lap(self, stage: Stage) -> None:
        """Add the time since the last lap to ``stage``."""
        now = time.monotonic()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._started
        self._started = now


def _classify(error: BaseException, stage: Stage, at_memory_limit: bool) -> ConverterError:
    return classify(error, stage, at_memory_limit=at_memory_limit)


if __name__ == "__main__":
    child.run(TENSORFLOW.name, TensorFlowJob, lambda job: job.limits, work, _classify, _prepare)
