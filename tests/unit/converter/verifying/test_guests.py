"""How guests are started, and what is made of several; ``tests/converter/test_guests.py`` has real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelconversion_api.fields.verification import Verification, VerificationOutcome, Verifier
from support.converter.graphs import artifact
from tflite_converter.progress import ignore
from tflite_converter.verifying.guests import GUESTS, GUESTS_ENV, HOW_TO_ADD, Workplace, command, place, run
from tflite_converter.verifying.runtimes import RUN_HERE, RUNTIMES
from tflite_converter.verifying.verify import failed, not_verified, with_verifications, worst

OLDEST = Verifier.OLDEST_RUNTIME


def test_every_runtime_is_run_in_one_way() -> None:
    assert RUN_HERE.keys() | GUESTS.keys() == set(Verifier)
    assert not RUN_HERE.keys() & GUESTS.keys()
    assert all(RUNTIMES[name].most_samples for name in GUESTS)
    assert not [name for name in GUESTS if name.target]


@pytest.mark.parametrize("name", GUESTS)
def test_without_the_root_it_says_what_to_do(
    name: Verifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(GUESTS_ENV, str(tmp_path / "roots"))
    where = Workplace(tmp_path, None, ignore)
    for guest in GUESTS[name]:
        found = run(guest, b"", b"", tmp_path / "outputs.npz", where)
        assert found.missing == f"{tmp_path / 'roots' / guest.root} is not there: {HOW_TO_ADD}"
        assert (found.outputs, found.failure) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_another_place() -> None:
    assert place({}) == Path("/opt/verify")
    assert place({GUESTS_ENV: "/a/roots"}) == Path("/a/roots")


def test_an_emulator_plays_the_processor_that_was_asked_for() -> None:
    (a72,), (armv7,) = GUESTS[Verifier.CORTEX_A72], GUESTS[Verifier.ARMV7]
    assert command(a72, Path("/r"))[:5] == ["/r/bin/qemu-aarch64", "-L", "/r/arm64", "-cpu", "cortex-a72"]
    assert command(armv7, Path("/r"))[:5] == ["/r/bin/qemu-arm", "-L", "/r/armhf", "-cpu", "cortex-a7"]


def passed(agreement: float, runtime: str, largest: float = 0.0) -> Verification:
    return Verification(
        name=OLDEST,
        outcome=VerificationOutcome.PASSED,
        agreement=agreement,
        runtime=runtime,
        largest_difference=largest,
        proves="x",
        does_not_prove="y",
    )


A, B = passed(0.9, "a 1", 0.5), passed(0.8, "b 2")


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([A], ("Passed", 0.9, None, "a 1")),
        ([A, B], ("Passed", 0.8, None, "a 1; b 2")),
        ([passed(0.9, "c 3"), A], ("Passed", 0.9, None, "c 3; a 1")),
        ([A, failed(OLDEST, "no GELU", "b 2")], ("Failed", None, "b 2: no GELU", "a 1; b 2")),
        ([failed(OLDEST, "no GELU", "b 2"), A], ("Failed", None, "b 2: no GELU", "b 2; a 1")),
        ([A, not_verified(OLDEST, "it is not there")], ("NotVerified", None, "it is not there", "a 1")),
        (
            [not_verified(OLDEST, "absent"), failed(OLDEST, "no GELU", "b 2")],
            ("Failed", None, "b 2: no GELU", "b 2"),
        ),
    ],
)
def test_the_worst_of_several_counts(found: list[Verification], expected: tuple[object, ...]) -> None:
    check = worst(found)
    assert (check.outcome.value, check.agreement, check.message, check.runtime) == expected


def test_one_of_several_that_is_no_worse_does_not_pass_beside_a_file_that_failed() -> None:
    alike = passed(0.0, "a 1").changed(message="as on LiteRT here: unusable")
    check = worst([alike, passed(0.0, "b 2").changed(message="as on LiteRT here: unusable")])
    assert (check.outcome, check.message) == (
        VerificationOutcome.PASSED,
        "a 1: as on LiteRT here: unusable",
    )
    (kept,) = with_verifications(artifact(passed=True), [check], ()).verifications
    assert kept.outcome is VerificationOutcome.PASSED
    (told,) = with_verifications(artifact(passed=False), [check], ()).verifications
    assert told.outcome is VerificationOutcome.FAILED


def test_of_equal_agreement_the_larger_difference_is_told() -> None:
    assert worst([passed(0.9, "c 3"), A]).largest_difference == 0.5
