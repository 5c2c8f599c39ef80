"""The Job that moves a channel's pointer, on a real S3 server, and a device that reads what it wrote."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from devcluster.services.s3 import ObjectStore as Server
from edge_inference.channel import ModelChannel, Outcome
from edge_inference.channel.pointer import Key, Pointer, read_pointer
from modelconversion_api.channels import MOVE_ENV, Candidate, Moved, MoveRequest
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import SIGNING_KEY_ENV
from modelconversion_api.spec import Output, Signing, SigningKeyRef
from support.cluster.stages import Job, new_job
from support.converter.tiny_tflite import write_tiny_tflite
from support.edge.channels import CHANNEL, TYPE, ChannelServer, public_pem, sealed
from tflite_converter.job.move import move

KEY = ec.generate_private_key(ec.SECP256R1())
BASELINE = {"samples": 100, "level": {"output": "y", "mean": 5.0, "std": 0.5}}


def private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey, password: bytes = b"") -> str:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


class Channel:
    """A bucket with a conversion's output and a channel, and the Job that moves its pointer."""

    def __init__(self, job: Job, folder: Path) -> None:
        signing = Signing(secret_ref=SigningKeyRef(name="channel-key"))
        self.job = job.ask(output=Output(uri=f"s3://{job.bucket}/devices/", signing=signing))
        self._folder = folder

    def converted(self, size: int, *, baseline: dict[str, Any] | None = BASELINE) -> Candidate:
        """A conversion has written a file, and its report over an earlier one."""
        model = write_tiny_tflite(self._folder / "m.tflite", (1, size)).read_bytes()
        digest, run = hashlib.sha256(model).hexdigest(), f"uid/{size}"
        self.job.put("edge/m_float32.tflite", model)
        artifact = {"method": "Float32", "fileName": "m_float32.tflite", "sizeBytes": len(model)}
        artifact |= {"sizeFraction": 1.0, "sha256": digest, "passed": True}
        artifact |= {} if baseline is None else {"baseline": baseline}
        source = {"format": "KerasH5", "sha256": "a" * 64, "sizeBytes": 9}
        data = {"role": "Validation", "samples": 100, "seed": 0}
        report = {
            "version": "v1alpha1",
            "request": json.loads(self.job.request.model_copy(update={"run": run}).to_json()),
            "source": source,
            "artifacts": [artifact],
            "evaluation": {"data": data, "task": "Regression", "agreementMetric": "Top1"},
        }
        self.job.put("edge/report.json", json.dumps(report).encode())
        return Candidate(
            sha256=digest,
            size_bytes=len(model),
            name="Float32",
            conversion="gesture",
            run=run,
            uri=f"s3://{self.job.bucket}/edge/m_float32.tflite",
            report_uri=f"s3://{self.job.bucket}/edge/report.json",
            time=datetime.now(UTC),
        )

    def move(self, candidate: Candidate, sequence: int = 0, **more: Any) -> Moved | FailureReason:
        request = MoveRequest(channel=CHANNEL, sequence=sequence, candidate=candidate, **more)
        self.job.patch.setenv(MOVE_ENV, request.to_json())
        self.job.patch.setenv(SIGNING_KEY_ENV, self.key)
        code, result = self.job.end(Stage.PUBLISH, move)
        if result.failure is not None:
            assert code != 0
            assert "PRIVATE KEY" not in result.failure.message
            return result.failure.reason
        assert (code, result.moved is not None) == (0, True)
        assert result.moved is not None
        return result.moved

    key = private_pem(KEY)

    def pointer(self) -> Pointer:
        return read_pointer(self.files()["channel.json"], Key(public_pem(KEY)), CHANNEL)

    def files(self) -> dict[str, bytes]:
        client, names = self.job.server.client(), self.job.objects("devices/")
        return {
            name.removeprefix("devices/"): client.get_object(Bucket=self.job.bucket, Key=name)["Body"].read()
            for name in names
        }


