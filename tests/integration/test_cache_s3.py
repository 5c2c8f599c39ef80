"""A model that is loaded once for several conversions: the Job's stages on a real S3 server."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.fields.cache import Cache, CacheOutcome
from modelconversion_api.fields.data import Calibration
from modelconversion_api.methods import Method
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.spec import Output, Source
from support.cluster.stages import Job, new_job
from support.paths import DATA
from tflite_converter.conversion import pipeline
from tflite_converter.job.convert import convert_job
from tflite_converter.job.environment import run_stage

WRITTEN_BY = DATA / "written_by"
KERAS = "tf2.4.4-attention.h5"
RECURRENT = "tf2.3.4-simple_rnn.savedmodel.zip"
"""Unrolled for integers, and quantized by TensorFlow itself where that gives the better file."""
CACHE = "kept"


@pytest.fixture
def job(
    request: pytest.FixtureRequest,
    object_store: Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Job:
    model: str = request.param
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = new_job(object_store, bucket, tmp_path / "first", monkeypatch)
    with np.load(WRITTEN_BY / f"{model.removesuffix('.zip')}.npz") as given:
        steps = given["input/steps"]
    data = io.BytesIO()
    np.save(data, np.concatenate([steps * scale for scale in (1.0, 0.9, 0.8, 0.7)]))
    name = f"model{Path(model).suffix}"
    made.put(name, (WRITTEN_BY / model).read_bytes())
    made.put("val.npy", data.getvalue())
    return made.ask(
        source=Source(uri=f"s3://{bucket}/{name}"),
        base_name="model",
        methods=(Method.FULL_INTEGER, Method.FLOAT32),
        calibration=Calibration(uri=f"s3://{bucket}/val.npy"),
        output=_output(bucket, "out/one/"),
        cache_scope="a" * 64,
        run="6f1c/1",
    )


def _output(bucket: str, prefix: str) -> Output:
    return Output(uri=f"s3://{bucket}/{prefix}", cache=Cache(uri=f"s3://{bucket}/{CACHE}"))


def _another(job: Job, name: str, **changes: Any) -> Job:
    """Another conversion with the same cache."""
    output = _output(job.bucket, f"out/{name}/")
    return replace(job, folder=job.folder.parent / name).ask(**{"output": output, "run": name, **changes})


def _converted(job: Job) -> ConversionReport:
    assert job.run(Stage.FETCH).failure is None
    assert run_stage(Stage.CONVERT, convert_job) == 0
    summary = job.run(Stage.PUBLISH).summary
    assert summary is not None
    key = job.request.output.uri.split("/", 3)[3] + "report.json"
    report = ConversionReport.model_validate_json(_read(job, key))
    assert report.cache is summary.cache
    return report


def _read(job: Job, key: str) -> bytes:
    content: bytes = job.server.client().get_object(Bucket=job.bucket, Key=key)["Body"].read()
    return content


def _entry(job: Job) -> str:
    (entry,) = [key for key in job.objects(f"{CACHE}/") if key.endswith("/entry.json")]
    return entry


def _looked(job: Job) -> CacheOutcome | None:
    """What ``fetch`` says; what is not whole must not lie in the input folder."""
    assert job.run(Stage.FETCH).failure is None
    found = job.record().cache
    assert (job.input / "front.tar").exists() is (found is CacheOutcome.HIT)
    assert (job.input / "front.json").exists() is (found is CacheOutcome.HIT)
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("job", [KERAS, RECURRENT], indirect=True)
def test_a_model_is_loaded_once_and_its_files_are_the_same(job: Job) -> None:
    plain = _converted(_another(job, "plain", output=Output(uri=f"s3://{job.bucket}/out/plain/")))
    assert (plain.cache, job.objects(f"{CACHE}/")) == (None, {})
    first = _converted(job)
    assert first.cache is CacheOutcome.MISSING
    entry = json.loads(_read(job, _entry(job)))
    assert job.objects(f"{CACHE}/").keys() == {_entry(job), f"{CACHE}/{entry['key']}/{entry['sha256']}.tar"}

    def front_half(*_: object) -> None:
        raise AssertionError("the model was loaded again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "front_half", front_half)
        second = _converted(_another(job, "second"))
    assert second.cache is CacheOutcome.HIT
    assert second.import_seconds == 0
    digests = [{a.file_name: a.sha256 for a in report.artifacts} for report in (plain, first, second)]
    assert digests[0] == digests[1] == digests[2]
    figures = [[(a.agreement, a.snr_db) for a in report.artifacts] for report in (plain, second)]
    assert figures[0] == figures[1]
    assert (plain.source.inputs, plain.source.outputs) == (second.source.inputs, second.source.outputs)

    if job.request.source.uri.endswith(".zip"):  # of one kind of model is enough
        _what_was_forged_is_made_anew(job, digests[0])
        _what_is_not_whole_is_missed(job)
        _what_is_another_front_half_is_missed(job)


def _what_was_forged_is_made_anew(job: Job, files: dict[str, str]) -> None:
    entry = json.loads(_read(job, _entry(job)))
    # Somebody who may write into the bucket has put in what no front half has left.
    hostile = io.BytesIO()
    with tarfile.open(fileobj=hostile, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../report.json"))
    content = hostile.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    job.put(f"{CACHE}/{entry['key']}/{digest}.tar", content)
    _change(job, sha256=digest, sizeBytes=len(content))
    third = _converted(_another(job, "third"))
    assert third.cache is CacheOutcome.UNUSABLE
    assert {a.file_name: a.sha256 for a in third.artifacts} == files
    assert json.loads(_read(job, _entry(job)))["sha256"] != digest, "it has made a good one in its place"


def _change(job: Job, **fields: Any) -> None:
    entry = json.loads(_read(job, _entry(job)))
    job.put(_entry(job), json.dumps(entry | fields).encode())


def _what_is_not_whole_is_missed(job: Job) -> None:
    entry = json.loads(_read(job, _entry(job)))
    tar = f"{CACHE}/{entry['key']}/{entry['sha256']}.tar"
    good, now = _read(job, tar), datetime.now(UTC)
    another = _another(job, "looks")
    assert _looked(another) is CacheOutcome.HIT
    for damaged in (good[:-512], good + b"\0", b"", bytes([good[0] ^ 1]) + good[1:]):
        job.put(tar, damaged)
        assert _looked(another) is CacheOutcome.DAMAGED
    job.server.client().delete_object(Bucket=job.bucket, Key=tar)
    assert _looked(another) is CacheOutcome.MISSING
    job.put(tar, good)
    for text in (b"", b"{", b"[]", b"\xff", b'{"layout": 1}', b"{" * 100_000):
        job.put(_entry(job), text)
        assert _looked(another) is CacheOutcome.DAMAGED
    wrong: list[tuple[dict[str, Any], CacheOutcome]] = [
        ({"key": "0" * 64}, CacheOutcome.DAMAGED),
        ({"layout": 2}, CacheOutcome.DAMAGED),
        ({"sizeBytes": 1 << 40}, CacheOutcome.DAMAGED),
        ({"sha256": "../../../etc/passwd"}, CacheOutcome.DAMAGED),
        ({"made": (now - timedelta(days=31)).isoformat()}, CacheOutcome.EXPIRED),
        ({"made": (now + timedelta(days=1)).isoformat()}, CacheOutcome.EXPIRED),
    ]
    for fields, outcome in wrong:
        job.put(_entry(job), json.dumps(entry | fields).encode())
        assert _looked(another) is outcome
    job.put(_entry(job), json.dumps(entry).encode())
    assert _looked(another) is CacheOutcome.HIT


def _what_is_another_front_half_is_missed(job: Job) -> None:
    uri = f"s3://{job.bucket}"
    calibration = job.request.calibration
    assert calibration is not None
    job.put("other.npy", _read(job, "val.npy") + b"\0")
    others: list[dict[str, Any]] = [
        {"cache_scope": "b" * 64},  # of another namespace, or image
        {"methods": (Method.FLOAT32,)},  # without calibration, other samples are measured on
        {"calibration": calibration.model_copy(update={"seed": 1})},
        {"calibration": calibration.model_copy(update={"samples": 3})},
        {"calibration": Calibration(uri=f"{uri}/other.npy")},
        {"source": job.request.source.model_copy(update={"signature": "other"})},
    ]
    for number, changes in enumerate(others):
        assert _looked(_another(job, f"other-{number}", **changes)) is CacheOutcome.MISSING
    same: list[dict[str, Any]] = [{"methods": (Method.INT16_ACTIVATIONS,)}, {"base_name": "called-otherwise"}]
    for number, changes in enumerate(same):
        assert _looked(_another(job, f"same-{number}", **changes)) is CacheOutcome.HIT
    elsewhere = Output(uri=f"{uri}/out/else/", cache=Cache(uri="s3://no-such-bucket-here/kept"))
    assert _looked(_another(job, "else", output=elsewhere)) is CacheOutcome.UNREADABLE
