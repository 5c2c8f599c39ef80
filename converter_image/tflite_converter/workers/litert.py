"""The child process without TensorFlow: makes every file from the float file, and measures each.

``python -m tflite_converter.workers.litert FOLDER``: see :mod:`tflite_converter.isolation.child`. Every piece
of work that runs a model is a fork of its own: one that dies takes its method along, and nothing else.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from modelconversion_api.base import ApiModel
from modelconversion_api.calibration_report import Stability
from modelconversion_api.measurements import Attempt, LayerError
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import ArtifactReport
from modelconversion_api.status import TensorInfo
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.data.binding import random_inputs
from tflite_converter.data.checks import coverage, range_warnings
from tflite_converter.data.labels import check_classes
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.errors import ConverterError, first_line
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import forked
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.evaluation import Reference, Request, evaluate, quality
from tflite_converter.measuring.layers import layer_errors
from tflite_converter.measuring.metrics import scores
from tflite_converter.measuring.soundness import (
    FLOAT_SAMPLES,
    Finite,
    finite_samples,
    first_not_finite,
    float_fault,
    weights_not_finite,
)
from tflite_converter.measuring.tasks import agreement_metric, detect_task, with_classes
from tflite_converter.original.tflite import prepared
from tflite_converter.quantizing import quantization
from tflite_converter.quantizing.calibration import calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.synthetic import draw_synthetic
from tflite_converter.quantizing.tuning import Tuner
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.metadata import with_metadata
from tflite_converter.tflite.runtime import TFLiteModel
from tflite_converter.tflite.versions import with_versions
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    EVALUATION_FOLDER,
    FLOAT_FILE,
    LABELS_FILE,
    REFERENCE_FOLDER,
    UNROLLED_FILE,
    CalibrationBasis,
    EvaluationBasis,
    LiteRTJob,
    LiteRTResult,
    MethodResult,
)
from tflite_converter.workers.programs import LITERT

_FEWEST_FOR_STABILITY = 2
_INTEGERS = (Method.DYNAMIC_RANGE, Method.FULL_INTEGER)
_SYNTHETIC = "calibrated on synthetic data"
_DIVERGED = "train the model again: its training diverged, or a file was damaged"


class _Done(ApiModel):
    """A piece of work that leaves files only."""


class _Fault(ApiModel):
    """What is wrong with the float file."""

    sentence: str | None = None


class _Made(ApiModel):
    """A file that was made."""

    file: str
    recipe: str
    attempts: tuple[Attempt, ...] = ()
    stability: Stability | None = None
    message: str | None = None
    calibrating_seconds: float = 0.0


class _Measured(ApiModel):
    """A file that was measured."""

    artifact: ArtifactReport


class _Work:
    """One job."""

    def __init__(
        self, job: LiteRTJob, process: Child, reference: Reference, synthetic: Mapping[str, str]
    ) -> None:
        self._job = job
        self._synthetic = dict(synthetic)
        """How made-up calibration samples were drawn, by input; empty where the samples are data."""
        self._reference = reference
        self._process = process
        self._folder = process.folder
        self._gates = job.gates
        self._seconds: dict[Stage, float] = {}
        self._stability: Stability | None = None
        self._fault: str | None = None
        """Why nothing that comes of the float file can be used."""

    def run(self, warnings: tuple[str, ...]) -> LiteRTResult:
        """Make and measure each file; ``warnings`` are about the reference."""
        job, reference = self._job, self._reference
        self._fault = self._float_fault()
        methods = {method: self._method(method) for method in job.methods}
        return LiteRTResult(
            inputs=_infos(self._folder / FLOAT_FILE) if job.source is not None else (),
            outputs=_output_infos(self._folder / FLOAT_FILE) if job.source is not None else (),
            evaluation=EvaluationBasis(
                task=reference.task,
                task_is_given=job.task is not None,
                agreement_metric=reference.metric,
                original=reference.original,
                not_finite=reference.not_finite,
                warnings=warnings,
            ),
            calibration=self._calibration_basis(),
            methods=methods,
            seconds=self._seconds,
            isolation=self._process.isolation,
        )

    def _calibration_basis(self) -> CalibrationBasis | None:
        path = self._folder / CALIBRATION_FOLDER
        if not path.is_dir():
            return None
        if self._synthetic:
            return CalibrationBasis(stability=self._stability, synthetic=self._synthetic)
        samples = read_folder(path)
        others = self._reference.samples if self._job.has_evaluation_data else None
        return CalibrationBasis(
            inputs=coverage(samples, others),
            stability=self._stability,
            warnings=tuple(range_warnings(samples, others)),
        )

    def _method(self, method: Method) -> MethodResult:
        """Make and measure one artifact."""
        started = time.monotonic()
        answer = forked(
            self._process, LITERT.words, f"making {method.cli_name}", _Made, lambda: self._make(method)
        )
        now = time.monotonic()
        if isinstance(answer, WorkerFailure):
            self._took(Stage.QUANTIZE, now - started)
            return MethodResult(failure=answer)
        self._took(Stage.QUANTIZE, now - started - answer.calibrating_seconds)
        if answer.calibrating_seconds:
            self._took(Stage.CALIBRATE, answer.calibrating_seconds)
        if answer.stability is not None:
            self._stability = answer.stability
        name = method.file_name(self._job.base_name)
        job = self._job
        request = Request(method, name, self._gates, job.benchmark, job.target, compiled=job.compiled)
        words = f"measuring {method.cli_name}"
        count = len(next(iter(self._reference.samples.values())))

        def measure() -> _Measured:
            content = (self._folder / answer.file).read_bytes()
            step = self._process.counter(Stage.EVALUATE, words, count)
            self._process.say(Stage.EVALUATE, words)
            artifact = evaluate(content, self._reference, request, step)
            if method is Method.FULL_INTEGER:
                artifact = artifact.model_copy(update={"layers": self._layers(content)})
            return _Measured(artifact=artifact)

        measured = forked(self._process, LITERT.words, words, _Measured, measure)
        self._took(Stage.EVALUATE, time.monotonic() - now)
        if isinstance(measured, WorkerFailure):
            return MethodResult(failure=measured)
        artifact = measured.artifact.changed(
            recipe=answer.recipe,
            attempts=answer.attempts,
            message="; ".join(m for m in (measured.artifact.message, answer.message) if m) or None,
        )
        if self._fault is not None:
            artifact = artifact.changed(usable=False, passed=False, message=self._fault)
        if self._synthetic and method is Method.FULL_INTEGER:
            message = "; ".join(m for m in (_SYNTHETIC, artifact.message) if m)
            artifact = artifact.changed(synthetic=True, message=message)
        return MethodResult(artifact=artifact)

    def _float_fault(self) -> str | None:
        """Say why the float file is not what the original is; None where it is, or that is not known."""
        job, few = self._job, self._reference.head(FLOAT_SAMPLES)
        if job.gates.floor == 0.0 or job.source is not None:
            return None
        if job.random_outputs:
            return f"unusable: the original gives another {job.random_outputs[0]!r} each time that it is run"

        def compare() -> _Fault:
            content = (self._folder / FLOAT_FILE).read_bytes()
            if inventory(read_file(content, FLOAT_FILE)).flex_operators:
                return _Fault()
            quality_of = quality(content, few, job.gates, threads=job.benchmark.threads, file_name=FLOAT_FILE)
            return _Fault(sentence=float_fault(quality_of.outputs))

        answer = forked(self._process, LITERT.words, "running the float file", _Fault, compare)
        return None if isinstance(answer, WorkerFailure) else answer.sentence  # each method says why it fails

    def _make(self, method: Method) -> _Made:
        ready = self._job.ready.get(method)
        if ready is not None:
            recipe = "TensorFlow's own quantizer, per-channel int8 weights, int8 activations"
            return self._finished(method, (self._folder / ready).read_bytes(), recipe)
        self._process.say(Stage.QUANTIZE, f"making {method.cli_name}")
        float_file = (self._folder / FLOAT_FILE).read_bytes()
        if (
            method in _INTEGERS
            and (name := weights_not_finite(read_file(float_file, FLOAT_FILE))) is not None
        ):
            cause = f"the weights {name!r} hold NaN or infinity, which integers cannot say"
            raise ConverterError(FailureReason.QUANTIZATION_FAILED, Stage.QUANTIZE, cause, hint=_DIVERGED)
        match method:
            case Method.FLOAT32:
                return self._finished(method, float_file, "float32 as it is")
            case Method.DYNAMIC_RANGE:
                content = quantization.dynamic_range(float_file)
                return self._finished(method, content, "per-channel int8 weights, float activations")
            case Method.FLOAT16:
                return self._finished(method, with_halved_constants(float_file), "float16 weights")
            case Method.FULL_INTEGER:
                return self._full_integer(float_file)

    def _full_integer(self, float_file: bytes) -> _Made:
        unrolled = self._folder / UNROLLED_FILE
        if unrolled.is_file():
            float_file = unrolled.read_bytes()
        samples, threads = read_folder(self._folder / CALIBRATION_FOLDER), self._job.benchmark.threads
        count = len(next(iter(samples.values())))
        started = time.monotonic()
        step = self._process.counter(Stage.CALIBRATE, "calibrating", count)
        calibration = calibrate(float_file, samples, threads, step)
        calibrating = time.monotonic() - started
        name = Method.FULL_INTEGER.file_name(self._job.base_name)
        tuner = Tuner(
            float_file,
            calibration,
            samples,
            lambda content: quality(content, self._reference, self._gates, threads=threads, file_name=name),
            self._job.target,
            lambda text: self._process.say(Stage.QUANTIZE, text),
            threads,
            dense_per_tensor=self._job.dense_per_tensor,
        )
        attempts: tuple[Attempt, ...] = ()
        message = None
        if self._job.tuning_seconds and self._fault is None:
            tuned = tuner.run(self._job.tuning_seconds)
            recipe, content = tuned.best.recipe, tuned.best.content
            attempts, message = tuned.attempts, tuned.message
        else:
            recipe, content = tuner.plain()
        words = str(recipe) + (", time steps unrolled" if unrolled.is_file() else "")
        words += f", {_SYNTHETIC}" if self._synthetic else ""
        return self._finished(Method.FULL_INTEGER, content, words).model_copy(
            update={
                "attempts": attempts,
                "stability": calibration.stability if count >= _FEWEST_FOR_STABILITY else None,
                "message": message,
                "calibrating_seconds": calibrating,
            }
        )

    def _layers(self, content: bytes) -> tuple[LayerError, ...]:
        """Each activation's error, from the float file that full integer was made from."""
        unrolled = self._folder / UNROLLED_FILE
        float_file = unrolled if unrolled.is_file() else self._folder / FLOAT_FILE
        try:
            return layer_errors(
                float_file.read_bytes(), content, read_folder(self._folder / CALIBRATION_FOLDER)
            )
        except (RuntimeError, ValueError):
            return ()  # one of them cannot keep its tensors: the report goes without

    def _finished(self, method: Method, content: bytes, recipe: str) -> _Made:
        """Write the file with its metadata; from here on its bytes do not change."""
        job = self._job
        record = {**job.record, "method": method.value, "recipe": recipe}
        description = f"{method.value} of {job.base_name}: {recipe}"
        name = method.file_name(job.base_name)
        (self._folder / name).write_bytes(
            with_metadata(with_versions(content), record, name=job.base_name, description=description)
        )
        return _Made(file=name, recipe=recipe)

    def _took(self, stage: Stage, seconds: float) -> None:
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds


