"""What a person sees of compilations: figures of each compiler, and every operator that stays on the CPU."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modelconversion_api.fields.compilation import (
    Compilations,
    CompilerFigures,
    EdgeTPUFigures,
    EthosUFigures,
    MicrocontrollerReport,
    NPUReport,
    OperatorFallback,
)
from modelconversion_api.text import human_size, printable


def show_compilation(console: Console, compilations: Compilations) -> None:
    """Print what each compiler said."""
    if compilations.edge_tpu is not None:
        console.print(
            Text(
                f"Edge TPU: {edge_tpu_words(compilations.edge_tpu)}",
                style=_style(compilations.edge_tpu.passed),
            )
        )
        show_fallbacks(console, "Operators that stay on the CPU", compilations.edge_tpu.fallbacks)
    if (npu := compilations.ethos_u) is not None:
        console.print(Text(f"{npu.accelerator}: {ethos_u_words(npu)}", style=_style(npu.passed)))
        show_fallbacks(console, "Operators that stay on the CPU", npu.fallbacks)
    for chip in compilations.npu:
        console.print(Text(f"{chip.name}: {npu_words(chip)}", style=_style(chip.passed)))
        show_fallbacks(console, "Operators that stay on the CPU", chip.fallbacks)
    if (micro := compilations.microcontroller) is not None:
        console.print(Text(f"TFLite Micro: {microcontroller_words(micro)}", style=_style(micro.passed)))


def edge_tpu_words(figures: EdgeTPUFigures) -> str:
    """One line on the Edge TPU's compilation, or its prediction."""
    if not figures.compiled:
        return _not_compiled(figures)
    parts = [_mapped(figures)]
    if figures.subgraphs is not None and figures.subgraphs > 1:
        parts.append(f"{figures.subgraphs} subgraphs")
    if figures.on_chip_bytes is not None:
        parts.append(f"{human_size(figures.on_chip_bytes)} on the chip")
    if figures.off_chip_bytes:
        parts.append(f"{human_size(figures.off_chip_bytes)} fetched at every inference")
    return _with_message(parts, figures.message)


def ethos_u_words(figures: EthosUFigures) -> str:
    """One line on an Ethos-U's compilation."""
    if not figures.compiled:
        return _not_compiled(figures)
    parts = [_mapped(figures)]
    for size, where in (
        (figures.sram_bytes, "SRAM"),
        (figures.dram_bytes, "DRAM"),
        (figures.flash_bytes, "flash"),
    ):
        if size:
            parts.append(f"{human_size(size)} {where}")
    if figures.inferences_per_second is not None:
        parts.append(f"about {float(figures.inferences_per_second):,.0f} inferences a second")
    return _with_message(parts, figures.message)


def npu_words(report: NPUReport) -> str:
    """One line on the compilation for one chip with an NPU."""
    if not report.compiled:
        return _not_compiled(report)
    parts = [_mapped(report)]
    if (count := report.partitions) is not None:
        parts.append(f"{count} partition{'s' * (count != 1)}")
    parts.append(report.run_words)
    return _with_message(parts, report.message)


def microcontroller_words(report: MicrocontrollerReport) -> str:
    """One line on what a microcontroller needs."""
    kinds = len(report.operators)
    parts = [
        f"{human_size(report.flash_bytes)} flash",
        f"arena of about {human_size(report.arena_bytes)}",
        f"{kinds} kind{'s' * (kinds != 1)} of operators",
    ]
    return _with_message(parts, report.message)


def show_fallbacks(console: Console, title: str, fallbacks: Sequence[OperatorFallback]) -> None:
    """Print a table of operators and reasons; nothing where there are none."""
    if not fallbacks:
        return
    table = Table(title=title, title_justify="left", title_style="bold", min_width=len(title) + 4)
    table.add_column("Operator", overflow="fold")
    table.add_column("Count", justify="right")
    table.add_column("Why, and what to do", overflow="fold")
    for one in fallbacks:
        table.add_row(Text(printable(one.operator)), str(one.count), Text(printable(one.reason)))
    console.print(table)


def _mapped(figures: CompilerFigures) -> str:
    share = figures.mapped_operators / figures.operators if figures.operators else 0.0
    return f"{figures.mapped_operators} of {figures.operators} operators mapped ({share:.0%})"


def _not_compiled(figures: CompilerFigures) -> str:
    if figures.reason is None:
        return f"predicted, not compiled: {_with_message([_mapped(figures)], figures.message)}"
    return f"{figures.reason.value}: {printable(figures.message or '')}"


def _with_message(parts: list[str], message: str | None) -> str:
    return f"{', '.join(parts)}{f'; {printable(message)}' if message else ''}"


def _style(passed: bool) -> str:
    return "green" if passed else "red"
