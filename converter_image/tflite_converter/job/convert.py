"""``job-convert``: runs the untrusted model code. Has no credentials, and needs no network."""

from __future__ import annotations

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.fields.data import (
    DEFAULT_CALIBRATION_SAMPLES,
    DEFAULT_EVALUATION_SAMPLES,
    Calibration,
    Validation,
)
from modelconversion_api.fields.metrics import METRIC_DATA_ENV
from modelconversion_api.fields.optimization import Training
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import REPORT_FILE_NAME, ConversionReport, StageResult, verdict_of
from modelconversion_api.request import PROGRESS_ADDRESS_ENV, ConversionRequest
from modelconversion_api.text import human_size
from tflite_converter.compilers.options import Compilers
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.pipeline import convert
from tflite_converter.data.files import DataFiles
from tflite_converter.errors import ConverterError
from tflite_converter.files.workspace import remove_leftovers, workspace
from tflite_converter.job.environment import (
    CALIBRATION,
    CALIBRATION_LABELS,
    RULES,
    STUDENT,
    TRAINING,
    TRAINING_LABELS,
    VALIDATION,
    VALIDATION_LABELS,
    FetchRecord,
    JobEnvironment,
)
from tflite_converter.job.progress import Estimate, serving
from tflite_converter.job.stage_times import StageTimes
from tflite_converter.measuring.gates import Gates
from tflite_converter.progress import Event
from tflite_converter.training.checkpoint import CHECKPOINT_FILE
from tflite_converter.training.plan import TrainingOptions, plan_of

_logger = logging.getLogger(__name__)

_NO_ENGINE: Final = (
    "set spec.source.format to it, so that the Job gets the image that the platform's converter.engines names"
)


def convert_job(job: JobEnvironment) -> StageResult:
    """Write the artifacts into the output folder, and ``report.json`` after them.

    ``report.html`` is left to ``publish``, which would not believe one from here. Artifacts that miss their
    gates are written too: the report says so, and the figures are what the user needs to choose other gates
    or another method.

    Raises:
        ConverterError: the pipeline's failures. The output folder is then as it was.

    """
    record = job.record(Stage.LOAD)
    job.times.enter(Stage.LOAD)
    job.output.mkdir(parents=True, exist_ok=True)
    remove_leftovers(job.output)
    estimate = Estimate(
        len({*job.request.methods, *job.request.tuning.tries}) + len(job.request.recipes),
        trains=job.request.optimize is not None,
    )
    listener = _Log(estimate, job.times)
    with serving(estimate, os.environ.get(PROGRESS_ADDRESS_ENV)), workspace(job.output) as work:
        try:
            options = options_of(job.request, record, job.input)
            if job.metrics:
                options = replace(options, metric_data=Path(os.environ[METRIC_DATA_ENV]))
            report = convert(options, work, listener)
        except ConverterError as error:
            if error.reason is FailureReason.ENGINE_NOT_FOUND:
                raise ConverterError(error.reason, error.stage, error.cause, hint=_NO_ENGINE) from error
            raise
        _log_report(report)
        work.write(REPORT_FILE_NAME, report.to_json().encode())
        work.publish()
    return StageResult()


