"""What the compilers gave for one file: figures of the status, and the rest for the report."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from ..base import ApiModel, OpenReason, Sha256
from ..limits import KindText, MessageText, VersionText
from ..reasons import FailureReason
from .compilers import MOST_SOCS, NPUVendor

MOST_FALLBACKS: Final = 64
"""Kinds of operators that fell back which are named."""


class OperatorFallback(ApiModel):
    """Operators of one kind that stay on the CPU for one reason."""

    operator: KindText
    """Name of the operator, e.g. SOFTMAX."""
    count: Annotated[int, Field(ge=1)]
    """How many there are."""
    reason: MessageText
    """Why, and what to do about it."""


class CompilerFigures(ApiModel):
    """What every compiler for an accelerator says of a file."""

    passed: bool
    """Whether it was compiled, where that was asked for, and the mapped share meets its gate."""
    compiled: bool
    """Whether there is a compiled file; otherwise the figures are a prediction, or what is known of the
    failure."""
    operators: Annotated[int, Field(ge=0)]
    """Operators in the file that was compiled."""
    mapped_operators: Annotated[int, Field(ge=0)]
    """Those that run on the accelerator."""
    size_bytes: Annotated[int, Field(ge=1)] | None = None
    """Size of the compiled file, of all segments together."""
    sha256: Sha256 | None = None
    """Digest of the compiled file, of the first segment where there are several."""
    fallbacks: Annotated[tuple[OperatorFallback, ...], Field(max_length=MOST_FALLBACKS)] = ()
    """The operators that stay on the CPU, and why."""
    reason: OpenReason | None = None
    """Why there is no compiled file although one was asked for."""
    message: MessageText | None = None
    """What failed or which gate was missed, for people."""


class EdgeTPUFigures(CompilerFigures):
    """The same for the Edge TPU."""

    predicted_operators: Annotated[int, Field(ge=0)] | None = None
    """Those that map by the documented limits; not what the compiler found."""
    segments: Annotated[int, Field(ge=1)] = 1
    """Files that the model was cut into."""
    subgraphs: Annotated[int, Field(ge=0)] | None = None
    """Parts of the graph that run on the Edge TPU."""
    on_chip_bytes: Annotated[int, Field(ge=0)] | None = None
    """Parameters that are kept in the Edge TPU's own memory."""
    off_chip_bytes: Annotated[int, Field(ge=0)] | None = None
    """Parameters that are fetched over USB or PCIe at every inference."""


class EthosUFigures(CompilerFigures):
    """The same for an Ethos-U; memory and speed are Vela's estimates."""

    sram_bytes: Annotated[int, Field(ge=0)] | None = None
    """Static memory that it takes."""
    dram_bytes: Annotated[int, Field(ge=0)] | None = None
    """DRAM that it takes; 0 on systems without."""
    flash_bytes: Annotated[int, Field(ge=0)] | None = None
    """Flash that it takes."""
    inferences_per_second: (
        Annotated[str, Field(max_length=16, pattern=r"^[0-9]{1,13}([.][0-9]{1,2})?$")] | None
    ) = None
    """Inferences in a second on the core alone, without the CPU's operators."""


class NPUFigures(CompilerFigures):
    """The same for one chip with an NPU."""

    vendor: NPUVendor
    """Whose compiler."""
    soc: KindText
    """The chip, e.g. SM8750."""
    partitions: Annotated[int, Field(ge=0)] | None = None
    """Parts of the graph that run on the NPU; between them data goes to the CPU and back."""

    @property
    def name(self) -> str:
        """What messages call it, e.g. ``Qualcomm SM8750``."""
        return f"{self.vendor.value} {self.soc}"


class MicrocontrollerFigures(ApiModel):
    """What the full-integer file takes under TFLite Micro."""

    passed: bool
    """Whether TFLite Micro has every operator, and the arena meets its gate."""
    arena_bytes: Annotated[int, Field(ge=0)]
    """Estimate of the tensor arena: the activations as its planner lays them, and its tables."""
    flash_bytes: Annotated[int, Field(ge=1)]
    """Bytes of the array in flash, which is the file."""
    has_source: bool = False
    """Whether there is C source of it."""
    message: MessageText | None = None
    """Which gate was missed."""


class CompiledFile(ApiModel):
    """A file that a compiler left beside the full-integer file."""

    file_name: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]+\.(tflite|cc|h)$")]
    size_bytes: Annotated[int, Field(gt=0)]
    sha256: Sha256


