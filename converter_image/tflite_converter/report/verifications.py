"""The report's part on other runtimes: what each file gave there, and what that does and does not show."""

from __future__ import annotations

from modelconversion_api.report import ArtifactReport, ConversionReport
from modelconversion_api.verification import Verification, VerificationOutcome, left_to_cpu
from tflite_converter.report.figures import NOTHING, name_of, percent, section, size, table, verdict
from tflite_converter.report.markup import Child, Markup, joined, tag

_WORDS = {
    VerificationOutcome.PASSED: "passed",
    VerificationOutcome.FAILED: "failed",
    VerificationOutcome.NOT_VERIFIED: "not verified",
}
_LEAD = (
    "Agreement is by the same metric as on LiteRT, on as many of its samples as are named. The"
    " difference is the largest of one value from what LiteRT gives for the same file and"
    " sample on the converter's machine."
)


def verifications(report: ConversionReport) -> Markup | None:
    """Return a row for each file and a column for each runtime; None where nothing was checked."""
    names = tuple(dict.fromkeys(check.name for file in report.artifacts for check in file.verifications))
    if not names:
        return None
    rows = []
    for file in report.artifacts:
        found = {check.name: check for check in file.verifications}
        rows.append([name_of(file), *(_cell(found.get(name), file) for name in names)])
    filled = table(["File", *names], rows, caption="What the files gave on other runtimes")
    reasons = [
        tag("li", tag("strong", name_of(file), f" on {check.name.value}: "), check.message or "; ".join(said))
        for file in report.artifacts
        for check in file.verifications
        if (said := check.fallbacks) or check.message
    ]
    parts = [filled, tag("ul", *reasons, class_="reasons")] if reasons else [filled]
    known = {check.name: check for file in report.artifacts for check in file.verifications}
    runtimes = {c.name: c.runtime for file in report.artifacts for c in file.verifications if c.runtime}
    notes = [
        tag(
            "li",
            tag("strong", name),
            f" ({runtimes[name]})" if name in runtimes else None,
            ": passed shows: ",
            check.proves,
            " It does not show: ",
            check.does_not_prove,
        )
        for name, check in known.items()
    ]
    return section(
        "verifications", "On other runtimes", *parts, tag("ul", *notes, class_="reasons"), lead=_LEAD
    )


def _cell(check: Verification | None, file: ArtifactReport) -> Child:
    if check is None:
        return NOTHING
    word = _WORDS[check.outcome]
    if check.outcome is VerificationOutcome.NOT_VERIFIED:
        return word
    badge = verdict(check.outcome is VerificationOutcome.PASSED, word, word)
    return joined(badge, *(tag("small", words) for words in _figures(check, file)))


def _figures(check: Verification, file: ArtifactReport) -> list[str]:
    """Say what was measured there, a line each."""
    lines = []
    if check.agreement is not None:
        on_litert = "" if file.agreement is None else f" (LiteRT {percent(file.agreement)})"
        lines.append(f"{percent(check.agreement)} agreement on {check.samples} samples{on_litert}")
    if check.accuracy is not None:
        lines.append(f"{percent(check.accuracy)} accuracy")
    if check.identical is not None:
        gap = check.largest_difference
        lines.append(
            "identical" if check.identical else "differs" if gap is None else f"differs by {gap:.2g} at most"
        )
    if check.fallback_operators is not None:
        lines.append(left_to_cpu(check.fallback_operators))
    if check.memory_bytes is not None:
        lines.append(f"{size(check.memory_bytes)} of memory")
    return lines
