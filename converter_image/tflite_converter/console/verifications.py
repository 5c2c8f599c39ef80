"""What a person sees of the runs on other runtimes: a line for each file."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from modelconversion_api.fields.verification import Verification, VerificationOutcome, left_to_cpu
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.text import human_size, printable

_STYLES = {
    VerificationOutcome.PASSED: "green",
    VerificationOutcome.FAILED: "red",
    VerificationOutcome.NOT_VERIFIED: "yellow",
}


def show_verifications(console: Console, artifact: ArtifactReport) -> None:
    """Print what came of the artifact on each runtime."""
    for check in artifact.verifications:
        line = f"{artifact.cli_name} on {check.name.value}: {verification_words(check)}"
        console.print(Text(line, style=_STYLES[check.outcome]))


def verification_words(check: Verification) -> str:
    """One line on a check."""
    parts = ["not verified" if check.outcome is VerificationOutcome.NOT_VERIFIED else check.outcome.lower()]
    if check.agreement is not None:
        parts.append(f"agreement {check.agreement:.1%} on {check.samples} samples")
    if check.accuracy is not None:
        parts.append(f"accuracy {check.accuracy:.1%}")
    if check.identical is not None:
        parts.append(differing(check))
    if check.fallback_operators is not None:
        parts.append(left_to_cpu(check.fallback_operators))
    if check.memory_bytes is not None:
        parts.append(f"{human_size(check.memory_bytes)} of memory")
    reasons = check.message or "; ".join(check.fallbacks)
    return ", ".join(parts) + (f": {printable(reasons)}" if reasons else "")


def differing(check: Verification) -> str:
    """Say how far the results there are from LiteRT's on this machine."""
    if check.identical:
        return "identical to LiteRT here"
    gap = check.largest_difference
    return "other values than LiteRT here" if gap is None else f"at most {gap:.2g} from LiteRT here"
