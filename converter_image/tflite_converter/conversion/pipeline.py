"""One conversion from the source model to measured artifacts: the stages in their order."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelconversion_api.fields.boards import BOARD_SAMPLES_FILE
from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.fields.optimization import Measured
from modelconversion_api.fields.recipes import OfMethod
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardSamples
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    compilations_of,
)
from modelconversion_api.spec import SourceFormat
from tflite_converter.compilers.compiling import Workplace, adopt, compile_artifact
from tflite_converter.conversion import search
from tflite_converter.conversion.data import choose, hand_over
from tflite_converter.conversion.front import Front, front_half, gone_on_from, refuse_contradictions, train
from tflite_converter.conversion.guests import Wanted, in_guests
from tflite_converter.conversion.jobs import (
    Basis,
    litert_job,
    litert_preparation,
    tensorflow_preparation,
)
from tflite_converter.conversion.kept_front import KEPT_FILES, names_in, pack, unpack
from tflite_converter.conversion.metric_data import hand_over_metric_data
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
from tflite_converter.engines.finding import engine_for
from tflite_converter.errors import ConverterError
from tflite_converter.files.sources import SourceModel, open_source
from tflite_converter.files.untrusted import open_regular
from tflite_converter.files.workspace import Workspace
from tflite_converter.graph.writing import written
from tflite_converter.isolation.parent import Watch, begin, run_worker
from tflite_converter.isolation.starting import Started
from tflite_converter.measuring.board_samples import MOST_FILE_BYTES, count_of
from tflite_converter.progress import Event, Listener, ignore
from tflite_converter.tflite.file import read_file
from tflite_converter.training.checkpoint import CheckpointKeeper
from tflite_converter.verifying.guests import GUESTS
from tflite_converter.verifying.guests import Workplace as GuestPlace
from tflite_converter.verifying.verify import with_verifications
from tflite_converter.workers.jobs import (
    LiteRTResult,
    MethodResult,
)
from tflite_converter.workers.programs import LITERT, TENSORFLOW

_LITERT_BYTES: Final = 64 << 20
"""What the LiteRT child has before it has a job, and a little."""


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
        self._cache = options.cache
        self._work = workspace.folder.resolve() / "work"
        """The children may write here; finished files are moved away."""
        self._work.mkdir()
        self._trained = workspace.folder.resolve() / "trained"
        """The same for the children that train a model and measure the trained one."""
        self._optimized: set[Method] = set()
        """Methods whose published file comes from there."""
        self._children = contextlib.ExitStack()
        """Children that were started ahead."""
        self._tensorflow: Started | None = None
        self._litert: Started | None = None

    def run(self) -> ConversionReport:
        with self._children:
            return self._run()

    def _run(self) -> ConversionReport:
        options = self._options
        started = time.monotonic()
        source = open_source(
            options.source,
            options.source_format,
            options.expected_sha256,
            self._work / "source",
            options.inside,
        )
        self._refuse_contradictions(source)
        self._begin_first_child(source)
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
        if options.metric_data is not None:
            hand_over_metric_data((self._work, self._trained), outcome.artifacts, options.metric_data)
        if data.calibration_info is not None:
            self._warn(*stability_warnings(outcome.stability))
        board_samples = self._adopt_board_samples() if options.benchmark.boards else None
        report = build_report(options, inputs, outcome, warnings=self._warnings, seconds=self._seconds)
        cache = None if outcome.loaded is None else self._cache
        return report.model_copy(update={"board_samples": board_samples, "cache": cache})

    def _plain(self, inputs: Inputs) -> Outcome:
        """Make and measure every file without training."""
        front = self._front_half(inputs)
        loaded, basis = front.result, Basis()
        if loaded is not None:
            self._took(loaded.seconds)
            self._warn(*loaded.warnings)
            basis = Basis(random_outputs=loaded.random_outputs, layouts=loaded.layouts)
        own = front.own_quantizer(lambda given: self._run_litert(inputs, given), self._warn)
        measurement = self._run_litert(inputs, basis if own is None else own.basis(basis))
        self._took(measurement.seconds)
        results: Mapping[Method, MethodResult] = measurement.methods
        if own is not None:
            results = own.settled(measurement)
            self._took(*own.seconds)
        calibration = measurement.calibration
        self._warn(*measurement.evaluation.warnings, *(calibration.warnings if calibration else ()))
        recipes = [(recipe, measurement.recipes[recipe.name]) for recipe in self._options.recipes]
        return Outcome(loaded, measurement, results, recipes)

    def _front_half(self, inputs: Inputs) -> Front:
        """Take the front half that was kept, or make it, and keep it where there is a cache."""
        options = self._options
        if options.kept_front is not None and (kept := self._kept(inputs, options.kept_front)) is not None:
            return kept
        before = names_in(self._work)
        tell = self._beginning_litert(inputs.source)
        front = front_half(options, inputs, self._work, self._watch(), tell, self._tensorflow)
        if self._cache is not None and front.result is not None:
            try:
                pack(self._work, before, front.result, self._workspace.folder)
            except (ConverterError, OSError) as error:
                self._tell(Event(Stage.CONVERT, f"not kept in the cache: {_cause(error)}", warning=True))
            else:
                for name in KEPT_FILES:
                    self._workspace.adopt(name)
        return front

    def _begin_first_child(self, source: SourceModel) -> None:
        """Start the child that reads the source: it imports what it needs while the samples are read."""
        if source.format is SourceFormat.TFLITE:
            self._litert = self._begun_litert(source)
        elif engine_for(source.format) is None and self._options.kept_front is None:
            job = tensorflow_preparation(self._options, source, self._work)
            self._tensorflow = self._children.enter_context(begin(TENSORFLOW, job, self._work, self._tell))

    def _beginning_litert(self, source: SourceModel) -> Listener:
        """Return a listener to TensorFlow's child that starts the LiteRT child while the original runs.

        That is the last thing which the first one does. It has most memory before, while it writes the float
        file; where it gave little of it back, the other waits, for the sum would be a new peak.
        """

        def tell(event: Event) -> None:
            self._tell(event)
            first = self._tensorflow
            is_last = event.stage is Stage.EVALUATE and not event.warning
            if is_last and first is not None and self._litert is None and first.spare_bytes() > _LITERT_BYTES:
                self._litert = self._begun_litert(source)

        return tell

    def _begun_litert(self, source: SourceModel) -> Started:
        job = litert_preparation(self._options, source, self._work)
        return self._children.enter_context(begin(LITERT, job, self._work, self._tell))

    def _kept(self, inputs: Inputs, folder: Path) -> Front | None:
        """Go on from a front half of an earlier run; None where what was kept does not fit."""
        started = time.monotonic()
        self._tell(Event(Stage.LOAD, "taking the float file and the original's outputs from the cache"))
        try:
            result = unpack(folder, self._work, self._workspace.folder.resolve() / "kept")
        except (ConverterError, OSError) as error:
            self._cache = CacheOutcome.UNUSABLE
            self._tell(Event(Stage.LOAD, f"the cache is of no use: {_cause(error)}", warning=True))
            return None
        spent = {Stage.LOAD: time.monotonic() - started}
        result = result.model_copy(update={"seconds": spent, "import_seconds": 0.0})
        return gone_on_from(result, self._options, inputs, self._work, self._watch(), self._tell)

    def _optimize(self, inputs: Inputs, training: TrainingSamples, plain: Outcome) -> Outcome:
        """Train, make and measure every file again, and keep the better one of each method."""
        task = plain.measured.evaluation.task
        keeper = CheckpointKeeper(self._trained, training.options.checkpoint, self._tell)
        job = training.job(task, inputs.source.sha256)
        trained = train(self._options, inputs, job, self._work, self._trained, self._watch(), keeper)
        self._took(trained.seconds)
        steps = tuple(step.step.value for step in trained.outcome.steps)
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
        optimization = report_of(training.told(trained.outcome, task), trained.outcome, comparisons)
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

    def _run_litert(self, inputs: Inputs, basis: Basis) -> LiteRTResult:
        job = litert_job(self._options, inputs, self._work, basis)
        folder, begun = (self._trained, None) if basis.trained else (self._work, self._litert)
        if begun is not None:
            self._litert = None  # it does one job
        return run_worker(LITERT, job, LiteRTResult, folder, self._watch(), self._tell, begun)

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

    def _took(self, *several: Mapping[Stage, float]) -> None:
        for seconds in several:
            for stage, spent in seconds.items():
                self._seconds[stage] = self._seconds.get(stage, 0.0) + spent


def _cause(error: ConverterError | OSError) -> str:
    return error.cause if isinstance(error, ConverterError) else str(error)
