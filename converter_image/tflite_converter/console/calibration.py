"""What a person sees of calibration data: manifest, classes, ranges, stability, warnings."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelconversion_api.reports.calibration import CalibrationReport, DataInfo, Stability
from tflite_converter.quantizing.calibration_check import CalibrationCheck

_CLASSES_SHOWN = 20


def show_check(console: Console, check: CalibrationCheck) -> None:
    """All that the check found, the warnings last, where they are read."""
    report = check.calibration
    console.print(_manifest(report.data))
    if report.classes:
        console.print(_classes(report))
    if report.inputs:
        console.print(_inputs(report))
    if report.stability is not None:
        console.print(Text(_stability(report.stability)))
    for warning in check.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    if not check.warnings:
        console.print(Text("Nothing looks wrong with this data.", style="bold green"))


def _manifest(data: DataInfo) -> Table:
    table = Table(title="Calibration data", title_justify="left", show_header=False)
    table.add_column("Field", style="bold")
    table.add_column("Value", overflow="fold")
    how = "evenly over the classes" if data.stratified else "at random"
    all_of_them = data.samples == data.available
    table.add_row("Data", Text(f"{data.name} ({data.format})"))
    table.add_row("SHA-256", data.sha256)
    if data.labels_sha256 is not None:
        table.add_row("SHA-256 of labels", data.labels_sha256)
    table.add_row("Samples", f"all {data.samples}" if all_of_them else f"{data.samples} of {data.available}")
    table.add_row("Drawn", f"{how}, seed {data.seed}")
    for what, value in data.preprocessing.items():
        table.add_row(f"{what[:1].upper()}{what[1:]}", Text(value))
    return table


def _classes(report: CalibrationReport) -> Table:
    table = Table(title=f"{len(report.classes)} classes", title_justify="left")
    table.add_column("Class", overflow="fold")
    table.add_column("Available", justify="right")
    table.add_column("Drawn", justify="right")
    for count in report.classes[:_CLASSES_SHOWN]:
        name = str(count.label) if count.name is None else f"{count.label} {count.name}"
        style = "" if count.drawn else "yellow"
        table.add_row(Text(name, style=style), str(count.available), Text(str(count.drawn), style=style))
    if (more := len(report.classes) - _CLASSES_SHOWN) > 0:
        table.add_row(f"and {more} more (--json has all)", "", "")
    return table


def _inputs(report: CalibrationReport) -> Table:
    table = Table(title="Values of the drawn samples", title_justify="left")
    table.add_column("Input", overflow="fold")
    for name in ("Minimum", "Maximum", "Mean", "Deviation", "Constant positions", "Others outside"):
        table.add_column(name, justify="right")
    for coverage in report.inputs:
        figures = (coverage.minimum, coverage.maximum, coverage.mean, coverage.deviation)
        table.add_row(
            Text(coverage.name),
            *(f"{figure:.4g}" for figure in figures),
            str(coverage.constant_features),
            "-" if coverage.outside is None else f"{coverage.outside:.2%}",
        )
    return table


def _stability(stability: Stability) -> str:
    text = (
        f"Of {stability.tensors} activations, {stability.unstable} have ranges that differ by more than"
        f" {stability.threshold:.0%} between two halves of the samples"
    )
    worst = ", ".join(f"{t.tensor} ({t.difference:.0%})" for t in stability.worst)
    return f"{text}: {worst}." if worst else f"{text}."
