"""The report's part on a user's own metrics: what each gave for the original and for each file."""

from __future__ import annotations

from modelconversion_api.fields.metrics import Metric, MetricFigure
from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ConversionReport
from tflite_converter.report.figures import NOTHING, counted, name_of, section, table, verdict


def user_metrics(report: ConversionReport) -> Markup | None:
    """Return a row for each file and a column for each metric; None where there are none."""
    original = report.evaluation.metrics
    if not original:
        return None
    validation = None if report.request is None else report.request.validation
    asked = {metric.name: metric for metric in (validation.metrics if validation is not None else ())}
    heads = [_head(figure.name, asked.get(figure.name)) for figure in original]
    rows: list[list[Child]] = [["The original", *(_value(figure) for figure in original)]]
    for file in report.artifacts:
        found = {figure.name: figure for figure in file.metrics}
        rows.append([name_of(file), *(_cell(found.get(f.name), asked.get(f.name)) for f in original)])
    lead = (
        "What programs of the user's own said of the outputs on"
        f" {counted(report.evaluation.metric_samples, 'sample')}; each ran in its container, without network."
    )
    filled = table(["File", *heads], rows, caption="The user's own metrics")
    return section("metrics", "Own metrics", filled, lead=lead)


def _head(name: str, metric: Metric | None) -> str:
    gates = {"at least": "min", "at most": "max", "at most under the original:": "max_drop"}
    for words, field in gates.items():
        if metric is not None and (bound := getattr(metric, field)) is not None:
            return f"{name} ({words} {bound})"
    return name


def _cell(figure: MetricFigure | None, metric: Metric | None) -> Child:
    if figure is None:
        return NOTHING
    value = _value(figure)
    if metric is None or not metric.has_gate:
        return value
    return joined(verdict(figure.passed, "passed", "failed"), " ", value)


def _value(figure: MetricFigure) -> Child:
    return tag("small", figure.message) if figure.value is None else f"{figure.value:.6g}"
