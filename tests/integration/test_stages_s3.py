"""``job-fetch`` and ``job-publish`` on a real S3 server: a reason for each failure, nothing half-done."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from devcluster.s3 import ObjectStore as Server
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage, exit_code
from modelconversion_api.report import (
    AgreementMetric,
    ArtifactReport,
    ConversionReport,
    DataInfo,
    DataRole,
    Evaluation,
    StageResult,
)
from modelconversion_api.request import ConversionRequest
from modelconversion_api.data import Calibration
from modelconversion_api.spec import Output, Source, SourceFormat
from modelconversion_api.storage import StorageAccess
from modelconversion_api.status import SourceInfo
from tflite_converter.digests import source_digest
from tflite_converter.job_environment import FETCH_RECORD, FetchRecord, run_stage
from tflite_converter.job_fetch import fetch
from tflite_converter.job_publish import publish
from tflite_converter.storage import ObjectStore

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

    def run(self, stage: Stage) -> StageResult:
        """Runs a stage as its container does; the exit code must be the one of the result."""
        message = self.folder / "termination"
        self.patch.setenv("CONVERSION_REQUEST", self.request.model_dump_json(by_alias=True))
        self.patch.setenv("CONVERSION_INPUT_DIR", str(self.input))
        self.patch.setenv("CONVERSION_OUTPUT_DIR", str(self.output))
        self.patch.setenv("CONVERSION_TERMINATION_MESSAGE_PATH", str(message))
        code = run_stage(stage, fetch if stage is Stage.FETCH else publish)
        result = StageResult.decode(message.read_text())
        assert result is not None
        assert code == (exit_code(result.failure.reason) if result.failure else 0)
        return result

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

    def converted(self) -> None:
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
        )
        for artifact in artifacts:
            (self.output / artifact.file_name).write_bytes(TFLITE)
        report = ConversionReport(
            request=self.request,
            source=SourceInfo(sha256="0" * 64, size_bytes=1, format=SourceFormat.KERAS_H5),
            artifacts=artifacts,
            evaluation=Evaluation(
                data=DataInfo(role=DataRole.RANDOM, samples=1, seed=0), agreement_metric=AgreementMetric.TOP1
            ),
        )
        (self.output / "report.json").write_text(report.model_dump_json(by_alias=True))


@pytest.fixture
def job(object_store: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A Job whose source and calibration data are in the store."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", object_store.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", object_store.secret_key)
    request = ConversionRequest(
        base_name="gesture",
        source=Source(uri=f"s3://{bucket}/gesture.h5"),
        output=Output(uri=f"s3://{bucket}/out/"),
        storage=StorageAccess(endpoint=object_store.endpoint),
        methods=METHODS,
        calibration=Calibration(uri=f"s3://{bucket}/val.npy"),
    )
    made = Job(object_store, bucket, tmp_path, monkeypatch, request)
    made.put("gesture.h5", MODEL)
    made.put("val.npy", b"data")
    return made


def test_fetch_downloads_and_records_digests(job: Job) -> None:
    assert job.run(Stage.FETCH) == StageResult()
    assert (job.input / "source").read_bytes() == MODEL
    record = FetchRecord.model_validate_json((job.input / FETCH_RECORD).read_text())
    assert (record.source.sha256, record.source.size_bytes) == (MODEL_DIGEST, len(MODEL))
    assert record.data["calibration"].sha256 == hashlib.sha256(b"data").hexdigest()
    assert not list(job.input.glob("*.part"))


def test_fetch_again_replaces_what_an_earlier_try_left(job: Job) -> None:
    (job.input / "source").mkdir(parents=True)
    (job.input / "source" / "half").touch()
    job.run(Stage.FETCH)
    assert (job.input / "source").is_file()


@pytest.mark.parametrize("ending", ["", "/"])
def test_saved_model_under_a_prefix(job: Job, ending: str) -> None:
    job.put("sm/saved_model.pb", b"graph")
    job.put("sm/variables/variables.index", b"index")
    job.put("sm/assets/", b"")
    job.put("sm-other/saved_model.pb", b"another model whose prefix begins alike")
    job = job.ask(source=Source(uri=f"s3://{job.bucket}/sm{ending}"))
    assert job.run(Stage.FETCH).failure is None
    files = {
        p.relative_to(job.input / "source").as_posix()
        for p in (job.input / "source").rglob("*")
        if p.is_file()
    }
    assert files == {"saved_model.pb", "variables/variables.index"}
    record = FetchRecord.model_validate_json((job.input / FETCH_RECORD).read_text())
    assert (record.source.sha256, record.source.size_bytes) == source_digest(job.input / "source")


def test_prefix_without_saved_model(job: Job) -> None:
    job.put("sm/readme.txt", b"x")
    job = job.ask(source=Source(uri=f"s3://{job.bucket}/sm"))
    assert job.fails(Stage.FETCH) is FailureReason.UNSUPPORTED_FORMAT


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"uri": "s3://BUCKET/nope.h5"}, FailureReason.SOURCE_NOT_FOUND),
        ({"uri": "s3://BUCKET/nope.h5", "format": "KerasH5"}, FailureReason.SOURCE_NOT_FOUND),
        ({"uri": "s3://BUCKET/nope", "format": "SavedModel"}, FailureReason.SOURCE_NOT_FOUND),
        ({"uri": "s3://no-such-bucket-here/gesture.h5"}, FailureReason.BUCKET_NOT_FOUND),
        ({"uri": "s3://no-such-bucket-here/model/", "format": "SavedModel"}, FailureReason.BUCKET_NOT_FOUND),
        ({"uri": "s3://BUCKET/gesture.h5", "sha256": "0" * 64}, FailureReason.DIGEST_MISMATCH),
    ],
)
def test_sources_that_cannot_be_had(job: Job, source: dict[str, str], reason: FailureReason) -> None:
    source["uri"] = source["uri"].replace("BUCKET", job.bucket)
    assert job.ask(source=Source.model_validate(source)).fails(Stage.FETCH) is reason
    assert not (job.input / FETCH_RECORD).exists()


def test_pinned_digest_that_fits(job: Job) -> None:
    source = Source(uri=f"s3://{job.bucket}/gesture.h5", sha256=MODEL_DIGEST)
    assert job.ask(source=source).run(Stage.FETCH).failure is None


def test_missing_calibration_data(job: Job) -> None:
    job = job.ask(calibration=Calibration(uri=f"s3://{job.bucket}/nope.npy"))
    assert job.fails(Stage.FETCH) is FailureReason.SOURCE_NOT_FOUND


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("stage", [Stage.FETCH, Stage.PUBLISH])
def test_wrong_credentials(job: Job, stage: Stage, name: str) -> None:
    if stage is Stage.PUBLISH:
        job.run(Stage.FETCH)
        job.converted()
    job.patch.setenv(name, "WRONG")
    assert job.fails(stage) is FailureReason.STORAGE_ACCESS_DENIED
    assert job.objects() == {}


def test_no_credentials(job: Job) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        job.patch.delenv(name)
    job.patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    job.patch.setenv("HOME", str(job.folder))
    assert job.fails(Stage.FETCH) is FailureReason.STORAGE_ACCESS_DENIED


def test_store_that_does_not_answer(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    job = job.ask(storage=StorageAccess(endpoint=f"http://127.0.0.1:{port}"))
    assert job.fails(Stage.FETCH) is FailureReason.STORAGE_UNAVAILABLE


def test_download_that_breaks_off_is_tried_again_and_never_looks_whole(job: Job) -> None:
    """A server that promises more bytes than it sends, every time."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: "x"\r\n\r\nshort')

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        storage = StorageAccess(endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}")
        source = Source(uri=f"s3://{job.bucket}/gesture.h5", format=SourceFormat.KERAS_H5)
        assert job.ask(storage=storage, source=source).fails(Stage.FETCH) is FailureReason.STORAGE_UNAVAILABLE
        listening.shutdown(socket.SHUT_RDWR)
    assert len(asked) >= 3
    assert not (job.input / "source").exists()
    assert not list(job.input.glob("*.part"))


