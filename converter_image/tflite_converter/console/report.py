"""What a person sees: progress while a conversion runs, then a table, a recommendation and the files."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from modelconversion_api.reports.calibration import DataRole
from modelconversion_api.reports.conversion import (
    ArtifactReport,
    ConversionReport,
    SearchReport,
    compilations_of,
    verdict_of,
)
from modelconversion_api.reports.measurements import AgreementMetric, Attempt
from modelconversion_api.text import human_latency, human_size, printable
from tflite_converter.console.compilers import show_compilation
from tflite_converter.console.training import show_training
from tflite_converter.console.verifications import show_verifications
from tflite_converter.progress import Event

_PLAIN_WIDTH = 140
"""Columns where the output is no terminal: a log line is never cut to 80."""


def open_console(fd: int) -> Console:
    """Return a console on a duplicate of ``fd``, which is heard also while native output is silenced."""
    stream = os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="replace")
    return Console(file=stream, width=None if stream.isatty() else _PLAIN_WIDTH, highlight=False)


class ProgressView:
    """Shows events: a moving line on a terminal, one plain line for each step otherwise."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._last = ""
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            # rich would otherwise take over sys.stdout, which is not where this console writes.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if event.warning:
            self._console.print(Text(f"warning: {event.text}", style="yellow"))
            return
        if self._quiet:
            return
        line = f"{event.stage.value.lower()}: {event.text}"
        if self._console.is_terminal:
            total = None if event.fraction is None else 1.0
            self._bar.update(self._task, description=line, total=total, completed=event.fraction or 0.0)
        elif line != self._last:
            self._console.print(Text(line))
        self._last = line


def show_report(console: Console, report: ConversionReport, files: list[Path]) -> None:
    """Print the table of artifacts, the data they were compared on, which one to use, and where they are."""
    console.print(_table(report))
    for artifact in report.artifacts:
        if artifact.attempts:
            console.print(_attempts(artifact))
    if report.search is not None:
        console.print(_tries(report.search))
    if report.optimization is not None:
        show_training(console, report.optimization)
    for artifact in report.artifacts:
        show_compilation(console, compilations_of(artifact))
        show_verifications(console, artifact)
    for failure in report.failed_methods:
        console.print(Text(f"{failure.cli_name} was not made: {failure.message}", style="red"))
    console.print(Text(_compared_on(report)))
    if report.recommended is None:
        why = "passed its gates" if any(a.usable for a in report.artifacts) else "is usable"
        console.print(Text(f"Recommended: none, because no artifact {why}", style="bold red"))
    else:
        line = f"Recommended: {report.recommended.cli_name} ({report.recommended.reason})"
        console.print(Text(line, style="bold green"))
        for other in report.recommended.alternatives:
            console.print(Text(f"  or {other.cli_name}: {other.trade}"))
    for artifact in report.artifacts:
        if artifact.synthetic:
            what = f"{artifact.file_name} was calibrated on synthetic data"
            console.print(Text(f"{what}: convert again with --data before you use it", style="yellow"))
    for tensor in (*report.source.inputs, *report.source.outputs):
        if tensor.layout is not None:
            console.print(Text(f"The files have {printable(tensor.name)} as {tensor.layout}", style="yellow"))
    console.print(Text("Files:"))
    for file in files:
        console.print(Text(f"  {file}"))


def _table(report: ConversionReport) -> Table:
    title = f"Original: {human_size(report.source.size_bytes)} ({report.source.format.value})"
    table = Table(title=title, title_justify="left")
    table.add_column("Method")
    table.add_column("File", overflow="fold")
    for name in ("Size", "Smaller", "Agreement", "Accuracy", "SNR", "Latency"):
        table.add_column(name, justify="right")
    table.add_column("Result")
    for artifact in report.artifacts:
        table.add_row(*_row(report, artifact))
    return table


def _attempts(artifact: ArtifactReport) -> Table:
    """Return a table of the recipes that were tried because the plain one missed its gates."""
    rows = [(attempt.recipe, attempt) for attempt in artifact.attempts]
    return _tried(f"Recipes tried for {artifact.cli_name}", rows)