@pytest.fixture
def channel(object_store: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Channel:
    return Channel(new_job(object_store, bucket, tmp_path / "job", monkeypatch), tmp_path)


def moved(result: Moved | FailureReason) -> Moved:
    assert isinstance(result, Moved), result
    return result


def test_a_device_follows_what_the_job_wrote(channel: Channel, tmp_path: Path) -> None:
    first = channel.converted(3)
    told = moved(channel.move(first))
    assert (told.sequence, told.sha256) == (1, first.sha256)
    with ChannelServer(KEY) as server:
        server.files = channel.files()
        device = ModelChannel(
            server.url, name=CHANNEL, public_key=public_pem(KEY), folder=tmp_path / "device"
        )
        assert device.poll().outcome is Outcome.UPDATED
        assert device.model.sha256 == first.sha256
        second = channel.converted(4)
        channel.move(second, 1)
        server.files = channel.files()
        assert device.poll().sha256 == second.sha256
        # The baseline came along: what is far from the usual level sends it back.
        for _ in range(200):
            device.model.predict([1.0] * 4)
        assert device.model.sha256 == first.sha256


def test_the_conversions_folder_may_be_written_over_after_a_release(channel: Channel) -> None:
    first = channel.converted(3)
    told = moved(channel.move(first))
    second = channel.converted(4)
    assert channel.move(first) == told, "it names it already"
    assert moved(channel.move(second, 1)).sequence == 2
    back = moved(channel.move(first, 2, baseline_sha256=told.baseline_sha256))
    assert (back.sequence, back.sha256, back.baseline_sha256) == (3, first.sha256, told.baseline_sha256)
    # A candidate that was never released, and is written over, cannot be any more.
    third = channel.converted(5)
    channel.converted(6)
    assert channel.move(third, 3) is FailureReason.SOURCE_TOO_LARGE
    channel.job.put("edge/m_float32.tflite", bytes(third.size_bytes))
    assert channel.move(third, 3) is FailureReason.DIGEST_MISMATCH
    assert channel.pointer().sequence == 3


def test_a_job_that_runs_twice_moves_once_and_numbers_never_fall(channel: Channel) -> None:
    candidate = channel.converted(3)
    told = moved(channel.move(candidate, 6))
    before = channel.files()
    assert moved(channel.move(candidate, 6)) == told
    assert channel.files() == before
    # The operator's status was lost: the pointer itself knows its number.
    assert moved(channel.move(channel.converted(4), 0)).sequence == told.sequence + 1


def test_damaged_files_beside_the_pointer_are_replaced(channel: Channel) -> None:
    candidate = channel.converted(3)
    channel.move(candidate)
    for name in channel.job.objects("devices/files/"):
        channel.job.put(name, b"damaged")
    channel.move(channel.converted(4), 1)
    again = channel.converted(3)
    assert moved(channel.move(again, 2)).sequence == 3
    pointer = channel.pointer()
    files = channel.files()
    for named in (pointer.model, pointer.baseline):
        assert named is not None
        assert hashlib.sha256(files[named.path]).hexdigest() == named.sha256


@pytest.mark.parametrize("case", ["garbage", "a stranger's", "of another channel", "huge"])
def test_a_pointer_that_is_not_its_own_counts_for_nothing(channel: Channel, case: str) -> None:
    candidate = channel.converted(3)
    channel.move(candidate)
    document = json.dumps({"version": "v1", "channel": CHANNEL, "sequence": 1 << 40}).encode()
    stranger = ec.generate_private_key(ec.SECP256R1())
    content = {
        "garbage": b"{",
        "a stranger's": sealed(document, stranger),
        "of another channel": sealed(document.replace(CHANNEL.encode(), b"ml/other"), KEY, TYPE),
        "huge": bytes(1 << 20),
    }[case]
    channel.job.put("devices/channel.json", content)
    assert moved(channel.move(candidate, 1)).sequence == 2
    assert channel.pointer().model.sha256 == candidate.sha256


def test_without_what_was_validated_there_is_no_baseline(channel: Channel) -> None:
    bare = channel.converted(3, baseline=None)
    assert moved(channel.move(bare)).baseline_sha256 is None
    # Another run's report says nothing of this file.
    candidate = channel.converted(4).model_copy(update={"run": "uid/another"})
    assert moved(channel.move(candidate, 1)).baseline_sha256 is None
    # Nor does one that is gone, or none.
    gone = channel.converted(5).model_copy(update={"report_uri": f"s3://{channel.job.bucket}/edge/no.json"})
    assert moved(channel.move(gone, 2)).baseline_sha256 is None
    channel.job.put("edge/report.json", b"[")
    assert moved(channel.move(channel.converted(6).model_copy(update={"report_uri": None}), 3)).sequence == 4
    assert channel.pointer().baseline is None


@pytest.mark.parametrize("key", [
    "", "no key", private_pem(rsa.generate_private_key(65537, 2048)), private_pem(KEY, b"secret"),
    private_pem(ec.generate_private_key(ec.SECP256K1())),
], ids=["none", "no key", "RSA", "with a password", "another curve"])  # fmt: skip
def test_a_key_that_cannot_sign_moves_nothing(channel: Channel, key: str) -> None:
    candidate = channel.converted(3)
    channel.key = key
    assert channel.move(candidate) is FailureReason.SIGNING_FAILED
    assert channel.files() == {}


def test_a_file_that_is_gone_is_told(channel: Channel) -> None:
    candidate = channel.converted(3)
    gone = candidate.model_copy(update={"uri": f"s3://{channel.job.bucket}/edge/gone.tflite"})
    assert channel.move(gone) is FailureReason.SOURCE_NOT_FOUND
    nowhere = candidate.model_copy(update={"uri": "s3://no-such-bucket/m.tflite"})
    assert channel.move(nowhere) is FailureReason.BUCKET_NOT_FOUND
    channel.job.patch.setenv(MOVE_ENV, "{}")
    channel.job.patch.setenv(SIGNING_KEY_ENV, channel.key)
    _, result = channel.job.end(Stage.PUBLISH, move)
    assert result.failure is not None
    assert result.failure.reason is FailureReason.INVALID_REQUEST