class EdgeTPUReport(EdgeTPUFigures):
    """All that is known of the compilation for the Edge TPU."""

    files: Annotated[tuple[CompiledFile, ...], Field(max_length=16)] = ()
    compiler: VersionText | None = None
    """Version that the compiler gave of itself."""
    on_chip_remaining_bytes: int | None = None
    """What was left of the memory on the chip."""
    tries: Annotated[int, Field(ge=0)] = 0
    """Runs of the compiler: some failures are known to pass, and are tried once more."""
    seconds: float = 0.0


class EthosUReport(EthosUFigures):
    """All that is known of the compilation for an Ethos-U."""

    files: Annotated[tuple[CompiledFile, ...], Field(max_length=1)] = ()
    accelerator: KindText
    system_config: KindText | None = None
    memory_mode: KindText | None = None
    compiler: VersionText | None = None
    macs: int | None = None
    """Multiply-accumulates of one inference."""
    seconds: float = 0.0


class NPURun(ApiModel):
    """What the compiled file gave through the vendor's own runtime, beside LiteRT's kernels on the CPU."""

    runtime: VersionText
    """What ran it."""
    samples: Annotated[int, Field(ge=1)]
    """Random inputs that both ran on."""
    max_difference: Annotated[float, Field(ge=0)]
    """Largest difference of any output's value; of quantized outputs in real numbers."""
    output_range: Annotated[float, Field(ge=0)]
    """Largest less smallest value that the CPU gave, to see the difference in proportion."""
    snr_db: float | None = None
    """Signal-to-noise ratio against the CPU's outputs, in dB; None where both are equal."""


class NPUReport(NPUFigures):
    """All that is known of the compilation for one chip."""

    files: Annotated[tuple[CompiledFile, ...], Field(max_length=1)] = ()
    compiler: VersionText | None = None
    """LiteRT's version and that of the SDK, where it says one."""
    run: NPURun | None = None
    """None where the chip's runtime cannot be had here, and so nothing was run."""
    seconds: float = 0.0

    @property
    def run_words(self) -> str:
        """What was run of the compiled file, and how near its outputs are to those on the CPU."""
        if self.run is None:
            return "not run: the chip's runtime is not here"
        tried = f"run on {self.run.samples} random inputs"
        if self.run.snr_db is None:
            return f"{tried}, equal to LiteRT on the CPU"
        return (
            f"{tried}, at most {self.run.max_difference:.3g} from LiteRT on the CPU, where outputs span"
            f" {self.run.output_range:.3g}"
        )


class MicrocontrollerReport(MicrocontrollerFigures):
    """All that is known of the file under TFLite Micro."""

    files: Annotated[tuple[CompiledFile, ...], Field(max_length=2)] = ()
    activation_bytes: Annotated[int, Field(ge=0)]
    """The part of the arena that holds activations."""
    operators: tuple[KindText, ...] = ()
    """The kinds of operators, as a resolver is given them."""


class Compilations(ApiModel):
    """What the compilers made of one file; None or nothing where one was not asked for."""

    edge_tpu: Annotated[EdgeTPUReport | None, Field(alias="edgeTPU")] = None
    ethos_u: Annotated[EthosUReport | None, Field(alias="ethosU")] = None
    microcontroller: MicrocontrollerReport | None = None
    npu: Annotated[tuple[NPUReport, ...], Field(max_length=MOST_SOCS)] = ()
    """One for each chip."""

    @property
    def accelerators(self) -> tuple[tuple[str, EdgeTPUReport | EthosUReport | NPUReport], ...]:
        """What the compilers for accelerators said, with the accelerator's name."""
        named: tuple[tuple[str, EdgeTPUReport | EthosUReport | NPUReport | None], ...] = (
            ("Edge TPU", self.edge_tpu),
            ("Ethos-U", self.ethos_u),
            *((one.name, one) for one in self.npu),
        )
        return tuple((name, report) for name, report in named if report is not None)

    @property
    def _all(
        self,
    ) -> tuple[tuple[str, EdgeTPUReport | EthosUReport | NPUReport | MicrocontrollerReport], ...]:
        micro = self.microcontroller
        return (*self.accelerators, *((("microcontroller", micro),) if micro is not None else ()))

    @property
    def passed(self) -> bool:
        """Whether everything that was asked for is there and meets its gate."""
        return all(report.passed for _, report in self._all)

    @property
    def reason(self) -> FailureReason | None:
        """Why there is no compiled file, of the first compiler that has a reason."""
        return next((one.reason for _, one in self.accelerators if one.reason is not None), None)

    @property
    def message(self) -> str | None:
        """What failed or which gate was missed, of all of them."""
        return "; ".join(f"{name}: {one.message}" for name, one in self._all if not one.passed) or None

    @property
    def files(self) -> tuple[CompiledFile, ...]:
        """The files that they left."""
        return tuple(file for _, one in self._all for file in one.files)
