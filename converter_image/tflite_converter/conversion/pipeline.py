"""One conversion from the source model to measured artifacts: the stages in their order."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from modelconversion_api.board_report import BoardSamples
from modelconversion_api.boards import BOARD_SAMPLES_FILE
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import Method, Target
from modelconversion_api.optimization import Measured
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.recipes import OfMethod
from modelconversion_api.report import (
    ArtifactReport,
    ConversionReport,
    compilations_of,
)
from tflite_converter.compilers.compiling import Workplace, adopt, compile_artifact
from tflite_converter.conversion import search
from tflite_converter.conversion.data import choose, hand_over
from tflite_converter.conversion.front import front_half, refuse_contradictions
from tflite_converter.conversion.guests import Wanted, in_guests
from tflite_converter.conversion.jobs import Basis, litert_job, tensorflow_int8_job, tensorflow_job
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.report import Inputs, Outcome, build_report
from tflite_converter.conversion.training import (
    TrainingSamples,
    compare,
    hand_over_labels,
    measured,
    prepare,
    report_of,
)
from tflite_converter.data.checks import stability_warnings
from tflite_converter.errors import ConverterError
from tflite_converter.files.sources import SourceModel, open_source
from tflite_converter.files.untrusted import open_regular
from tflite_converter.files.workspace import Workspace
from tflite_converter.graph.writing import written
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.isolation.protocol import WorkerFailure
from tflite_converter.measuring.board_samples import MOST_FILE_BYTES, count_of
from tflite_converter.measuring.recommendation import (
    is_better_integer,
    is_better_recurrent,
    leaves_floats,
)
from tflite_converter.progress import Event, Listener, ignore
from tflite_converter.tflite.file import read_file
from tflite_converter.training.checkpoint import CheckpointKeeper
from tflite_converter.verifying.guests import GUESTS
from tflite_converter.verifying.guests import Workplace as GuestPlace
from tflite_converter.verifying.verify import with_verifications
from tflite_converter.workers.jobs import (
    CLIPPED_FOLDER,
    FROZEN_FOLDER,
    FUSED_INTEGERS_FOLDER,
    INT8_FILE,
    OWN_RANGES_FOLDER,
    FrontResult,
    LiteRTResult,
    MethodResult,
    TensorFlowJob,
    TensorFlowResult,
)
from tflite_converter.workers.programs import LITERT, TENSORFLOW

_SECOND_WAY = (
    FailureReason.QUANTIZATION_FAILED,
    FailureReason.CONVERTER_CRASHED,
    FailureReason.EVALUATION_FAILED,
    FailureReason.OUTPUT_NOT_FINITE,
    FailureReason.NOTHING_QUANTIZED,
    FailureReason.NOT_SMALLER,
)
"""Reasons for which TensorFlow's own quantizer is tried."""

_CALIBRATED_ALL_THE_SAME = (
    "full integer is calibrated, and does not have the steps of the graph's fake quantization"
)
_FLOAT_LOOPS = (
    "take another method, or fix every size of the inputs (--input-shape, spec.source.inputs) and write loops"
    " with a number of steps that is the same for every input"
)


def convert(options: Options, workspace: Workspace, listener: Listener = ignore) -> ConversionReport:
    """Make and measure the artifacts of ``options``; write them into ``workspace``, not yet published.

    Raises:
        ConverterError: for each of the contract's reasons from loading to evaluation. An artifact that
            misses a gate is not an error here: the report says ``passed: false``. A method without a file
            is an error only where no other method has one.

    """
    return _Conversion(options, workspace, listener).run()


