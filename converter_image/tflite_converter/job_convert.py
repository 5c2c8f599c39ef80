"""``job-convert``: runs the untrusted model code. Has no credentials, and needs no network."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.reasons import Stage
from modelconversion_api.report import REPORT_FILE_NAME, ConversionReport, StageResult
from modelconversion_api.data import DEFAULT_CALIBRATION_SAMPLES
from modelconversion_api.text import human_size

from .gates import Gates
from .job_environment import (
    CALIBRATION,
    CALIBRATION_LABELS,
    SOURCE,
    VALIDATION,
    VALIDATION_LABELS,
    FetchRecord,
    JobEnvironment,
    log,
)
from .pipeline import Options, convert
from .progress import Event
from .workspace import remove_leftovers, workspace


def convert_job(job: JobEnvironment) -> StageResult:
    """Writes the artifacts into the output folder, and ``report.json`` after them.

    Artifacts that miss their gates are written too: the report says so, and the figures are what the user
    needs to choose other gates or another method.

    Raises:
        ConverterError: the pipeline's failures. The output folder is then as it was.

    """
    record = job.record(Stage.LOAD)
    job.output.mkdir(parents=True, exist_ok=True)
    remove_leftovers(job.output)
    with workspace(job.output) as work:
        report = convert(_options(job, record), work, _Log())
        _log_report(report)
        work.write(REPORT_FILE_NAME, report.to_json().encode())
        work.publish()
    return StageResult()


def _options(job: JobEnvironment, record: FetchRecord) -> Options:
    request = job.request
    calibration = request.calibration

    def data(name: str) -> Path | None:
        return job.input / name if name in record.data else None

    return Options(
        source=job.input / SOURCE,
        base_name=request.base_name,
        methods=tuple(dict.fromkeys(request.methods)),
        source_format=request.source.format,
        # What was fetched is what is converted, or the volume lies.
        expected_sha256=record.source.sha256,
        target=request.target,
        calibration=data(CALIBRATION),
        calibration_labels=data(CALIBRATION_LABELS),
        validation=data(VALIDATION),
        validation_labels=data(VALIDATION_LABELS),
        samples=calibration.samples if calibration else DEFAULT_CALIBRATION_SAMPLES,
        seed=calibration.seed if calibration else 0,
        gates=Gates.from_validation(request.validation),
        request=request,
    )


class _Log:
    """Events as lines, each step once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, event: Event) -> None:
        line = f"{'warning' if event.warning else event.stage.value.lower()}: {event.text}"
        if line != self._last:
            log(line)
        self._last = line


def _log_report(report: ConversionReport) -> None:
    for a in report.artifacts:
        figures = [human_size(a.size_bytes), f"agreement {a.agreement or 0.0:.4f}"]
        if a.accuracy is not None:
            figures.append(f"accuracy {a.accuracy:.4f}")
        figures.append("passed" if a.passed else "failed")
        log(f"{a.file_name}: {', '.join(figures)}{f' ({a.message})' if a.message else ''}")
