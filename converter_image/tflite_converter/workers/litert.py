"""The child process without TensorFlow: makes every file from the float file, and measures each.

``python -m tflite_converter.workers.litert FOLDER``: see :mod:`tflite_converter.isolation.child`. Every piece
of work that runs a model is a fork of its own: one that dies takes its method along, and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from conversion_engine.files import FLOAT_FILE
from modelconversion_api.base import ApiModel
from modelconversion_api.fields.boards import BOARD_SAMPLES_FILE
from modelconversion_api.fields.verification import Verification, Verifier
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.calibration import Stability
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import LayerError, Performance
from tflite_converter.data.checks import coverage, range_warnings
from tflite_converter.data.npz import read_folder, write_folder
from tflite_converter.errors import ConverterError
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child
from tflite_converter.isolation.forked import Task, forked, forked_beside
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.board_samples import write_board_samples, write_samples
from tflite_converter.measuring.evaluation import (
    Reference,
    Request,
    evaluate,
    measure_performance,
    quality,
)
from tflite_converter.measuring.layers import layer_errors
from tflite_converter.measuring.metric_data import write_basis
from tflite_converter.measuring.soundness import FLOAT_SAMPLES, float_fault, is_exact
from tflite_converter.quantizing.synthetic import draw_synthetic
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.runtime import why
from tflite_converter.verifying.runtimes import MOST_IN_GUEST, RUNTIMES
from tflite_converter.verifying.verify import ended, samples_on, verify, with_verifications
from tflite_converter.workers.imports import import_litert
from tflite_converter.workers.jobs import (
    CALIBRATION_FOLDER,
    FUSED_FILE,
    GUEST_SAMPLES_FILE,
    METRIC_DATA_FOLDER,
    CalibrationBasis,
    EvaluationBasis,
    LiteRTJob,
    LiteRTResult,
    MethodResult,
    RecipeJob,
)
from tflite_converter.workers.making import SYNTHETIC, Made, Maker
from tflite_converter.workers.programs import LITERT
from tflite_converter.workers.reference import given, input_infos, output_infos, prepare, reference_of

Found = TypeVar("Found", bound=ApiModel)

_CALIBRATING: Final = "calibrating"
"""The lane of those that calibrate: each may leave samples out, for all that come after it."""
_SIGNS_OF_LIFE: Final = 20
"""How often a file that is being measured is heard of."""


class _Fault(ApiModel):
    """What is wrong with the float file."""

    sentence: str | None = None
    is_exact: bool = False
    """Whether every output was run, and is the original's up to rounding."""


class _Measured(ApiModel):
    """A file that was measured."""

    artifact: ArtifactReport


@dataclass(frozen=True)
class _Wanted:
    """A file that is to be made and measured."""

    words: str
    """What it is called."""
    make: Callable[[], Made]
    request: Request
    calibrates: bool
    """Whether the float file is run on the calibration samples for it."""
    recipe_name: str | None = None
    """The user's recipe that it is made by."""
    is_ready: bool = False
    """Whether it is made already, with ranges that need no samples."""


@dataclass
class _File:
    """What has become of a wanted file."""

    wanted: _Wanted
    made: Made | None = None
    performance: Performance | None = None
    artifact: ArtifactReport | None = None
    failure: WorkerFailure | None = None
    """Why it is not made, or of no use."""
    seconds: float = 0.0
    """How long it took to make and to measure, whatever else ran beside it."""

    @property
    def name(self) -> str:
        return "" if self.made is None else self.made.file

    @property
    def result(self) -> MethodResult:
        seconds = round(self.seconds, 3)
        return MethodResult(artifact=self.artifact, failure=self.failure, seconds=seconds)


def _latency(file: _File) -> float:
    """Return how many milliseconds a run takes; 0 where that was not measured."""
    return 0.0 if file.performance is None else file.performance.single.median_millis


