"""The report's part on other runtimes: what each file gave there, and what that does and does not show."""

from __future__ import annotations

from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier, left_to_cpu
from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from tflite_converter.report.figures import NOTHING, name_of, percent, section, size, table, verdict

_WORDS = {
    VerificationOutcome.PASSED: "passed",
    VerificationOutcome.FAILED: "failed",
    VerificationOutcome.NOT_VERIFIED: "not verified",
}
_LEAD = (
    "The share is the agreement with the original, by the same metric as on LiteRT, on as many of its"
    " samples as are named. Off is the largest difference of one value from what LiteRT gives for the"
    " same file and sample on the converter's machine."
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
        tag("li", tag("strong", ", ".join(files), f" on {name.value}: "), text)
        for (name, text), files in _reasons(report).items()
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


def _reasons(report: ConversionReport) -> dict[tuple[Verifier, str], list[str]]:
    """Return what was said of files on each runtime, once, with the names of the files."""
    found: dict[tuple[Verifier, str], list[str]] = {}
    for file in report.artifacts:
        for check in file.verifications:
            if text := check.message or "; ".join(check.fallbacks):
                found.setdefault((check.name, text), []).append(name_of(file))
    return found


def _cell(check: Verification | None, file: ArtifactReport) -> Child:
    if check is None:
        return NOTHING
    word = _WORDS[check.outcome]
    if check.outcome is VerificationOutcome.NOT_VERIFIED:
        return tag("small", word)
    badge = verdict(check.outcome is VerificationOutcome.PASSED, word, word)
    return joined(badge, *(tag("small", words) for words in _figures(check, file)))


def _figures(check: Verification, file: ArtifactReport) -> list[str]:
    """Say what was measured there, a line each."""
    lines = []
    if check.agreement is not None:
        there, here = percent(check.agreement), percent(file.agreement)
        lines.append(f"{there} on {check.samples} samples")
        if file.agreement is not None and there != here:
            lines.append(f"LiteRT: {here}")
    if check.accuracy is not None:
        lines.append(f"{percent(check.accuracy)} accuracy")
    if check.identical is not None:
        gap = check.largest_difference
        lines.append(
            "identical" if check.identical else "differs" if gap is None else f"at most {gap:.2g} off"
        )
    if check.fallback_operators is not None:
        lines.append(left_to_cpu(check.fallback_operators))
    if check.memory_bytes is not None:
        lines.append(f"{size(check.memory_bytes)} of memory")
    return lines