def _prepare(job: LiteRTJob, process: Child, source: Path) -> tuple[str, ...]:
    """Prepare what TensorFlow's child does for other sources: float file, samples, reference outputs.

    Returns warnings about the source.
    """
    folder = process.folder
    process.say(Stage.LOAD, "reading the TFLite file")
    content, warnings = prepared(source.read_bytes(), source.name, job.signature)
    (folder / FLOAT_FILE).write_bytes(content)
    inputs = _infos(folder / FLOAT_FILE)
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
            model = TFLiteModel(folder / FLOAT_FILE, threads=job.benchmark.threads)
            write_folder(folder / REFERENCE_FOLDER, model.run_each(samples, step))
        except (RuntimeError, ValueError) as error:
            cause = f"the float file does not run: {first_line(error)}"
            raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.LOAD, cause) from error
        return _Done()

    answer = forked(process, LITERT.words, "running the original model", _Done, reference)
    if isinstance(answer, WorkerFailure):
        raise ConverterError(answer.reason, answer.stage, answer.cause, hint=answer.hint)
    return warnings


def _reference_of(job: LiteRTJob, folder: Path) -> tuple[Reference, tuple[str, ...]]:
    """Read what the artifacts are compared with; return it with warnings about the labels."""
    samples, outputs = (
        read_folder(folder / EVALUATION_FOLDER),
        read_folder(folder / REFERENCE_FOLDER),
    )
    labels = folder / LABELS_FILE
    truth: Array | None = np.load(labels, allow_pickle=False) if labels.is_file() else None
    finite, warnings = finite_samples(outputs), []
    if finite.bad:
        warnings.append(_not_finite(folder, samples, finite))
        samples = {name: array[finite.samples] for name, array in samples.items()}
        outputs = {name: array[finite.samples] for name, array in outputs.items()}
        truth = None if truth is None else truth[finite.samples]
    truth = with_classes(job.task, outputs, truth)
    task = job.task or detect_task(samples, outputs, truth)
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
        not_finite=finite.bad,
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
        hint = f"check the model on these samples, and their scaling; if weights are NaN, {_DIVERGED}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, sentence, hint=hint)
    return f"{sentence}: files are compared on the other {count - finite.bad}"


