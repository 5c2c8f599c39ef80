"""The child process without TensorFlow: makes every file from the float file, and measures each.

``python -m tflite_converter.workers.litert FOLDER``: see :mod:`tflite_converter.isolation.child`. Every piece
of work that runs a model is a fork of its own: one that dies takes its method along, and nothing else.
"""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from modelconversion_api.base import ApiModel
from modelconversion_api.calibration_report import Stability
from modelconversion_api.measurements import Attempt, LayerError
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import ArtifactReport
from tflite_converter.data.checks import coverage, range_warnings
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import forked
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.evaluation import Reference, Request, evaluate, quality
from tflite_converter.measuring.layers import layer_errors
from tflite_converter.measuring.quality import Quality, costs_nothing
from tflite_converter.measuring.soundness import (
    FLOAT_SAMPLES,
    float_fault,
    is_exact,
    weights_not_finite,
)
from tflite_converter.quantizing import quantization
from tflite_converter.quantizing.calibration import Calibration, calibrate
from tflite_converter.quantizing.constants import with_halved_constants
from tflite_converter.quantizing.synthetic import draw_synthetic
from tflite_converter.quantizing.tuning import Tuner
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.metadata import with_metadata
from tflite_converter.tflite.versions import with_versions
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    FLOAT_FILE,
    FUSED_FILE,
    INTEGERS_FILE,
    UNROLLED_FILE,
    CalibrationBasis,
    EvaluationBasis,
    LiteRTJob,
    LiteRTResult,
    MethodResult,
)
from tflite_converter.workers.programs import LITERT
from tflite_converter.workers.reference import DIVERGED, input_infos, output_infos, prepare, reference_of

_FEWEST_FOR_STABILITY = 2
_FORM_SAMPLES = 200
"""How many samples decide between two forms of dynamic range."""
_INTEGERS = (Method.DYNAMIC_RANGE, Method.FULL_INTEGER)
_SYNTHETIC = "calibrated on synthetic data"


