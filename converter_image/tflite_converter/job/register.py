"""``job-register``: has a model registry know what was published. Has that registry's login, runs no model.

Whatever is done twice, after a Job that was killed, gives the same run and the same versions: they carry the
conversion's run, and are looked for by it first.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from modelconversion_api.fields.metrics import MetricFigure
from modelconversion_api.fields.registration import (
    PASSWORD_ENV,
    REGISTER_ENV,
    TOKEN_ENV,
    USERNAME_ENV,
    MLflow,
    Registered,
    RegisteredVersion,
    RegisterRequest,
)
from modelconversion_api.limits import MAX_REPORT_BYTES
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import (
    HTML_REPORT_FILE_NAME,
    REPORT_FILE_NAME,
    ArtifactReport,
    ConversionReport,
    StageResult,
)
from tflite_converter.errors import ConverterError
from tflite_converter.job.environment import JobEnvironment, told
from tflite_converter.job.mlflow import Tracking, Version, basic, bearer
from tflite_converter.job.published_report import published_report
from tflite_converter.job.stores.base import Limit, Store
from tflite_converter.job.stores.connections import trusted
from tflite_converter.job.stores.places import Places

_logger = logging.getLogger(__name__)

_RUN_TAG, _FILE_TAG = "edgeml.run", "edgeml.file"
_LONGEST_PARAM: Final = 500
"""Characters that every MLflow takes."""


def register(job: JobEnvironment) -> StageResult:
    """Register what the request's run has published, by its report.

    Raises:
        ConverterError: RegistrationRefused, RegistryUnavailable, ReportLost; the store's failures.

    """
    request, authorization = told(REGISTER_ENV, RegisterRequest, Stage.PUBLISH), _authorization()
    access, folder, run = job.request.storage, job.request.output.uri.rstrip("/"), str(job.request.run)
    store, mlflow = Places(access, Stage.PUBLISH), request.mlflow
    tracking = Tracking(mlflow.uri, authorization, trusted(access, Stage.PUBLISH))
    with tempfile.TemporaryDirectory() as work:
        pages = [Path(work) / REPORT_FILE_NAME]
        report = published_report(job, store, Stage.PUBLISH, pages[0])
        pages += _page(store, folder, Path(work))
        run_id = _tracked(tracking, mlflow, report, (run, folder), pages)
    tracking.make_model(mlflow.model)
    where = (run, run_id, folder)
    versions = [
        RegisteredVersion(
            name=artifact.made_by, version=_version(tracking, mlflow.model, artifact, report, where)
        )
        for artifact in report.artifacts
        if artifact.passed
    ]
    best = next((each.version for each in versions if each.name == request.recommended), None)
    if mlflow.alias is not None and best is not None:
        tracking.set_alias(mlflow.model, mlflow.alias, best)
    _logger.info("%s: registered %s", mlflow.model, ", ".join(f"{v.name} as {v.version}" for v in versions))
    return StageResult(registered=Registered(model=mlflow.model, versions=versions, run=run_id))


def _page(store: Store, folder: str, work: Path) -> list[Path]:
    """Download the page beside the report; where there is none, it is left out."""
    path = work / HTML_REPORT_FILE_NAME
    try:
        store.download(f"{folder}/{HTML_REPORT_FILE_NAME}", path, Limit(MAX_REPORT_BYTES))
    except ConverterError as error:
        if error.reason is not FailureReason.SOURCE_NOT_FOUND:
            raise
        return []
    return [path]


def _authorization() -> str:
    # Taken out of the environment: nothing that this process may start later inherits them.
    token, username, password = (os.environ.pop(name, "") for name in (TOKEN_ENV, USERNAME_ENV, PASSWORD_ENV))
    if token:
        return bearer(token.strip())
    return basic(username, password) if username else ""


def _tracked(
    tracking: Tracking,
    mlflow: MLflow,
    report: ConversionReport,
    where: tuple[str, str],
    pages: Sequence[Path],
) -> str:
    """Return the id of MLflow's run of this run, with figures and report.

    Args:
        tracking: The server.
        mlflow: What it calls things.
        report: What is told.
        where: The conversion's run, and the folder of the files.
        pages: The report's files.

    """
    run, folder = where
    experiment = tracking.experiment(mlflow.experiment or mlflow.model)
    millis = int(time.time() * 1000)
    source = report.source
    name = report.provenance.base_name if report.provenance is not None else mlflow.model
    tracked = tracking.find_run(experiment, _RUN_TAG, run)
    if tracked is None:
        tags = {_RUN_TAG: run, "edgeml.report": f"{folder}/{REPORT_FILE_NAME}"}
        tracked = tracking.make_run(experiment, name, millis, tags)
    metrics = {
        f"{artifact.made_by}/{key}": value
        for artifact in report.artifacts
        for key, value in _figures(artifact).items()
    }
    if report.evaluation.original_accuracy is not None:
        metrics["original/accuracy"] = report.evaluation.original_accuracy
    metrics |= {f"original/{key}": value for key, value in _own(report.evaluation.metrics).items()}
    params = {
        "source.sha256": source.sha256,
        "source.format": str(source.format),
        "evaluation.task": str(report.evaluation.task),
        "evaluation.data": str(report.evaluation.data.role),
    }
    tracking.log(
        tracked.run_id, millis, metrics, {key: text[:_LONGEST_PARAM] for key, text in params.items()}
    )
    if not all(tracking.upload(tracked, page) for page in pages):
        _logger.warning("MLflow keeps artifacts elsewhere: the run names the report by a tag")
    tracking.finish(tracked.run_id, int(time.time() * 1000))
    return tracked.run_id


def _version(
    tracking: Tracking,
    model: str,
    artifact: ArtifactReport,
    report: ConversionReport,
    where: tuple[str, str, str],
) -> str:
    """Return the number of a file's version, which is made unless it is there.

    Args:
        tracking: The server.
        model: Name of the registered model.
        artifact: The file.
        report: What it stands in.
        where: The conversion's run, MLflow's, and the folder of the files.

    """
    run, run_id, folder = where
    identity = {_RUN_TAG: run, _FILE_TAG: artifact.made_by}
    known = tracking.find_version(model, identity)
    if known is not None:
        return known
    tags = identity | {
        "edgeml.sha256": artifact.sha256,
        "edgeml.source_sha256": report.source.sha256,
        **{f"edgeml.{key}": f"{value:g}" for key, value in _figures(artifact).items()},
    }
    words = f"{artifact.made_by}, a TFLite file for edge devices"
    return tracking.make_version(model, Version(f"{folder}/{artifact.file_name}", run_id, words, tags))


def _figures(artifact: ArtifactReport) -> dict[str, float]:
    latency = artifact.latency
    known = {
        "size_bytes": float(artifact.size_bytes),
        "size_fraction": artifact.size_fraction,
        "agreement": artifact.agreement,
        "accuracy": artifact.accuracy,
        "snr_db": artifact.snr_db,
        "latency_millis": None if latency is None else latency.median_millis,
    }
    return {key: value for key, value in known.items() if value is not None} | _own(artifact.metrics)


def _own(figures: Sequence[MetricFigure]) -> dict[str, float]:
    """Return what metrics of the user's own gave."""
    return {f"metric.{figure.name}": figure.value for figure in figures if figure.value is not None}