def options_of(request: ConversionRequest, record: FetchRecord, folder: Path) -> Options:
    """Return the pipeline's options for a request whose downloads are in ``folder``."""
    calibration, validation = request.calibration, request.validation
    return Options(
        source=folder / record.source.path,
        base_name=request.base_name,
        methods=tuple(dict.fromkeys(request.methods)),
        source_format=request.source.format,
        # What was fetched is what is converted, or the volume lies.
        expected_sha256=record.source.sha256,
        inside=record.source.inside,
        input_shapes={i.name: tuple(i.shape) for i in request.source.inputs},
        signature=request.source.signature,
        select_tensorflow_ops=request.source.select_tensorflow_ops,
        target=request.target,
        calibration=_data_files(calibration, record, folder, CALIBRATION, CALIBRATION_LABELS, validation),
        validation=_data_files(validation, record, folder, VALIDATION, VALIDATION_LABELS, validation),
        samples=calibration.samples if calibration else DEFAULT_CALIBRATION_SAMPLES,
        evaluation_samples=validation.samples if validation else DEFAULT_EVALUATION_SAMPLES,
        seed=calibration.seed if calibration else 0,
        task=validation.task if validation else None,
        detection=validation.detection if validation else None,
        ignore_label=validation.ignore_label if validation else None,
        gates=Gates.from_validation(validation),
        benchmark=request.benchmark,
        tuning_seconds=request.tuning.budget_seconds,
        objective=request.tuning.objective,
        tries=tuple(request.tuning.tries),
        recipes=request.recipes,
        rules=_rules(request, record, folder),
        training=_training(request, record, folder),
        verify_on=tuple(request.verify_on),
        compilers=Compilers(request.edge_tpu, request.ethos_u, request.microcontroller, request.npu),
        request=request,
        cache=record.cache,
        kept_front=folder if record.cache is CacheOutcome.HIT else None,
    )


def _rules(request: ConversionRequest, record: FetchRecord, folder: Path) -> dict[str, bytes]:
    """Return what the recipes' files of rules hold, by the recipe's name."""
    return {
        recipe.name: (folder / record.data[f"{RULES}-{recipe.name}"].path).read_bytes()
        for recipe in request.recipes
        if recipe.rules is not None
    }


def _training(request: ConversionRequest, record: FetchRecord, folder: Path) -> TrainingOptions | None:
    """Return the plan and data of training.

    Its checkpoint stays in the pod's volume, and is not published.
    """
    optimize, student = request.optimize, record.data.get(STUDENT)
    if optimize is None:
        return None
    data = _data_files(optimize.training, record, folder, TRAINING, TRAINING_LABELS)
    if data is None:
        cause = "job-fetch has left no training data"
        raise ConverterError(FailureReason.INTERNAL_ERROR, Stage.LOAD, cause)
    return TrainingOptions(
        plan_of(optimize),
        data,
        folder / student.path if student else None,
        Path(tempfile.gettempdir()) / CHECKPOINT_FILE,
    )


def _data_files(
    data: Calibration | Validation | Training | None,
    record: FetchRecord,
    folder: Path,
    name: str,
    labels_name: str,
    measured: Validation | None = None,
) -> DataFiles | None:
    """Return the files of one kind of data; None where none was asked for, or gates only.

    ``measured`` says what labels may be where models are measured on the data.
    """
    file, labels = record.data.get(name), record.data.get(labels_name)
    if data is None or file is None:
        return None
    return DataFiles(
        path=folder / file.path,
        labels=folder / labels.path if labels else None,
        label_column=data.label_column,
        images=data.images,
        audio=data.audio,
        task=measured.task if measured else None,
        first_category=measured.detection.first_category if measured and measured.detection else None,
    )


class _Log:
    """Events as lines, each step once, as an estimate of what is done, and as the stages' times."""

    def __init__(self, estimate: Estimate, times: StageTimes) -> None:
        self._last = ""
        self._estimate, self._times = estimate, times

    def __call__(self, event: Event) -> None:
        self._estimate(event)
        self._times(event)
        line = event.text if event.warning else f"{event.stage.value.lower()}: {event.text}"
        if line != self._last:
            _logger.log(logging.WARNING if event.warning else logging.INFO, "%s", line)
        self._last = line


def _log_report(report: ConversionReport) -> None:
    for a in report.artifacts:
        figures = [human_size(a.size_bytes), f"agreement {a.agreement or 0.0:.4f}"]
        if a.accuracy is not None:
            figures.append(f"accuracy {a.accuracy:.4f}")
        figures.append(verdict_of(a, gated=report.evaluation.gated))
        note = f" ({a.message})" if a.message else ""
        _logger.info("%s: %s%s", a.file_name, ", ".join(figures), note)
    for c in report.optimization.comparisons if report.optimization else ():
        _logger.info("%s: %s", c.method.cli_name, c.message)
    for f in report.failed_methods:
        _logger.warning("%s: no file: %s: %s", f.cli_name, f.reason.value, f.message)
