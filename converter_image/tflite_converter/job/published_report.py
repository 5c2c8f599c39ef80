"""``job-report``: tells the result of a run whose report is in the store, and whose pod nobody saw end."""

from __future__ import annotations

import logging
from pathlib import Path

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import (
    REPORT_FILE_NAME,
    ConversionReport,
    StageFailure,
    StageResult,
)
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.publish import summary_of_report
from tflite_converter.job.stored_reports import downloaded_report
from tflite_converter.job.stores.base import Store
from tflite_converter.job.stores.places import Places

_logger = logging.getLogger(__name__)


def read_report(job: JobEnvironment) -> StageResult:
    """Return the summary in the report under the output URI, where it is that of the request's run.

    Where there is none, or another run's, the result is the failure ReportLost: trying again would not help.

    Raises:
        ConverterError: The store's failures, of which some pass.

    """
    try:
        report = published_report(job, Places(job.request.storage, Stage.PUBLISH), Stage.PUBLISH)
    except ConverterError as error:
        if error.reason is not FailureReason.REPORT_LOST:
            raise
        return _lost(error.cause)
    return StageResult(summary=summary_of_report(report))


def published_report(
    job: JobEnvironment, store: Store, stage: Stage, path: Path | None = None
) -> ConversionReport:
    """Return the report under the output URI, if it is that of the request's run.

    Its file stays at ``path``, where one is given.

    Raises:
        ConverterError: ReportLost where there is none, or another run's; the store's failures.

    """
    uri = f"{job.request.output.uri.rstrip('/')}/{REPORT_FILE_NAME}"
    try:
        report = downloaded_report(uri, store, path)
    except (ValueError, AttributeError) as error:
        raise _missing(stage, f"{uri} does not follow the contract") from error
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND:
            raise
        raise _missing(stage, f"{uri} is not there any more") from error
    if report.request is None or job.request.run is None or report.request.run != job.request.run:
        raise _missing(stage, f"{uri} is the report of another run: something else writes to this output")
    _logger.info("read %s", uri)
    return report


def _missing(stage: Stage, cause: str) -> ConverterError:
    return ConverterError(FailureReason.REPORT_LOST, stage, cause)


def _lost(message: str) -> StageResult:
    _logger.error("%s", message)
    failure = StageFailure(stage=Stage.PUBLISH, reason=FailureReason.REPORT_LOST, message=message)
    return StageResult(failure=failure)
