"""A Job that trains before it converts: its three stages one after another, on a real S3 server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster.services.s3 import ObjectStore as Server
from modelconversion_api.base import fraction
from modelconversion_api.fields.data import Calibration, Validation
from modelconversion_api.fields.optimization import (
    Distillation,
    OptimizationStep,
    Optimize,
    Pruning,
    QuantizationAwareTraining,
    Training,
)
from modelconversion_api.methods import Method
from modelconversion_api.reasons import Stage
from modelconversion_api.reports.conversion import StageResult
from modelconversion_api.spec import Source
from support.cluster.stages import Job, new_job
from support.paths import SCRIPTS
from tflite_converter.job.convert import convert_job
from tflite_converter.job.environment import run_stage

TRAIN = SCRIPTS / "train_gesture_model.py"


@pytest.fixture
def job(object_store: Server, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    return new_job(object_store, bucket, tmp_path, monkeypatch)


def test_fetch_gets_training_data_labels_and_student(job: Job) -> None:
    for name in ("train.npy", "train_labels.npy", "small.keras"):
        job.put(name, name.encode())
    uri = f"s3://{job.bucket}"
    training = Training(uri=f"{uri}/train.npy", labels_uri=f"{uri}/train_labels.npy")
    student = Distillation(student_uri=f"{uri}/small.keras")
    job = job.ask(optimize=Optimize(training=training, distillation=student))
    assert job.run(Stage.FETCH) == StageResult()
    found = {name: job.record().data[name] for name in ("training", "training-labels", "student")}
    assert [f.name for f in found.values()] == ["train.npy", "train_labels.npy", "small.keras"]
    assert (job.input / found["student"].path).read_bytes() == b"small.keras"


@pytest.mark.timeout(900)
def test_a_job_trains_on_data_from_the_bucket_and_says_what_it_gained(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tmp_path / "made"
    made.mkdir()
    subprocess.run([sys.executable, TRAIN, "--epochs", "4"], cwd=made, check=True, capture_output=True)
    for path in [made / "models" / "gesture_classifier.h5", *(made / "datasets").iterdir()]:
        job.put(path.name, path.read_bytes())
    uri = f"s3://{job.bucket}"
    optimize = Optimize(
        training=Training(
            uri=f"{uri}/train_features.npy", labels_uri=f"{uri}/train_labels.npy", batch_size=128
        ),
        pruning=Pruning(target_sparsity=fraction(0.6), epochs=2),
        quantization_aware_training=QuantizationAwareTraining(epochs=1),
    )
    job = job.ask(
        source=Source(uri=f"{uri}/gesture_classifier.h5"),
        base_name="gesture",
        methods=(Method.FULL_INTEGER,),
        calibration=Calibration(uri=f"{uri}/val_features.npy"),
        validation=Validation(uri=f"{uri}/test_features.npy", labels_uri=f"{uri}/test_labels.npy"),
        optimize=optimize,
    )
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert job.run(Stage.FETCH).failure is None
    assert run_stage(Stage.CONVERT, convert_job) == 0
    summary = job.run(Stage.PUBLISH).summary
    assert summary is not None
    found = summary.optimization
    assert found is not None
    assert found.steps == (OptimizationStep.PRUNING, OptimizationStep.QUANTIZATION_AWARE_TRAINING)
    assert found.methods == (Method.FULL_INTEGER,)
    assert found.message == "every published file is the optimised one"
    folder = job.published(tmp_path / "published")
    report = json.loads((folder / "report.json").read_text())
    (comparison,) = report["optimization"]["comparisons"]
    assert comparison["optimized"]["sparsity"] == pytest.approx(0.6, abs=0.05)
    assert comparison["optimized"]["compressedBytes"] < 0.8 * comparison["plain"]["compressedBytes"]
    assert (folder / "gesture_int8.tflite").stat().st_size == comparison["optimized"]["sizeBytes"]
    assert "Plain against optimised" not in (folder / "report.html").read_text()
    assert "plain file against the optimised one" in (folder / "report.html").read_text()
