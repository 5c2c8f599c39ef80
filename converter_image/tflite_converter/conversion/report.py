"""Write the report of a run from what its steps gave; nothing is run here."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from modelconversion_api.fields.optimization import OptimizationReport
from modelconversion_api.fields.recipes import OfMethod, Recipe
from modelconversion_api.methods import Method
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.calibration import CalibrationReport, DataInfo, Stability
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    Evaluation,
    MethodFailure,
    Provenance,
    SearchReport,
)
from modelconversion_api.status import SourceInfo, TensorInfo
from tflite_converter.conversion.data import ConversionData, HandedOver
from tflite_converter.conversion.options import Options
from tflite_converter.data.dataset import Dataset
from tflite_converter.errors import ConverterError
from tflite_converter.files.sources import SourceModel
from tflite_converter.isolation import machine
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.recommendation import recommend
from tflite_converter.workers.front import FrontResult
from tflite_converter.workers.jobs import (
    LiteRTResult,
    MethodResult,
)

_TOOLS: Final = ("ai-edge-litert", "litert-quantizer", "numpy")


@dataclass(frozen=True, slots=True)
class Inputs:
    """The model that a run converts, and its data."""

    source: SourceModel
    data: ConversionData
    samples: HandedOver


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answers of a run's children."""

    loaded: FrontResult | None
    """None for a TFLite source, which needs no front half."""
    measured: LiteRTResult
    """Of the files that were made without training."""
    results: Mapping[Method, MethodResult]
    """One for each method: of the better file, where training made a second one."""
    recipes: Sequence[tuple[Recipe, MethodResult]] = ()
    """The user's own."""
    optimization: OptimizationReport | None = None
    search: SearchReport | None = None

    @property
    def artifacts(self) -> tuple[ArtifactReport, ...]:
        """The measured artifacts, in the order of their methods, then of the recipes."""
        results = (*self.results.values(), *(result for _, result in self.recipes))
        return tuple(r.artifact for r in results if r.artifact is not None)

    @property
    def errors(self) -> list[tuple[OfMethod, ConverterError]]:
        """Why a method or recipe gave no file."""
        results = [(OfMethod(method=method), result) for method, result in self.results.items()]
        results += [(recipe.identity, result) for recipe, result in self.recipes]
        return [
            (made_by, ConverterError(f.reason, f.stage, f.cause, hint=f.hint))
            for made_by, result in results
            if (f := result.failure) is not None
        ]

    @property
    def inputs(self) -> Sequence[TensorInfo]:
        """The model's inputs."""
        return self.measured.inputs if self.loaded is None else self.loaded.inputs

    @property
    def outputs(self) -> Sequence[TensorInfo]:
        """The model's outputs."""
        return self.measured.outputs if self.loaded is None else self.loaded.outputs

    @property
    def stability(self) -> Stability | None:
        """How far two halves of the calibration samples agree; None where that was not compared."""
        calibration = self.measured.calibration
        return None if calibration is None else calibration.stability


def build_report(
    options: Options,
    inputs: Inputs,
    outcome: Outcome,
    *,
    warnings: Sequence[str],
    seconds: Mapping[Stage, float],
) -> ConversionReport:
    """Return the report of a run that has at least one artifact.

    ``seconds`` are the stages' times, and ``warnings`` what was said on the way.
    """
    loaded = outcome.loaded
    writer = {} if loaded is None else loaded.tool_versions | {"source-writer": loaded.writer}
    return ConversionReport(
        request=options.request,
        source=_source(inputs.source, outcome),
        artifacts=outcome.artifacts,
        recommended=recommend(
            list(outcome.artifacts),
            options.target,
            options.objective if outcome.search is None else outcome.search.objective,
        ),
        search=outcome.search,
        failed_methods=tuple(
            MethodFailure(**dict(made_by), reason=error.reason, message=error.message)
            for made_by, error in outcome.errors
        ),
        calibration=_calibration(inputs, outcome),
        evaluation=_evaluation(options, inputs, outcome),
        optimization=outcome.optimization,
        provenance=Provenance(
            base_name=options.base_name,
            options=_options_as_text(options),
            isolation=_isolation(outcome),
            platform=machine.processor(),
        ),
        warnings=tuple(warnings),
        stage_seconds={stage: round(spent, 3) for stage, spent in seconds.items()},
        import_seconds=None if loaded is None else round(loaded.import_seconds, 3),
        tool_versions=writer | {name: importlib.metadata.version(name) for name in _TOOLS},
    )


