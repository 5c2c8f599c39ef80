"""What tests of the Job's stages work with: a Job without its pod, on a real S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.data import Calibration, Task
from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage, exit_code
from modelconversion_api.reports.calibration import DataInfo, DataRole
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    Evaluation,
    MethodFailure,
    StageResult,
)
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Output, Source, SourceFormat
from modelconversion_api.status import SourceInfo
from tflite_converter.job.environment import FETCH_RECORD, FetchRecord, JobEnvironment, run_stage
from tflite_converter.job.fetch import fetch
from tflite_converter.job.publish import publish
from tflite_converter.job.published_report import read_report

MODEL = b"\x89HDF\r\n\x1a\n" + bytes(1000)
MODEL_DIGEST = hashlib.sha256(MODEL).hexdigest()
TFLITE = b"\x1c\x00\x00\x00TFL3" + bytes(500)
METHODS = (Method.DYNAMIC_RANGE, Method.FLOAT16)


@dataclass(frozen=True)
class Job:
    """A Job's pod without the pod: its request, folders and credentials."""

    server: Server
    bucket: str
    folder: Path
    patch: pytest.MonkeyPatch
    request: ConversionRequest

    @property
    def input(self) -> Path:
        return self.folder / "in"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def ask(self, **changes: Any) -> Job:
        """The same Job with another request."""
        return replace(self, request=self.request.model_copy(update=changes))

    def elsewhere(self, name: str) -> Job:
        """Another Job of the same run, in folders of its own."""
        return replace(self, folder=self.folder / name)

    def run(self, stage: Stage, *, reads_report: bool = False) -> StageResult:
        """Runs a stage as its container does; the exit code must be the one of the result."""
        work = fetch if stage is Stage.FETCH else read_report if reads_report else publish
        code, result = self.end(stage, work)
        # Reading a report is over where there is none: trying again would not help.
        ended_well = result.failure is None or result.failure.reason is FailureReason.REPORT_LOST
        assert code == (0 if ended_well else exit_code(result.failure.reason))
        return result

    def end(self, stage: Stage, work: Callable[[JobEnvironment], StageResult]) -> tuple[int, StageResult]:
        """Exit code and termination message of a stage that does ``work``."""
        self.folder.mkdir(exist_ok=True)
        message = self.folder / "termination"
        self.patch.setenv("CONVERSION_REQUEST", self.request.to_json())
        self.patch.setenv("CONVERSION_INPUT_DIR", str(self.input))
        self.patch.setenv("CONVERSION_OUTPUT_DIR", str(self.output))
        self.patch.setenv("CONVERSION_TERMINATION_MESSAGE_PATH", str(message))
        code = run_stage(stage, work)
        assert message.stat().st_size <= 2048
        result = StageResult.decode(message.read_text())
        assert result is not None
        return code, result

    def fails(self, stage: Stage) -> FailureReason:
        """The reason that a stage ends with; no secret may be in its message."""
        failure = self.run(stage).failure
        assert failure is not None
        assert failure.stage is stage
        assert self.server.secret_key not in failure.message
        return failure.reason

    def put(self, key: str, content: bytes) -> None:
        self.server.client().put_object(Bucket=self.bucket, Key=key, Body=content)

    def objects(self, prefix: str = "out/") -> dict[str, str]:
        """Keys and ETags under a prefix."""
        found = self.server.client().list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return {item["Key"]: item["ETag"] for item in found.get("Contents", [])}

    def record(self) -> FetchRecord:
        return FetchRecord.model_validate_json((self.input / FETCH_RECORD).read_text())

    def downloaded(self, name: str) -> dict[str, bytes]:
        """What lies in a folder of the input folder, by relative path."""
        folder = self.input / name
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def published(self, folder: Path) -> Path:
        """The output prefix as a user downloads it."""
        folder.mkdir()
        for key in self.objects():
            self.server.client().download_file(self.bucket, key, str(folder / key.removeprefix("out/")))
        return folder

    def converted(self, failed: tuple[Method, ...] = ()) -> None:
        """Leaves what an honest ``job-convert`` leaves."""
        self.output.mkdir(exist_ok=True)
        artifacts = tuple(
            ArtifactReport(
                method=method,
                file_name=method.file_name("gesture"),
                size_bytes=len(TFLITE),
                size_fraction=0.5,
                sha256=hashlib.sha256(TFLITE).hexdigest(),
                agreement=1.0,
                passed=True,
            )
            for method in METHODS
            if method not in failed
        )
        for artifact in artifacts:
            (self.output / artifact.file_name).write_bytes(TFLITE)
        report = ConversionReport(
            request=self.request,
            source=SourceInfo(sha256="0" * 64, size_bytes=1, format=SourceFormat.KERAS_H5),
            artifacts=artifacts,
            evaluation=Evaluation(
                data=DataInfo(role=DataRole.RANDOM, samples=1, seed=0),
                task=Task.CLASSIFICATION,
                agreement_metric=AgreementMetric.TOP1,
            ),
            failed_methods=tuple(
                MethodFailure(method=m, reason=FailureReason.QUANTIZATION_FAILED, message="no range")
                for m in failed
            ),
        )
        (self.output / "report.json").write_text(report.model_dump_json(by_alias=True))


def new_job(server: Server, bucket: str, folder: Path, patch: pytest.MonkeyPatch) -> Job:
    """A Job whose source and calibration data are in the store."""
    patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    request = ConversionRequest(
        base_name="gesture",
        source=Source(uri=f"s3://{bucket}/gesture.h5"),
        output=Output(uri=f"s3://{bucket}/out/"),
        storage=StorageAccess(endpoint=server.endpoint),
        methods=METHODS,
        calibration=Calibration(uri=f"s3://{bucket}/val.npy"),
    )
    made = Job(server, bucket, folder, patch, request)
    made.put("gesture.h5", MODEL)
    made.put("val.npy", b"data")
    return made
