"""The command lines as the guide writes them, run as processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_inference import TFLiteInference, read_baseline
from gesture_sample.model import build_model, make_samples
from modelconversion_api.methods import DEFAULT_METHODS, Method
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.text import human_size
from support.converter.converting import SCRIPTS, Script
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.metadata import read_record

SLOW_IMPORTS = ("tensorflow", "keras", "tf_keras", "numpy", "boto3", "litert_quantizer", "ai_edge_litert")


@pytest.mark.parametrize(
    "name", ["convert_to_tflite.py", "train_gesture_model.py", "examples_tflite_inference.py"]
)
def test_help_is_quick_because_it_imports_nothing_heavy(name: str, tmp_path: Path) -> None:
    code = (
        f"import sys, runpy; sys.argv = [{name!r}, '--help']; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPTS / name)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"heavy = [m for m in {SLOW_IMPORTS[:3]!r} if m in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    assert "Usage" in found.stdout


def test_jobs_that_only_move_files_do_not_import_tensorflow() -> None:
    code = (
        "import sys, tflite_converter.job.fetch, tflite_converter.job.publish, tflite_converter.job.convert\n"
    )
    code += f"assert not [m for m in {SLOW_IMPORTS[:3]!r} if m in sys.modules]"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_training_writes_model_and_data(gesture: Path) -> None:
    assert "14,597 parameters" in (gesture / "trained.txt").read_text()
    assert {p.name for p in (gesture / "models").iterdir()} == {
        "gesture_classifier.h5",
        "gesture_classifier.keras",
        "gesture_classifier_savedmodel",
    }
    sizes = {}
    for name in ("train", "val", "test"):
        features = np.load(gesture / "datasets" / f"{name}_features.npy")
        labels = np.load(gesture / "datasets" / f"{name}_labels.npy")
        assert features.dtype == np.float32
        assert features.shape == (len(labels), 46)
        assert sorted(set(labels.tolist())) == [0, 1, 2, 3, 4]
        sizes[name] = {row.tobytes() for row in features}
    assert not sizes["val"] & sizes["test"]
    assert not sizes["train"] & (sizes["val"] | sizes["test"])


def test_samples_repeat_with_their_seed() -> None:
    first, second, other = make_samples(50, 1), make_samples(50, 1), make_samples(50, 2)
    np.testing.assert_array_equal(first.features, second.features)
    assert not np.array_equal(first.features, other.features)
    assert build_model.__doc__


def test_conversion_shows_progress_table_and_recommendation(gesture: Path) -> None:
    shown = (gesture / "converted.txt").read_text()
    for text in (
        "load: loading the model",
        "calibrate: calibrating",
        "Recommended: ",
        "Agreement",
        "Latency",
    ):
        assert text in shown
    for method in DEFAULT_METHODS:
        assert f"converted_models/{method.file_name('gesture_classifier')}" in shown


def test_report_of_the_gesture_model(gesture: Path) -> None:
    text = (gesture / "converted_models" / "gesture_classifier_report.json").read_text()
    report = ConversionReport.model_validate_json(text)
    assert report.evaluation.original_accuracy is not None
    assert 0.90 <= report.evaluation.original_accuracy <= 0.97
    assert report.calibration is not None
    assert report.calibration.data.stratified
    for artifact in report.artifacts:
        assert (artifact.agreement or 0) >= 0.98
        assert (artifact.accuracy or 0) >= report.evaluation.original_accuracy - 0.02
        baseline = read_baseline(
            gesture / "converted_models" / "gesture_classifier_report.json",
            gesture / "converted_models" / artifact.file_name,
        )
        assert baseline.confidence is not None
        assert sum(baseline.confidence.counts) == baseline.samples == 1000
        assert 0.8 < baseline.confidence.mean < 1
    assert {a.method: a.size_fraction < 0.35 for a in report.artifacts} == {
        Method.FLOAT32: False,
        Method.DYNAMIC_RANGE: True,
        Method.FLOAT16: False,
        Method.FULL_INTEGER: True,
    }


def test_second_run_gives_the_same_bytes_and_json_is_one_document(gesture: Path) -> None:
    found = Script(gesture)(
        "convert_to_tflite.py",
        *(
            "--model",
            "models/gesture_classifier.h5",
            "--method",
            "full_integer",
            "--output",
            "again",
            "--json",
        ),
        *("--data", "datasets/val_features.npy", "--labels", "datasets/val_labels.npy"),
        # As the fixture does: without them a part of --data is held out, and others calibrate.
        *("--validation-data", "datasets/test_features.npy"),
        AWS_SECRET_ACCESS_KEY="x",
    )
    assert found.returncode == 0, found.stderr
    report = json.loads(found.stdout)
    assert [a["method"] for a in report["artifacts"]] == ["FullInteger"]
    assert report["evaluation"]["data"]["role"] == "Validation"
    assert report["evaluation"]["data"]["samples"] == 1000
    name = "gesture_classifier_int8.tflite"
    assert (gesture / "again" / name).read_bytes() == (gesture / "converted_models" / name).read_bytes()


def test_the_shortest_command_line_makes_every_method(gesture: Path, tmp_path: Path) -> None:
    found = Script(gesture)(
        "convert_to_tflite.py",
        *("--model", "models/gesture_classifier.h5", "--output", str(tmp_path / "short")),
    )
    assert found.returncode == 0, found.stderr
    text = (tmp_path / "short" / "gesture_classifier_report.json").read_text()
    report = ConversionReport.model_validate_json(text)
    assert [a.method for a in report.artifacts] == list(DEFAULT_METHODS)
    assert {a.synthetic for a in report.artifacts if a.method is not Method.FULL_INTEGER} == {False}
    assert all(a.baseline is None for a in report.artifacts)  # they were measured on random numbers
    # At a glance: the original's size, each file's, and how much smaller it is.
    original = (gesture / "models" / "gesture_classifier.h5").stat().st_size
    assert f"Original: {human_size(original)}" in found.stdout
    for artifact in report.artifacts:
        (line,) = [line for line in found.stdout.splitlines() if f"│ {artifact.method.cli_name} " in line]
        size = (tmp_path / "short" / artifact.file_name).stat().st_size
        assert human_size(size) in line
        assert f"{1 - size / original:.1%}" in line


def test_full_integer_without_data_is_made_and_marked(gesture: Path, tmp_path: Path) -> None:
    words = ["--model", "models/gesture_classifier.keras", "--method", "full_integer"]
    found = Script(gesture)("convert_to_tflite.py", *words, "--output", str(tmp_path / "out"))
    assert found.returncode == 0, found.stderr
    path = tmp_path / "out" / "gesture_classifier_int8.tflite"
    assert f"{path.name} was calibrated on synthetic data" in found.stdout
    assert "usable: calibrated on" in found.stdout
    record = read_record(read_file(path.read_bytes(), path.name))
    assert record is not None
    assert record["calibration"]["role"] == "Synthetic"
    assert "calibrated on synthetic data" in record["recipe"]
    report = ConversionReport.model_validate_json(
        (tmp_path / "out" / "gesture_classifier_report.json").read_text()
    )
    assert [a.synthetic for a in report.artifacts] == [True]
    assert report.calibration is not None
    # The sample model begins with a normalization, which says how its features lie.
    assert set(report.calibration.data.preprocessing) == {"features"}
    assert report.recommended is not None
    assert "synthetic" in report.recommended.reason
    assert "synthetic data" in (tmp_path / "out" / "gesture_classifier_report.html").read_text()
    refused = Script(gesture)(
        "convert_to_tflite.py", *words, "--require-data", "--output", str(tmp_path / "no")
    )
    assert refused.returncode == 30
    assert "--data" in refused.stderr
    assert not (tmp_path / "no").exists()


def test_what_was_calibrated_on_data_is_recommended_first(gesture: Path, tmp_path: Path) -> None:
    found = Script(gesture)(
        "convert_to_tflite.py",
        *("--model", "models/gesture_classifier.keras", "--target", "RaspberryPi", "--json"),
        *("--output", str(tmp_path / "out")),
    )
    report = ConversionReport.model_validate_json(found.stdout)
    assert {a.method for a in report.artifacts} == {Method.FULL_INTEGER, Method.DYNAMIC_RANGE}
    assert report.recommended is not None
    assert report.recommended.method is Method.DYNAMIC_RANGE


_CONVERT = "convert_to_tflite.py --model models/gesture_classifier.h5"
REFERENCE = (
    "train_gesture_model.py",
    _CONVERT,
    *(f"{_CONVERT} --method {name}" for name in ("dynamic_range", "float16", "float32", "full_integer")),
    f"{_CONVERT} --method full_integer --data datasets/val_features.npy",
    f"{_CONVERT} --method all --data datasets/val_features.npy --output converted_models",
    "examples_tflite_inference.py",
)
"""The command lines of the pages that people come from, in their order."""


@pytest.mark.slow
@pytest.mark.timeout(1200)  # ten programs one after another, each of which imports TensorFlow
def test_the_reference_s_command_lines_run_as_written_in_an_empty_folder(tmp_path: Path) -> None:
    run = Script(tmp_path)
    for line in REFERENCE:
        name, *arguments = line.split()
        found = run(name, *arguments)
        assert found.returncode == 0, (line, found.stderr)
    names = {path.name for path in (tmp_path / "converted_models").iterdir()}
    assert {m.file_name("gesture_classifier") for m in DEFAULT_METHODS} < names


def test_a_missed_gate_is_told(gesture: Path) -> None:
    found = Script(gesture)(
        "convert_to_tflite.py",
        *("--model", "models/gesture_classifier.keras", "--method", "all", "--output", "gated"),
        *(
            "--validation-data",
            "datasets/test_features.npy",
            "--min-agreement",
            "1.0",
            "--max-accuracy-drop",
            "0",
        ),
        *("--validation-labels", "datasets/train_labels.npy"),
    )
    assert found.returncode == 35, found.stderr  # 6,000 labels for 1,000 samples
    found = Script(gesture)(
        "convert_to_tflite.py",
        *("--model", "models/gesture_classifier.keras", "--method", "dynamic_range", "--output", "gated"),
        *(
            "--validation-data",
            "datasets/train_features.npy",
            "--evaluation-samples",
            "6000",
            "--min-agreement",
            "1",
        ),
    )
    assert found.returncode == 41, found.stderr
    assert "no artifact passed its gates (dynamic_range: agreement 0.99" in found.stderr
    assert "Recommended: none" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--model", "nope.h5"], 11, "File not found: nope.h5. Hint: train the model first"),
        (["--model", "models/gesture_classifier.h5", "--require-data"], 30, "--data"),
        (["--model", "models/gesture_classifier.h5", "--data", "no.npy", "--method", "all"], 11, "no.npy"),
        (["--model", "models/gesture_classifier.h5", "--method", "int3"], 2, "int3"),
        (["--model", "models/gesture_classifier.h5", "--method", "all", "--target", "Mobile"], 2, "exclude"),
        (["--model", "models/gesture_classifier.h5", "--labels", "x.npy"], 2, "--data"),
        (["--model", "models/gesture_classifier.h5", "--max-accuracy-drop", "0.1"], 2, "needs labels"),
        (["--model", "models/gesture_classifier.h5", "--sha256", "0" * 64], 14, "digest"),
        (["--model", "datasets"], 20, "a folder that holds a NumPy array, not a model"),
        ([], 2, "--model"),
    ],
)
def test_mistakes_are_told_in_one_line(gesture: Path, arguments: list[str], code: int, says: str) -> None:
    found = Script(gesture)("convert_to_tflite.py", *arguments, "--output", "never")
    assert found.returncode == code, found.stderr
    assert says in found.stderr
    assert "Traceback" not in found.stderr
    assert not (gesture / "never").exists()


def test_inference_class_on_every_artifact(gesture: Path) -> None:
    features = np.load(gesture / "datasets" / "test_features.npy")
    labels = np.load(gesture / "datasets" / "test_labels.npy")
    for method in DEFAULT_METHODS:
        model = TFLiteInference(gesture / "converted_models" / method.file_name("gesture_classifier"))
        batch = model.predict_batch(features)
        assert np.mean([found == label for (found, _), label in zip(batch, labels, strict=True)]) > 0.88
        for i in range(20):
            found, confidence = model.predict_single(features[i])
            assert isinstance(found, int)
            assert isinstance(confidence, float)
            assert 0.0 <= confidence <= 1.0
            assert (found, pytest.approx(confidence, abs=0.02)) == batch[i]
        with pytest.raises(ValueError, match=r"shape \(46,\), got \(45,\)"):
            model.predict_single(features[0, :45])
        assert model.predict_batch(features[:0]) == []


def test_inference_class_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nope"):
        TFLiteInference(tmp_path / "nope.tflite")


def test_inference_examples(gesture: Path, tmp_path: Path) -> None:
    found = Script(gesture)("examples_tflite_inference.py")
    assert found.returncode == 0, found.stderr
    for text in ("one sample: ", "a batch of 100: ", "gesture_classifier_int8.tflite", "Median"):
        assert text in found.stdout
    missing = Script(tmp_path)("examples_tflite_inference.py")
    assert missing.returncode == 11
    assert "python train_gesture_model.py" in missing.stderr
    imported = "from examples_tflite_inference import TFLiteInference"
    subprocess.run([sys.executable, "-c", imported], cwd=SCRIPTS, check=True)
