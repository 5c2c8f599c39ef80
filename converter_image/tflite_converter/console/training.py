"""What training did, as tables for a person."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelconversion_api.fields.optimization import Measured, OptimizationReport
from modelconversion_api.text import human_latency, human_size


def show_training(console: Console, report: OptimizationReport) -> None:
    """Print what each training step did, what each method gained, and which files were published."""
    console.print(_steps(report))
    for step in report.steps:
        if step.message:
            console.print(Text(f"{step.step.value}: {step.message}", style="yellow"))
    console.print(_gains(report))
    for row in report.comparisons:
        line = f"{row.method.cli_name}: {row.message}"
        console.print(Text(line, style="green" if row.published else "yellow"))


def _steps(report: OptimizationReport) -> Table:
    """One row for each kind of training."""
    data = report.data
    learned = "labels" if data.labelled else "the original's outputs"
    title = (
        f"Training on {data.samples} samples of {data.name} ({learned}); the best epoch was chosen on"
        f" {data.held_out} others"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("Step")
    for name in ("Epochs", "Best", "Loss", "Accuracy", "Zeros", "Parameters", "Time"):
        table.add_column(name, justify="right")
    for step in report.steps:
        accuracy = _change(step.accuracy_before, step.accuracy_after, "{:.1%}")
        table.add_row(
            step.step.value,
            f"{step.epochs_run} of {step.epochs}",
            str(step.best_epoch) if step.best_epoch else "none",
            _change(step.loss_before, step.loss_after, "{:.4g}"),
            accuracy,
            f"{step.sparsity:.0%}",
            f"{step.parameters:,}",
            f"{step.seconds:.1f} s",
        )
    return table


def _gains(report: OptimizationReport) -> Table:
    """One row for each method: the plain file against the optimised one."""
    table = Table(title="Plain against optimised", title_justify="left")
    table.add_column("Method")
    for name in ("Accuracy", "Agreement", "Size", "Compressed", "Zeros", "Latency"):
        table.add_column(name, justify="right")
    table.add_column("Published")
    for row in report.comparisons:
        before, after = row.plain, row.optimized
        table.add_row(
            row.method.cli_name,
            _change(*_both(before, after, "accuracy"), "{:.1%}"),
            _change(*_both(before, after, "agreement"), "{:.1%}"),
            _sizes(before, after, compressed=False),
            _sizes(before, after, compressed=True),
            _change(*_both(before, after, "sparsity"), "{:.0%}"),
            _latencies(before, after),
            "optimised" if row.published else "plain",
        )
    return table


def _both(before: Measured | None, after: Measured | None, name: str) -> tuple[float | None, float | None]:
    first, second = (None if measured is None else getattr(measured, name) for measured in (before, after))
    return first, second


def _change(before: float | None, after: float | None, form: str) -> str:
    texts = ["-" if value is None else form.format(value) for value in (before, after)]
    return " to ".join(texts) if texts != ["-", "-"] else "-"


def _sizes(before: Measured | None, after: Measured | None, *, compressed: bool) -> str:
    sizes = [
        "-" if m is None else human_size(m.compressed_bytes if compressed else m.size_bytes)
        for m in (before, after)
    ]
    return " to ".join(sizes)


def _latencies(before: Measured | None, after: Measured | None) -> str:
    latencies = [m.latency_millis if m is not None else None for m in (before, after)]
    return " to ".join("-" if value is None else human_latency(value) for value in latencies)