class _Fault(ApiModel):
    """What is wrong with the float file."""

    sentence: str | None = None
    is_exact: bool = False
    """Whether every output was run, and is the original's up to rounding."""


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
        self._float_file = self._folder / FLOAT_FILE
        """What every file but the full-integer one is made of."""
        self._fault: str | None = None
        """Why nothing that comes of the float file can be used."""

    def run(self, warnings: tuple[str, ...]) -> LiteRTResult:
        """Make and measure each file; ``warnings`` are about the reference."""
        job, reference = self._job, self._reference
        self._choose_float_file()
        self._fault = self._float_fault()
        methods = {method: self._method(method) for method in job.methods}
        return LiteRTResult(
            inputs=input_infos(self._folder / FLOAT_FILE) if job.source is not None else (),
            outputs=output_infos(self._folder / FLOAT_FILE) if job.source is not None else (),
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
        if self._synthetic and method is Method.FULL_INTEGER and not self._job.own_ranges:
            message = "; ".join(m for m in (_SYNTHETIC, artifact.message) if m)
            artifact = artifact.changed(synthetic=True, message=message)
        return MethodResult(artifact=artifact)

    def _choose_float_file(self) -> None:
        """Take the file with fused LSTM layers, if there is one that does what the original does."""
        fused = self._folder / FUSED_FILE
        if fused.is_file():
            answer = self._compared(fused)
            if isinstance(answer, _Fault) and answer.is_exact:
                self._float_file = fused

    def _compared(self, path: Path) -> _Fault | WorkerFailure:
        """Run a float file on some of the samples, one after another, and say what differs."""
        few = self._reference.head(FLOAT_SAMPLES)

        def compare() -> _Fault:
            content = path.read_bytes()
            if inventory(read_file(content, path.name)).flex_operators:
                return _Fault()
            gates, threads = self._job.gates, self._job.benchmark.threads
            judged = quality(content, few, gates, threads=threads, file_name=path.name)
            return _Fault(sentence=float_fault(judged.outputs), is_exact=is_exact(judged.outputs))

        return forked(self._process, LITERT.words, "running the float file", _Fault, compare)

    def _float_fault(self) -> str | None:
        """Say why the float file is not what the original is; None where it is, or that is not known."""
        job = self._job
        if job.gates.floor == 0.0 or job.source is not None:
            return None
        if job.random_outputs:
            return f"unusable: the original gives another {job.random_outputs[0]!r} each time that it is run"

        answer = self._compared(self._float_file)
        return None if isinstance(answer, WorkerFailure) else answer.sentence  # each method says why it fails

    def _make(self, method: Method) -> _Made:
        ready = self._job.ready.get(method)
        if ready is not None:
            ranges = " (ranges of the graph's fake quantization)" if self._job.own_ranges else ""
            layers = ", fused LSTM layers" if self._job.fused else ""
            recipe = f"TensorFlow's own quantizer, per-channel int8 weights, int8 activations{ranges}{layers}"
            return self._finished(method, (self._folder / ready).read_bytes(), recipe)
        self._process.say(Stage.QUANTIZE, f"making {method.cli_name}")
        float_file = self._float_file.read_bytes()
        if (
            method in _INTEGERS
            and (name := weights_not_finite(read_file(float_file, FLOAT_FILE))) is not None
        ):
            cause = f"the weights {name!r} hold NaN or infinity, which integers cannot say"
            # Not a failure of this quantizer, which another one would make good.
            raise ConverterError(FailureReason.UNREADABLE_MODEL, Stage.QUANTIZE, cause, hint=DIVERGED)
        match method:
            case Method.FLOAT32:
                return self._finished(method, float_file, "float32 as it is")
            case Method.DYNAMIC_RANGE:
                return self._dynamic_range(float_file)
            case Method.FLOAT16:
                return self._finished(method, with_halved_constants(float_file), "float16 weights")
            case Method.FULL_INTEGER:
                return self._full_integer((self._folder / FLOAT_FILE).read_bytes())

    def _dynamic_range(self, float_file: bytes) -> _Made:
        """Make the form that old runtimes read, unless it costs fidelity."""
        by_channel = quantization.dynamic_range(float_file)
        by_tensor = quantization.dynamic_range(float_file, dense_per_tensor=True)
        few, name = self._reference.head(_FORM_SAMPLES), Method.DYNAMIC_RANGE.file_name(self._job.base_name)

        def judged(content: bytes) -> Quality | None:
            threads = self._job.benchmark.threads
            try:
                return quality(content, few, self._gates, threads=threads, file_name=name)
            except (ConverterError, RuntimeError, ValueError):
                return None  # where neither form runs, its evaluation says why

        def is_good_enough() -> bool:
            candidate, other = judged(by_tensor), judged(by_channel)
            return candidate is not None and (other is None or costs_nothing(candidate, other))

        if by_tensor == by_channel or is_good_enough():
            words = "int8 weights, per-channel but for dense layers, float activations"
            return self._finished(Method.DYNAMIC_RANGE, by_tensor, words)
        words = "per-channel int8 weights, float activations"
        return self._finished(Method.DYNAMIC_RANGE, by_channel, words)

    def _full_integer(self, float_file: bytes) -> _Made:
        unrolled = self._folder / UNROLLED_FILE
        if (path := self._before_integers()) is not None:
            float_file = path.read_bytes()
        samples, threads = read_folder(self._folder / CALIBRATION_FOLDER), self._job.benchmark.threads
        count = len(next(iter(samples.values())))
        started = time.monotonic()
        step = self._process.counter(Stage.CALIBRATE, "calibrating", count)
        calibration = calibrate(float_file, samples, threads, step)
        calibrating = time.monotonic() - started
        if calibration.stopped:
            samples = {n: np.delete(array, calibration.stopped, axis=0) for n, array in samples.items()}
            # Whoever reads them after this, TensorFlow's quantizer too, would stop as well.
            write_folder(self._folder / CALIBRATION_FOLDER, samples)
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
        message = "; ".join(text for text in (*_left_out(calibration, count), message) if text) or None
        return self._finished(Method.FULL_INTEGER, content, words).model_copy(
            update={
                "attempts": attempts,
                "stability": calibration.stability if count >= _FEWEST_FOR_STABILITY else None,
                "message": message,
                "calibrating_seconds": calibrating,
            }
        )

    def _before_integers(self) -> Path | None:
        """Return the float file that was written for full integer, if there is one."""
        paths = (self._folder / name for name in (UNROLLED_FILE, INTEGERS_FILE))
        return next((path for path in paths if path.is_file()), None)

    def _layers(self, content: bytes) -> tuple[LayerError, ...]:
        """Each activation's error, from the float file that full integer was made from."""
        float_file = self._before_integers() or self._folder / FLOAT_FILE
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


def _left_out(calibration: Calibration, count: int) -> Iterator[str]:
    """Yield how many calibration samples were of no use, and why."""
    if calibration.left_out:
        yield f"{calibration.left_out} of {count} calibration samples gave NaN or infinity: left out"
    if calibration.stopped:
        number, reason = len(calibration.stopped), calibration.stops
        yield f"the float file stops on {number} of {count} calibration samples, left out: {reason}"


def _import_for_the_forks() -> None:
    """Import what each fork would otherwise import again; none of it starts a thread."""
    for name in ("ai_edge_litert.interpreter", "litert_quantizer.calibrator", "litert_quantizer.quantizer"):
        importlib.import_module(name)
    gc.freeze()  # a collection in a fork would copy every page that it looks at


def work(job: LiteRTJob, process: Child) -> ApiModel:
    """Carry out ``job``."""
    _import_for_the_forks()
    about_source = () if job.source is None else prepare(job, process, job.source)
    reference, warnings = reference_of(job, process.folder)
    synthetic: Mapping[str, str] = {}
    if job.synthetic_samples and Method.FULL_INTEGER in job.methods:
        drawn = draw_synthetic((process.folder / FLOAT_FILE).read_bytes(), job.synthetic_samples, job.seed)
        write_folder(process.folder / CALIBRATION_FOLDER, drawn.samples)
        synthetic = drawn.how
    return _Work(job, process, reference, synthetic).run((*about_source, *warnings))


if __name__ == "__main__":
    child.run(LITERT.name, LiteRTJob, lambda job: job.limits, work, child.classified_as(LITERT.words))
