"""What is made of a file's results on another runtime: a verdict, and its record."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.verification import (
    Verification,
    VerificationOutcome,
    Verifier,
    resolved_verifiers,
)
from modelconversion_api.methods import Target
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.measurements import AgreementMetric
from support.converter.graphs import artifact
from support.converter.tflite_files import O, T, floats, ints, tflite
from tflite_converter.arrays import Array
from tflite_converter.measuring.evaluation import Reference
from tflite_converter.measuring.gates import Gates
from tflite_converter.verifying.runtimes import RUNTIMES, Ran, lacks_flex
from tflite_converter.verifying.verify import ended, failed, judge, not_verified, verify, with_verifications

pytest.importorskip("tflite_micro", reason="there is no package for this machine")

MICRO = Verifier.MICROCONTROLLER
SAMPLES = np.random.default_rng(0).uniform(-1, 1, (40, 4)).astype(np.float32)
SCALED = {"scales": [1 / 128], "zero_points": [0]}


def through(name: str = "ABS") -> bytes:
    return tflite([T("x", **SCALED), T("y", **SCALED)], [O(name)])


def reference(outputs: Array, labels: Array | None = None) -> Reference:
    """What an original gave that has one output, ``y``."""
    return Reference(
        samples={"x": SAMPLES},
        outputs={"y": outputs},
        labels=labels,
        task=Task.CLASSIFICATION,
        metric=AgreementMetric.TOP1,
        original=None,
        source_bytes=1,
    )


def check(
    content: bytes, outputs: Array, gates: Gates | None = None, labels: Array | None = None
) -> Verification:
    return verify(MICRO, content, reference(outputs, labels), gates or Gates(), lambda _: None)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        ("OutOfMemory", "NotVerified"),
        ("NoSpace", "NotVerified"),
        ("Interrupted", "NotVerified"),
        ("ConverterTimedOut", "NotVerified"),
        ("InternalError", "NotVerified"),
        ("ConverterCrashed", "Failed"),
        ("EvaluationFailed", "Failed"),
        ("DataUnreadable", "Failed"),
    ],
)
def test_want_of_memory_or_time_says_nothing_of_the_file(reason: str, outcome: str) -> None:
    check = ended(Verifier.GPU, FailureReason(reason), "it ended", "LiteRT 2")
    assert (check.outcome.value, check.message, check.runtime) == (outcome, "it ended", "LiteRT 2")


def test_a_file_that_does_what_the_original_does_passes() -> None:
    found = check(through(), np.abs(SAMPLES), Gates(min_agreement=0.5))
    assert (found.outcome, found.samples, found.message) == (VerificationOutcome.PASSED, 40, None)
    stored = np.clip(np.rint(SAMPLES * 128), -128, 127)
    same = np.minimum(np.abs(stored), 127).argmax(1) == np.abs(SAMPLES).argmax(1)
    assert found.agreement == pytest.approx(same.mean())
    assert found.memory_bytes
    assert (found.runtime or "").startswith("tflite-micro 0.dev")


def test_labels_give_an_accuracy() -> None:
    classes = np.abs(SAMPLES).argmax(1)
    labels = np.where(np.arange(40) < 10, (classes + 1) % 4, classes)
    found = check(through(), np.abs(SAMPLES), labels=labels)
    assert found.accuracy is not None
    assert found.accuracy <= 0.75


def test_a_gate_that_is_missed_there_fails() -> None:
    found = check(through(), -np.abs(SAMPLES), Gates(min_agreement=0.9))
    assert found.outcome is VerificationOutcome.FAILED
    assert found.agreement is not None
    assert found.agreement < 0.5
    assert "agreement" in (found.message or "")


def test_a_file_that_does_not_run_there_fails_with_the_reason() -> None:
    found = check(through("GELU"), SAMPLES)
    assert (found.outcome, found.samples) == (VerificationOutcome.FAILED, 0)
    assert found.message == "TFLite Micro has no kernel for GELU"


def test_outputs_of_another_shape_fail() -> None:
    found = check(through(), SAMPLES[:, :3])
    assert found.outcome is VerificationOutcome.FAILED
    assert found.message == "it gives 'y' with shape (40, 4), the original (40, 3)"


def test_a_size_that_the_data_decide_is_filled_up_as_the_original_s_is() -> None:
    """The numbers over 0: at most 2 in the first 64 samples, which a guest runs, and 4 in the last."""
    samples = np.full((65, 4), -1, np.float32)
    samples[:64, 1] = np.arange(1, 65)
    samples[5, 3] = 0.5
    samples[64] = [1, 2, 3, 4]
    content = tflite(
        [
            T("x", (1, 4), "FLOAT32"),
            T("flat", (4,), "FLOAT32"),
            T("size", (1,), "INT32", ints(-1)),
            T("zero", (), "FLOAT32", floats(0)),
            T("over", (4,), "BOOL"),
            T("places", (4, 1), "INT64", open_shape=(-1, 1)),
            T("y", (4,), "FLOAT32", open_shape=(-1,)),
        ],
        [
            O("RESHAPE", (0, 2), (1,)),
            O("GREATER", (1, 3), (4,)),
            O("WHERE", (4,), (5,)),
            O("GATHER_ND", (1, 5), (6,)),
        ],
        outputs=(6,),
    )
    whole = np.zeros((65, 4), np.float32)
    whole[:64, 0] = np.arange(1, 65)
    whole[5, 1] = 0.5
    whole[64] = [1, 2, 3, 4]
    of_all = replace(
        reference(whole), samples={"x": samples}, task=Task.REGRESSION, metric=AgreementMetric.R2
    )
    given = whole[:64, :2].copy()
    found = judge(Verifier.OLDEST_RUNTIME, content, Ran({"y": given}, "a 1"), of_all, Gates(min_agreement=1))
    assert (found.outcome, found.message) == (VerificationOutcome.PASSED, None)
    assert (found.samples, found.identical, found.largest_difference) == (64, True, 0)
    given[3, 1] = 7
    found = judge(Verifier.OLDEST_RUNTIME, content, Ran({"y": given}, "a 1"), of_all, Gates())
    assert (found.identical, found.largest_difference) == (False, 7)
    wide = np.zeros((64, 5), np.float32)
    found = judge(Verifier.OLDEST_RUNTIME, content, Ran({"y": wide}, "a 1"), of_all, Gates())
    assert found.message == "it gives 'y' with shape (64, 5), the original (64, 4)"


def test_a_file_that_needs_the_flex_delegate_is_not_verified_where_a_device_can_have_it() -> None:
    content = through("FlexMatrixInverse")
    found = verify(Verifier.GPU, content, reference(SAMPLES), Gates(), lambda _: None)
    assert found.outcome is VerificationOutcome.NOT_VERIFIED
    words = "it needs the Flex delegate for FlexMatrixInverse, which this runtime's package has not"
    assert found.message == words
    on_target = with_verifications(artifact(passed=True), [found], [Verifier.GPU])
    assert on_target.passed
    # TFLite Micro never has it.
    assert check(content, SAMPLES).outcome is VerificationOutcome.FAILED
    assert lacks_flex(Verifier.ARMV7, ["FlexMatrixInverse"]) == words
    assert lacks_flex(Verifier.ARMV7, []) is None


def test_without_the_runtime_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    found = check(through(), SAMPLES)
    assert found.outcome is VerificationOutcome.NOT_VERIFIED
    assert "is not installed here" in (found.message or "")
    assert (found.agreement, found.memory_bytes, found.runtime) == (None, None, None)


@pytest.mark.parametrize(
    ("check", "decisive", "passed", "message"),
    [
        (failed(MICRO, "no kernel"), [MICRO], False, "slow; on Microcontroller: no kernel"),
        (failed(MICRO, "no kernel"), [], True, "slow"),
        (not_verified(MICRO, "absent"), [MICRO], True, "slow"),
    ],
)
def test_only_the_target_s_own_runtime_decides(
    check: Verification, decisive: list[Verifier], passed: bool, message: str
) -> None:
    found = with_verifications(artifact(message="slow"), [check], decisive)
    assert (found.passed, found.message, found.verifications) == (passed, message, (check,))


def test_a_file_that_failed_stays_so() -> None:
    found = with_verifications(artifact(passed=False), [not_verified(MICRO, "absent")], [MICRO])
    assert not found.passed


@pytest.mark.parametrize(
    ("asked", "target", "made"),
    [
        ((), None, ()),
        ((), Target.CLOUD, ()),
        ((), Target.MICROCONTROLLER, (MICRO,)),
        ((MICRO,), Target.CLOUD, (MICRO,)),
        ((MICRO, MICRO), Target.MICROCONTROLLER, (MICRO,)),
    ],
)
def test_what_is_verified(
    asked: tuple[Verifier, ...], target: Target | None, made: tuple[Verifier, ...]
) -> None:
    assert resolved_verifiers(asked, target) == made


def test_every_runtime_can_be_run_and_says_what_it_shows() -> None:
    assert RUNTIMES.keys() == set(Verifier)
    assert all(runtime.proves and runtime.does_not_prove for runtime in RUNTIMES.values())
    assert {verifier.target for verifier in Verifier} <= {*Target, None}