def _tries(search: SearchReport) -> Table:
    """Return a table of the methods that were tried beside those asked for."""
    rows = [(f"{trial.method.cli_name}: {trial.recipe}", trial) for trial in search.tries]
    return _tried(f"Tried for {search.objective.value}", rows)


def _tried(title: str, rows: Sequence[tuple[str, Attempt]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("Recipe", overflow="fold")
    for name in ("Size", "Agreement", "Accuracy", "SNR"):
        table.add_column(name, justify="right")
    table.add_column("Result")
    for words, attempt in rows:
        result = Text("passed", style="green") if attempt.passed else Text("failed", style="red")
        if attempt.message:
            result.append(f": {attempt.message}")
        table.add_row(
            Text(words, style="bold" if attempt.chosen else ""),
            "-" if attempt.size_bytes is None else human_size(attempt.size_bytes),
            _percent(attempt.agreement),
            _percent(attempt.accuracy),
            "-" if attempt.snr_db is None else f"{attempt.snr_db:.1f} dB",
            result,
        )
    return table


def _row(report: ConversionReport, artifact: ArtifactReport) -> list[str | Text]:
    word = verdict_of(artifact, gated=report.evaluation.gated)
    result = Text(word, style="green" if artifact.passed else "red")
    if artifact.message:
        result.append(": " + artifact.message.removeprefix(f"{word}: "))
    latency = "-" if artifact.latency is None else human_latency(artifact.latency.median_millis)
    return [
        Text(artifact.cli_name, style="bold" if _is_recommended(report, artifact) else ""),
        artifact.file_name,
        human_size(artifact.size_bytes),
        f"{1.0 - artifact.size_fraction:.1%}",
        _percent(artifact.agreement),
        _percent(artifact.accuracy),
        _ratio(artifact),
        latency,
        result,
    ]


def _ratio(artifact: ArtifactReport) -> str:
    if artifact.snr_db is not None:
        return f"{artifact.snr_db:.1f} dB"
    return "-" if artifact.agreement is None else "equal"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _is_recommended(report: ConversionReport, artifact: ArtifactReport) -> bool:
    return artifact.is_as(report.recommended)


def _compared_on(report: ConversionReport) -> str:
    evaluation = report.evaluation
    data = {
        DataRole.VALIDATION: "validation samples",
        DataRole.HELD_OUT: "samples held out of the data",
        DataRole.CALIBRATION: "samples of the calibration data",
        DataRole.RANDOM: "random inputs",
        DataRole.SYNTHETIC: "made-up samples",
    }[evaluation.data.role]
    how = {
        AgreementMetric.TOP1: "the share of samples where the same class comes first",
        AgreementMetric.LABEL_MATCH: "the share of outputs on the same side of 0.5",
        AgreementMetric.R2: "the share of the variance that is kept",
        AgreementMetric.COSINE: "the mean cosine similarity of the outputs",
        AgreementMetric.DETECTIONS: "the average precision with which the original's sure boxes are found",
        AgreementMetric.MEAN_IOU: "the intersection over union of both's masks",
    }[evaluation.agreement_metric]
    source = "as given" if evaluation.task_is_given else "read from its outputs"
    text = (
        f"Task: {evaluation.task.value}, {source}. Compared with the original on"
        f" {evaluation.data.samples - evaluation.not_finite} {data}; agreement is {how}, of the worst output."
    )
    if evaluation.original is not None:
        metric, value = evaluation.original.metric.value, evaluation.original.accuracy
        text += f" The original's accuracy ({metric}) is {value:.1%}"
        half = evaluation.original.map50
        text += "." if half is None else f", and {half:.1%} at an IoU of 0.5."
    latencies = [a.latency for a in report.artifacts if a.latency is not None]
    if latencies:
        threads = latencies[0].threads
        text += (
            f" Latency is the median of {latencies[0].runs} runs on {threads} thread{'s' * (threads > 1)}."
        )
    return text


def stream_fd(*, json: bool) -> int:
    """Where progress goes: with ``--json`` standard output belongs to the document."""
    sys.stdout.flush()
    return 2 if json else 1
