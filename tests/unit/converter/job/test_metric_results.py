"""What a user's metric leaves is believed as far as it is a number, and held against its gate."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.metrics import Metric, MetricFigure
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.calibration import DataInfo, DataRole
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    ConversionSummary,
    Evaluation,
    StageResult,
    reason_of_none_passed,
    verdict_of,
)
from modelconversion_api.reports.measurements import AgreementMetric
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import SourceInfo
from tflite_converter.job.metrics.results import read_result, with_metrics

STEM = "gesture_int8"


def metric(name: str = "business", **gate: str) -> Metric:
    image = f"registry.acme/metrics@sha256:{'ab' * 32}"
    return Metric(name=name, image=image, command=["/business"], **gate)


def leave(folder: Path, content: bytes | None, note: str = "exited 0\n", stem: str = STEM) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{stem}.exit").write_text(note)
    if content is not None:
        (folder / f"{stem}.json").write_bytes(content)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"metric": 0.87}', 0.87),
        (b'{"metric": -12}', -12.0),
        (b'{"metric": 1e300}', 1e300),
        (b'  {"more": [1, {"a": null}], "metric": 0}\n', 0.0),
        (b'{"metric": 1, "metric": 2}', 2.0),
    ],
)
def test_a_number_is_read(tmp_path, content, value):
    leave(tmp_path, content)
    assert read_result(tmp_path, STEM) == value


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "it left no result"),
        (b"", "is no JSON"),
        (b"0.87\xff", "is no JSON"),
        (b'{"metric": 0.87', "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"0.87", "NUMBER"),
        (b"[0.87]", "NUMBER"),
        (b"{}", "NUMBER"),
        (b'{"Metric": 0.87}', "NUMBER"),
        (b'{"metric": "0.87"}', "NUMBER"),
        (b'{"metric": true}', "NUMBER"),
        (b'{"metric": null}', "NUMBER"),
        (b'{"metric": [0.87]}', "NUMBER"),
        (b'{"metric": NaN}', "NaN, or infinite"),
        (b'{"metric": Infinity}', "NaN, or infinite"),
        (b'{"metric": 1e999}', "NaN, or infinite"),
        (b'{"metric": 1' + b"0" * 400 + b"}", "NaN, or infinite"),
        (b'{"metric": 1}' + b" " * (1 << 20), "larger than 1 MiB"),
    ],
    ids=repr,
)
def test_what_is_no_number_is_told(tmp_path, content, words):
    leave(tmp_path, content)
    found = read_result(tmp_path, STEM)
    assert isinstance(found, str)
    assert words in found


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("exited 3\n", "it ended with code 3"),
        ("signal 9\n", "it was killed (signal 9), most often for want of memory"),
        ("signal 11\n", "it was ended by signal 11"),
        ("timeout 300\n", "it took longer than 300 s"),
        ("noexec 2\n", "its program could not be started: No such file or directory"),
        ("noexec 8\n", "its program could not be started: Exec format error"),
        ("exited 0", "is not what was written there"),
        ("exited 0\nexited 0\n", "is not what was written there"),
        ("\x1b[2J", "is not what was written there"),
        ("x" * 2000, "larger than"),
    ],
)
def test_how_a_run_ended_counts_before_what_it_left(tmp_path, note, words):
    leave(tmp_path, b'{"metric": 1}', note)
    assert words in read_result(tmp_path, STEM)


def test_links_pipes_and_folders_are_no_results(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('{"metric": 1}')
    for number, make in enumerate((lambda p: p.symlink_to(secret), os.mkfifo, Path.mkdir)):
        folder = tmp_path / str(number)
        leave(folder, None)
        make(folder / f"{STEM}.json")
        assert "regular file" in read_result(folder, STEM)
        leave(other := tmp_path / f"note{number}", b'{"metric": 1}')
        (other / f"{STEM}.exit").unlink()
        make(other / f"{STEM}.exit")
        assert isinstance(read_result(other, STEM), str)


def artifact(method: Method, **changes: object) -> ArtifactReport:
    return ArtifactReport(
        method=method,
        file_name=method.file_name("gesture"),
        size_bytes=100,
        size_fraction=0.1,
        sha256="c" * 64,
        agreement=1.0,
        passed=True,
    ).changed(**changes)


def report(*artifacts: ArtifactReport, **changes: object) -> ConversionReport:
    data = DataInfo(role=DataRole.VALIDATION, name="val.npy", sha256="d" * 64, samples=9, seed=0)
    evaluation = Evaluation(
        data=data, task=Task.CLASSIFICATION, agreement_metric=AgreementMetric.TOP1
    ).changed(**changes)
    source = SourceInfo(sha256="a" * 64, size_bytes=1000, format=SourceFormat.KERAS_H5)
    return ConversionReport(source=source, artifacts=artifacts, evaluation=evaluation)


def judged(folder: Path, own: Metric, original: bytes | None, value: bytes | None) -> ConversionReport:
    leave(folder / own.name, original, stem="original")
    leave(folder / own.name, value)
    return with_metrics(report(artifact(Method.FULL_INTEGER)), [own], folder)


@pytest.mark.parametrize(
    ("gate", "original", "value", "missed"),
    [
        ({}, "0.9", "-5", None),
        ({"min": "0.8"}, "0.9", "0.8", None),
        ({"min": "0.8"}, "0.9", "0.7999", "0.7999 is under 0.8"),
        ({"min": "-3"}, "0", "-3.5", "-3.5 is under -3"),
        ({"max": "0.1"}, "0", "0.1", None),
        ({"max": "0.1"}, "0", "0.11", "0.11 is over 0.1"),
        ({"maxDrop": "0.02"}, "0.95", "0.93", None),  # in binary the difference is a little more
        ({"maxDrop": "0.02"}, "0.95", "0.92", "0.92 is 0.03 under the original's 0.95, more than 0.02"),
        ({"maxDrop": "0.02"}, "0.95", "0.99", None),
        ({"maxDrop": "-0.01"}, "0.5", "0.5", "0.5 is 0 under the original's 0.5, more than -0.01"),
        (
            {"maxDrop": "1000"},
            "123456789",
            "123455000",
            "1789 under the original's 1.23457e+08, more than 1000",
        ),
    ],
)
def test_gates(tmp_path, gate, original, value, missed):
    own = metric(**gate)
    found = judged(tmp_path, own, *(f'{{"metric": {text}}}'.encode() for text in (original, value)))
    (file,) = found.artifacts
    (figure,) = file.metrics
    assert figure.value == float(value)
    assert found.evaluation.metrics[0].value == float(original)
    assert (figure.passed, file.passed) == (missed is None, missed is None)
    assert found.evaluation.gated is bool(gate)
    if missed is not None:
        assert figure.message.endswith(missed)
        assert file.message == f"metric business: {figure.message}"
        assert verdict_of(file, gated=True) == "failed"
        assert reason_of_none_passed(found.artifacts) is FailureReason.GATES_NOT_MET


@pytest.mark.parametrize("gate", [{"min": "0"}, {"max": "9"}, {"maxDrop": "9"}])
def test_a_gate_without_a_number_is_missed(tmp_path, gate):
    found = judged(tmp_path, metric(**gate), b'{"metric": 1}', None)
    (file,) = found.artifacts
    assert not file.passed
    assert file.message == "metric business: it left no result at METRIC_RESULT"
    assert reason_of_none_passed(found.artifacts) is FailureReason.METRIC_FAILED
    assert found.warnings == (
        "metric business gave no number for gesture_int8.tflite: it left no result at METRIC_RESULT",
    )


def test_a_drop_from_an_original_without_a_number_is_missed(tmp_path):
    found = judged(tmp_path, metric(maxDrop="9"), b"", b'{"metric": 1}')
    assert not found.artifacts[0].passed
    assert "of the original, its result is no JSON" in found.artifacts[0].message


def test_without_a_gate_a_metric_that_breaks_is_a_warning(tmp_path):
    found = judged(tmp_path, metric(), None, None)
    (file,) = found.artifacts
    assert file.passed
    assert file.message is None
    files = "the original, gesture_int8.tflite"
    assert found.warnings == (
        f"metric business gave no number for {files}: it left no result at METRIC_RESULT",
    )


def test_a_file_that_was_not_run_has_nothing_to_judge(tmp_path):
    found = with_metrics(report(artifact(Method.FULL_INTEGER)), [metric(min="0")], tmp_path)
    assert "it was not run" in found.artifacts[0].message


def test_what_went_wrong_before_is_still_told(tmp_path):
    leave(tmp_path / "business", b'{"metric": 0}', stem="original")
    leave(tmp_path / "business", b'{"metric": 0}')
    failed = artifact(Method.FULL_INTEGER, passed=False, message="agreement 0.5 is under 0.9")
    found = with_metrics(report(failed), [metric(min="1")], tmp_path)
    assert found.artifacts[0].message == "metric business: 0 is under 1; agreement 0.5 is under 0.9"


def test_figures_that_the_model_s_container_made_up_are_gone(tmp_path):
    lie = MetricFigure(name="business", value=1.0)
    file = artifact(Method.FULL_INTEGER, metrics=(lie,))
    found = with_metrics(report(file, metrics=(lie,)), [], tmp_path)
    assert found.artifacts[0].metrics == ()
    assert found.evaluation.metrics == ()


def test_figures_of_many_files_fit_into_a_termination_message():
    figures = tuple(
        MetricFigure(name=f"{'m' * 30}{n}", value=0.123456789, passed=False, message="x" * 500)
        for n in range(4)
    )
    files = tuple(artifact(method, passed=False, message="y" * 500, metrics=figures) for method in Method)
    source = SourceInfo(sha256="a" * 64, size_bytes=1000, format=SourceFormat.KERAS_H5)
    summary = ConversionSummary(source=source, artifacts=tuple(map(_short, files)))
    for metrics in range(5):
        text = StageResult(summary=summary).encode(metrics)
        # The kubelet divides 12 KiB between the containers: ours, the metrics', and three that are injected.
        assert len(text.encode()) <= min(2048, 12288 // (3 + metrics + 3))
        assert StageResult.decode(text).summary.artifacts[0].method in Method


def _short(file: ArtifactReport):
    from tflite_converter.job.publish import _summary

    return _summary(file)


def test_a_report_with_metrics_is_json_that_can_be_read_again(tmp_path):
    found = judged(tmp_path, metric(min="2"), b'{"metric": 1}', b'{"metric": 1}')
    assert ConversionReport.model_validate_json(found.to_json()) == found
    assert json.loads(found.to_json())["artifacts"][0]["metrics"] == [
        {"name": "business", "value": 1.0, "passed": False, "message": "1 is under 2"}
    ]