def test_publish_uploads_all_and_tells_the_summary(job: Job) -> None:
    job.run(Stage.FETCH)
    job.converted()
    summary = job.run(Stage.PUBLISH).summary
    assert summary is not None
    assert summary.source.sha256 == MODEL_DIGEST
    names = {f"out/{method.file_name('gesture')}" for method in METHODS}
    assert job.objects().keys() == names | {"out/report.json"}
    client = job.server.client()
    for name in names:
        found = client.get_object(Bucket=job.bucket, Key=name)
        assert found["Body"].read() == TFLITE
        assert found["Metadata"]["sha256"] == hashlib.sha256(TFLITE).hexdigest()
        assert found["ContentType"] == "application/octet-stream"
    report = json.loads(client.get_object(Bucket=job.bucket, Key="out/report.json")["Body"].read())
    assert report["source"]["sha256"] == MODEL_DIGEST


def test_publish_again_ends_in_the_same_objects(job: Job) -> None:
    job.put("out/gesture_int8.tflite", b"of another request")
    job.run(Stage.FETCH)
    job.converted()
    job.run(Stage.PUBLISH)
    first = job.objects()
    job.run(Stage.PUBLISH)
    assert job.objects() == first
    assert "out/gesture_int8.tflite" in first


@pytest.mark.parametrize("tamper", ["link", "bytes", "extra"])
def test_tampered_output_is_not_published(job: Job, tamper: str) -> None:
    job.run(Stage.FETCH)
    job.converted()
    artifact = job.output / METHODS[0].file_name("gesture")
    if tamper == "link":
        artifact.unlink()
        artifact.symlink_to("/etc/hostname")
    elif tamper == "bytes":
        artifact.write_bytes(TFLITE + b"x")
    else:
        (job.output / "extra.tflite").write_bytes(TFLITE)
    assert job.fails(Stage.PUBLISH) is FailureReason.ARTIFACT_INVALID
    assert job.objects() == {}


def test_missing_output_bucket(job: Job) -> None:
    job.run(Stage.FETCH)
    job.converted()
    job = job.ask(output=Output(uri="s3://no-such-bucket-here/out/"))
    assert job.fails(Stage.PUBLISH) is FailureReason.BUCKET_NOT_FOUND


def test_old_report_is_gone_when_publishing_fails_in_the_middle(job: Job) -> None:
    """Where a report is, everything it lists is: the old one must not stand beside half of the new files."""
    job.run(Stage.FETCH)
    job.converted()
    job.run(Stage.PUBLISH)
    uploaded: list[str] = []

    def upload(_self: ObjectStore, uri: str, *_: object) -> None:
        uploaded.append(uri)
        raise ConnectionError("the network is gone")

    job.patch.setattr(ObjectStore, "upload", upload)
    assert job.run(Stage.PUBLISH).failure is not None
    assert len(uploaded) == 1
    assert "out/report.json" not in job.objects()
