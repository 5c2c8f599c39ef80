"""What boards gave: the figures of each published file on each kind of node."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from ..base import ApiModel, Sha256
from ..fields.boards import Accelerator, Board, BoardName
from ..fields.recipes import OfMethod
from ..limits import OBJECT_NAME_LENGTH, MessageText, SentenceText, VersionText
from ..reasons import FailureReason
from .measurements import ByteCount, Count, Latency, Performance

MOST_OPERATORS: Final = 1000
"""Operators that a profile names."""


class BoardSamples(ApiModel):
    """The published file that boards compare on."""

    file_name: Literal["board-samples.npz"] = "board-samples.npz"
    sha256: Sha256
    size_bytes: Annotated[int, Field(gt=0)]
    samples: Annotated[int, Field(gt=0)]


Celsius = Annotated[float, Field(ge=-273.15, le=1000)]


class Machine(ApiModel):
    """What ran the files, as far as it shows it."""

    node: Annotated[str, Field(max_length=OBJECT_NAME_LENGTH)] = ""
    """The node's name."""
    processor: SentenceText = ""
    """Architecture and processor, e.g. ``aarch64, Cortex-A76``."""
    cpus: Count | None = None
    """Processors that the process may use."""
    memory_bytes: ByteCount | None = None
    """Memory of the node."""
    runtime: VersionText = ""
    """The interpreter, e.g. ``LiteRT 2.3.0``, and the accelerator's device, as its driver calls it."""
    is_software: bool = False
    """Whether the accelerator's driver is a program that plays a device on the processor."""
    celsius: tuple[Celsius, Celsius] | None = None
    """Temperature of the hottest zone before and after; None where the node shows none."""
    megahertz: tuple[Count, Count] | None = None
    """Clock of the fastest processor before and after; None where the node shows none."""
    max_megahertz: Count | None = None
    """The highest clock that it allows; None where the node does not say."""

    @property
    def is_throttled(self) -> bool:
        """Whether the clock fell under nine tenths of the highest, or of what it was before."""
        if self.megahertz is None:
            return False
        before, after = self.megahertz
        return after < 0.9 * max(before, self.max_megahertz or 0)


OperatorCount = Annotated[int, Field(ge=0, le=1_000_000)]
"""Operators of a file, which has at most some thousands: what a process claims has an end."""


class Taken(ApiModel):
    """What an accelerator took of a file."""

    device: VersionText = ""
    """What ran it, in the words of its driver; empty for the CPU."""
    is_software: bool = False
    """Whether the device is one that a program plays on the processor."""
    accelerated_operators: OperatorCount | None = None
    """Operators that run on it; None for the CPU, which takes all."""
    fallback_operators: OperatorCount | None = None
    """Those that stay on the CPU."""
    fallbacks: Annotated[tuple[MessageText, ...], Field(max_length=16)] = ()
    """Why they do."""


class BoardFile(OfMethod):
    """One file on one board, in the figures that fit into a resource's status."""

    latency: Latency | None = None
    """None where it did not run."""
    peak_memory_bytes: ByteCount | None = None
    """What the process grew by."""
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """With the original model's outputs, by the report's metric."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """On the labelled samples."""
    accelerated_operators: OperatorCount | None = None
    """Operators that the accelerator took; not given for the CPU, which takes all."""
    fallback_operators: OperatorCount | None = None
    """Those that it left to the CPU."""
    passed: bool
    """Whether it ran, is usable and meets the board's gates."""
    reason: FailureReason | None = None
    """Why there are no figures, where there are none."""
    message: MessageText | None = None
    """Why it did not pass."""


class OperatorTime(ApiModel):
    """What one operator took of an inference, by the runtime's own profiler."""

    operator: SentenceText
    """What ran: the operator's kind, or the kernel that XNNPACK took for it."""
    by: Literal["LiteRT", "XNNPACK"]
    calls: Annotated[int, Field(ge=1)] = 1
    """How often it ran in one inference."""
    millis: Annotated[float, Field(ge=0)]
    """In one inference, all calls together; counted in whole microseconds, averaged over the runs."""
    share: Annotated[float, Field(ge=0, le=1)]
    """Of what all operators took; the body of a loop counts within the loop too."""


class FileProfile(ApiModel):
    """What the operators of a file took."""

    operators: Annotated[tuple[OperatorTime, ...], Field(max_length=MOST_OPERATORS)]
    """In the order in which they ran."""


class BoardFileReport(BoardFile):
    """One file on one board, and all that was measured there."""

    file_name: Annotated[str, Field(max_length=160)]
    """What ran: the artifact, or what was compiled of it for the accelerator."""
    sha256: Sha256
    fallbacks: Annotated[tuple[MessageText, ...], Field(max_length=16)] = ()
    """Why operators stayed on the CPU, in the accelerator's words."""
    performance: Performance | None = None
    operators: Annotated[tuple[OperatorTime, ...], Field(max_length=MOST_OPERATORS)] = ()
    """Where a profile was asked for: the operators, in the order in which they ran."""


class BoardSummary(ApiModel):
    """What a board's Job hands to the operator."""

    board: BoardName
    accelerator: Accelerator = Accelerator.CPU
    """What ran the files."""
    machine: Machine
    files: tuple[BoardFile, ...]


class BoardReport(BoardSummary):
    """``boards/NAME.json``: everything that was measured on one board."""

    version: Literal["v1alpha1"] = "v1alpha1"
    run: Annotated[str, Field(max_length=128)] | None = None
    """The run whose files these are, as in ``report.json``."""
    settings: Board
    samples: int
    files: tuple[BoardFileReport, ...]

    @property
    def summary(self) -> BoardSummary:
        """The part for the resource's status."""
        files = tuple(BoardFile(**{n: getattr(f, n) for n in BoardFile.model_fields}) for f in self.files)
        return BoardSummary(board=self.board, accelerator=self.accelerator, machine=self.machine, files=files)
