"""The page's part on other runtimes."""

from __future__ import annotations

from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from support.converter import html_reports as sample
from support.converter.pages import HOSTILE, Page
from tflite_converter.report.page import render


def page_with(*checks: Verification) -> Page:
    """The page of the ordinary report, whose files have these checks in turn, as far as they go."""
    report = sample.report()
    artifacts = [
        a.model_copy(update={"verifications": (check,)})
        for a, check in zip(report.artifacts, checks, strict=False)
    ]
    rest = report.artifacts[len(artifacts) :]
    return Page(render(report.model_copy(update={"artifacts": (*artifacts, *rest)})))


def check(outcome: VerificationOutcome, **fields: object) -> Verification:
    return Verification.model_validate(
        {
            "name": Verifier.MICROCONTROLLER,
            "outcome": outcome,
            "proves": "It runs.",
            "does_not_prove": "That it is fast.",
            **fields,
        }
    )


def test_each_outcome_has_its_figures_and_what_it_means_is_told_once() -> None:
    page = page_with(
        check(VerificationOutcome.PASSED, agreement=0.975, snr_db=30.0, memory_bytes=4096, runtime="micro 1"),
        check(VerificationOutcome.FAILED, message="no kernel for GELU"),
        check(VerificationOutcome.NOT_VERIFIED, message="not installed here"),
    )
    for text in ("On other runtimes", "97.5%", "4.0 KiB", "micro 1", "no kernel for GELU"):
        assert text in page.text
    assert "not verified" in page.text
    assert "on Microcontroller: not installed here" in page.text
    assert page.text.count("It does not show: That it is fast.") == 1
    assert [a["id"] for a in page.named("section") if a.get("id") == "verifications"]


def test_how_far_it_is_from_litert_and_what_stays_on_the_cpu() -> None:
    page = page_with(
        check(VerificationOutcome.PASSED, identical=True, largest_difference=0, samples=64),
        check(
            VerificationOutcome.PASSED,
            identical=False,
            largest_difference=0.00123,
            agreement=0.5,
            samples=17,
            fallback_operators=3,
            fallbacks=["ATAN2: not supported"],
        ),
        check(VerificationOutcome.PASSED, identical=False),
    )
    for text in ("identical", "at most 0.0012 off", "17 samples", "differs", "ATAN2: not supported"):
        assert text in page.text


def test_without_checks_there_is_no_part() -> None:
    assert "On other runtimes" not in page_with().text


def test_what_a_runtime_says_stays_a_text() -> None:
    for text in HOSTILE:
        page = page_with(check(VerificationOutcome.FAILED, message=text))
        assert {name for name, _ in page.elements}.isdisjoint({"script", "img"})
