"""The report's section on compilers: where the full-integer file runs, and why not all of it does."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.compilation import (
    Compilations,
    CompiledFile,
    CompilerFigures,
    EdgeTPUReport,
    EthosUReport,
    MicrocontrollerReport,
    OperatorFallback,
)
from modelconversion_api.report import ConversionReport, compilations_of
from tflite_converter.report.figures import NOTHING, code, counted, section, size, table, verdict
from tflite_converter.report.markup import Child, Markup, joined, tag


def compilers(report: ConversionReport) -> Markup | None:
    """Show the results of each compiler; None where none was asked for."""
    compilations = next((c for c in map(compilations_of, report.artifacts) if any(dict(c).values())), None)
    if compilations is None:
        return None
    rows = list(_rows(compilations))
    columns = ["For", "Operators mapped", "Memory", "File", "Result"]
    filled = table(columns, rows, caption="What was compiled of the full-integer file")
    reasons = [
        (name, figures.fallbacks)
        for name, figures in (("Edge TPU", compilations.edge_tpu), ("Ethos-U", compilations.ethos_u))
        if figures is not None and figures.fallbacks
    ]
    fallbacks = [_fallbacks(name, listed) for name, listed in reasons]
    lead = "Memory and speed are what the compiler or the planner computes; nothing was run on these devices."
    return section("compilers", "Compiled", filled, *fallbacks, lead=lead)


def _rows(compilations: Compilations) -> list[Sequence[Child]]:
    rows: list[Sequence[Child]] = []
    if compilations.edge_tpu is not None:
        rows.append(_row("Edge TPU", compilations.edge_tpu, _edge_tpu_memory(compilations.edge_tpu)))
    if compilations.ethos_u is not None:
        rows.append(
            _row(
                compilations.ethos_u.accelerator, compilations.ethos_u, _ethos_u_memory(compilations.ethos_u)
            )
        )
    if compilations.microcontroller is not None:
        rows.append(_microcontroller(compilations.microcontroller))
    return rows


def _row(name: str, figures: EdgeTPUReport | EthosUReport, memory: str) -> Sequence[Child]:
    return [
        joined(name, tag("small", figures.compiler) if figures.compiler else None),
        _mapped(figures),
        memory or NOTHING,
        _files(figures.files),
        _result(figures.passed, figures.message, compiled=figures.compiled or figures.reason is not None),
    ]


def _microcontroller(report: MicrocontrollerReport) -> Sequence[Child]:
    memory = f"{size(report.flash_bytes)} flash, arena of about {size(report.arena_bytes)}"
    operators = ", ".join(report.operators)
    return [
        "TFLite Micro",
        joined(counted(len(report.operators), "kind"), tag("small", operators)),
        memory,
        _files(report.files),
        _result(report.passed, report.message, compiled=True),
    ]


def _mapped(figures: CompilerFigures) -> str:
    if not figures.operators:
        return NOTHING
    return f"{figures.mapped_operators:,} of {figures.operators:,}"


def _edge_tpu_memory(report: EdgeTPUReport) -> str:
    parts = []
    if report.on_chip_bytes is not None:
        parts.append(f"{size(report.on_chip_bytes)} on the chip")
    if report.off_chip_bytes is not None:
        parts.append(f"{size(report.off_chip_bytes)} fetched at every inference")
    return ", ".join(parts)


def _ethos_u_memory(report: EthosUReport) -> str:
    named = ((report.sram_bytes, "SRAM"), (report.dram_bytes, "DRAM"), (report.flash_bytes, "flash"))
    parts = [f"{size(taken)} {where}" for taken, where in named if taken]
    if report.inferences_per_second is not None:
        parts.append(f"about {float(report.inferences_per_second):,.0f} inferences a second")
    return ", ".join(parts)


def _files(files: Sequence[CompiledFile]) -> Child:
    names = [code(file.file_name) for file in files]
    return joined(*names) if names else NOTHING


def _result(passed: bool, message: str | None, *, compiled: bool) -> Markup:
    words = verdict(passed) if compiled else verdict(passed, "predicted", "failed")
    return joined(words, tag("small", message) if message else None)


def _fallbacks(name: str, fallbacks: Sequence[OperatorFallback]) -> Markup:
    rows: list[Sequence[Child]] = [[code(f.operator), f"{f.count:,}", f.reason] for f in fallbacks]
    caption = f"Operators that stay on the CPU beside the {name}"
    return table(["Operator", "Count", "Why, and what to do"], rows, caption=caption, numbers=(1,))
