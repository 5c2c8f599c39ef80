"""``job-publish``: distrusts what the conversion left, and uploads it. Has the credentials.

Untrusted model code ran where the output folder was written. So nothing there is believed: names, kinds and
sizes of files are checked without following links, artifacts are hashed again, and the report's account of
what was asked for and fetched is replaced by our own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.fields.compilation import CompiledFile
from modelconversion_api.fields.compilers import (
    NPU_METHODS,
    c_array_names,
    edge_tpu_names,
    ethos_u_name,
    npu_name,
)
from modelconversion_api.fields.metrics import METRIC_RESULTS_ENV
from modelconversion_api.fields.optimization import summary_of
from modelconversion_api.fields.recipes import OfMethod
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardSamples
from modelconversion_api.reports.conversion import (
    HTML_REPORT_FILE_NAME,
    REPORT_FILE_NAME,
    SIGNATURE_FILE_NAME,
    ArtifactReport,
    ArtifactSummary,
    ConversionReport,
    ConversionSummary,
    StageResult,
    compilations_of,
)
from modelconversion_api.reports.graph import GraphReport, graph_name
from modelconversion_api.request import ConversionRequest
from tflite_converter.conversion.kept_front import KEPT_FILES
from tflite_converter.errors import ConverterError
from tflite_converter.files.formats import is_tflite
from tflite_converter.files.untrusted import open_regular, read_report_file
from tflite_converter.job import cache
from tflite_converter.job.environment import FetchRecord, JobEnvironment, taken_signing_key
from tflite_converter.job.metrics.results import with_metrics
from tflite_converter.job.oci.pushing import prepared, push
from tflite_converter.job.stored_reports import check_not_taken
from tflite_converter.job.stores.base import Store, Stored
from tflite_converter.job.stores.places import Places
from tflite_converter.job.uploads import upload, upload_bytes
from tflite_converter.measuring.recommendation import recommend

if TYPE_CHECKING:
    from tflite_converter.files.envelope import Sealer

_logger = logging.getLogger(__name__)

_NOTHING: Final[Mapping[Stage, float]] = MappingProxyType({})
HTML_CONTENT_TYPE: Final = "text/html; charset=utf-8"
_CONTENT_TYPES: Final = {
    HTML_REPORT_FILE_NAME: HTML_CONTENT_TYPE,
    SIGNATURE_FILE_NAME: "application/json",
    REPORT_FILE_NAME: "application/json",
    ".json": "application/json",
    ".cc": "text/plain; charset=utf-8",
    ".h": "text/plain; charset=utf-8",
}


def publish(job: JobEnvironment) -> StageResult:
    """Upload the artifacts, report.html, model.sig and to a registry where asked for, then report.json.

    Where report.json is, everything is, in the registry too. Everything that can fail without a store fails
    before anything is uploaded.

    Raises:
        ConverterError: ArtifactInvalid, SigningFailed; the store's failures; UploadCorrupted.

    """
    from tflite_converter.report.page import render  # what it takes to draw is for this stage only

    started, record = time.monotonic(), job.record(Stage.PUBLISH)
    report = checked_report(job.output, job.request, record)
    todo = None
    if (oci := job.request.output.oci) is not None:
        todo = prepared(oci, job.request.storage, job.output, report, record)
        report = report.model_copy(update={"oci": () if todo is None else todo.told})
    # Drawn here, from the checked report: a page that model code has written is not for a browser.
    page = {HTML_REPORT_FILE_NAME: render(report).encode()}
    document = {REPORT_FILE_NAME: f"{report.to_json(indent=2)}\n".encode()}
    signature, sealer = {}, None
    if (signing := job.request.output.signing) is not None:
        files = {name: job.output / name for name in _files(report)}
        # Boards have the page drawn anew, and no key: what is signed must stay as it is.
        lasting = document if job.request.benchmark.boards else page | document
        private_key = taken_signing_key(signing.secret_ref)
        signed = _signature(private_key, job.request.base_name, {**files, **lasting})
        signature = {SIGNATURE_FILE_NAME: signed}
        sealer = None if todo is None else _sealer(private_key)
    store = Places(job.request.storage, Stage.PUBLISH)
    prefix = f"{job.request.output.uri.rstrip('/')}/"
    check_not_taken(job, store, Stage.PUBLISH)
    _withdraw(store, prefix)
    for name, stored in _files(report).items():
        with open_regular(job.output / name, MAX_TFLITE_BYTES, Stage.PUBLISH) as stream:
            kind = _CONTENT_TYPES.get(Path(name).suffix, "application/octet-stream")
            upload(store, f"{prefix}{name}", stream, stored, kind)
    for name, content in (page | signature).items():
        upload_bytes(store, f"{prefix}{name}", content, _CONTENT_TYPES[name])
    if todo is not None:
        push(todo, signature | document, sealer)
        for told in todo.told:
            _logger.info("pushed %s %s, tag %s", told.format.value, told.uri, told.tag or "none")
    for name, content in document.items():
        upload_bytes(store, f"{prefix}{name}", content, _CONTENT_TYPES[name])
    cache.keep(store, job, record)
    seconds = {Stage.PUBLISH: round(time.monotonic() - started, 3)}
    return StageResult(summary=summary_of_report(report, seconds))


def summary_of_report(
    report: ConversionReport, seconds: Mapping[Stage, float] = _NOTHING
) -> ConversionSummary:
    """Return the part of a report that goes into the resource's status; ``seconds`` are of more stages."""
    return ConversionSummary(
        source=report.source,
        artifacts=tuple(_summary(a) for a in report.artifacts),
        recommended=report.recommended,
        failed_methods=report.failed_methods,
        stage_seconds=report.stage_seconds | dict(seconds),
        original_accuracy=report.evaluation.original_accuracy,
        optimization=None if report.optimization is None else summary_of(report.optimization),
        oci=report.oci,
        cache=report.cache,
    )


