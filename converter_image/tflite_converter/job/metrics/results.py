"""What the containers of a user's own metrics left, of which ``publish`` believes a number alone."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Final

from pydantic_core import from_json

from modelconversion_api.fields.metrics import ORIGINAL, Metric, MetricFigure
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ConversionReport
from tflite_converter.errors import ConverterError
from tflite_converter.files.untrusted import open_regular
from tflite_converter.job.metrics.judging import figure_of, warnings_of, with_figures

MOST_RESULT_BYTES: Final = 1 << 20
_MOST_NOTE_BYTES: Final = 1 << 10
_NOTE: Final = re.compile(rb"(exited|signal|timeout|noexec) ([0-9]{1,9})\n")
_KILLED: Final = 9


def with_metrics(report: ConversionReport, metrics: list[Metric], results: Path) -> ConversionReport:
    """Return a report with what each metric gave, held against its gate; whatever it said of that is gone.

    ``results`` has a folder for each metric.
    """
    original = tuple(figure_of(m, read_result(results / m.name, ORIGINAL), None) for m in metrics)
    found: dict[str, tuple[MetricFigure, ...]] = {"the original": original}
    artifacts = []
    for artifact in report.artifacts:
        stem = artifact.file_name.removesuffix(".tflite")
        figures = tuple(
            figure_of(metric, read_result(results / metric.name, stem), of_original)
            for metric, of_original in zip(metrics, original, strict=True)
        )
        found[artifact.file_name] = figures
        artifacts.append(with_figures(artifact, figures))
    gated = report.evaluation.gated or any(metric.has_gate for metric in metrics)
    return report.changed(
        artifacts=tuple(artifacts),
        evaluation=report.evaluation.changed(metrics=original, gated=gated),
        warnings=(*report.warnings, *warnings_of(metrics, found)),
    )


def read_result(folder: Path, stem: str) -> float | str:
    """Return the number that a metric gave for one model, or why there is none, in words without its name."""
    try:
        how = _note(folder / f"{stem}.exit")
        return _number(folder / f"{stem}.json") if how is None else how
    except ConverterError as error:
        return error.cause


def _note(path: Path) -> str | None:
    """Say how a run went wrong; None where its program ended well."""
    if not os.path.lexists(path):
        return "it was not run, for there are no outputs of this file"
    with open_regular(path, _MOST_NOTE_BYTES, Stage.EVALUATE) as stream:
        match = _NOTE.fullmatch(stream.read(_MOST_NOTE_BYTES))
    if match is None:
        return f"{path.name} is not what was written there"
    how, number = match[1].decode(), int(match[2])
    if how == "timeout":
        return f"it took longer than {number} s"
    if how == "noexec":
        return f"its program could not be started: {os.strerror(number)}"
    if how == "exited":
        return f"it ended with code {number}" if number else None
    if number == _KILLED:
        return "it was killed (signal 9), most often for want of memory"
    return f"it was ended by signal {number}"


def _number(path: Path) -> float:
    """Read ``{"metric": NUMBER}``.

    Raises:
        ConverterError: MetricFailed, ArtifactInvalid.

    """
    if not os.path.lexists(path):
        raise _failed("it left no result at METRIC_RESULT")
    with open_regular(path, MOST_RESULT_BYTES, Stage.EVALUATE) as stream:
        content = stream.read(MOST_RESULT_BYTES)
    try:
        result = from_json(content, allow_inf_nan=True)
    except ValueError as error:
        raise _failed("its result is no JSON") from error
    value = result.get("metric") if isinstance(result, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _failed('its result is not {"metric": NUMBER}')
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _failed("its result is NaN, or infinite")
    return number


def _failed(cause: str) -> ConverterError:
    return ConverterError(FailureReason.METRIC_FAILED, Stage.EVALUATE, cause)
