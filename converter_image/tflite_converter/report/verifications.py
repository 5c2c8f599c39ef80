"""The report's part on other runtimes: what each file gave there, and what that does and does not show."""

from __future__ import annotations

from collections.abc import Sequence

from modelconversion_api.report import ArtifactReport, ConversionReport
from modelconversion_api.verification import Verification, VerificationOutcome
from tflite_converter.report.figures import NOTHING, decibels, name_of, percent, section, size, table, verdict
from tflite_converter.report.markup import Child, Markup, joined, tag

_WORDS = {
    VerificationOutcome.PASSED: "passed",
    VerificationOutcome.FAILED: "failed",
    VerificationOutcome.NOT_VERIFIED: "not verified",
}


def verifications(report: ConversionReport) -> Markup | None:
    """Return a row for each check of each file; None where none was made."""
    checks = [(artifact, check) for artifact in report.artifacts for check in artifact.verifications]
    if not checks:
        return None
    columns = [
        *("File", "On", "Result", "Samples", "Agreement", "On LiteRT", "Accuracy", "SNR"),
        *("From LiteRT here", "Left to the CPU", "Memory"),
    ]
    rows = [_row(artifact, check) for artifact, check in checks]
    caption = "What the files gave on other runtimes"
    filled = table(columns, rows, caption=caption, numbers=tuple(range(3, 11)))
    meanings = {check.name.value: (check.proves, check.does_not_prove) for _, check in checks}
    notes = [
        tag("li", tag("strong", name), ": passed shows: ", proves, " It does not show: ", not_proved)
        for name, (proves, not_proved) in meanings.items()
    ]
    lead = (
        "Agreement and accuracy are by the same metrics as on LiteRT, on as many of the same samples as are"
        " named. “From LiteRT here” is the largest difference of a value from what LiteRT gives for the same"
        " file on the converter's machine."
    )
    return section(
        "verifications", "On other runtimes", filled, tag("ul", *notes, class_="reasons"), lead=lead
    )


def _row(artifact: ArtifactReport, check: Verification) -> Sequence[Child]:
    made = check.outcome is not VerificationOutcome.NOT_VERIFIED
    word = _WORDS[check.outcome]
    badge = verdict(check.outcome is VerificationOutcome.PASSED, word, word) if made else word
    reasons = check.message or "; ".join(check.fallbacks)
    exact = "identical" if check.agreement is not None else NOTHING
    return [
        name_of(artifact),
        joined(check.name.value, tag("small", check.runtime) if check.runtime else None),
        joined(badge, tag("small", reasons) if reasons else None),
        check.samples if made else NOTHING,
        percent(check.agreement),
        percent(artifact.agreement),
        percent(check.accuracy),
        decibels(check.snr_db, missing=exact),
        _difference(check),
        NOTHING if check.fallback_operators is None else check.fallback_operators,
        NOTHING if check.memory_bytes is None else size(check.memory_bytes),
    ]


def _difference(check: Verification) -> str:
    if check.identical is None:
        return NOTHING
    if check.identical:
        return "identical"
    return "NaN" if check.largest_difference is None else f"{check.largest_difference:.2g}"
