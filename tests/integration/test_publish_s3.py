"""``job-publish`` on a real S3 server: what is uploaded, in which order, and what it is signed with."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import verifying

from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.boards import Board
from modelconversion_api.fields.data import Task, Validation
from modelconversion_api.fields.detection import Decoder, Detection
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.board import BoardSamples
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.request import SIGNING_KEY_ENV
from modelconversion_api.spec import Benchmark, Output, Retain, Signing, SigningKeyRef, Source
from support.cluster.stages import METHODS, MODEL_DIGEST, TFLITE, Job, new_job
from support.converter.heads import detector_data, head_model
from tflite_converter.job.convert import convert_job
from tflite_converter.job.stores.s3 import ObjectStore


@pytest.fixture
def job(object_store: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


def test_publish_uploads_all_and_tells_the_summary(job: Job) -> None:
    job.run(Stage.FETCH)
    job.converted()
    summary = job.run(Stage.PUBLISH).summary
    assert summary is not None
    assert summary.source.sha256 == MODEL_DIGEST
    names = {f"out/{method.file_name('gesture')}" for method in METHODS}
    assert job.objects().keys() == names | {"out/report.json", "out/report.html"}
    client = job.server.client()
    for name in names:
        found = client.get_object(Bucket=job.bucket, Key=name)
        assert found["Body"].read() == TFLITE
        assert found["Metadata"]["sha256"] == hashlib.sha256(TFLITE).hexdigest()
        assert found["ContentType"] == "application/octet-stream"
    report = json.loads(client.get_object(Bucket=job.bucket, Key="out/report.json")["Body"].read())
    assert report["source"]["sha256"] == MODEL_DIGEST
    page = client.get_object(Bucket=job.bucket, Key="out/report.html")
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert MODEL_DIGEST in page["Body"].read().decode()


def test_methods_that_failed_are_published_as_failures(job: Job) -> None:
    job.run(Stage.FETCH)
    job.converted(failed=(Method.FLOAT16,))
    summary = job.run(Stage.PUBLISH).summary
    assert summary is not None
    assert [a.method for a in summary.artifacts] == [Method.DYNAMIC_RANGE]
    assert [(f.method, f.reason) for f in summary.failed_methods] == [
        (Method.FLOAT16, FailureReason.QUANTIZATION_FAILED)
    ]
    assert "out/gesture_float16.tflite" not in job.objects()


def test_the_report_tells_what_publish_told(job: Job) -> None:
    job = job.ask(run="6f1c/1")
    job.run(Stage.FETCH)
    job.converted(failed=(Method.FLOAT16,))
    told = job.run(Stage.PUBLISH).summary
    assert told is not None
    read = job.run(Stage.PUBLISH, reads_report=True).summary
    without = {stage: s for stage, s in told.stage_seconds.items() if stage is not Stage.PUBLISH}
    assert read == told.model_copy(update={"stage_seconds": without})


def _lost(job: Job) -> str:
    failure = job.run(Stage.PUBLISH, reads_report=True).failure
    assert failure is not None
    assert failure.reason is FailureReason.REPORT_LOST
    return failure.message


def test_the_report_of_another_run_or_none_is_not_taken(job: Job) -> None:
    job = job.ask(run="6f1c/1")
    assert "not there any more" in _lost(job)
    job.run(Stage.FETCH)
    job.converted()
    job.run(Stage.PUBLISH)
    for run in ("6f1c/2", "other/1", None):
        assert "of another run" in _lost(job.ask(run=run))
    for content in (b"", b"{", b"[]", b'{"version": "v1alpha1"}', b"\xff\xfe"):
        job.put("out/report.json", content)
        assert "does not follow the contract" in _lost(job)


def test_a_store_that_refuses_the_report_is_a_reason_of_its_own(job: Job) -> None:
    job.patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    failure = job.ask(run="6f1c/1").run(Stage.PUBLISH, reads_report=True).failure
    assert failure is not None
    assert failure.reason is FailureReason.STORAGE_ACCESS_DENIED


@pytest.fixture
def signed(job: Job) -> Job:
    """A Job that signs."""
    signing = Signing(secret_ref=SigningKeyRef(name="signing-key"))
    job = job.ask(output=job.request.output.model_copy(update={"signing": signing}))
    job.patch.setenv(SIGNING_KEY_ENV, PRIVATE_KEY)
    job.run(Stage.FETCH)
    job.converted()
    return job


KEY = ec.generate_private_key(ec.SECP256R1())
PRIVATE_KEY = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def verify(folder: Path, *, ignore_unsigned: bool = False) -> None:
    """Verifies a folder as the documentation says; raises ValueError."""
    public = folder.with_name("public.pem")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(KEY.public_key().public_bytes(serialization.Encoding.PEM, form))
    config = verifying.Config().set_ignore_unsigned_files(ignore_unsigned)
    config.use_elliptic_key_verifier(public_key=public).verify(folder, folder / "model.sig")


def uploads(job: Job) -> list[str]:
    """The names of the objects that are uploaded from now on, in their order."""
    names: list[str] = []
    upload = ObjectStore.upload

    def recorded(store: ObjectStore, uri: str, *others: Any) -> None:
        names.append(uri.rsplit("/", 1)[-1])
        upload(store, uri, *others)

    job.patch.setattr(ObjectStore, "upload", recorded)
    return names


def test_signed_files_verify_and_the_report_is_the_last_object(signed: Job) -> None:
    names = uploads(signed)
    assert signed.run(Stage.PUBLISH).failure is None
    artifacts = [method.file_name("gesture") for method in METHODS]
    assert names == [*artifacts, "report.html", "model.sig", "report.json"]
    folder = signed.published(signed.folder / "downloaded")
    verify(folder)
    (folder / artifacts[0]).write_bytes(TFLITE[:-1] + b"x")
    with pytest.raises(ValueError, match="mismatch"):
        verify(folder)


def test_with_boards_the_page_is_not_signed_because_they_have_it_drawn_anew(signed: Job) -> None:
    board = Board(name="pi5", node_selector={"board": "pi5"})
    samples = b"not read here"
    digest = hashlib.sha256(samples).hexdigest()
    job = signed.ask(benchmark=Benchmark(boards=[board]))
    (job.output / "board-samples.npz").write_bytes(samples)
    report = ConversionReport.model_validate_json((job.output / "report.json").read_bytes())
    record = BoardSamples(sha256=digest, size_bytes=len(samples), samples=1)
    (job.output / "report.json").write_text(report.changed(board_samples=record).to_json())
    assert job.run(Stage.PUBLISH).failure is None
    folder = job.published(job.folder / "downloaded")
    (folder / "report.html").write_text("<p>with the figures of a board</p>")
    verify(folder, ignore_unsigned=True)
    (folder / "board-samples.npz").write_bytes(b"others")
    with pytest.raises(ValueError, match="mismatch"):
        verify(folder, ignore_unsigned=True)


def test_without_signing_an_old_signature_does_not_stay_beside_new_files(signed: Job) -> None:
    signed.run(Stage.PUBLISH)
    plain = signed.ask(output=Output(uri=signed.request.output.uri))
    assert plain.run(Stage.PUBLISH).failure is None
    assert "out/model.sig" not in plain.objects()


@pytest.mark.parametrize("key", [None, "", "canary", PRIVATE_KEY[:120]])
def test_a_key_that_cannot_sign_publishes_nothing(signed: Job, key: str | None) -> None:
    if key is None:
        signed.patch.delenv(SIGNING_KEY_ENV)
    else:
        signed.patch.setenv(SIGNING_KEY_ENV, key)
    failure = signed.run(Stage.PUBLISH).failure
    assert failure is not None
    assert failure.reason is FailureReason.SIGNING_FAILED
    assert ("Secret signing-key has no key private.pem" in failure.message) == (not key)
    assert signed.objects() == {}


@pytest.mark.parametrize("key", [PRIVATE_KEY, "canary-of-a-key"])
def test_the_signing_key_is_in_no_log_no_result_and_no_object(
    signed: Job, key: str, capfd: pytest.CaptureFixture[str]
) -> None:
    signed.patch.setenv(SIGNING_KEY_ENV, key)
    signed.run(Stage.PUBLISH)
    captured = capfd.readouterr()
    seen = captured.out + captured.err + (signed.folder / "termination").read_text()
    folder = signed.published(signed.folder / "downloaded")
    seen += "".join(path.read_bytes().decode("latin-1") for path in folder.iterdir())
    secret = key.splitlines()[1 if key is PRIVATE_KEY else 0]
    assert secret not in seen
    assert "signing-key" in seen or key is not PRIVATE_KEY
    assert SIGNING_KEY_ENV not in os.environ


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


def test_a_detector_s_figures_come_back_from_the_three_stages(job: Job, tmp_path: Path) -> None:
    """Labels of COCO's layout are fetched, measured with, and the status gets what they say."""
    heads, labels = detector_data(tmp_path)
    np.save(tmp_path / "x.npy", heads.reshape(len(heads), -1).astype(np.float32))
    for key, content in {
        "head.tflite": head_model(*heads.shape[1:]),
        "x.npy": (tmp_path / "x.npy").read_bytes(),
        "instances.json": labels.read_bytes(),
    }.items():
        job.put(key, content)
    validation = Validation(
        uri=f"s3://{job.bucket}/x.npy",
        labels_uri=f"s3://{job.bucket}/instances.json",
        task=Task.DETECTION,
        detection=Detection(decoder=Decoder.YOLO_V8),
        min_accuracy="0.75",
    )
    source = Source(uri=f"s3://{job.bucket}/head.tflite")
    job = job.ask(source=source, methods=(Method.FLOAT32,), calibration=None, validation=validation)
    assert job.run(Stage.FETCH).failure is None
    code, result = job.end(Stage.CONVERT, convert_job)
    assert (code, result.failure) == (0, None)
    summary = job.run(Stage.PUBLISH).summary
    assert summary is not None
    assert summary.original_accuracy == pytest.approx((1 + 51 / 101) / 2, abs=1e-4)
    (artifact,) = summary.artifacts
    assert (artifact.passed, artifact.accuracy) == (True, pytest.approx((1 + 51 / 101) / 2, abs=1e-4))