def artifact_record(
    options: Options, inputs: Inputs, training: Sequence[str], layouts: Mapping[str, str]
) -> dict[str, object]:
    """Return the record that is written into each artifact: enough to know where it came from.

    ``training`` names the steps of training before the conversion, and ``layouts`` the inputs and outputs
    that have another layout than in the source.
    """
    source = inputs.source
    record: dict[str, object] = {
        "source": {"sha256": source.sha256, "format": source.format.value},
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("model-conversion-operator", "litert-quantizer")
        },
    }
    if options.target is not None:
        record["target"] = options.target.value
    if inputs.data.calibration_info is not None:
        record["calibration"] = inputs.data.calibration_info.to_wire()
    if training:
        record["training"] = list(training)
    if layouts:
        record["layouts"] = dict(layouts)
    return record


def _source(source: SourceModel, outcome: Outcome) -> SourceInfo:
    return SourceInfo(
        sha256=source.sha256,
        size_bytes=source.size_bytes,
        format=source.format,
        inputs=list(outcome.inputs),
        outputs=list(outcome.outputs),
    )


def _calibration(inputs: Inputs, outcome: Outcome) -> CalibrationReport | None:
    info, basis = inputs.data.calibration_info, outcome.measured.calibration
    if info is None:
        return None
    if basis is not None and basis.synthetic:
        info = info.model_copy(update={"preprocessing": basis.synthetic})
    return CalibrationReport(
        data=_fitted(info, inputs.samples.calibration_form, outcome.inputs, Stage.CALIBRATE),
        classes=inputs.data.classes,
        inputs=basis.inputs if basis else (),
        stability=outcome.stability,
    )


def _evaluation(options: Options, inputs: Inputs, outcome: Outcome) -> Evaluation:
    data, basis = inputs.data, outcome.measured.evaluation
    return Evaluation(
        data=_fitted(data.evaluation_info, inputs.samples.evaluation_form, outcome.inputs, Stage.EVALUATE),
        task=basis.task,
        task_is_given=basis.task_is_given,
        agreement_metric=basis.agreement_metric,
        detection=options.detection,
        ignore_label=options.ignore_label,
        original_accuracy=basis.original.accuracy if basis.original else None,
        original=basis.original,
        overlap=data.overlap,
        not_finite=basis.not_finite,
        metric_samples=basis.metric_samples,
        gated=options.gates.are_set,
    )


def _fitted(info: DataInfo, form: Dataset | None, inputs: Sequence[TensorInfo], stage: Stage) -> DataInfo:
    """Return the manifest with the steps that fitted the samples to the model's inputs."""
    if form is None:
        return info
    return info.model_copy(update={"preprocessing": info.preprocessing | form.fitting(inputs, stage)})


def _isolation(outcome: Outcome) -> tuple[str, ...]:
    """Return the restrictions that held in every process that touched the model."""
    everywhere = set(outcome.measured.isolation)
    if outcome.loaded is not None:
        everywhere &= set(outcome.loaded.isolation)
    return tuple(sorted(everywhere))


def _options_as_text(options: Options) -> dict[str, str]:
    """Return the options that stand nowhere else in a report, for doing the same again."""
    shapes = {name: "x".join(map(str, shape)) for name, shape in options.input_shapes.items()}
    return {
        "methods": ",".join(m.value for m in options.methods),
        "target": options.target.value if options.target else "",
        "verifyOn": ",".join(v.value for v in options.verify_on),
        "inputShapes": ",".join(f"{name}={shape}" for name, shape in sorted(shapes.items())),
        "signature": options.signature or "",
        "selectTensorFlowOps": str(options.select_tensorflow_ops).lower(),
        "samples": str(options.samples),
        "evaluationSamples": str(options.evaluation_samples),
        "seed": str(options.seed),
        "threads": str(options.benchmark.threads),
        "runs": str(options.benchmark.runs),
        "batchSize": str(options.benchmark.batch_size),
        "tuningSeconds": str(options.tuning_seconds),
        "objective": options.objective.value if options.objective else "",
        "try": ",".join(m.value for m in options.tries),
        "recipes": ",".join(recipe.name for recipe in options.recipes),
        **_gates_as_text(options.gates),
    }


def _gates_as_text(gates: Gates) -> dict[str, str]:
    values = {
        "maxAccuracyDrop": gates.max_accuracy_drop,
        "minAccuracy": gates.min_accuracy,
        "minAgreement": gates.min_agreement,
        "floor": gates.floor,
        "maxSizeBytes": gates.max_size_bytes,
        "maxLatencyMillis": gates.max_latency_millis,
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}
