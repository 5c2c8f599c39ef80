"""The report's section on training: its steps, and plain against optimised files."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.fields.optimization import Comparison, Measured, OptimizationReport, TrainedStep
from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ConversionReport
from modelconversion_api.text import human_latency
from tflite_converter.report.figures import (
    METHOD_NAMES,
    NOTHING,
    counted,
    number,
    percent,
    section,
    size,
    table,
)

_STEP_NAMES = {
    "Distillation": "Distillation",
    "Pruning": "Pruning",
    "QuantizationAwareTraining": "Quantization-aware training",
}


def training(report: ConversionReport) -> Markup | None:
    """Show the steps of training and which of its files were published; None where none was asked for."""
    optimization = report.optimization
    if optimization is None:
        return None
    steps = table(
        ["Step", "Epochs", "Best epoch", "Loss", "Accuracy", "Zeros", "Parameters", "Time"],
        [_step(step) for step in optimization.steps],
        caption="What each step of training did, on training data that was held out",
        numbers=range(1, 8),
    )
    gains = table(
        ["Method", "", "Accuracy", "Agreement", "Size", "Compressed", "Zeros", "Latency"],
        [row for comparison in optimization.comparisons for row in _rows(comparison)],
        caption="Each method's plain file against the optimised one",
        numbers=range(2, 8),
    )
    verdicts = [
        tag("li", tag("strong", METHOD_NAMES[c.method]), ": ", c.message) for c in optimization.comparisons
    ]
    return section(
        "training", "Training", gains, tag("ul", *verdicts, class_="reasons"), steps, lead=_lead(optimization)
    )


def _lead(optimization: OptimizationReport) -> str:
    data = optimization.data
    learned = "their labels" if data.labelled else "what the original gives for them"
    text = f"Trained on {counted(data.samples, 'sample')} of {data.name} and {learned}"
    if data.overlap:
        text += f"; {data.overlap:,} that the files are measured on were left out"
    return f"{text}. An optimised file is published only where it is better than the plain one."


def _step(step: TrainedStep) -> Sequence[Child]:
    name: Child = _STEP_NAMES[step.step.value]
    if step.message:
        name = joined(name, tag("small", step.message))
    return [
        name,
        f"{step.epochs_run:,} of {step.epochs:,}",
        f"{step.best_epoch:,}" if step.best_epoch else NOTHING,
        f"{number(step.loss_before)} to {number(step.loss_after)}",
        f"{percent(step.accuracy_before)} to {percent(step.accuracy_after)}"
        if step.accuracy_after is not None
        else NOTHING,
        percent(step.sparsity),
        f"{step.parameters:,}",
        f"{step.seconds:.1f} s",
    ]


def _rows(comparison: Comparison) -> list[Sequence[Child]]:
    """Return the plain file, and the optimised one below it."""
    name = METHOD_NAMES[comparison.method]
    return [
        [name, joined("plain", None if comparison.published else _published()), *_figures(comparison.plain)],
        [
            name,
            joined("optimised", _published() if comparison.published else None),
            *_figures(comparison.optimized),
        ],
    ]


def _published() -> Markup:
    return tag("span", "published", class_="badge pick")


def _figures(measured: Measured | None) -> list[Child]:
    if measured is None:
        return [NOTHING] * 6
    return [
        percent(measured.accuracy),
        percent(measured.agreement),
        size(measured.size_bytes),
        size(measured.compressed_bytes),
        percent(measured.sparsity),
        NOTHING if measured.latency_millis is None else human_latency(measured.latency_millis),
    ]
