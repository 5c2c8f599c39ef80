"""What the artifacts are compared with: the original's outputs on the samples that it gives numbers for.

Of a TFLite source this is all that comes before the methods: float file, samples and reference are written
here, as TensorFlow's child writes them for other sources. Part of the LiteRT child.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from conversion_engine.files import EVALUATION_FOLDER, FLOAT_FILE, REFERENCE_FOLDER
from modelconversion_api.base import ApiModel
from modelconversion_api.fields.data import Task
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.binding import random_inputs, takes_labels
from tflite_converter.data.labels import check_classes
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.errors import ConverterError
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import forked
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.evaluation import Reference
from tflite_converter.measuring.grounding import Told, grounded
from tflite_converter.measuring.metrics import scores
from tflite_converter.measuring.soundness import Finite, finite_samples, first_not_finite
from tflite_converter.measuring.tasks import agreement_metric, detect_task, with_classes
from tflite_converter.original.errors import original_stops
from tflite_converter.original.tflite import prepared
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.names import tensor_info
from tflite_converter.tflite.runtime import StopsError, TFLiteModel, why
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    LABELS_FILE,
    LiteRTJob,
)
from tflite_converter.workers.programs import LITERT

_NOT_RUN: Final = "LiteRT itself does not run it: give the Keras model or SavedModel that it was made from"
DIVERGED: Final = "train the model again: its training diverged, or a file was damaged"


class _Done(ApiModel):
    """A piece of work that leaves files only."""


def prepare(job: LiteRTJob, process: Child, source: Path) -> tuple[str, ...]:
    """Prepare what TensorFlow's child does for other sources: float file, samples, reference outputs.

    Returns warnings about the source.
    """
    folder = process.folder
    process.say(Stage.LOAD, "reading the TFLite file")
    content, warnings = prepared(source.read_bytes(), source.name, job.signature)
    (folder / FLOAT_FILE).write_bytes(content)
    inputs = input_infos(folder / FLOAT_FILE)
    given = [(job.calibration, Stage.CALIBRATE), (job.evaluation, Stage.EVALUATE)]
    shapes = next((data.shapes(inputs, stage) for data, stage in given if data is not None), {})
    inputs = [_for_samples(info, shapes.get(info.name)) for info in inputs]
    if job.calibration is not None:
        write_folder(folder / CALIBRATION_FOLDER, job.calibration.bind(inputs, Stage.CALIBRATE))
    if job.evaluation is not None:
        samples = job.evaluation.bind(inputs, Stage.EVALUATE)
    else:
        samples = random_inputs(inputs, job.random_samples, job.seed)
    write_folder(folder / EVALUATION_FOLDER, samples)
    count = len(next(iter(samples.values())))
    step = process.counter(Stage.EVALUATE, "running the original model", count)

    def reference() -> _Done:
        try:
            model = TFLiteModel(folder / FLOAT_FILE, threads=job.threads)
            write_folder(folder / REFERENCE_FOLDER, model.run_each(samples, step))
        except StopsError as error:
            raise original_stops(str(error)) from error
        except (RuntimeError, ValueError) as error:
            cause = f"the float file does not run: {why(error)}"
            raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause, hint=_NOT_RUN) from error
        return _Done()

    answer = forked(process, LITERT.words, "running the original model", _Done, reference)
    if isinstance(answer, WorkerFailure):
        raise ConverterError(answer.reason, answer.stage, answer.cause, hint=answer.hint)
    return warnings


@dataclass(frozen=True)
class Given:
    """The samples that the original gives numbers for, and what is known of them."""

    samples: NamedArrays
    """``{input: (n, ...)}``"""
    outputs: NamedArrays
    """The original's: ``{output: (n, ...)}``."""
    labels: Array | None
    """``(n, ...)``, as they were given."""
    not_finite: int
    """How many samples were left out."""
    warnings: tuple[str, ...]


