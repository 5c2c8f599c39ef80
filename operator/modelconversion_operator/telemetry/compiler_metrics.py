"""Metrics of what the compilers made of files: by compiler, never by model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from modelconversion_api.fields.compilation import CompilerFigures
from modelconversion_api.fields.compilers import NPUVendor
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.conversion import ArtifactSummary
from modelconversion_operator.telemetry.definitions import Registered

_EDGE_TPU, _ETHOS_U = "edge-tpu", "ethos-u"
_EDGE_TPU_MEMORY, _ETHOS_U_MEMORY = ("on-chip", "off-chip"), ("sram", "dram", "flash")
_NPUS: Final = {vendor: f"npu-{vendor.value.lower()}" for vendor in NPUVendor}
_COMPILED, _PREDICTED = "Compiled", "Predicted"
_FAILURES: Final = (
    FailureReason.COMPILATION_FAILED,
    FailureReason.COMPILER_NOT_FOUND,
    FailureReason.COMPILER_TIMED_OUT,
    FailureReason.NOTHING_MAPPED,
)


class CompilerMetrics:
    """The metrics, in the registry of the process."""

    def __init__(self, of: Registered) -> None:
        self._compilations = of.counter("compilations")
        self._operators = of.counter("compiled_operators")
        self._memory = of.histogram("compiled_memory_bytes")
        self._subgraphs = of.histogram("compiled_subgraphs")
        of_npus = ((compiler, ()) for compiler in _NPUS.values())
        for compiler, kinds in ((_EDGE_TPU, _EDGE_TPU_MEMORY), (_ETHOS_U, _ETHOS_U_MEMORY), *of_npus):
            # A series that starts at zero makes increase() see the first event.
            for outcome in (_COMPILED, _PREDICTED, *_FAILURES):
                self._compilations.labels(compiler, outcome)
            for memory in kinds:
                self._memory.labels(compiler, memory)
            for placement in ("accelerator", "cpu"):
                self._operators.labels(compiler, placement)
        for compiler in (_EDGE_TPU, *_NPUS.values()):
            self._subgraphs.labels(compiler)

    def artifact_ended(self, artifact: ArtifactSummary) -> None:
        """Count what the compilers made of an artifact whose conversion has ended."""
        if (tpu := artifact.edge_tpu) is not None:
            self._count(_EDGE_TPU, tpu)
            sizes = (tpu.on_chip_bytes, tpu.off_chip_bytes)
            self._took(_EDGE_TPU, dict(zip(_EDGE_TPU_MEMORY, sizes, strict=True)))
            if tpu.subgraphs is not None:
                self._subgraphs.labels(_EDGE_TPU).observe(tpu.subgraphs)
        if (npu := artifact.ethos_u) is not None:
            self._count(_ETHOS_U, npu)
            kinds = (npu.sram_bytes, npu.dram_bytes, npu.flash_bytes)
            self._took(_ETHOS_U, dict(zip(_ETHOS_U_MEMORY, kinds, strict=True)))

        for chip in artifact.npu:
            self._count(_NPUS[chip.vendor], chip)
            if chip.partitions is not None:
                self._subgraphs.labels(_NPUS[chip.vendor]).observe(chip.partitions)

    def _count(self, compiler: str, figures: CompilerFigures) -> None:
        outcome = _COMPILED if figures.compiled else _PREDICTED
        if figures.reason is not None:
            outcome = figures.reason.bounded
        self._compilations.labels(compiler, str(outcome)).inc()
        self._operators.labels(compiler, "accelerator").inc(figures.mapped_operators)
        self._operators.labels(compiler, "cpu").inc(max(0, figures.operators - figures.mapped_operators))

    def _took(self, compiler: str, sizes: Mapping[str, int | None]) -> None:
        for memory, size in sizes.items():
            if size is not None:
                self._memory.labels(compiler, memory).observe(size)
