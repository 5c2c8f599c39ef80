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
    columns = ["File", "On", "Result", "Agreement", "On LiteRT", "Accuracy", "SNR", "Memory"]
    rows = [_row(artifact, check) for artifact, check in checks]
    filled = table(columns, rows, caption="What the files gave on other runtimes", numbers=(3, 4, 5, 6, 7))
    meanings = {check.name.value: (check.proves, check.does_not_prove) for _, check in checks}
    notes = [
        tag("li", tag("strong", name), ": passed shows: ", proves, " It does not show: ", not_proved)
        for name, (proves, not_proved) in meanings.items()
    ]
    lead = "Agreement and accuracy are by the same metrics and on the same samples as on LiteRT."
    return section(
        "verifications", "On other runtimes", filled, tag("ul", *notes, class_="reasons"), lead=lead
    )


def _row(artifact: ArtifactReport, check: Verification) -> Sequence[Child]:
    made = check.outcome is not VerificationOutcome.NOT_VERIFIED
    word = _WORDS[check.outcome]
    badge = verdict(check.outcome is VerificationOutcome.PASSED, word, word) if made else word
    exact = "identical" if check.agreement is not None else NOTHING
    return [
        name_of(artifact),
        joined(check.name.value, tag("small", check.runtime) if check.runtime else None),
        joined(badge, tag("small", check.message) if check.message else None),
        percent(check.agreement),
        percent(artifact.agreement),
        percent(check.accuracy),
        decibels(check.snr_db, missing=exact),
        NOTHING if check.memory_bytes is None else size(check.memory_bytes),
    ]
