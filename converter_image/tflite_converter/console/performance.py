"""Tables of how files run and compare, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from modelconversion_api.fields.verification import left_to_cpu
from modelconversion_api.reports.board import OperatorTime, Taken
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import Performance
from modelconversion_api.text import human_latency, human_size, printable


def performance_table(rows: Sequence[tuple[str, int, Performance]]) -> Table:
    """One row for each file and number of threads: ``(name, size in bytes, figures)``."""
    first = rows[0][2].single
    title = f"{first.runs} runs after {first.warm_up_runs} that warm up"
    table = Table(title=title, title_justify="left")
    table.add_column("File", overflow="fold")
    for name in (
        "Size",
        "Threads",
        "Median",
        "p90",
        "p99",
        "Samples/s",
        "Batch",
        "Samples/s",
        "Load",
        "Memory",
    ):
        table.add_column(name, justify="right")
    for name, size, performance in rows:
        single, batch = performance.single, performance.batch
        table.add_row(
            name,
            human_size(size),
            str(single.threads),
            human_latency(single.median_millis),
            human_latency(single.p90_millis),
            "-" if single.p99_millis is None else human_latency(single.p99_millis),
            _rate(single.throughput_per_second),
            "-" if batch is None else f"{batch.batch_size} in {human_latency(batch.median_millis)}",
            "-" if batch is None else _rate(batch.throughput_per_second),
            human_latency(performance.load_millis),
            "-" if performance.peak_memory_bytes is None else human_size(performance.peak_memory_bytes),
        )
    return table


def accelerator_line(name: str, taken: Taken) -> Text:
    """Say on what a file ran, and how much of it did not."""
    software = ", a software driver on the processor" if taken.is_software else ""
    left = "" if taken.fallback_operators is None else f": {left_to_cpu(taken.fallback_operators)}"
    return Text(printable(f"{name} on {taken.device}{software}{left}"))


def profile_table(name: str, operators: Sequence[OperatorTime]) -> Table:
    """One row for each operator of a file, in the order in which they ran."""
    table = Table(title=f"Operators of {printable(name)}", title_justify="left")
    table.add_column("Operator, or kernel of XNNPACK", overflow="fold")
    for column in ("Run by", "Calls", "Time", "Share"):
        table.add_column(column, justify="right")
    for each in operators:
        words = Text(printable(each.operator))
        table.add_row(words, each.by, str(each.calls), human_latency(each.millis), f"{each.share:.1%}")
    return table


def comparison_table(first: ArtifactReport, second: ArtifactReport) -> Table:
    """Two files side by side, the second measured against the first."""
    table = Table()
    table.add_column("")
    table.add_column(Text(first.file_name), justify="right", overflow="fold")
    table.add_column(Text(second.file_name), justify="right", overflow="fold")
    table.add_column("B against A", justify="right")
    for name, a, b, against in _rows(first, second):
        table.add_row(name, a, b, against)
    return table


def _rows(a: ArtifactReport, b: ArtifactReport) -> list[tuple[str, str, str, str]]:
    rows = [
        ("Size", human_size(a.size_bytes), human_size(b.size_bytes), f"{b.size_bytes / a.size_bytes:.1%}")
    ]
    if a.latency is not None and b.latency is not None:
        mine, its = a.latency.median_millis, b.latency.median_millis
        ratio = f"{its / mine:.2f} x" if mine else "-"
        rows.append(("Latency, median", human_latency(mine), human_latency(its), ratio))
    rows.append(("Agreement", "", "", "-" if b.agreement is None else f"{b.agreement:.2%}"))
    rows.append(("SNR", "", "", "equal" if b.snr_db is None else f"{b.snr_db:.1f} dB"))
    if a.accuracy is not None and b.accuracy is not None:
        change = f"{(b.accuracy - a.accuracy) * 100:+.2f} points"
        rows.append(("Accuracy", f"{a.accuracy:.2%}", f"{b.accuracy:.2%}", change))
    if b.fidelity is not None:
        rows += [
            (_WORDS.get(name, name), "", "", f"{value:.4g}")
            for name, value in b.fidelity
            if value is not None
        ]
    if a.inventory is not None and b.inventory is not None:
        counts = [sum(o.count for o in i.operators) for i in (a.inventory, b.inventory)]
        rows.append(("Operators", str(counts[0]), str(counts[1]), ""))
        kinds = [", ".join(sorted(i.constant_bytes)) for i in (a.inventory, b.inventory)]
        rows.append(("Constants", kinds[0], kinds[1], ""))
    return rows


_WORDS = {
    "top1": "Top-1 agreement",
    "top5": "Top-5 overlap",
    "kl_divergence": "KL divergence (nats)",
    "confidence_drift": "Confidence drift",
    "label_match": "Same yes or no",
    "r2": "Variance kept",
    "cosine": "Cosine similarity",
    "mse": "Mean squared difference",
    "mae": "Mean absolute difference",
}


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