class _Conversion:
    def __init__(self, options: Options, workspace: Workspace, listener: Listener) -> None:
        self._options = options
        self._workspace = workspace
        self._tell = listener
        self._seconds: dict[Stage, float] = {}
        self._warnings: list[str] = []
        self._work = workspace.folder.resolve() / "work"
        """The children may write here; finished files are moved away."""
        self._work.mkdir()
        self._trained = workspace.folder.resolve() / "trained"
        """The same for the children that train a model and measure the trained one."""
        self._optimized: set[Method] = set()
        """Methods whose published file comes from there."""

    def run(self) -> ConversionReport:
        options = self._options
        started = time.monotonic()
        source = open_source(
            options.source, options.source_format, options.expected_sha256, self._work / "source"
        )
        self._refuse_contradictions(source)
        data = choose(options, self._work, self._tell)
        self._warn(*data.warnings)
        training = prepare(options, source.format, data, self._trained, self._tell)
        inputs = Inputs(source, data, hand_over(data, self._work))
        if training is not None:
            hand_over_labels(self._work, self._trained)
        self._took({Stage.LOAD: time.monotonic() - started})

        outcome = self._plain(inputs)
        if training is not None:
            outcome = self._optimize(inputs, training, outcome)
        outcome = replace(outcome, results=self._compile(outcome.results))
        outcome = self._verify_in_guests(inputs, outcome)
        if options.tries:
            outcome = search.settled(options, outcome)
        self._refuse_without_artifacts(outcome)
        outcome = self._adopt_all(outcome)
        if data.calibration_info is not None:
            self._warn(*stability_warnings(outcome.stability))
        board_samples = self._adopt_board_samples() if options.benchmark.boards else None
        report = build_report(options, inputs, outcome, warnings=self._warnings, seconds=self._seconds)
        return report.model_copy(update={"board_samples": board_samples})

    def _plain(self, inputs: Inputs) -> Outcome:
        """Make and measure every file without training."""
        loaded = front_half(self._options, inputs, self._work, self._watch(), self._tell)
        if loaded is not None:
            self._took(loaded.seconds)
            self._warn(*loaded.warnings)
        measurement = self._run_litert(inputs, self._basis(inputs, loaded))
        self._took(measurement.seconds)
        results: Mapping[Method, MethodResult] = measurement.methods
        if isinstance(loaded, TensorFlowResult):  # whose own quantizer is a second way
            results = self._second_way(inputs, measurement, loaded)
        calibration = measurement.calibration
        self._warn(*measurement.evaluation.warnings, *(calibration.warnings if calibration else ()))
        recipes = [(recipe, measurement.recipes[recipe.name]) for recipe in self._options.recipes]
        return Outcome(loaded, measurement, results, recipes)

    def _optimize(self, inputs: Inputs, training: TrainingSamples, plain: Outcome) -> Outcome:
        """Train, make and measure every file again, and keep the better one of each method."""
        task = plain.measured.evaluation.task
        keeper = CheckpointKeeper(self._trained, training.options.checkpoint, self._tell)
        job = tensorflow_job(self._options, inputs, self._work, "optimize").model_copy(
            update={"training": training.job(task, inputs.source.sha256)}
        )
        try:
            trained = run_worker(TENSORFLOW, job, TensorFlowResult, self._trained, self._watch(), keeper)
        finally:
            keeper.take()
        if trained.training is None:
            cause = f"{TENSORFLOW.words} does not say what it trained"
            raise ConverterError(FailureReason.CONVERTER_CRASHED, Stage.TRAIN, cause)
        self._took(trained.seconds)
        steps = tuple(step.step.value for step in trained.training.steps)
        again = self._run_litert(inputs, Basis(trained=steps))
        self._took(again.seconds)

        def figures(result: MethodResult, is_optimized: bool) -> Measured | None:
            folder = self._trained if is_optimized else self._work
            return None if result.artifact is None else measured(result.artifact, folder)

        comparisons = {
            method: compare(method, plain.results.get(method), again.methods.get(method), figures)
            for method in dict.fromkeys((*plain.results, *again.methods))
        }
        self._optimized = {method for method, comparison in comparisons.items() if comparison.published}
        for comparison in comparisons.values():
            self._tell(Event(Stage.EVALUATE, f"{comparison.method.cli_name}: {comparison.message}"))
        better = {method: again.methods[method] for method in self._optimized}
        optimization = report_of(training.told(trained.training, task), trained.training, comparisons)
        return replace(plain, results={**plain.results, **better}, optimization=optimization)

    def _refuse_contradictions(self, source: SourceModel) -> None:
        options = self._options
        self._refuse_without_files()
        options.compilers.find()
        refuse_contradictions(options, source)

    def _refuse_without_files(self) -> None:
        """Refuse compilers that none of the methods makes a file for."""
        compilers, methods = self._options.compilers, self._options.methods
        cause = hint = None
        if compilers.wants_integers and Method.FULL_INTEGER not in methods:
            cause, hint = "the compilers take the full-integer file on, and none is made", "full integer"
        elif compilers and not set(compilers.methods) & set(methods):
            cause = "NPUs run float and full-integer files, and none is made"
            hint = "float32, float16 or full integer"
        if cause is not None:
            hint = f"add {hint} to the methods"
            raise ConverterError(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)

    def _run_tensorflow(self, job: TensorFlowJob) -> TensorFlowResult:
        return run_worker(TENSORFLOW, job, TensorFlowResult, self._work, self._watch(), self._tell)

    def _basis(self, inputs: Inputs, loaded: FrontResult | None) -> Basis:
        """Quantize by the graph's own ranges where it has some, and return what there is to start from."""
        if loaded is None:
            return Basis()
        basis = Basis(random_outputs=loaded.random_outputs, layouts=loaded.layouts)
        if not isinstance(loaded, TensorFlowResult):
            return basis
        if not (loaded.fake_quantized and Method.FULL_INTEGER in self._options.made):
            return basis
        fault = loaded.own_ranges_fault
        if fault is None:
            job = tensorflow_int8_job(self._options, inputs.source, self._work, frozen=OWN_RANGES_FOLDER)
            try:
                self._run_tensorflow(job)
            except ConverterError as error:
                fault = error.cause
        if fault is None:
            return replace(basis, ready={Method.FULL_INTEGER: INT8_FILE}, own_ranges=True)
        self._warn(f"{_CALIBRATED_ALL_THE_SAME}: {fault}")
        return basis

    def _run_litert(self, inputs: Inputs, basis: Basis) -> LiteRTResult:
        job = litert_job(self._options, inputs, self._work, basis)
        folder = self._trained if basis.trained else self._work
        return run_worker(LITERT, job, LiteRTResult, folder, self._watch(), self._tell)

    def _second_way(
        self, inputs: Inputs, measurement: LiteRTResult, loaded: TensorFlowResult
    ) -> dict[Method, MethodResult]:
        """Make full integer by TensorFlow's own quantizer where litert-quantizer failed, or left floats.

        Or the deeper one, where the model has a loop or branch that neither can take.
        """
        control_flow = loaded.control_flow
        first = measurement.methods.get(Method.FULL_INTEGER)
        if first is None:
            return measurement.methods
        if first.artifact is not None:
            return self._less_in_float(inputs, measurement, first.artifact, loaded)
        if first.failure is None or first.failure.reason not in _SECOND_WAY:
            return measurement.methods
        try:
            again = self._by_tensorflow(inputs, loaded)
        except ConverterError as second:
            cause = (
                f"full integer failed in litert-quantizer ({first.failure.cause})"
                f" and in TensorFlow ({second.cause})"
            )
            if control_flow is not None:
                cause = f"integers cannot be computed in the model's loops and branches: {control_flow}"
            failure = WorkerFailure(
                reason=FailureReason.QUANTIZATION_FAILED,
                stage=Stage.QUANTIZE,
                cause=cause,
                hint=None if control_flow is None else _FLOAT_LOOPS,
            )
            return measurement.methods | {Method.FULL_INTEGER: MethodResult(failure=failure)}
        self._took(again.seconds)
        self._warn(f"full integer was made by TensorFlow's quantizer: {first.failure.cause}")
        return measurement.methods | again.methods

    def _by_tensorflow(
        self, inputs: Inputs, loaded: TensorFlowResult, frozen: str | None = None
    ) -> LiteRTResult:
        """Make and measure full integer by TensorFlow's own quantizer.

        Raises:
            ConverterError: it failed, or its file does not run.

        """
        integers = Method.FULL_INTEGER
        frozen = frozen or (CLIPPED_FOLDER if loaded.fake_quantized else FROZEN_FOLDER)
        self._run_tensorflow(tensorflow_int8_job(self._options, inputs.source, self._work, frozen=frozen))
        basis = Basis(
            methods=(integers,),
            ready={integers: INT8_FILE},
            fused=frozen == FUSED_INTEGERS_FOLDER,
            random_outputs=loaded.random_outputs,
        )
        return self._run_litert(inputs, basis)

    def _less_in_float(
        self,
        inputs: Inputs,
        measurement: LiteRTResult,
        first: ArtifactReport,
        loaded: TensorFlowResult,
    ) -> dict[Method, MethodResult]:
        """Take TensorFlow's full-integer file where it uses integer kernels that the first one does not."""
        if self._options.training is not None:
            return measurement.methods
        second = None
        if loaded.fused_integers:
            target = self._options.target
            if self._options.compilers:
                target = Target.MICROCONTROLLER  # what is compiled has to fit into one

            def is_better(fused: ArtifactReport, unrolled: ArtifactReport) -> bool:
                return is_better_recurrent(fused, unrolled, target)

            second = self._better(inputs, first, loaded, FUSED_INTEGERS_FOLDER, is_better)
        elif leaves_floats(first):
            second = self._better(inputs, first, loaded, None, is_better_integer)
        return measurement.methods if second is None else measurement.methods | second.methods

    def _better(
        self,
        inputs: Inputs,
        first: ArtifactReport,
        loaded: TensorFlowResult,
        frozen: str | None,
        is_better: Callable[[ArtifactReport, ArtifactReport], bool],
    ) -> LiteRTResult | None:
        """Return TensorFlow's full integer of ``frozen``, or of the graph itself, if it is better.

        Else the first file stays.
        """
        path = self._work / Method.FULL_INTEGER.file_name(self._options.base_name)
        with open_regular(path, MAX_TFLITE_BYTES, Stage.EVALUATE) as stream:
            kept = stream.read(MAX_TFLITE_BYTES)
        try:
            again = self._by_tensorflow(inputs, loaded, frozen)
        except ConverterError:
            again = None  # it was worth a try: there is a file already
        if again is not None:
            self._took(again.seconds)
            second = again.methods[Method.FULL_INTEGER].artifact
            if second is not None and is_better(second, first):
                return again
        # A child that has ended could have left a link here; "x" opens none.
        path.unlink(missing_ok=True)
        with path.open("xb") as stream:
            stream.write(kept)
        return None

    def _compile(self, results: Mapping[Method, MethodResult]) -> Mapping[Method, MethodResult]:
        """Return the results with their files compiled, as far as that was asked for."""
        options = self._options
        if not options.compilers:
            return results
        started = time.monotonic()
        compiled = dict(results)
        for method in options.compilers.methods:
            result = results.get(method)
            if result is not None and result.artifact is not None:
                artifact = self._compiled(method, result.artifact)
                compiled[method] = result.model_copy(update={"artifact": artifact})
        if not any(results[m].artifact for m in options.compilers.methods if m in results):
            self._warn("nothing was compiled: there is no file that the compilers take")
        self._took({Stage.COMPILE: time.monotonic() - started})
        return compiled

    def _compiled(self, method: Method, artifact: ArtifactReport) -> ArtifactReport:
        """Return the artifact with what the compilers for files of ``method`` made of it."""
        options, folder = self._options, self._folder(method)
        compilers = options.compilers.of(method, passed=artifact.passed)
        if options.compilers.npu is not None and compilers.npu is None:
            self._warn(f"{artifact.file_name} was not compiled for NPUs: it has not passed")
        if not compilers:
            return artifact
        place = Workplace(folder, options.memory_limit_bytes, self._tell)
        artifact = compile_artifact(artifact, compilers, place)
        adopt(compilations_of(artifact).files, folder, self._workspace.write)
        return with_verifications(artifact, artifact.verifications, ())  # it may have failed by now

    def _verify_in_guests(self, inputs: Inputs, outcome: Outcome) -> Outcome:
        """Return the results with the checks that need another Python, if any was asked for."""
        options = self._options
        names = [name for name in dict.fromkeys(options.verify_on) if name in GUESTS]
        if not (names and outcome.artifacts):
            return outcome
        started = time.monotonic()
        files = [
            Wanted(result.artifact, self._folder(method), options.gates)
            for method, result in outcome.results.items()
            if result.artifact is not None
        ]
        files += [
            Wanted(result.artifact, self._work, options.gates.of_recipe(recipe.gates))
            for recipe, result in outcome.recipes
            if result.artifact is not None
        ]
        place = GuestPlace(self._workspace.folder.resolve(), options.memory_limit_bytes, self._tell)
        basis = litert_job(options, inputs, self._work, Basis())
        checked = {a.file_name: a for a in in_guests(files, names, basis, place)}
        self._took({Stage.EVALUATE: time.monotonic() - started})

        def with_checks(result: MethodResult) -> MethodResult:
            if result.artifact is None:
                return result
            return result.model_copy(update={"artifact": checked[result.artifact.file_name]})

        return replace(
            outcome,
            results={method: with_checks(result) for method, result in outcome.results.items()},
            recipes=[(recipe, with_checks(result)) for recipe, result in outcome.recipes],
        )

    def _folder(self, method: Method) -> Path:
        """Return the folder with the file of ``method`` that is published."""
        return self._trained if method in self._optimized else self._work

    def _refuse_without_artifacts(self, outcome: Outcome) -> None:
        """Warn of methods without a file; where no file is left, the first one's reason is the end."""
        errors = outcome.errors
        if errors and not outcome.artifacts:
            raise errors[0][1]
        for made_by, error in errors:
            self._warn(f"{made_by.cli_name} was not made: {error.cause}")

    def _adopt_all(self, outcome: Outcome) -> Outcome:
        """Adopt every file that there is; return the results with the files' graphs."""
        base_name = self._options.base_name

        def adopted(made_by: OfMethod, path: Path, result: MethodResult) -> MethodResult:
            if result.artifact is None:
                return result
            return result.model_copy(update={"artifact": self._adopt(made_by, path, result.artifact)})

        results = {
            method: adopted(
                OfMethod(method=method), self._folder(method) / method.file_name(base_name), result
            )
            for method, result in outcome.results.items()
        }
        recipes = [
            (recipe, adopted(recipe.identity, self._work / recipe.file_name(base_name), result))
            for recipe, result in outcome.recipes
        ]
        return replace(outcome, results=results, recipes=recipes)

    def _adopt(self, made_by: OfMethod, path: Path, artifact: ArtifactReport) -> ArtifactReport:
        """Move a finished file out of the children's reach, if it is the one that was measured.

        Its graph is written beside it.
        """
        with open_regular(path, MAX_TFLITE_BYTES, Stage.EVALUATE) as stream:
            content = stream.read(MAX_TFLITE_BYTES)
        described = (artifact.file_name, artifact.size_bytes, artifact.sha256)
        is_it = artifact.method is made_by.method and artifact.recipe_name == made_by.recipe_name
        if not is_it or described != (path.name, len(content), hashlib.sha256(content).hexdigest()):
            cause = f"{path.name} is not the file that was measured"
            raise ConverterError(FailureReason.ARTIFACT_INVALID, Stage.EVALUATE, cause)
        self._workspace.write(path.name, content)
        graph = written(read_file(content, path.name), artifact)
        if graph is None:
            self._warn(f"{path.name} has too many operators for a file with its graph")
            return artifact
        self._workspace.write(graph.report.file_name, graph.content)
        return artifact.model_copy(update={"graph": graph.report})

    def _adopt_board_samples(self) -> BoardSamples:
        """Move what boards compare on out of the children's reach."""
        path = self._work / BOARD_SAMPLES_FILE
        with open_regular(path, MOST_FILE_BYTES, Stage.EVALUATE) as stream:
            content = stream.read(MOST_FILE_BYTES)
        self._workspace.write(BOARD_SAMPLES_FILE, content)
        samples = count_of(self._workspace.folder / BOARD_SAMPLES_FILE)
        digest = hashlib.sha256(content).hexdigest()
        return BoardSamples(sha256=digest, size_bytes=len(content), samples=samples)

    def _watch(self) -> Watch:
        return Watch(self._options.step_timeout_seconds, self._options.memory_limit_bytes)

    def _warn(self, *texts: str) -> None:
        for text in texts:
            self._warnings.append(text)
            self._tell(Event(Stage.EVALUATE, text, warning=True))

    def _took(self, seconds: dict[Stage, float]) -> None:
        for stage, spent in seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + spent