def _sealer(private_key: str) -> Sealer:
    """Return who signs what is said of pushed files."""
    from tflite_converter.files.envelope import Sealer  # those alone need it

    return Sealer(private_key)


def _signature(private_key: str, base_name: str, files: Mapping[str, Path | bytes]) -> bytes:
    """Sign everything else that is published."""
    from tflite_converter.files.signing import sign

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / base_name
        work.mkdir()
        return sign(files, private_key, work)


def _files(report: ConversionReport) -> dict[str, Stored]:
    """Return the artifacts, what was compiled of them, and their graphs, by name."""
    files = {a.file_name: Stored(a.sha256, a.size_bytes) for a in report.artifacts}
    for artifact in report.artifacts:
        files |= {f.file_name: Stored(f.sha256, f.size_bytes) for f in compilations_of(artifact).files}
    files |= {name: Stored(g.sha256, g.size_bytes) for name, g in _graphs(report).items()}
    if (samples := report.board_samples) is not None:
        files[samples.file_name] = Stored(samples.sha256, samples.size_bytes)
    return files


def _summary(artifact: ArtifactReport) -> ArtifactSummary:
    """Return the part of an artifact's report that goes into the resource's status."""
    return ArtifactSummary(**{name: getattr(artifact, name) for name in ArtifactSummary.model_fields})


def checked_report(output: Path, request: ConversionRequest, record: FetchRecord) -> ConversionReport:
    """Check that the folder holds what ``request`` asked for and nothing else; return its report.

    A method may be missing where the report says that it failed.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    report = read_report_file(output / REPORT_FILE_NAME, ConversionReport, Stage.PUBLISH)
    expected = _expected(report, request)
    beside: dict[str, CompiledFile | GraphReport | BoardSamples] = {
        **_expected_compiled(report, request),
        **_graphs(report),
        **_board_samples(report, request),
    }
    kept = set(KEPT_FILES) if record.cache is not None else set()
    _check_names(output, {*expected, *beside, REPORT_FILE_NAME}, kept)
    for name, file in beside.items():
        _check_digest(output / name, file.sha256, file.size_bytes)
    artifacts = tuple(_checked(output / a.file_name, a, record) for a in report.artifacts)
    source = report.source.model_copy(
        update={"sha256": record.source.sha256, "size_bytes": record.source.size_bytes}
    )
    metrics = [] if request.validation is None else request.validation.metrics
    results = Path(os.environ.get(METRIC_RESULTS_ENV, ""))
    report = with_metrics(report.model_copy(update={"artifacts": artifacts}), metrics, results)
    artifacts = report.artifacts
    provenance = report.provenance
    if provenance is not None:
        provenance = provenance.model_copy(update={"base_name": request.base_name})
    return report.model_copy(
        update={
            "request": request,
            "source": source,
            "artifacts": artifacts,
            "recommended": recommend(artifacts, request.target, request.tuning.resolved_objective),
            "provenance": provenance,
            "oci": (),
            "cache": _cache(report, record),
            "stage_seconds": report.stage_seconds | {Stage.FETCH: round(record.seconds, 3)},
        }
    )


def _cache(report: ConversionReport, record: FetchRecord) -> CacheOutcome | None:
    """Return what became of the cache: what ``fetch`` found, unless it was of no use afterwards."""
    worse = record.cache is CacheOutcome.HIT and report.cache is CacheOutcome.UNUSABLE
    return report.cache if worse or report.cache is None else record.cache


def _expected(report: ConversionReport, request: ConversionRequest) -> dict[str, OfMethod]:
    """Return the artifacts that must be there, by file name.

    Those are each requested method and recipe that has not failed, and one method that was tried beside them,
    if there is one.
    """
    asked = {method.file_name(request.base_name): OfMethod(method=method) for method in request.methods}
    for recipe in request.recipes:
        asked[recipe.file_name(request.base_name)] = recipe.identity
    failed = [_identity(failure) for failure in report.failed_methods]
    if len(failed) != len(set(failed)) or not {*map(_identity, asked.values())} >= set(failed):
        raise _invalid(f"{REPORT_FILE_NAME} lists failed methods that were not asked for, or twice")
    expected = {name: made_by for name, made_by in asked.items() if _identity(made_by) not in failed}
    others = [a.method for a in report.artifacts if a.recipe_name is None and a.method not in request.methods]
    tried = [method for method in others if method in request.tuning.tries]
    expected |= {method.file_name(request.base_name): OfMethod(method=method) for method in tried[:1]}
    listed = [(a.file_name, _identity(a)) for a in report.artifacts]
    if sorted(listed) != sorted((name, _identity(made_by)) for name, made_by in expected.items()):
        raise _invalid(f"{REPORT_FILE_NAME} does not list the artifacts that were asked for")
    return expected


def _board_samples(report: ConversionReport, request: ConversionRequest) -> dict[str, BoardSamples]:
    """Return what boards compare on: it is there where boards were asked for, and nowhere else."""
    samples = report.board_samples
    if (samples is not None) != bool(request.benchmark.boards):
        raise _invalid(f"{REPORT_FILE_NAME} does not speak of boards as it was asked for")
    return {} if samples is None else {samples.file_name: samples}


def _identity(made_by: OfMethod) -> tuple[str, str]:
    return made_by.method.value, made_by.recipe_name or ""


def _expected_compiled(report: ConversionReport, request: ConversionRequest) -> dict[str, CompiledFile]:
    """Return the compiled files that may be there, by name: only of what compilers take on, as requested."""
    files: dict[str, CompiledFile] = {}
    for artifact in report.artifacts:
        allowed = _names_of_compilers(artifact, request)
        for file in compilations_of(artifact).files:
            if file.file_name not in allowed - files.keys():
                raise _invalid(f"{REPORT_FILE_NAME} lists a compiled file that was not asked for, or twice")
            files[file.file_name] = file
    return files


def _graphs(report: ConversionReport) -> dict[str, GraphReport]:
    """Return the files with the artifacts' graphs, by name."""
    graphs: dict[str, GraphReport] = {}
    for artifact in report.artifacts:
        if (graph := artifact.graph) is not None:
            if graph.file_name != graph_name(artifact.file_name):
                raise _invalid(f"{REPORT_FILE_NAME} lists a graph that is not the artifact's own")
            graphs[graph.file_name] = graph
    return graphs


