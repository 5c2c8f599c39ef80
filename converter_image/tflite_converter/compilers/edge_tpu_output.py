"""Reads what the Edge TPU compiler prints and logs, by label: lines come and go between versions and models.

Pure readings of text. The labels are those of Edge TPU Compiler 16.0, the last one, as its users have
published them; the compiler itself is closed and was not run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

SUCCESS: Final = "Model compiled successfully"
MAPPED: Final = "Mapped to Edge TPU"
_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_MILLIS = re.compile(r"Model compiled successfully in (\d+) ms")
_LABEL = re.compile(r"^\s*([A-Z][^:]*?)\s*:\s*(.+?)\s*$")
_SIZE = re.compile(r"^([0-9]+(?:\.[0-9]+)?)\s*(B|KiB|MiB|GiB)$")
_ROW = re.compile(r"^(\S+)\s+(\d+)\s+(\S.*?)\s*$")
_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

_ON_CHIP = "On-chip memory used for caching model parameters"
_LEFT = "On-chip memory remaining for caching model parameters"
_OFF_CHIP = "Off-chip memory used for streaming uncached model parameters"
_SUBGRAPHS = "Number of Edge TPU subgraphs"
_OPERATIONS = "Total number of operations"
_ON_TPU = "Number of operations that will run on Edge TPU"
_ON_CPU = "Number of operations that will run on CPU"
_BEGINS = "Input model"

STATUSES: Final[Mapping[str, str]] = {
    "More than one subgraph is not supported": (
        "lies behind an operator that stays on the CPU, and the Edge TPU runs one piece of the graph;"
        " mend the operator before it"
    ),
    "Operation is otherwise supported, but not mapped due to some unspecified limitation": (
        "the compiler does not say why; a tensor may be too large for the chip, or a parameter not constant"
    ),
    "Operation not supported": "the Edge TPU does not have it; replace the layer, or move it to the end",
    "Operation version not supported": (
        "its version is newer than the compiler; make the file with an older converter"
    ),
    "Operation is working on an unsupported data type": (
        "works on another type than int8 or uint8; make it full integer, in and out"
    ),
    "Tensor has unsupported rank (up to 3 innermost dimensions mapped)": (
        "a tensor has more than 3 dimensions beyond 1; use a batch of 1"
    ),
}
"""What the log says of an operator that stays on the CPU, in words that say what to do."""


@dataclass(frozen=True)
class Failure:
    """What a known line of a failed run means."""

    words: str
    passes: bool = False
    """Whether the same run is known to succeed when it is made again."""


_FAILURES: Final[tuple[tuple[str, Failure], ...]] = (
    ("Model not quantized", Failure("the file is not full integer; the Edge TPU runs 8-bit integers only")),
    ("Model could not be parsed", Failure("the compiler cannot read the file; it is too new, or damaged")),
    (
        "Didn't find op for builtin opcode",
        Failure(
            "an operator's version is newer than the compiler; make the file with TensorFlow 2.8 or older"
        ),
    ),
    (
        "only supports static-sized tensors",
        Failure("a dimension has an open size; give every dimension a fixed size, the batch too"),
    ),
    (
        "large activation tensors",
        Failure("an activation is too large for the chip; use a smaller input, or numSegments"),
    ),
    (
        "no_integer_overflow_from_quantization was not true",
        Failure("a scale overflows the chip's arithmetic; quantize with other calibration data"),
    ),
    ("Internal compiler error", Failure("internal error of the compiler", passes=True)),
    ("Compilation failed!", Failure("the compiler failed without a reason", passes=True)),
)
"""Lines of failed runs, the most telling first."""
_TIMED_OUT = re.compile(r"[Tt]imed? ?out|timeout (?:has )?expired|exceeded.*timeout")


@dataclass(frozen=True)
class Output:
    """What one run printed, of all segments together; None where it did not say."""

    succeeded: bool
    version: str | None
    millis: int | None
    operators: int | None
    mapped: int | None
    subgraphs: int | None
    on_chip_bytes: int | None
    on_chip_remaining_bytes: int | None
    off_chip_bytes: int | None
    failure: Failure | None
    """The known line of a failure, where there is one."""


@dataclass(frozen=True)
class LogRow:
    """One row of the operation log."""

    operator: str
    count: int
    status: str

    @property
    def is_mapped(self) -> bool:
        """Whether these operators run on the Edge TPU."""
        return self.status.startswith(MAPPED)


def read_output(text: str) -> Output:
    """Return the figures in the compiler's standard output and error.

    With segments every figure comes once for each: counts and memory in use are added up, and of what
    remains of the memory the least is taken.
    """
    blocks = _blocks(text)
    version, millis = _VERSION.search(text), _MILLIS.search(text)
    operators = _sum(_count(block.get(_OPERATIONS)) for block in blocks)
    left = [size for block in blocks if (size := read_size(block.get(_LEFT, ""))) is not None]
    return Output(
        succeeded=SUCCESS in text,
        version=version and version[1],
        millis=int(millis[1]) if millis else None,
        operators=operators,
        mapped=_sum(_mapped(block) for block in blocks),
        subgraphs=_sum(_count(block.get(_SUBGRAPHS)) for block in blocks),
        on_chip_bytes=_sum(read_size(block.get(_ON_CHIP, "")) for block in blocks),
        on_chip_remaining_bytes=min(left, default=None),
        off_chip_bytes=_sum(read_size(block.get(_OFF_CHIP, "")) for block in blocks),
        failure=next((failure for line, failure in _FAILURES if line in text), None),
    )


def says_timed_out(text: str) -> bool:
    """Whether the compiler itself gave up for want of time; that it has a limit it says of every run."""
    said = [line for line in text.splitlines() if "Started a compilation timeout timer" not in line]
    said = [line for line in said if "completed within timeout period" not in line]
    return any(_TIMED_OUT.search(line) for line in said)


def read_log(text: str) -> tuple[LogRow, ...]:
    """Return the rows of an operation log: operator, count and status under a heading of these words."""
    rows, inside = [], False
    for line in text.splitlines():
        if line.split() == ["Operator", "Count", "Status"]:
            inside = True
        elif inside and (match := _ROW.match(line)):
            rows.append(LogRow(match[1], int(match[2]), match[3]))
    return tuple(rows)


def read_size(text: str) -> int | None:
    """``"6.03MiB"`` in bytes, as near as two decimals allow; None for what is no size."""
    match = _SIZE.match(text)
    return round(float(match[1]) * _UNITS[match[2]]) if match else None


def status_words(status: str) -> str:
    """Translate a status of the log into words that say what to do."""
    return STATUSES.get(status.rstrip(". "), status)


def _blocks(text: str) -> list[dict[str, str]]:
    """Labels and values, a block for each model or segment."""
    blocks: list[dict[str, str]] = []
    for line in text.splitlines():
        match = _LABEL.match(line)
        if match is None:
            continue
        if match[1] == _BEGINS or not blocks:
            blocks.append({})
        blocks[-1][match[1]] = match[2]
    return blocks


def _mapped(block: Mapping[str, str]) -> int | None:
    """Operators on the Edge TPU; it is only said where some are not."""
    said, on_cpu, total = (_count(block.get(label)) for label in (_ON_TPU, _ON_CPU, _OPERATIONS))
    if said is not None:
        return said
    if total is None:
        return None
    return total - (on_cpu or 0)


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