def _import_for_the_forks() -> None:
    """Import what each fork would otherwise import again; none of it starts a thread."""
    for name in ("ai_edge_litert.interpreter", "litert_quantizer.calibrator", "litert_quantizer.quantizer"):
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page that it looks at


def work(job: LiteRTJob, process: Child) -> ApiModel:
    """Carry out ``job``."""
    _import_for_the_forks()
    about_source = () if job.source is None else _prepare(job, process, job.source)
    reference, warnings = _reference_of(job, process.folder)
    synthetic: Mapping[str, str] = {}
    if job.synthetic_samples and Method.FULL_INTEGER in job.methods:
        drawn = draw_synthetic((process.folder / FLOAT_FILE).read_bytes(), job.synthetic_samples, job.seed)
        write_folder(process.folder / CALIBRATION_FOLDER, drawn.samples)
        synthetic = drawn.how
    return _Work(job, process, reference, synthetic).run((*about_source, *warnings))


def _infos(path: Path) -> list[TensorInfo]:
    inputs = read_file(path.read_bytes(), path.name).inputs
    return [
        TensorInfo(
            name=n.name,
            shape=[1 if i == 0 and s < 0 else s for i, s in enumerate(n.tensor.shape)],
            dtype=n.tensor.dtype,
        )
        for n in inputs
    ]


def _for_samples(info: TensorInfo, data: tuple[int, ...] | None) -> TensorInfo:
    """Return the input with a dimension for samples in front, where a sample is the whole input."""
    is_whole = not info.shape if data is None else len(data) == len(info.shape) + 1
    return info.model_copy(update={"shape": [1, *info.shape]}) if is_whole else info


def _output_infos(path: Path) -> list[TensorInfo]:
    outputs = read_file(path.read_bytes(), path.name).outputs
    return [TensorInfo(name=n.name, shape=list(n.tensor.shape), dtype=n.tensor.dtype) for n in outputs]


if __name__ == "__main__":
    child.run(LITERT.name, LiteRTJob, lambda job: job.limits, work, child.classified_as(LITERT.words))