def _names_of_compilers(artifact: ArtifactReport, request: ConversionRequest) -> set[str]:
    names: set[str] = set()
    if (npu := request.npu) is not None and artifact.made_by in NPU_METHODS:
        names |= {npu_name(artifact.file_name, npu.vendor, soc) for soc in npu.socs}
    if artifact.made_by != Method.FULL_INTEGER:
        return names
    if request.edge_tpu is not None:
        names |= set(edge_tpu_names(artifact.file_name, request.edge_tpu.num_segments))
    if request.ethos_u is not None:
        names.add(ethos_u_name(artifact.file_name))
    if request.microcontroller is not None:
        names |= set(c_array_names(artifact.file_name))
    return names


def _check_names(output: Path, expected: set[str], may_be: set[str]) -> None:
    try:
        present = {entry.name for entry in os.scandir(output)}
    except OSError as error:
        raise _invalid(f"the output folder cannot be read: {error.strerror}") from error
    present -= may_be
    if present != expected:
        extra, missing = sorted(present - expected), sorted(expected - present)
        raise _invalid(f"the output folder holds unexpected files {extra[:5]} and lacks {missing}")


def _checked(path: Path, artifact: ArtifactReport, record: FetchRecord) -> ArtifactReport:
    with open_regular(path, MAX_TFLITE_BYTES, Stage.PUBLISH) as stream:
        if not is_tflite(stream.read(8)):
            raise _invalid(f"{path.name} is not a TFLite file")
    _check_digest(path, artifact.sha256, artifact.size_bytes)
    fraction = round(artifact.size_bytes / record.source.size_bytes, 4)
    return artifact.model_copy(update={"size_fraction": fraction})


def _check_digest(path: Path, sha256: str, size_bytes: int) -> None:
    with open_regular(path, MAX_TFLITE_BYTES, Stage.PUBLISH) as stream:
        digest, size = hashlib.file_digest(stream, "sha256").hexdigest(), stream.tell()
    if (digest, size) != (sha256, size_bytes):
        raise _invalid(f"{path.name} is not the file that was measured: its digest or size is another")


def _withdraw(store: Store, prefix: str) -> None:
    """Remove an earlier report and signature: while artifacts are replaced, they would vouch for a mixture.

    Not every credential may delete. The digests in the old ones then still tell them from the new files.
    """
    for name in (REPORT_FILE_NAME, SIGNATURE_FILE_NAME):
        try:
            store.delete(f"{prefix}{name}")
        except ConverterError as error:
            if error.reason is not FailureReason.STORAGE_ACCESS_DENIED:
                raise
            _logger.warning("an earlier %s could not be removed first: no permission to delete", name)


def _invalid(cause: str) -> ConverterError:
    return ConverterError(FailureReason.ARTIFACT_INVALID, Stage.PUBLISH, cause)
