"""The page's part on a user's own metrics."""

from __future__ import annotations

from pathlib import Path

from modelconversion_api.fields.data import Validation
from modelconversion_api.fields.metrics import Metric, MetricFigure
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import Output, Source
from support.converter.html_reports import report
from support.converter.pages import Page
from tflite_converter.report.page import render

IMAGE = f"registry.acme/metrics@sha256:{'ab' * 32}"


def judged() -> ConversionReport:
    plain = report()
    names = ("business", "cost")
    metrics = [
        Metric(name=name, image=IMAGE, command=["/m"], min="0.9" if name == "business" else None)
        for name in names
    ]
    request = ConversionRequest(
        base_name="gesture",
        source=Source(uri="s3://models/gesture.h5"),
        output=Output(uri="s3://models/out/"),
        methods=[artifact.method for artifact in plain.artifacts if artifact.recipe_name is None],
        validation=Validation(uri="s3://models/val.npy", metrics=metrics),
    )
    figures = (
        MetricFigure(name="business", value=0.873456789, passed=False, message="0.873457 is under 0.9"),
        MetricFigure(name="cost", message="it ended with code 3"),
    )
    original = (MetricFigure(name="business", value=0.95), MetricFigure(name="cost", value=-12.0))
    return plain.changed(
        request=request,
        artifacts=tuple(artifact.changed(metrics=figures) for artifact in plain.artifacts),
        evaluation=plain.evaluation.changed(metrics=original, metric_samples=77),
    )


def test_each_file_has_a_row_and_each_metric_a_column(tmp_path: Path) -> None:
    page = Page(render(judged()))
    assert "metrics" in {section.get("id") for section in page.named("section")}
    for words in (
        "business (at least 0.9)",
        "The original",
        "0.95",
        "-12",
        "failed 0.873457",
        "it ended with code 3",
        "77 samples",
    ):
        assert words in page.text, words


def test_without_metrics_there_is_no_such_part() -> None:
    assert "metrics" not in {section.get("id") for section in Page(render(report())).named("section")}
