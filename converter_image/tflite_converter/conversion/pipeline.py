"""One conversion from the source model to measured artifacts: the stages in their order."""

from __future__ import annotations

import hashlib
import importlib.metadata
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from modelconversion_api.calibration_report import CalibrationReport, DataInfo
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import Method
from modelconversion_api.optimization import Measured, OptimizationReport
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import (
    ArtifactReport,
    ConversionReport,
    Evaluation,
    MethodFailure,
    Provenance,
    compilations_of,
)
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import SourceInfo, TensorInfo
from tflite_converter.compilers.compiling import Workplace, adopt, compile_artifact
from tflite_converter.conversion.data import RANDOM_SAMPLES, ConversionData, HandedOver, choose, hand_over
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.training import (
    TrainingSamples,
    compare,
    hand_over_labels,
    measured,
    prepare,
    report_of,
)
from tflite_converter.data.checks import stability_warnings
from tflite_converter.data.dataset import Dataset
from tflite_converter.errors import ConverterError
from tflite_converter.files.sources import SourceModel, open_source
from tflite_converter.files.untrusted import open_regular
from tflite_converter.files.workspace import Workspace
from tflite_converter.isolation import machine
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.isolation.protocol import ChildLimits, WorkerFailure
from tflite_converter.measuring.recommendation import recommend
from tflite_converter.progress import Event, Listener, ignore
from tflite_converter.training.checkpoint import CheckpointKeeper
from tflite_converter.workers.jobs import (
    INT8_FILE,
    LiteRTJob,
    LiteRTResult,
    MethodResult,
    TensorFlowJob,
    TensorFlowResult,
)
from tflite_converter.workers.programs import LITERT, TENSORFLOW

TOOLS = ("ai-edge-litert", "litert-quantizer", "numpy")
_SECOND_WAY = (
    FailureReason.QUANTIZATION_FAILED,
    FailureReason.CONVERTER_CRASHED,
    FailureReason.EVALUATION_FAILED,
)
"""Reasons for which TensorFlow's own quantizer is tried."""


