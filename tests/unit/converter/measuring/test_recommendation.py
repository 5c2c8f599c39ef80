"""Which artifact is recommended, and which others are named beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.verification import VerificationFigures, VerificationOutcome, Verifier
from modelconversion_api.methods import TARGET_PLANS, Method, Target
from modelconversion_api.reports.conversion import ArtifactReport, verdict_of
from modelconversion_api.reports.measurements import Attempt, Inventory, Latency
from tflite_converter.measuring.quality import Quality, costs_nothing
from tflite_converter.measuring.recommendation import (
    NEIGHBOURS,
    is_better_integer,
    is_better_recurrent,
    leaves_floats,
    pareto_front,
    recommend,
)

F32, DR, F16, INT8 = Method.FLOAT32, Method.DYNAMIC_RANGE, Method.FLOAT16, Method.FULL_INTEGER


def artifact(
    method: Method,
    size: int,
    agreement: float | None = 1.0,
    *,
    millis: float | None = None,
    accuracy: float | None = None,
    passed: bool = True,
) -> ArtifactReport:
    return ArtifactReport(
        method=method,
        file_name=method.file_name("m"),
        size_bytes=size,
        size_fraction=size / 1000,
        sha256="0" * 64,
        agreement=agreement,
        accuracy=accuracy,
        latency=None
        if millis is None
        else Latency(median_millis=millis, p90_millis=millis, runs=1, threads=1),
        passed=passed,
    )


ALL = [artifact(F32, 100), artifact(DR, 27), artifact(F16, 50), artifact(INT8, 25, 0.97)]


@pytest.mark.parametrize(
    ("artifacts", "target", "method"),
    [
        (ALL, None, DR),
        ([artifact(F32, 100), artifact(INT8, 25, 0.98)], None, INT8),
        ([artifact(DR, 27, 0.9), artifact(INT8, 25, 0.8)], None, DR),
        ([artifact(F32, 100), artifact(INT8, 25, passed=False)], None, F32),
        ([artifact(INT8, 25, passed=False)], None, None),
        ([artifact(INT8, 25, 0.97), artifact(DR, 27)], Target.RASPBERRY_PI, INT8),
        ([artifact(INT8, 25, passed=False), artifact(DR, 27)], Target.RASPBERRY_PI, DR),
        ([artifact(DR, 27)], Target.RASPBERRY_PI, DR),
        ([artifact(F16, 50), artifact(DR, 27)], Target.MOBILE, DR),
        ([artifact(INT8, 25, passed=False)], Target.EDGE_TPU, None),
        # None of the target's own methods is there: what is best otherwise.
        ([artifact(F32, 100), artifact(F16, 50)], Target.EDGE_TPU, F16),
        # Files that could not be run here do not beat one that could.
        ([artifact(F32, 100), artifact(DR, 27, None)], None, F32),
        ([artifact(F32, 100, None), artifact(DR, 27, None)], None, DR),
        ([], None, None),
    ],
)
def test_recommendation(
    artifacts: list[ArtifactReport], target: Target | None, method: Method | None
) -> None:
    found = recommend(artifacts, target)
    assert (found and found.method) == method
    assert found is None or found.reason


@pytest.mark.parametrize("target", Target)
def test_a_target_gets_the_first_of_its_methods(target: Target) -> None:
    found = recommend([artifact(method, 10) for method in Method], target)
    assert found is not None
    assert found.method is TARGET_PLANS[target].methods[0]
    assert TARGET_PLANS[target].why in found.reason


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (
            {"outcome": VerificationOutcome.PASSED, "agreement": 0.987, "memory_bytes": 102400},
            "; runs on its runtime, 98.7% agreement in 100.0KiB of memory",
        ),
        ({"outcome": VerificationOutcome.PASSED}, "; runs on its runtime"),
        (
            {"outcome": VerificationOutcome.NOT_VERIFIED, "message": "no package"},
            "; not verified there: no package",
        ),
    ],
)
def test_the_target_s_recommendation_says_what_came_of_it_there(
    figures: dict[str, object], words: str
) -> None:
    check = VerificationFigures.model_validate({"name": Verifier.MICROCONTROLLER, **figures})
    verified = artifact(INT8, 10).model_copy(update={"verifications": (check,)})
    found = recommend([verified], Target.MICROCONTROLLER)
    assert found is not None
    assert found.reason == f"best for Microcontroller: {TARGET_PLANS[Target.MICROCONTROLLER].why}{words}"
    other = recommend([verified], Target.RASPBERRY_PI)
    assert other is not None
    assert words not in other.reason


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, "; passed on Microcontroller, cortex-a53, armv7; failed on OldestRuntime"),
        (
            Target.MICROCONTROLLER,
            "; runs on its runtime; passed on cortex-a53, armv7; failed on OldestRuntime",
        ),
    ],
)
def test_checks_that_decide_nothing_are_told(target: Target | None, words: str) -> None:
    outcomes = {
        Verifier.MICROCONTROLLER: VerificationOutcome.PASSED,
        Verifier.CORTEX_A53: VerificationOutcome.PASSED,
        Verifier.OLDEST_RUNTIME: VerificationOutcome.FAILED,
        Verifier.ARMV7: VerificationOutcome.PASSED,
        Verifier.CORTEX_A72: VerificationOutcome.NOT_VERIFIED,
    }
    checks = tuple(VerificationFigures(name=name, outcome=outcome) for name, outcome in outcomes.items())
    found = recommend([artifact(INT8, 10).model_copy(update={"verifications": checks})], target)
    assert found is not None
    assert found.reason.endswith(words)


@pytest.mark.parametrize(
    ("left", "chosen", "words"),
    [
        ((0, 0), Method.FLOAT16, "; runs on its runtime, all operators on it"),
        ((2, 0), Method.FLOAT32, "; runs on its runtime, all operators on it"),
        ((2, 1), Method.FLOAT16, "; runs on its runtime, 2 operators left to the CPU"),
        ((1, None), Method.FLOAT32, "; runs on its runtime"),
    ],
)
def test_what_a_gpu_was_seen_to_take_as_a_whole_comes_first(
    left: tuple[int | None, ...], chosen: Method, words: str
) -> None:
    """``left`` are the operators that stay on the CPU, of the float16 and the float32 file."""
    files = [
        artifact(method, size).model_copy(update={"verifications": (seen_on_gpu(operators),)})
        for method, size, operators in zip((Method.FLOAT16, Method.FLOAT32), (50, 100), left, strict=True)
    ]
    found = recommend(files, Target.GPU)
    assert found is not None
    assert (found.method, found.reason.endswith(words)) == (chosen, True)


@pytest.mark.parametrize(
    ("left", "chosen", "words"),
    [
        ((2, None), Method.FLOAT16, "; runs on its runtime, 2 operators left to the CPU"),
        ((None, 0), Method.FLOAT32, "; runs on its runtime, all operators on it"),
        ((None, None), Method.FLOAT16, "; not verified there: no memory"),
    ],
)
def test_what_was_not_run_on_a_gpu_does_not_count_as_taken_as_a_whole(
    left: tuple[int | None, ...], chosen: Method, words: str
) -> None:
    """As above; None is a file that was not verified."""
    unknown = VerificationFigures(
        name=Verifier.GPU, outcome=VerificationOutcome.NOT_VERIFIED, message="no memory"
    )
    files = [
        artifact(method, size).model_copy(
            update={"verifications": (unknown if operators is None else seen_on_gpu(operators),)}
        )
        for method, size, operators in zip((Method.FLOAT16, Method.FLOAT32), (50, 100), left, strict=True)
    ]
    found = recommend(files, Target.GPU)
    assert found is not None
    assert (found.method, found.reason.endswith(words)) == (chosen, True)


def seen_on_gpu(fallback_operators: int | None) -> VerificationFigures:
    return VerificationFigures(
        name=Verifier.GPU, outcome=VerificationOutcome.PASSED, fallback_operators=fallback_operators
    )


def test_alternatives_say_what_they_gain_and_cost() -> None:
    found = recommend(
        [
            artifact(F32, 102400, 1.0, millis=0.4, accuracy=0.95),
            artifact(DR, 25600, 0.99, millis=0.2, accuracy=0.94),
            artifact(INT8, 20480, 0.97, millis=0.1, accuracy=0.90),
        ],
        None,
    )
    assert found is not None
    assert found.method is DR
    assert [(a.method, a.trade) for a in found.alternatives] == [
        (INT8, "5.0KiB smaller, agreement 99.0% to 97.0%, accuracy 94.0% to 90.0%, 200 µs to 100 µs a run"),
        (F32, "75.0KiB larger, agreement 99.0% to 100.0%, accuracy 94.0% to 95.0%, 200 µs to 400 µs a run"),
    ]


def test_what_could_not_be_measured_counts_as_worst() -> None:
    """A Flex file is not run here: that must not make it the fastest."""
    measured = artifact(F32, 100, 0.9, millis=5.0)
    assert pareto_front([measured, artifact(DR, 100, None)]) == [measured]
    small = artifact(DR, 10, None)
    assert pareto_front([measured, small]) == [measured, small]


artifacts = st.lists(
    st.builds(
        artifact,
        st.sampled_from(Method),
        st.integers(1, 4),
        st.sampled_from([None, 0.0, 0.5, 0.98, 1.0]),
        millis=st.sampled_from([None, 1.0, 2.0, 3.0]),
        passed=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda a: a.method,
)


def at_least_as_good(a: ArtifactReport, b: ArtifactReport) -> bool:
    """In everything that was measured on both; what was not is no better."""
    millis = [x.latency.median_millis if x.latency else 99.0 for x in (a, b)]
    agreement = [-1.0 if x.agreement is None else x.agreement for x in (a, b)]
    return a.size_bytes <= b.size_bytes and millis[0] <= millis[1] and agreement[0] >= agreement[1]


@given(artifacts)
def test_the_front_holds_what_nothing_beats(found: list[ArtifactReport]) -> None:
    front = pareto_front(found)
    for one in found:
        beaten = any(at_least_as_good(o, one) and not at_least_as_good(one, o) for o in found)
        assert (one in front) is not beaten
    assert bool(front) == bool(found)


@given(artifacts, st.one_of(st.none(), st.sampled_from(Target)))
def test_what_is_recommended_has_passed_and_its_alternatives_too(
    found: list[ArtifactReport], target: Target | None
) -> None:
    passed = {a.method: a for a in found if a.passed}
    chosen = recommend(found, target)
    assert (chosen is None) == (not passed)
    if chosen is not None:
        named = [a.method for a in chosen.alternatives]
        assert {chosen.method, *named} <= passed.keys()
        assert chosen.method not in named
        assert len(named) == len(set(named)) <= NEIGHBOURS
        front = pareto_front(list(passed.values()))
        assert all(passed[m] in front for m in named)


def test_what_was_calibrated_on_made_up_samples_comes_last() -> None:
    made_up = artifact(INT8, 25).changed(synthetic=True)
    for target in (None, Target.RASPBERRY_PI):
        chosen = recommend([made_up, artifact(DR, 27, 0.7)], target)
        assert chosen is not None
        assert (chosen.method, chosen.alternatives) == (DR, ())
    alone = recommend([made_up, artifact(DR, 27, passed=False)], None)
    assert alone is not None
    assert alone.method is INT8
    assert "calibrated on synthetic data" in alone.reason


@pytest.mark.parametrize(
    ("usable", "passed", "gated", "word"),
    [
        (True, True, True, "passed"),
        (True, True, False, "usable"),
        (True, False, True, "failed"),
        (True, False, False, "failed"),  # for its target, which needs no gate
        (False, False, True, "unusable"),
        (False, False, False, "unusable"),
    ],
)
def test_the_word_for_a_file(word: str, *, usable: bool, passed: bool, gated: bool) -> None:
    assert verdict_of(artifact(DR, 27, passed=passed).changed(usable=usable), gated=gated) == word


def integers(agreement: float, floats: int, *, size: int = 25, passed: bool = True) -> ArtifactReport:
    dtypes = {"int8": 9} | ({"float32": floats} if floats else {})
    contents = Inventory(inputs=(), outputs=(), operators=(), tensor_dtypes=dtypes)
    return artifact(INT8, size, agreement, passed=passed).changed(inventory=contents)


@pytest.mark.parametrize(
    ("first", "second", "is_better"),
    [
        (integers(0.99, 4), integers(0.985, 0), True),
        (integers(0.99, 4), integers(0.9, 0), False),
        (integers(0.99, 4), integers(0.99, 4), False),
        (integers(0.99, 4), integers(1.0, 0, passed=False), False),
        (integers(0.2, 4, passed=False), integers(0.1, 0), True),
    ],
)
def test_integers_are_better_than_floats_where_they_do_as_well(
    first: ArtifactReport, second: ArtifactReport, *, is_better: bool
) -> None:
    assert is_better_integer(second, first) is is_better


def test_floats_that_tuning_left_are_left() -> None:
    assert leaves_floats(integers(0.9, 3))
    assert not leaves_floats(integers(0.9, 0))
    chosen = Attempt(recipe="r", float_operators=1, passed=True, chosen=True, seconds=0.1)
    assert not leaves_floats(integers(0.9, 3).changed(attempts=(chosen,)))


@pytest.mark.parametrize(
    ("unrolled", "fused", "target", "is_better"),
    [
        (integers(0.99, 0, size=50), integers(0.985, 0, size=6), None, True),
        (integers(0.99, 0, size=50), integers(0.9, 0, size=6), None, False),
        (integers(0.99, 0, size=5), integers(0.99, 0, size=6), None, False),
        (integers(0.99, 0, size=50), integers(0.99, 0, size=6), Target.RASPBERRY_PI, False),
        (integers(0.99, 0, size=50), integers(0.8, 0, size=6), Target.MICROCONTROLLER, True),
        (integers(0.99, 0, size=50), integers(0.8, 0, size=6, passed=False), Target.MICROCONTROLLER, False),
        (integers(0.4, 0, size=50, passed=False), integers(0.8, 0, size=6), Target.RASPBERRY_PI, True),
    ],
)
def test_fused_or_unrolled(
    unrolled: ArtifactReport, fused: ArtifactReport, target: Target | None, *, is_better: bool
) -> None:
    assert is_better_recurrent(fused, unrolled, target) is is_better


@pytest.mark.parametrize(
    ("agreement", "snr_db", "usable", "is_free"),
    [
        (1.0, None, True, True),
        (0.996, 38.0, True, True),
        (0.994, 40.0, True, False),
        (1.0, 36.9, True, False),
        (1.0, 40.0, False, False),
    ],
)
def test_what_a_form_for_old_runtimes_may_cost(
    agreement: float, snr_db: float | None, *, usable: bool, is_free: bool
) -> None:
    candidate = Quality(agreement, None, snr_db, (), usable=usable)
    assert costs_nothing(candidate, Quality(1.0, None, 40.0, ())) is is_free
