"""Reports as they lie under an output URI, of whichever run, and whether one is in the way."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pydantic_core import from_json

from modelconversion_api.base import readable
from modelconversion_api.limits import MAX_REPORT_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import REPORT_FILE_NAME, ConversionReport
from modelconversion_api.spec import Retain
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import JobEnvironment
from tflite_converter.job.stores.base import Limit, Store


def downloaded_report(uri: str, store: Store, path: Path | None = None) -> ConversionReport:
    """Return a report as it lies in the store; its file stays at ``path``, where one is given.

    Raises:
        ValueError: It does not follow the contract.
        AttributeError: Neither.
        ConverterError: The store's failures.

    """
    if path is None:
        with tempfile.TemporaryDirectory() as folder:
            return downloaded_report(uri, store, Path(folder) / REPORT_FILE_NAME)
    store.download(uri, path, Limit(MAX_REPORT_BYTES))
    return readable(ConversionReport, from_json(path.read_bytes()))


def check_not_taken(job: JobEnvironment, store: Store, stage: Stage) -> None:
    """Refuse an output that keeps what it has, where another run's report lies in it.

    Files without a report are what a run has left that never came to its end: they vouch for nothing.

    Raises:
        ConverterError: OutputTaken; the store's failures, StorageAccessDenied where it may not be read.

    """
    if job.request.output.retain is not Retain.IMMUTABLE:
        return
    uri = f"{job.request.output.uri.rstrip('/')}/{REPORT_FILE_NAME}"
    try:
        report = downloaded_report(uri, store)
        whose = report.request.run if report.request is not None else None
    except (ValueError, AttributeError):
        whose = None
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND:
            raise
        return
    if whose is None or whose != job.request.run:
        cause = f"output.retain is Immutable, and {uri} is the report of {whose or 'an unknown run'}"
        raise ConverterError(FailureReason.OUTPUT_TAKEN, stage, cause)
