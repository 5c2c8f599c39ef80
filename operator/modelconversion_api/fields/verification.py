"""Checks of an artifact on another runtime than the one that it was measured on, and what came of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from ..base import ApiModel
from ..limits import MessageText, SentenceText, VersionText
from ..methods import Target


class Verifier(StrEnum):
    """A runtime that artifacts can be checked on."""

    MICROCONTROLLER = "Microcontroller"
    GPU = "GPU"
    CORTEX_A53 = "cortex-a53"
    CORTEX_A72 = "cortex-a72"
    CORTEX_A76 = "cortex-a76"
    ARMV7 = "armv7"
    OLDEST_RUNTIME = "OldestRuntime"

    @property
    def target(self) -> Target | None:
        """The target that it has the last word on; None where there is none."""
        return _LAST_WORD.get(self)


_LAST_WORD: Final = {Verifier.MICROCONTROLLER: Target.MICROCONTROLLER, Verifier.GPU: Target.GPU}


class VerificationOutcome(StrEnum):
    """What became of a check."""

    PASSED = "Passed"
    """It runs there, and meets the gates on quality with what it gave there."""
    FAILED = "Failed"
    """It does not run there, or misses a gate there."""
    NOT_VERIFIED = "NotVerified"
    """Nothing was run, or it ended for want of time or memory; the message says why."""


class VerificationFigures(ApiModel):
    """One check of an artifact, in the figures that fit into a resource's status."""

    name: Verifier
    outcome: VerificationOutcome
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None
    """With the original, of what it gave there; by the metric of the evaluation."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    memory_bytes: Annotated[int, Field(ge=0)] | None = None
    """Working memory that it took there, where the runtime tells: the arena of TFLite Micro."""
    identical: bool | None = None
    """Whether every value is the one that LiteRT gives for this file and these samples on this machine."""
    fallback_operators: Annotated[int, Field(ge=0)] | None = None
    """Operators that stay on the CPU, where the runtime tells."""
    message: MessageText | None = None
    """Why it failed, or why nothing came of it."""


class Verification(VerificationFigures):
    """All that is known of one check."""

    runtime: VersionText | None = None
    """The program that ran it, with its version; None where nothing was run."""
    proves: SentenceText
    """What a check that passes shows."""
    does_not_prove: SentenceText
    samples: Annotated[int, Field(ge=0)] = 0
    """Samples that it ran on."""
    snr_db: float | None = None
    """Signal-to-noise ratio of the outputs against the original's; None where both are equal, or unknown."""
    largest_difference: Annotated[float, Field(ge=0)] | None = None
    """Of one output value from the one that LiteRT gives for this file and sample on this machine, in the
    output's units."""
    fallbacks: Annotated[tuple[MessageText, ...], Field(max_length=16)] = ()
    """Why operators stay on the CPU, in the runtime's words; the first 16 reasons."""


def resolved_verifiers(asked: tuple[Verifier, ...], target: Target | None) -> tuple[Verifier, ...]:
    """Return the checks that were asked for, and that of the target."""
    of_target = (v for v in Verifier if target is not None and v.target is target)
    return tuple(dict.fromkeys((*asked, *of_target)))


def left_to_cpu(operators: int) -> str:
    """Say how many operators an accelerator leaves to the CPU, as a part of a sentence."""
    if not operators:
        return "all operators on it"
    return f"{operators} operator{'' if operators == 1 else 's'} left to the CPU"