def convert(options: Options, workspace: Workspace, listener: Listener = ignore) -> ConversionReport:
    """Makes and measures the artifacts of ``options``; they lie in ``workspace``, not yet published.

    Raises:
        ConverterError: for each of the contract's reasons from loading to evaluation. An artifact that
            misses a gate is no error here: the report says ``passed: false``. A method that gives no file is
            one only where no other does.

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
        """What the children may write; nothing that is finished lies here."""
        self._work.mkdir()
        self._trained = workspace.folder.resolve() / "trained"
        """The same for the children that train a model and measure what became of it."""
        self._optimized: set[Method] = set()
        """Methods whose file comes from there."""

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
        samples = hand_over(data, self._work)
        if training is not None:
            hand_over_labels(self._work, self._trained)
        self._took({Stage.LOAD: time.monotonic() - started})

        loaded = None
        if source.format is not SourceFormat.TFLITE:
            loaded = self._run_tensorflow(source, samples)
            self._took(loaded.seconds)
        found = self._run_litert(source, data, samples)
        self._took(found.seconds)
        results = self._second_way(source, data, samples, found) if loaded is not None else found.methods
        self._warn(*found.evaluation.warnings, *(found.calibration.warnings if found.calibration else ()))
        optimization = None
        if training is not None:
            results, optimization = self._optimize(source, data, samples, training, found, results)
        results = self._compile(results)
        report = self._report(source, data, samples, loaded, found, results)
        return report.model_copy(update={"optimization": optimization})

    def _optimize(
        self,
        source: SourceModel,
        data: ConversionData,
        samples: HandedOver,
        training: TrainingSamples,
        found: LiteRTResult,
        plain: dict[Method, MethodResult],
    ) -> tuple[dict[Method, MethodResult], OptimizationReport]:
        """Trains, makes and measures every file again, and keeps of each method the better one."""
        task = found.evaluation.task
        keeper = CheckpointKeeper(self._trained, training.options.checkpoint, self._tell)
        job = self._tensorflow_job(source, samples, "optimize").model_copy(
            update={"training": training.job(task, source.sha256)}
        )
        try:
            trained = run_worker(TENSORFLOW, job, TensorFlowResult, self._trained, self._watch(), keeper)
        finally:
            keeper.take()
        if trained.training is None:
            cause = f"{TENSORFLOW.words} does not say what it trained"
            raise ConverterError(FailureReason.CONVERTER_CRASHED, Stage.TRAIN, cause)
        self._took(trained.seconds)
        again = self._run_litert(
            source, data, samples, trained=tuple(s.step.value for s in trained.training.steps)
        )
        self._took(again.seconds)

        def figures(result: MethodResult, is_optimized: bool) -> Measured | None:
            folder = self._trained if is_optimized else self._work
            return None if result.artifact is None else measured(result.artifact, folder)

        comparisons = {
            method: compare(method, plain.get(method), again.methods.get(method), figures)
            for method in dict.fromkeys((*plain, *again.methods))
        }
        self._optimized = {method for method, comparison in comparisons.items() if comparison.published}
        for comparison in comparisons.values():
            self._tell(Event(Stage.EVALUATE, f"{comparison.method.cli_name}: {comparison.message}"))
        told = training.told(trained.training, task)
        better = {method: again.methods[method] for method in self._optimized}
        return plain | better, report_of(told, trained.training, comparisons)

    def _refuse_contradictions(self, source: SourceModel) -> None:
        options = self._options
        if options.compilers and Method.FULL_INTEGER not in options.methods:
            raise ConverterError(
                FailureReason.INVALID_REQUEST,
                Stage.LOAD,
                "the compilers take the full-integer file on, and none is made",
                hint="add full integer to the methods",
            )
        options.compilers.edge_tpu_program()
        if source.format is SourceFormat.TFLITE and (options.input_shapes or options.select_tensorflow_ops):
            raise ConverterError(
                FailureReason.INVALID_REQUEST,
                Stage.LOAD,
                "input shapes and TensorFlow's own operations cannot be chosen for a TFLite file",
                hint="convert the model that the file was made from",
            )

    def _run_tensorflow(self, source: SourceModel, samples: HandedOver) -> TensorFlowResult:
        self._tell(Event(Stage.LOAD, "starting TensorFlow"))
        job = self._tensorflow_job(source, samples, "float")
        return run_worker(TENSORFLOW, job, TensorFlowResult, self._work, self._watch(), self._tell)

    def _tensorflow_job(
        self, source: SourceModel, samples: HandedOver, task: Literal["float", "optimize"]
    ) -> TensorFlowJob:
        options = self._options
        return TensorFlowJob(
            task=task,
            limits=self._limits(source),
            source=source.path.absolute(),
            format=source.format,
            input_shapes=dict(options.input_shapes),
            select_tensorflow_ops=options.select_tensorflow_ops,
            unroll=Method.FULL_INTEGER in options.methods,
            calibration=samples.calibration,
            evaluation=samples.evaluation,
            random_samples=RANDOM_SAMPLES,
            seed=options.seed,
        )

    def _run_litert(
        self,
        source: SourceModel,
        data: ConversionData,
        samples: HandedOver,
        ready: dict[Method, str] | None = None,
        trained: tuple[str, ...] = (),
    ) -> LiteRTResult:
        options, gates = self._options, self._options.gates
        from_tflite = source.format is SourceFormat.TFLITE
        job = LiteRTJob(
            limits=self._limits(source),
            base_name=options.base_name,
            methods=tuple(ready or dict.fromkeys(options.methods)),
            ready=ready or {},
            target=options.target,
            source=source.path.absolute() if from_tflite else None,
            source_bytes=source.size_bytes,
            calibration=samples.calibration if from_tflite else None,
            evaluation=samples.evaluation if from_tflite else None,
            has_evaluation_data=samples.evaluation is not None,
            evaluation_name=samples.evaluation.name if samples.evaluation else "the evaluation data",
            random_samples=RANDOM_SAMPLES,
            seed=options.seed,
            record=self._record(source, data) | ({"training": list(trained)} if trained else {}),
            task=options.task,
            max_accuracy_drop=gates.max_accuracy_drop,
            min_agreement=gates.min_agreement,
            max_size_bytes=gates.max_size_bytes,
            max_latency_millis=gates.max_latency_millis,
            benchmark=options.benchmark,
            tuning_seconds=options.tuning_seconds,
            dense_per_tensor=options.compilers.want_dense_per_tensor,
            compiled=options.compilers.edge_tpu is not None,
            class_names=samples.class_names,
        )
        folder = self._trained if trained else self._work
        return run_worker(LITERT, job, LiteRTResult, folder, self._watch(), self._tell)

    def _second_way(
        self, source: SourceModel, data: ConversionData, samples: HandedOver, found: LiteRTResult
    ) -> dict[Method, MethodResult]:
        """Full integer by TensorFlow's own quantizer where litert-quantizer failed; both causes are told."""
        first = found.methods.get(Method.FULL_INTEGER)
        if first is None or first.failure is None or first.failure.reason not in _SECOND_WAY:
            return found.methods
        job = TensorFlowJob(
            task="int8", limits=self._limits(source), source=source.path.absolute(), format=source.format
        )
        try:
            run_worker(TENSORFLOW, job, TensorFlowResult, self._work, self._watch(), self._tell)
            again = self._run_litert(source, data, samples, {Method.FULL_INTEGER: INT8_FILE})
        except ConverterError as second:
            cause = (
                f"full integer failed in litert-quantizer ({first.failure.cause})"
                f" and in TensorFlow ({second.cause})"
            )
            failure = WorkerFailure(
                reason=FailureReason.QUANTIZATION_FAILED, stage=Stage.QUANTIZE, cause=cause
            )
            return found.methods | {Method.FULL_INTEGER: MethodResult(failure=failure)}
        self._took(again.seconds)
        self._warn(f"full integer was made by TensorFlow's quantizer: {first.failure.cause}")
        return found.methods | again.methods

    def _compile(self, results: dict[Method, MethodResult]) -> dict[Method, MethodResult]:
        """The results with the full-integer file compiled, where that was asked for and there is one."""
        options, result = self._options, results.get(Method.FULL_INTEGER)
        if not options.compilers or result is None:
            return results
        if result.artifact is None:
            self._warn("nothing was compiled: there is no full-integer file")
            return results
        started = time.monotonic()
        folder = self._folder(Method.FULL_INTEGER)
        place = Workplace(folder, options.memory_limit_bytes, self._tell)
        artifact = compile_artifact(result.artifact, options.compilers, place)
        adopt(compilations_of(artifact).files, folder, self._workspace.write)
        self._took({Stage.COMPILE: time.monotonic() - started})
        return results | {Method.FULL_INTEGER: result.model_copy(update={"artifact": artifact})}

    def _folder(self, method: Method) -> Path:
        """Where the file of ``method`` lies that is to be published."""
        return self._trained if method in self._optimized else self._work

    def _report(
        self,
        source: SourceModel,
        data: ConversionData,
        samples: HandedOver,
        loaded: TensorFlowResult | None,
        found: LiteRTResult,
        results: dict[Method, MethodResult],
    ) -> ConversionReport:
        options = self._options
        artifacts = [r.artifact for r in results.values() if r.artifact is not None]
        failed = self._failed_methods(results, any_left=bool(artifacts))
        for method, result in results.items():
            if result.artifact is not None:
                self._adopt(method, result.artifact)
        basis = found.evaluation
        inputs = list(found.inputs) if loaded is None else loaded.inputs
        writer = {} if loaded is None else loaded.tool_versions | {"source-writer": loaded.writer}
        return ConversionReport(
            request=options.request,
            source=SourceInfo(
                sha256=source.sha256,
                size_bytes=source.size_bytes,
                format=source.format,
                inputs=inputs,
                outputs=list(found.outputs) if loaded is None else loaded.outputs,
            ),
            artifacts=tuple(artifacts),
            recommended=recommend(artifacts, options.target),
            failed_methods=failed,
            calibration=self._calibration(data, samples.calibration_form, found, inputs),
            evaluation=Evaluation(
                data=_fitted(data.evaluation_info, samples.evaluation_form, inputs, Stage.EVALUATE),
                task=basis.task,
                task_is_given=basis.task_is_given,
                agreement_metric=basis.agreement_metric,
                original_accuracy=basis.original.accuracy if basis.original else None,
                original=basis.original,
                overlap=data.overlap,
            ),
            provenance=Provenance(
                base_name=options.base_name,
                options=_options_as_text(options),
                isolation=_held_by_all(loaded, found),
                platform=machine.processor(),
            ),
            warnings=tuple(self._warnings),
            stage_seconds={stage: round(seconds, 3) for stage, seconds in self._seconds.items()},
            import_seconds=None if loaded is None else round(loaded.import_seconds, 3),
            tool_versions=writer | {name: importlib.metadata.version(name) for name in TOOLS},
        )

    def _failed_methods(
        self, results: dict[Method, MethodResult], *, any_left: bool
    ) -> tuple[MethodFailure, ...]:
        """What to say of methods without a file; where no file is left, the first one's reason is the end."""
        errors = {
            method: ConverterError(f.reason, f.stage, f.cause, hint=f.hint)
            for method, result in results.items()
            if (f := result.failure) is not None
        }
        if errors and not any_left:
            raise next(iter(errors.values()))
        for method, error in errors.items():
            self._warn(f"{method.cli_name} was not made: {error.cause}")
        return tuple(
            MethodFailure(method=method, reason=error.reason, message=error.message)
            for method, error in errors.items()
        )

    def _adopt(self, method: Method, artifact: ArtifactReport) -> None:
        """Takes a finished file out of the children's reach, if it is the one that was measured."""
        name = method.file_name(self._options.base_name)
        with open_regular(self._folder(method) / name, MAX_TFLITE_BYTES, Stage.EVALUATE) as stream:
            content = stream.read(MAX_TFLITE_BYTES)
        told = (artifact.method, artifact.file_name, artifact.size_bytes, artifact.sha256)
        if told != (method, name, len(content), hashlib.sha256(content).hexdigest()):
            cause = f"{name} is not the file that was measured"
            raise ConverterError(FailureReason.ARTIFACT_INVALID, Stage.EVALUATE, cause)
        self._workspace.write(name, content)

    def _calibration(
        self,
        data: ConversionData,
        form: Dataset | None,
        found: LiteRTResult,
        inputs: Sequence[TensorInfo],
    ) -> CalibrationReport | None:
        if data.calibration_info is None:
            return None
        basis = found.calibration
        stability = basis.stability if basis else None
        self._warn(*stability_warnings(stability))
        return CalibrationReport(
            data=_fitted(data.calibration_info, form, inputs, Stage.CALIBRATE),
            classes=data.classes,
            inputs=basis.inputs if basis else (),
            stability=stability,
        )

    def _record(self, source: SourceModel, data: ConversionData) -> dict[str, object]:
        """What is written into each artifact: enough to know where it came from."""
        options = self._options
        record: dict[str, object] = {
            "source": {"sha256": source.sha256, "format": source.format.value},
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("model-conversion-operator", "litert-quantizer")
            },
        }
        if options.target is not None:
            record["target"] = options.target.value
        if data.calibration_info is not None:
            record["calibration"] = data.calibration_info.to_wire()
        return record

    def _limits(self, source: SourceModel) -> ChildLimits:
        options = self._options
        named = (options.calibration, options.validation)
        images = [files.path.absolute() for files in named if files is not None and files.images is not None]
        readable = [source.path.absolute(), *images]
        if (training := options.training) is not None:
            more = (training.student, training.checkpoint, training.data.path)
            # The samples lie in the first children's folder; the second ones may read there, not write.
            readable += [self._work, *(path.absolute() for path in more if path is not None)]
        return ChildLimits(readable=tuple(readable), memory_limit_bytes=options.memory_limit_bytes)

    def _watch(self) -> Watch:
        return Watch(self._options.step_timeout_seconds, self._options.memory_limit_bytes)

    def _warn(self, *texts: str) -> None:
        for text in texts:
            self._warnings.append(text)
            self._tell(Event(Stage.EVALUATE, text, warning=True))

    def _took(self, seconds: dict[Stage, float]) -> None:
        for stage, spent in seconds.items():
            self._seconds[stage] = self._seconds.get(stage, 0.0) + spent