class _Work:
    """One job."""

    def __init__(
        self,
        job: LiteRTJob,
        process: Child,
        reference: Reference,
        synthetic: Mapping[str, str],
        kept: int,
    ) -> None:
        self._job = job
        self._kept = kept
        """How many samples' outputs are kept for the user's own metrics."""
        self._synthetic = dict(synthetic)
        """How made-up calibration samples were drawn, by input; empty where the samples are data."""
        self._reference = reference
        self._process = process
        self._folder = process.folder
        self._gates = job.gates
        self._seconds: dict[Stage, float] = {}
        self._stability: Stability | None = None
        self._float_file = self._folder / FLOAT_FILE
        """What every file but those of integers is made of."""
        self._deadline = 0.0
        self._fault: str | None = None
        """Why nothing that comes of the float file can be used."""

    def run(self, warnings: tuple[str, ...]) -> LiteRTResult:
        """Make and measure each file; ``warnings`` are about the reference."""
        job, reference = self._job, self._reference
        self._choose_float_file()
        self._fault = self._float_fault()
        self._maker = Maker(
            job,
            self._process,
            reference,
            self._float_file,
            seconds=self._seconds_to_tune,
            is_synthetic=bool(self._synthetic),
        )
        self._deadline = time.monotonic() + job.tuning_seconds
        sure = [method for method in job.methods if method not in job.tried]
        methods = dict(zip(sure, self._results([self._of_method(m) for m in sure]), strict=True))
        for method in job.methods:
            if method in job.tried and time.monotonic() < self._deadline:
                (methods[method],) = self._results([self._of_method(method)])
        names = [wanted.recipe.name for wanted in job.recipes]
        recipes = dict(zip(names, self._results([self._of_recipe(r) for r in job.recipes]), strict=True))
        return LiteRTResult(
            inputs=input_infos(self._folder / FLOAT_FILE) if job.source is not None else (),
            outputs=output_infos(self._folder / FLOAT_FILE) if job.source is not None else (),
            evaluation=EvaluationBasis(
                task=reference.task,
                task_is_given=job.task is not None,
                agreement_metric=reference.metric,
                original=reference.original,
                not_finite=reference.not_finite,
                metric_samples=self._kept,
                warnings=warnings,
            ),
            calibration=self._calibration_basis(),
            methods={method: methods[method] for method in job.methods if method in methods},
            recipes=recipes,
            seconds=self._seconds,
            isolation=self._process.isolation,
        )

    def _seconds_to_tune(self) -> float:
        """Return how long recipes may be tried: where methods are tried as well, all share the time."""
        if self._fault is not None:
            return 0.0
        if not self._job.tried:
            return float(self._job.tuning_seconds)
        return max(0.0, self._deadline - time.monotonic())

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

    def _of_method(self, method: Method) -> _Wanted:
        job = self._job
        name = method.file_name(job.base_name)
        request = Request(method, name, self._gates, job.benchmark, job.target, compiled=job.compiled)
        return _Wanted(
            method.cli_name,
            lambda: self._maker.make(method),
            request,
            method.needs_calibration,
            is_ready=job.own_ranges and method in job.ready,
        )

    def _of_recipe(self, wanted: RecipeJob) -> _Wanted:
        job, recipe = self._job, wanted.recipe
        gates = self._gates.of_recipe(recipe.gates)
        name = recipe.file_name(job.base_name)
        request = Request(recipe.base, name, gates, job.benchmark, job.target)
        return _Wanted(
            recipe.name,
            lambda: self._maker.make_recipe(wanted),
            request,
            recipe.needs_calibration,  # GPTQ's do, whatever their base
            recipe_name=recipe.name,
        )

    def _results(self, wanted: Sequence[_Wanted]) -> list[MethodResult]:
        """Make and measure files, some beside each other; how fast each one runs is measured alone."""
        files = [_File(one) for one in wanted]
        self._make(files)
        made = [file for file in files if file.made is not None]
        for file in made:
            self._time(file)
        self._measure(made)
        return [file.result for file in files]

    def _make(self, files: Sequence[_File]) -> None:
        def task(file: _File) -> Task[Made]:
            wanted = file.wanted
            lane = _CALIBRATING if wanted.calibrates else None
            return Task(f"making {wanted.words}", Made, wanted.make, lane)

        for file, answer, passed in self._beside(files, task, lambda file: file.wanted.calibrates):
            if isinstance(answer, WorkerFailure):
                self._took(Stage.QUANTIZE, passed)
                file.failure = answer
                continue
            file.made = answer
            calibrating = min(passed, answer.calibrating_seconds)
            self._took(Stage.QUANTIZE, passed - calibrating)
            if calibrating:
                self._took(Stage.CALIBRATE, calibrating)
            if answer.stability is not None:
                self._stability = answer.stability

    def _time(self, file: _File) -> None:
        """Measure how fast a file runs, while nothing else does; what fails here is told by its outputs."""
        wanted, words = file.wanted, f"timing {file.wanted.words}"
        content = (self._folder / file.name).read_bytes()
        if inventory(read_file(content, file.name)).flex_operators:
            return  # nothing here runs it

        def measure() -> Performance:
            self._process.say(Stage.EVALUATE, words)
            try:
                return measure_performance(content, self._reference.samples, wanted.request.benchmark)
            except (RuntimeError, ValueError, KeyError) as error:
                cause = f"{file.name} does not run: {why(error)}"
                raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause) from error

        for _, answer, passed in self._beside([file], lambda _file: Task(words, Performance, measure)):
            self._took(Stage.EVALUATE, passed)
            if isinstance(answer, WorkerFailure):
                file.failure = answer
            else:
                file.performance = answer

    def _measure(self, files: Sequence[_File]) -> None:
        def task(file: _File) -> Task[_Measured]:
            words = f"measuring {file.wanted.words}"
            return Task(words, _Measured, lambda: self._measured(file, words))

        for file, answer, passed in self._beside(files, task, _latency):
            self._took(Stage.EVALUATE, passed)
            if isinstance(answer, WorkerFailure):
                file.failure = answer  # it says more than a file that cannot be timed
            elif file.failure is None:
                file.artifact = self._judged(file, answer.artifact)

    def _measured(self, file: _File, words: str) -> _Measured:
        """In a fork: compare a file's outputs with the original's."""
        request = file.wanted.request
        if self._kept:
            request = replace(request, keep=self._folder / METRIC_DATA_FOLDER, keep_samples=self._kept)
        content = (self._folder / file.name).read_bytes()
        artifact = evaluate(
            content, self._reference, request, self._counter(words), performance=file.performance
        )
        if request.method.needs_calibration:
            artifact = artifact.model_copy(update={"layers": self._layers(content)})
        return _Measured(artifact=artifact)

    def _counter(self, words: str) -> Callable[[int], None]:
        """Return a function that tells how many samples are done; of several files at once, that some are."""
        if self._job.beside == 1:
            self._process.say(Stage.EVALUATE, words)
            return self._process.counter(Stage.EVALUATE, words, self._reference.count)
        every = max(1, self._reference.count // _SIGNS_OF_LIFE)

        def step(done: int) -> None:
            if done % every == 0:
                self._process.say(Stage.EVALUATE, "measuring the files")

        return step

    def _judged(self, file: _File, measured: ArtifactReport) -> ArtifactReport:
        """Add how it was made, and all that speaks against it."""
        wanted, made = file.wanted, file.made
        if made is None:
            raise ValueError(f"{wanted.words} is measured, and was not made")
        artifact = measured.changed(
            recipe=made.recipe,
            recipe_name=wanted.recipe_name,
            attempts=made.attempts,
            message="; ".join(m for m in (measured.message, made.message) if m) or None,
        )
        if self._fault is not None:
            artifact = artifact.changed(usable=False, passed=False, message=self._fault)
        if self._job.verify_on:
            started = time.monotonic()
            artifact = self._verified(artifact, (self._folder / made.file).read_bytes(), wanted)
            file.seconds += time.monotonic() - started
        if self._synthetic and wanted.request.method.needs_calibration and not wanted.is_ready:
            message = "; ".join(m for m in (SYNTHETIC, artifact.message) if m)
            artifact = artifact.changed(synthetic=True, message=message)
        return artifact

    def _beside(
        self,
        files: Sequence[_File],
        task: Callable[[_File], Task[Found]],
        length: Callable[[_File], float] = lambda _file: 0.0,
    ) -> Iterator[tuple[_File, Found | WorkerFailure, float]]:
        """Do a task for each file, as many beside each other as may be, in the order of their ``length``.

        The longest is begun first, so that the last one does not run alone. Yields each file with the answer,
        and its part, in seconds, of the time that passed: stages that ran beside each other have taken no
        longer than it did.
        """
        files = sorted(files, key=length, reverse=True)
        started = time.monotonic()
        ended = forked_beside(self._process, LITERT.words, [task(file) for file in files], self._job.beside)
        passed, total = time.monotonic() - started, sum(one.seconds for one in ended)
        for file, one in zip(files, ended, strict=True):
            file.seconds += one.seconds
            yield file, one.answer, one.seconds * min(1.0, passed / max(total, 1e-9))

    def _verified(self, artifact: ArtifactReport, content: bytes, wanted: _Wanted) -> ArtifactReport:
        """Run the file on the other runtimes, each in a fork of its own."""
        job, reference, gates = self._job, self._reference, wanted.request.gates
        found = []
        for name in job.verify_on:
            started, words = time.monotonic(), f"verifying {wanted.words} on {name.value}"

            def check(name: Verifier = name, words: str = words) -> Verification:
                self._process.say(Stage.EVALUATE, words)
                step = self._process.counter(Stage.EVALUATE, words, samples_on(name, reference))
                return verify(name, content, reference, gates, step)

            seconds = RUNTIMES[name].most_seconds
            answer = forked(self._process, LITERT.words, words, Verification, check, most_seconds=seconds)
            if isinstance(answer, WorkerFailure):
                answer = ended(name, answer.reason, answer.cause)
            found.append(answer)
            self._took(Stage.EVALUATE, time.monotonic() - started)
        return with_verifications(artifact, found, (v for v in job.verify_on if v.target is job.target))

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
            gates, threads = self._job.gates, self._job.threads
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

    def _layers(self, content: bytes) -> tuple[LayerError, ...]:
        """Each activation's error, from the float file that files of integers are made from."""
        float_file = self._maker.before_integers()
        try:
            return layer_errors(
                float_file.read_bytes(), content, read_folder(self._folder / CALIBRATION_FOLDER)
            )
        except (RuntimeError, ValueError):
            return ()  # one of them cannot keep its tensors: the report goes without

    def _took(self, stage: Stage, seconds: float) -> None:
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds


def work(job: LiteRTJob, process: Child) -> ApiModel:
    """Carry out ``job``."""
    import_litert()
    about_source = () if job.source is None else prepare(job, process, job.source)
    known = given(job, process.folder)
    reference, warnings = reference_of(job, known)
    kept = 0
    if job.has_metrics:
        kept = write_basis(process.folder / METRIC_DATA_FOLDER, known.outputs, known.labels)
    if job.benchmark.boards:
        write_board_samples(process.folder / BOARD_SAMPLES_FILE, reference)
    if job.has_guests:
        write_samples(process.folder / GUEST_SAMPLES_FILE, reference, MOST_IN_GUEST)
    synthetic: Mapping[str, str] = {}
    if job.synthetic_samples and job.needs_calibration:
        drawn = draw_synthetic((process.folder / FLOAT_FILE).read_bytes(), job.synthetic_samples, job.seed)
        write_folder(process.folder / CALIBRATION_FOLDER, drawn.samples)
        synthetic = drawn.how
    return _Work(job, process, reference, synthetic, kept).run((*about_source, *warnings))


if __name__ == "__main__":
    child.run(
        LITERT.name,
        LiteRTJob,
        lambda job: job.limits,
        work,
        child.classified_as(LITERT.words),
        lambda _preparation, _process: import_litert(),
    )
