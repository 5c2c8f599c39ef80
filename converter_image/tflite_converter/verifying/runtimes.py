"""What a runtime to verify on is: how it runs a file, and what that shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from modelconversion_api.verification import Verifier
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.verifying import micro


@dataclass(frozen=True, slots=True)
class Ran:
    """What a file gave on a runtime."""

    outputs: Mapping[str, Array]
    """``{output: (n, ...)}``, as values and not as integers that stand for them."""
    runtime: str
    """Name and version."""
    memory_bytes: int | None
    """Working memory that it took; None where the runtime does not tell."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime, and how to judge by it."""

    proves: str
    """What a check that passes shows, as a sentence."""
    does_not_prove: str
    run: Callable[[bytes, NamedArrays, Callable[[int], None]], Ran]
    """Runs a file on ``{input: (n, ...)}``, and tells after each sample how many are done.

    Raises ``ImportError`` where the runtime is not there, with what to do about it, and ``RuntimeError`` or
    ``ValueError`` where the file does not run on it.
    """


def _on_micro(content: bytes, samples: NamedArrays, after_each: Callable[[int], None]) -> Ran:
    model = micro.MicroModel(content)
    outputs = model.run_each(samples, after_each)
    return Ran(outputs, micro.version(), model.arena_bytes())


RUNTIMES: Final[Mapping[Verifier, Runtime]] = MappingProxyType(
    {
        Verifier.MICROCONTROLLER: Runtime(
            proves=(
                "TFLite Micro has every operator of the file, and its reference kernels give these results in"
                " an arena of this size."
            ),
            does_not_prove=(
                "That it fits a board or is fast on it: the run is on this machine, with pointers of 64 bits"
                " and without the vendor's own kernels."
            ),
            run=_on_micro,
        )
    }
)
"""How to run on each."""
