"""What a user's own metric says of a file, held against its gate: pure functions of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modelconversion_api.fields.metrics import Metric, MetricFigure
from modelconversion_api.reports.conversion import ArtifactReport
from tflite_converter.measuring.gates import ROUNDING


def figure_of(metric: Metric, found: float | str, original: MetricFigure | None) -> MetricFigure:
    """Return the figure for a number, or for the words on why there is none.

    ``original`` is what the metric gave for the original; None for the original itself, which has no gate.
    """
    if isinstance(found, str):
        return MetricFigure(name=metric.name, passed=original is None or not metric.has_gate, message=found)
    missed = None if original is None else _missed(metric, found, original)
    return MetricFigure(name=metric.name, value=found, passed=missed is None, message=missed)


def _missed(metric: Metric, value: float, original: MetricFigure) -> str | None:
    """Say how a gate was missed; None where it was met, or there is none."""
    if metric.min is not None and not value >= float(metric.min) - _room(value):
        return f"{value:.6g} is under {metric.min}"
    if metric.max is not None and not value <= float(metric.max) + _room(value):
        return f"{value:.6g} is over {metric.max}"
    if metric.max_drop is None:
        return None
    if original.value is None:
        return f"{value:.6g} has nothing to be compared with: of the original, {original.message}"
    drop = original.value - value
    if not drop <= float(metric.max_drop) + _room(original.value):
        than = f"the original's {original.value:.6g}"
        return f"{value:.6g} is {drop:.6g} under {than}, more than {metric.max_drop}"
    return None


def _room(value: float) -> float:
    return ROUNDING * max(1.0, abs(value))


def with_figures(artifact: ArtifactReport, figures: Sequence[MetricFigure]) -> ArtifactReport:
    """Return an artifact with what the metrics gave: it fails with each gate that it misses."""
    missed = [f"metric {figure.name}: {figure.message}" for figure in figures if not figure.passed]
    if not missed:
        return artifact.changed(metrics=tuple(figures))
    words = [*missed, artifact.message] if artifact.message and not artifact.passed else missed
    return artifact.changed(metrics=tuple(figures), passed=False, message="; ".join(words))


def warnings_of(metrics: Sequence[Metric], found: Mapping[str, Sequence[MetricFigure]]) -> list[str]:
    """Say which metrics gave no number for which files, a sentence for each cause.

    ``found`` has the figures by the file's name, those of the original as well.
    """
    files: dict[tuple[str, str], list[str]] = {}
    for file, figures in found.items():
        for figure in figures:
            if figure.value is None:
                files.setdefault((figure.name, figure.message or ""), []).append(file)
    order = {metric.name: place for place, metric in enumerate(metrics)}
    return [
        f"metric {name} gave no number for {', '.join(names)}: {why}"
        for (name, why), names in sorted(files.items(), key=lambda item: order.get(item[0][0], 0))
    ]
