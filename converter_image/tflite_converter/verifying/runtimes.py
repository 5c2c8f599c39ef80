"""What a runtime to verify on is: how it runs a file, and what that shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

from modelconversion_api.fields.verification import Verifier
from modelconversion_api.reasons import FailureReason
from tflite_converter.arrays import Array, NamedArrays
from tflite_converter.verifying import gpu, micro


@dataclass(frozen=True, slots=True)
class Ran:
    """What a file gave on a runtime."""

    outputs: Mapping[str, Array]
    """``{output: (n, ...)}``, as values and not as integers that stand for them; of the first n samples."""
    runtime: str
    """Name and version."""
    memory_bytes: int | None = None
    """Working memory that it took; None where the runtime does not tell."""
    fallback_operators: int | None = None
    """Operators that stayed on the CPU; None where there is nothing else, or the runtime does not tell."""
    fallbacks: tuple[str, ...] = ()
    """Why they did."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime, and how to judge by it."""

    proves: str
    """What a check that passes shows, as a sentence."""
    does_not_prove: str
    most_samples: int | None = None
    """How many samples it runs at most: the first ones. None runs all.

    Where it does not run all, a gate counts that LiteRT meets with the same file on the same samples: few
    samples may miss one by chance. What differs from LiteRT is told.
    """
    most_seconds: float | None = None
    """How long it may take in a fork of this process; None where it says after samples how far it is."""


def _on_micro(content: bytes, samples: NamedArrays, after_each: Callable[[int], None]) -> Ran:
    model = micro.MicroModel(content)
    outputs = model.run_each(samples, after_each)
    return Ran(outputs, micro.version(), model.arena_bytes())


def _on_gpu(content: bytes, samples: NamedArrays, after_each: Callable[[int], None]) -> Ran:
    model = gpu.GPUModel(content)
    outputs = model.run_each(samples, after_each)
    return Ran(outputs, model.version, None, model.fallback_operators, model.fallbacks)


NOT_THE_FILES_FAULT: Final = (
    *(FailureReason.OUT_OF_MEMORY, FailureReason.NO_SPACE, FailureReason.INTERRUPTED),
    *(FailureReason.CONVERTER_TIMED_OUT, FailureReason.INTERNAL_ERROR),
)
"""What says of a runtime on this machine, and not of the file, that nothing came of it."""
_NEVER_HAS_FLEX: Final = (Verifier.MICROCONTROLLER,)


def lacks_flex(name: Verifier, operators: Collection[str]) -> str | None:
    """Say why a file with TensorFlow's own ``operators`` is not run there; None where it is.

    The packages of these runtimes have no Flex delegate, which a device can have.
    """
    if not operators or name in _NEVER_HAS_FLEX:
        return None
    return f"it needs the Flex delegate for {', '.join(operators)}, which this runtime's package has not"


MOST_IN_GUEST: Final = 64
"""Most samples that a guest runs; an emulator takes a hundred times as long as the machine."""
_MOST_SECONDS_ON_GPU: Final = 480.0
"""As long as a guest may take: compiling shaders, one sample, and the 30 seconds of the others."""
_NOT_AS_FAST: Final = (
    "How fast it is there, or that the board has the memory: an emulator plays the processor on this"
    " machine's kernel."
)


def _on_cortex(name: str) -> Runtime:
    return Runtime(
        proves=f"LiteRT for 64-bit Arm loads the file, and gives these results on an emulated {name}.",
        does_not_prove=_NOT_AS_FAST,
        most_samples=MOST_IN_GUEST,
    )


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
        ),
        Verifier.GPU: Runtime(
            proves=(
                "LiteRT's GPU accelerator compiles the file, takes all operators but those that are counted,"
                " and its shaders give these results in 32-bit floats."
            ),
            does_not_prove=(
                "That it is fast, or that a phone's driver does the same: the shaders run on a CPU, without"
                " the limits and 16-bit floats of a real GPU."
            ),
            most_samples=64,
            most_seconds=_MOST_SECONDS_ON_GPU,
        ),
        Verifier.CORTEX_A53: _on_cortex("Cortex-A53"),
        Verifier.CORTEX_A72: _on_cortex("Cortex-A72"),
        Verifier.CORTEX_A76: _on_cortex("Cortex-A76"),
        Verifier.ARMV7: Runtime(
            proves=(
                "The last tflite-runtime with a package for 32-bit Arm loads the file, and its kernels give"
                " these results on an emulated Cortex-A7."
            ),
            does_not_prove=_NOT_AS_FAST,
            most_samples=MOST_IN_GUEST,
        ),
        Verifier.OLDEST_RUNTIME: Runtime(
            proves=(
                "tflite-runtime 2.14, the last of that name, and LiteRT 1.0 both load the file; the results"
                " are those of the one that does worse."
            ),
            does_not_prove=(
                "What still older runtimes do, or these on another processor: Google Play services and apps"
                " bring their own."
            ),
            most_samples=MOST_IN_GUEST,
        ),
    }
)
"""What each shows."""

Run: TypeAlias = Callable[[bytes, NamedArrays, Callable[[int], None]], Ran]
"""Runs a file on ``{input: (n, ...)}``, and tells after each sample how many are done.

Raises ``NotVerifiedError`` where nothing can be run, and ``RuntimeError`` or ``ValueError`` where the file
does not run there.
"""
RUN_HERE: Final[Mapping[Verifier, Run]] = MappingProxyType(
    {Verifier.MICROCONTROLLER: _on_micro, Verifier.GPU: _on_gpu}
)
"""How to run on those that are libraries of this process; the others are run in guests."""
