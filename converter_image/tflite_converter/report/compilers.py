"""The report's section on compilers: where files run on accelerators, and why not all of them does."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.fields.compilation import (
    Compilations,
    CompiledFile,
    CompilerFigures,
    EdgeTPUReport,
    EthosUReport,
    MicrocontrollerReport,
    NPUReport,
    OperatorFallback,
)
from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ConversionReport, compilations_of
from tflite_converter.report.figures import NOTHING, code, counted, section, size, table, verdict


def compilers(report: ConversionReport) -> Markup | None:
    """Show the results of each compiler; None where none was asked for."""
    all_of = [(a.file_name, compilations_of(a)) for a in report.artifacts]
    asked = [(name, compilations) for name, compilations in all_of if any(dict(compilations).values())]
    if not asked:
        return None
    rows = [row for name, compilations in asked for row in _rows(name, compilations)]
    columns = ["For", "Operators mapped", "Memory", "File", "Result"]
    filled = table(columns, rows, caption="What was compiled")
    fallbacks = [
        _fallbacks(name, figures.fallbacks, of=file if len(asked) > 1 else None)
        for file, compilations in asked
        for name, figures in compilations.accelerators
        if figures.fallbacks
    ]
    lead = (
        "Memory and speed are what the compiler or the planner computes; on these devices nothing was run."
        " Where a row says that a file was run, that was on the converter's own processor."
    )
    return section("compilers", "Compiled", filled, *fallbacks, lead=lead)


def _rows(file: str, compilations: Compilations) -> list[Sequence[Child]]:
    rows: list[Sequence[Child]] = []
    if compilations.edge_tpu is not None:
        rows.append(_row("Edge TPU", compilations.edge_tpu, _edge_tpu_memory(compilations.edge_tpu)))
    if (npu := compilations.ethos_u) is not None:
        rows.append(_row(npu.accelerator, npu, _ethos_u_memory(npu)))
    rows += [_chip(file, chip) for chip in compilations.npu]
    if compilations.microcontroller is not None:
        rows.append(_microcontroller(compilations.microcontroller))
    return rows


def _chip(file: str, report: NPUReport) -> Sequence[Child]:
    """Build the row of one chip with an NPU: whose file, and into how many parts it was cut."""
    name, mapped, _, files, result = _row(report.name, report, "")
    parts = None if report.partitions is None else tag("small", f"in {counted(report.partitions, 'part')}")
    ran = tag("small", report.run_words) if report.compiled else None
    return [
        joined(name, tag("small", f"of {file}")),
        joined(mapped, parts),
        NOTHING,
        files,
        joined(result, ran),
    ]


def _row(name: str, figures: EdgeTPUReport | EthosUReport | NPUReport, memory: str) -> Sequence[Child]:
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
    names = [tag("div", code(file.file_name)) for file in files]
    return joined(*names) if names else NOTHING


def _result(passed: bool, message: str | None, *, compiled: bool) -> Markup:
    words = verdict(passed) if compiled else verdict(passed, "predicted", "failed")
    return joined(words, tag("small", message) if message else None)


def _fallbacks(name: str, fallbacks: Sequence[OperatorFallback], *, of: str | None) -> Markup:
    rows: list[Sequence[Child]] = [[code(f.operator), f"{f.count:,}", f.reason] for f in fallbacks]
    caption = f"Operators that stay on the CPU beside the {name}{f', of {of}' if of else ''}"
    return table(["Operator", "Count", "Why, and what to do"], rows, caption=caption, numbers=(1,))