def given(job: LiteRTJob, folder: Path) -> Given:
    """Read samples, the original's outputs and labels."""
    samples, outputs = (
        read_folder(folder / EVALUATION_FOLDER),
        read_folder(folder / REFERENCE_FOLDER),
    )
    path = folder / LABELS_FILE
    has_labels = path.is_file() and not takes_labels(job.label_array, samples)
    labels: Array | None = np.load(path, allow_pickle=False) if has_labels else None
    finite = finite_samples(outputs)
    if not finite.bad:
        return Given(samples, outputs, labels, 0, ())
    warning = _not_finite(folder, samples, finite)
    return Given(
        {name: array[finite.samples] for name, array in samples.items()},
        {name: array[finite.samples] for name, array in outputs.items()},
        None if labels is None else labels[finite.samples],
        finite.bad,
        (warning,),
    )


def reference_of(job: LiteRTJob, known: Given) -> tuple[Reference, tuple[str, ...]]:
    """Return what the artifacts are compared with, and warnings about the labels."""
    samples, outputs, warnings = known.samples, known.outputs, list(known.warnings)
    truth = with_classes(job.task, outputs, known.labels)
    task = job.task or detect_task(samples, outputs, truth)
    if task in (Task.DETECTION, Task.SEGMENTATION):
        told = Told(task, job.detection, job.ignore_label)
        plain = Reference(
            samples,
            outputs,
            truth,
            task,
            AgreementMetric.R2,
            None,
            job.source_bytes,
            job.class_names,
            is_real=job.has_evaluation_data,
            not_finite=known.not_finite,
        )
        reference, notes = grounded(plain, told, job.evaluation_name)
        return reference, (*warnings, *notes)
    metric = agreement_metric(task, outputs)
    if truth is not None and task.has_classes and len(outputs) == 1:
        (values,) = outputs.values()
        if values.ndim == 2:
            classes = max(2, values.shape[1])
            check_classes(truth, job.class_names, classes, job.evaluation_name, Stage.EVALUATE)
    original = None if truth is None else scores(task, samples, outputs, truth)
    if truth is not None and original is None:
        warnings.append(f"the labels do not fit a {task.value} model: accuracy is not measured")
        truth = None
    reference = Reference(
        samples,
        outputs,
        truth,
        task,
        metric,
        original,
        job.source_bytes,
        job.class_names,
        is_real=job.has_evaluation_data,
        not_finite=known.not_finite,
    )
    return reference, tuple(warnings)


def _not_finite(folder: Path, samples: NamedArrays, finite: Finite) -> str:
    """Say on how many samples the original gives no numbers, and where that begins.

    Raises:
        ConverterError: EvaluationFailed where there is no sample left to compare on.

    """
    first = int(np.argmin(finite.samples))
    sample = {name: array[first : first + 1] for name, array in samples.items()}
    try:
        begins = f", beginning at {first_not_finite((folder / FLOAT_FILE).read_bytes(), sample)}"
    except (RuntimeError, ValueError):
        begins = ""  # the float file does not run; each method will say so
    count, names = len(finite.samples), ", ".join(map(repr, finite.bad_outputs[:4]))
    sentence = f"the original gives NaN or infinity in {names} on {finite.bad} of {count} samples{begins}"
    if finite.bad == count:
        hint = f"check the model on these samples, and their scaling; if weights are NaN, {DIVERGED}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, sentence, hint=hint)
    return f"{sentence}: files are compared on the other {count - finite.bad}"


def input_infos(path: Path) -> list[TensorInfo]:
    """Describe the inputs of the file at ``path``; an open batch is 1."""
    inputs = read_file(path.read_bytes(), path.name).inputs
    return [
        tensor_info(
            n.name,
            [1 if i == 0 and s < 0 else s for i, s in enumerate(n.tensor.shape)],
            n.tensor.dtype,
        )
        for n in inputs
    ]


def _for_samples(info: TensorInfo, data: tuple[int, ...] | None) -> TensorInfo:
    """Return the input with a dimension for samples in front, where a sample is the whole input."""
    is_whole = not info.shape if data is None else len(data) == len(info.shape) + 1
    return info.model_copy(update={"shape": [1, *info.shape]}) if is_whole else info


def output_infos(path: Path) -> list[TensorInfo]:
    """Describe the outputs of the file at ``path``."""
    outputs = read_file(path.read_bytes(), path.name).outputs
    return [tensor_info(n.name, n.tensor.shape, n.tensor.dtype) for n in outputs]