def test_an_output_that_keeps_what_it_has_takes_one_run_only(job: Job) -> None:
    """The same run may try again; another is refused, also where the report cannot be read."""
    kept = job.request.output.model_copy(update={"retain": Retain.IMMUTABLE})
    job = job.ask(run="6f1c/1", output=kept)
    job.put("out/gesture_float16.tflite", b"of a run that never came to its end")
    job.run(Stage.FETCH)
    job.converted()
    job.run(Stage.PUBLISH)
    first = job.objects()
    assert job.run(Stage.PUBLISH).summary is not None
    assert job.objects() == first
    others = [job.ask(run=run) for run in ("6f1c/1-0123456789ab", "6f1c/2", None)]
    assert {other.fails(Stage.PUBLISH) for other in others} == {FailureReason.OUTPUT_TAKEN}
    for content in (b"", b"[]", b'{"version": "v1alpha1"}'):
        job.put("out/report.json", content)
        assert job.fails(Stage.PUBLISH) is FailureReason.OUTPUT_TAKEN
    assert job.objects().keys() == first.keys()
    unread = job.objects().keys() - {"out/report.json"}
    assert {key: job.objects()[key] for key in unread} == {key: first[key] for key in unread}
    assert {other.fails(Stage.FETCH) for other in others} == {FailureReason.OUTPUT_TAKEN}
    assert not list(job.input.iterdir()), "nothing was fetched"