def _held_by_all(loaded: TensorFlowResult | None, found: LiteRTResult) -> tuple[str, ...]:
    """What kept every process that touched the model from the machine."""
    held = set(found.isolation) if loaded is None else set(found.isolation) & set(loaded.isolation)
    return tuple(sorted(held))


def _fitted(info: DataInfo, form: Dataset | None, inputs: Sequence[TensorInfo], stage: Stage) -> DataInfo:
    """The manifest with what became of the samples to fit the model's inputs."""
    if form is None:
        return info
    return info.model_copy(update={"preprocessing": info.preprocessing | form.fitting(inputs, stage)})


def _options_as_text(options: Options) -> dict[str, str]:
    """The options that stand nowhere else in a report, for doing the same again."""
    shapes = {name: "x".join(map(str, shape)) for name, shape in options.input_shapes.items()}
    gates = options.gates
    return {
        "methods": ",".join(m.value for m in options.methods),
        "target": options.target.value if options.target else "",
        "inputShapes": ",".join(f"{name}={shape}" for name, shape in sorted(shapes.items())),
        "selectTensorFlowOps": str(options.select_tensorflow_ops).lower(),
        "samples": str(options.samples),
        "evaluationSamples": str(options.evaluation_samples),
        "seed": str(options.seed),
        "threads": str(options.benchmark.threads),
        "runs": str(options.benchmark.runs),
        "batchSize": str(options.benchmark.batch_size),
        "tuningSeconds": str(options.tuning_seconds),
        "maxAccuracyDrop": "" if gates.max_accuracy_drop is None else str(gates.max_accuracy_drop),
        "minAgreement": "" if gates.min_agreement is None else str(gates.min_agreement),
        "maxSizeBytes": "" if gates.max_size_bytes is None else str(gates.max_size_bytes),
        "maxLatencyMillis": "" if gates.max_latency_millis is None else str(gates.max_latency_millis),
    }
