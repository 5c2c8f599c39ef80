"""decide(): tables of situations, and properties over random histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.compilation import (
    EdgeTPUFigures,
    EthosUFigures,
    MicrocontrollerFigures,
    NPUFigures,
    OperatorFallback,
)
from modelconversion_api.fields.compilers import NPUVendor
from modelconversion_api.fields.verification import VerificationFigures, VerificationOutcome, Verifier
from modelconversion_api.methods import Method
from modelconversion_api.reasons import PERMANENT_EXIT_CODES, FailureReason, Stage
from modelconversion_api.reports.conversion import ConversionSummary, StageResult
from modelconversion_api.status import ModelConversionStatus, Phase
from modelconversion_operator.deciding.decisions import CreateJob, Decision, DeleteJob, PatchJob
from modelconversion_operator.deciding.manifest import job_name
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.views import ConversionView, JobView, PodView
from support.operator.objects import (
    KEY,
    NOW,
    conversion,
    decide,
    ended,
    failure_message,
    job,
    pod,
    published,
    running,
    summary,
    waiting,
)


def begun(**spec_changes: Any) -> ModelConversionStatus:
    """The status of a run whose Job is about to be created."""
    return decide(conversion(**spec_changes), None, [], NOW).status


def started(**changes: Any) -> ModelConversionStatus:
    """The status of a run whose Job exists."""
    return begun().model_copy(update={"job_uid": "job-1", **changes})


def condition(decision: Decision) -> tuple[str, str]:
    only = decision.status.conditions[0]
    return only.status, only.reason


def test_first_visit_writes_the_status_before_any_job_is_made():
    decision = decide(conversion(), None, [], NOW)
    assert decision.job_action is None
    assert decision.status.phase is Phase.PENDING
    assert condition(decision) == ("Unknown", "Created")
    assert decision.status.run_generation == decision.status.observed_generation == 1
    assert decision.status.methods == "Float32,FullInteger"
    assert decision.recheck_seconds == 0


def test_second_visit_creates_the_job_named_after_the_run():
    decision = decide(conversion(begun()), None, [], NOW)
    assert isinstance(decision.job_action, CreateJob)
    assert job_name(KEY, decision.job_action.run) == decision.status.job_name


def test_a_job_that_has_only_just_been_made_costs_no_write():
    decision = decide(conversion(begun()), job(), [pod(phase="Pending")], NOW)
    assert decision.job_action is None
    assert decision.status == begun()


def test_the_job_is_recorded_once_it_runs():
    decision = decide(conversion(begun()), job(), [pod(running())], NOW)
    assert decision.status.job_uid == "job-1"


@pytest.mark.parametrize(
    ("states", "stage", "percent"),
    [
        ((running(),), Stage.FETCH, 0),
        ((ended(), running()), Stage.CONVERT, 10),
        ((ended(), ended(), running()), Stage.PUBLISH, 90),
        ((ended(),), Stage.FETCH, 10),
        ((ended(), ended()), Stage.CONVERT, 90),
    ],
)
def test_progress_follows_the_containers(states, stage, percent):
    decision = decide(conversion(started()), job(), [pod(*states)], NOW)
    assert decision.status.phase is Phase.RUNNING
    assert decision.status.progress is not None
    assert (decision.status.progress.stage, decision.status.progress.percent) == (stage, percent)
    assert decision.events == ()


def test_a_published_summary_ends_in_success_with_everything_in_the_status():
    pods = [pod(ended(), ended(), ended(message=published()), phase="Succeeded")]
    decision = decide(conversion(started()), job(complete=True), pods, NOW + timedelta(seconds=72))
    status = decision.status
    assert (status.phase, condition(decision)) == (Phase.SUCCEEDED, ("True", "Converted"))
    assert status.artifacts[0].uri == "s3://models/out/gesture_int8.tflite"
    assert status.artifacts[0].size_fraction == "0.1200"
    assert status.recommended is not None
    assert status.recommended.size == "24.0KiB"
    assert status.report_uri == "s3://models/out/report.json"
    assert status.duration == "1m12s"
    assert status.progress is None


def test_missed_gates_fail_but_keep_the_artifacts_in_the_status():
    pods = [pod(ended(), ended(), ended(message=published(passed=False)), phase="Succeeded")]
    decision = decide(conversion(started()), job(complete=True), pods, NOW)
    assert condition(decision) == ("False", "GatesNotMet")
    assert decision.status.artifacts
    assert decision.status.failure is not None
    assert "0.9950" in decision.status.failure.message


def with_compilers(whole: ConversionSummary, **figures: object) -> str:
    (artifact,) = whole.artifacts
    return StageResult(
        summary=whole.model_copy(update={"artifacts": (artifact.model_copy(update=figures),)})
    ).encode()


def test_what_compilers_made_is_in_the_status_with_its_place():
    common = {"passed": True, "compiled": True, "operators": 4, "mapped_operators": 3, "sha256": "d" * 64}
    fallback = OperatorFallback(operator="SOFTMAX", count=1, reason="the Ethos-U does not have it")
    message = with_compilers(
        summary(),
        edge_tpu=EdgeTPUFigures(**common, segments=2, subgraphs=2, on_chip_bytes=5),
        ethos_u=EthosUFigures(**common, sram_bytes=7, inferences_per_second="9.50", fallbacks=(fallback,)),
        microcontroller=MicrocontrollerFigures(passed=True, arena_bytes=1, flash_bytes=2, has_source=True),
        npu=(
            NPUFigures(**common, vendor=NPUVendor.QUALCOMM, soc="SM8750", partitions=2),
            NPUFigures(
                passed=False,
                compiled=False,
                operators=4,
                mapped_operators=0,
                reason=FailureReason.NOTHING_MAPPED,
                vendor=NPUVendor.QUALCOMM,
                soc="SM8350",
            ),
        ),
        verifications=(
            VerificationFigures(
                name=Verifier.MICROCONTROLLER,
                outcome=VerificationOutcome.PASSED,
                agreement=0.98765,
                memory_bytes=4096,
            ),
        ),
    )
    pods = [pod(ended(), ended(), ended(message=message), phase="Succeeded")]
    decision = decide(conversion(started()), job(complete=True), pods, NOW)
    assert condition(decision) == ("True", "Converted")
    (artifact,) = decision.status.artifacts
    assert artifact.edge_tpu is not None
    assert artifact.ethos_u is not None
    assert artifact.microcontroller is not None
    assert artifact.edge_tpu.uri == "s3://models/out/gesture_int8_segment_0_of_2_edgetpu.tflite"
    assert artifact.ethos_u.uri == "s3://models/out/gesture_int8_vela.tflite"
    assert artifact.microcontroller.uri == "s3://models/out/gesture_int8.cc"
    assert (artifact.edge_tpu.on_chip_bytes, artifact.ethos_u.sram_bytes) == (5, 7)
    assert artifact.ethos_u.fallbacks == (fallback,)
    assert [(chip.soc, chip.uri, chip.partitions) for chip in artifact.npu] == [
        ("SM8750", "s3://models/out/gesture_int8_qualcomm_SM8750.tflite", 2),
        ("SM8350", None, None),
    ]
    assert "not compiled for Qualcomm SM8350 (NothingMapped)" in decision.status.conditions[0].message
    (check,) = artifact.verifications
    assert (check.name, check.outcome) == (Verifier.MICROCONTROLLER, VerificationOutcome.PASSED)
    assert (check.agreement, check.accuracy, check.memory_bytes) == ("0.9877", None, 4096)


@pytest.mark.parametrize("passed", [True, False])
def test_a_compilation_that_failed_is_in_one_sentence_and_the_reason_where_nothing_else_passed(passed):
    figures = EdgeTPUFigures(
        passed=False, compiled=False, operators=4, mapped_operators=0, reason=FailureReason.NOTHING_MAPPED
    )
    message = with_compilers(summary(passed=passed), edge_tpu=figures)
    pods = [pod(ended(), ended(), ended(message=message), phase="Succeeded")]
    decision = decide(conversion(started()), job(complete=True), pods, NOW)
    assert condition(decision) == (("True", "Converted") if passed else ("False", "NothingMapped"))
    assert "not compiled for Edge TPU (NothingMapped)" in decision.status.conditions[0].message
    (artifact,) = decision.status.artifacts
    assert artifact.edge_tpu is not None
    assert artifact.edge_tpu.uri is None


@pytest.mark.parametrize("passed", [True, False])
def test_methods_that_failed_beside_others_are_in_the_status_and_in_one_sentence(passed):
    message = published(passed=passed, without=(Method.FLOAT16, Method.DYNAMIC_RANGE))
    pods = [pod(ended(), ended(), ended(message=message), phase="Succeeded")]
    decision = decide(conversion(started()), job(complete=True), pods, NOW)
    assert condition(decision) == (("True", "Converted") if passed else ("False", "GatesNotMet"))
    assert [(f.method, f.reason, f.message) for f in decision.status.failed_methods] == [
        ("Float16", "QuantizationFailed", "tensor 7 has no range"),
        ("DynamicRange", "QuantizationFailed", "tensor 7 has no range"),
    ]
    words = "no file by Float16 (QuantizationFailed), DynamicRange (QuantizationFailed)"
    assert words in decision.status.conditions[0].message
    assert [e.reason for e in decision.events] == (["Converted"] if passed else ["GatesNotMet"])


def test_a_conversion_with_every_file_says_nothing_of_failed_methods():
    assert finished().failed_methods == []
    assert "no file" not in finished().conditions[0].message


def test_a_new_run_forgets_the_methods_that_failed_before():
    message = published(without=(Method.FLOAT16,))
    pods = [pod(ended(), ended(), ended(message=message), phase="Succeeded")]
    before = decide(conversion(started()), job(complete=True), pods, NOW).status
    after = decide(conversion(before, generation=2, methods=["Float16"]), job(complete=True), [], NOW).status
    assert (after.run_generation, after.failed_methods) == (2, [])


@pytest.mark.parametrize(
    ("states", "reason", "stage"),
    [
        (
            (ended(11, failure_message(FailureReason.SOURCE_NOT_FOUND, Stage.FETCH)),),
            FailureReason.SOURCE_NOT_FOUND,
            Stage.FETCH,
        ),
        (
            (ended(), ended(21, failure_message(FailureReason.UNREADABLE_MODEL))),
            FailureReason.UNREADABLE_MODEL,
            Stage.LOAD,
        ),
        ((ended(), ended(21)), FailureReason.UNREADABLE_MODEL, Stage.CONVERT),
        ((ended(), ended(137, reason="OOMKilled")), FailureReason.OUT_OF_MEMORY, Stage.CONVERT),
        ((ended(), ended(139)), FailureReason.CONVERTER_CRASHED, Stage.CONVERT),
        ((ended(143),), FailureReason.INTERRUPTED, Stage.FETCH),
        ((ended(1),), FailureReason.REPORT_LOST, Stage.FETCH),
    ],
)
def test_a_failed_container_becomes_a_reason(states, reason, stage):
    decision = decide(
        conversion(started()), job(failed="PodFailurePolicy"), [pod(*states, phase="Failed")], NOW
    )
    failure = decision.status.failure
    assert failure is not None
    assert (failure.reason, failure.stage) == (reason, stage)
    assert failure.exit_code == next(
        c["terminated"]["exitCode"] for c in states if c["terminated"]["exitCode"]
    )
    assert failure.pod == "gesture-abc"
    assert condition(decision) == ("False", reason)
    assert [(e.type, e.reason) for e in decision.events] == [("Warning", reason)]


def test_the_last_failed_pod_speaks_for_the_job():
    first = pod(
        ended(60, failure_message(FailureReason.STORAGE_UNAVAILABLE)), phase="Failed", name="a", age=60
    )
    last = pod(ended(13, failure_message(FailureReason.STORAGE_ACCESS_DENIED)), phase="Failed", name="b")
    decision = decide(conversion(started()), job(failed="BackoffLimitExceeded"), [last, first], NOW)
    assert condition(decision) == ("False", "StorageAccessDenied")


def test_running_too_long_is_a_reason():
    decision = decide(conversion(started()), job(failed="DeadlineExceeded"), [], NOW)
    assert condition(decision) == ("False", "ActiveDeadlineExceeded")


def test_a_job_that_somebody_deleted_is_a_reason():
    assert condition(decide(conversion(started()), None, [], NOW)) == ("False", "JobDeleted")


def test_a_job_of_somebody_else_under_our_name_is_not_adopted():
    assert condition(decide(conversion(begun()), job(owner="other"), [], NOW)) == ("False", "JobRejected")


def test_a_failure_that_may_pass_is_shown_while_it_is_tried_again():
    status = started(phase=Phase.RUNNING)
    failed = pod(ended(60, failure_message(FailureReason.STORAGE_UNAVAILABLE)), phase="Failed")
    decision = decide(conversion(status), job(), [failed], NOW)
    assert condition(decision) == ("Unknown", "Retrying")
    assert "StorageUnavailable" in decision.status.conditions[0].message


def test_suspend_stops_the_job_and_resume_starts_it_again():
    held = decide(conversion(started(), generation=2, suspend=True), job(), [], NOW)
    assert held.job_action == PatchJob(job().name, suspend=True)
    assert (held.status.phase, condition(held)) == (Phase.SUSPENDED, ("Unknown", "Suspended"))
    resumed = decide(conversion(held.status, generation=3), job(suspend=True), [], NOW)
    assert resumed.job_action == PatchJob(job().name, suspend=False)
    assert resumed.status.run_generation == 1


def test_suspended_from_the_start_makes_no_job():
    status = decide(conversion(suspend=True), None, [], NOW).status
    assert decide(conversion(status, suspend=True), None, [], NOW).job_action is None
    assert isinstance(decide(conversion(status, generation=2), None, [], NOW).job_action, CreateJob)


def test_a_job_that_a_queue_holds_back_is_left_alone_and_does_not_time_out():
    old = job(suspend=True, created=NOW - timedelta(days=1))
    decision = decide(conversion(started()), old, [], NOW)
    assert decision.job_action is None
    assert decision.status.phase is Phase.PENDING


def finished() -> ModelConversionStatus:
    pods = [pod(ended(), ended(), ended(message=published()), phase="Succeeded")]
    return decide(conversion(started()), job(complete=True), pods, NOW).status


LONG = "again, for the training set of May had 2,000 pictures of the wrong door"


@pytest.mark.parametrize("word", ["2026-05-01T03:00:00Z", "", "1", LONG, "line\nbreak", "é" * 63])
def test_an_annotation_runs_the_same_spec_once_more(word):
    ended = finished()
    decision = decide(conversion(ended, run_again=word), job(complete=True), [], NOW)
    status = decision.status
    assert (status.phase, status.run_generation, status.artifacts) == (Phase.PENDING, 1, [])
    assert status.job_name not in (None, ended.job_name)
    made = decide(conversion(status, run_again=word), None, [], NOW)
    assert isinstance(made.job_action, CreateJob)
    assert job_name(KEY, made.job_action.run) == status.job_name
    # The word has been answered: neither it nor its removal asks for a third run, and another word does.
    over = finished().model_copy(update={"run_again": status.run_again})
    for same in (word, None):
        assert decide(conversion(over, run_again=same), None, [], NOW).status.phase is Phase.SUCCEEDED
    assert decide(conversion(over, run_again="other"), None, [], NOW).status.phase is Phase.PENDING
    assert ModelConversionStatus.model_validate(status.to_wire()) == status


def test_a_word_to_run_again_waits_for_the_end_of_the_run_under_way():
    before = started(phase=Phase.RUNNING)
    decision = decide(conversion(before, run_again="x"), job(), [pod(running())], NOW)
    assert (decision.status.job_name, decision.status.run_again) == (before.job_name, None)
    assert decide(conversion(finished(), run_again="x"), job(complete=True), [], NOW).status.run_again == "x"


def test_a_word_that_was_there_from_the_start_makes_one_run():
    begun = decide(conversion(run_again="x"), None, [], NOW).status
    over = finished().model_copy(update={"run_again": begun.run_again})
    assert decide(conversion(over, run_again="x"), None, [], NOW).status == over


def test_what_a_policy_refused_is_looked_at_again_on_a_word():
    named: Any = {"job": {"serviceAccountName": "cloud"}}
    mild = Policy(service_accounts=("cloud",))
    refused = decide(conversion(**named), None, [], NOW).status
    assert refused.phase is Phase.FAILED
    assert decide(conversion(refused, **named), None, [], NOW, policy=mild).status.phase is Phase.FAILED
    again = conversion(refused, run_again="x", **named)
    assert decide(again, None, [], NOW, policy=mild).status.phase is Phase.PENDING
    still = decide(again, None, [], NOW).status
    assert (still.phase, still.run_again) == (Phase.FAILED, "x")


def test_a_new_spec_after_the_end_runs_again_under_a_new_job():
    decision = decide(conversion(finished(), generation=2, methods=["Float16"]), job(complete=True), [], NOW)
    assert decision.status.phase is Phase.PENDING
    assert decision.status.run_generation == 2
    assert decision.status.job_name != finished().job_name
    assert decision.status.artifacts == []
    assert decision.status.failure is None


@pytest.mark.parametrize(
    "change", [{"suspend": True}, {"job": {"ttlSecondsAfterFinished": 5}}], ids=["suspend", "ttl"]
)
def test_what_may_change_at_any_time_starts_no_new_run(change):
    before = finished()
    decision = decide(conversion(before, generation=2, **change), None, [], NOW)
    # kubectl wait reads a condition's generation: what speaks of an earlier one is waited for.
    assert {c.observed_generation for c in decision.status.conditions} == {2}
    same = {"observed_generation": 1, "conditions": before.conditions}
    assert decision.status.model_copy(update=same) == before


def test_the_ttl_is_lowered_only_after_the_result_is_in_the_status():
    short = {"ttlSecondsAfterFinished": 5}
    status = decide(conversion(job=short), None, [], NOW).status.model_copy(update={"job_uid": "job-1"})
    pods = [pod(ended(), ended(), ended(message=published()), phase="Succeeded")]
    done = decide(conversion(status, job=short), job(complete=True, ttl=3600), pods, NOW)
    assert done.job_action is None
    after = decide(conversion(done.status, job=short), job(complete=True, ttl=3600), pods, NOW)
    assert after.job_action == PatchJob(job().name, ttl_seconds=5)


def test_a_spec_that_cannot_be_read_fails_once_and_stays_quiet():
    broken = conversion(methods=["Float64"])
    decision = decide(broken, None, [], NOW)
    assert condition(decision) == ("False", "InvalidSpec")
    assert "methods" in decision.status.conditions[0].message
    again = decide(conversion(decision.status, methods=["Float64"]), None, [], NOW)
    assert (again.status, again.events) == (decision.status, ())


def test_a_newer_crds_fields_fail_nothing_and_begin_nothing():
    run = started()
    newer = {"newField": "its default", "job": {"newerField": 1}}
    decision = decide(conversion(run, **newer), job(), [], NOW)
    assert decision.status.phase is Phase.PENDING
    assert decision.status.spec_digest == run.spec_digest


def test_a_conversion_on_its_way_out_is_left_alone():
    decision = decide(conversion(started(), deleting=True), job(), [], NOW)
    assert (decision.job_action, decision.status, decision.events) == (None, started(), ())


# Properties over any mixture of what may be seen.

states = st.one_of(
    st.builds(running),
    st.builds(
        ended,
        st.sampled_from([0, 1, 60, 137, 139, 143, *PERMANENT_EXIT_CODES]),
        st.sampled_from(["", "{", published(), failure_message(FailureReason.UNREADABLE_MODEL)]),
        st.sampled_from([None, "OOMKilled"]),
    ),
    st.builds(waiting, st.sampled_from(["PodInitializing", "ImagePullBackOff"])),
)
pods = st.lists(
    st.builds(
        lambda s, phase, name, age: pod(*s, phase=phase, name=name, age=age),
        st.lists(states, max_size=3),
        st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 2000),
    ),
    max_size=3,
)
jobs = st.none() | st.builds(
    job,
    complete=st.booleans(),
    failed=st.sampled_from([None, "BackoffLimitExceeded", "DeadlineExceeded", "PodFailurePolicy"]),
    suspend=st.booleans(),
    deleting=st.booleans(),
    created=st.integers(0, 2000).map(lambda s: NOW - timedelta(seconds=s)),
    ttl=st.sampled_from([None, 0, 3600, 86400]),
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "suspend": st.booleans(),
        "methods": st.sampled_from([["Float32"], ["Float16"], ["nonsense"]]),
        "job": st.sampled_from([{}, {"ttlSecondsAfterFinished": 1}]),
    },
)
words = st.sampled_from([None, "", "again", "once more"])
worlds = st.lists(st.tuples(specs, words, jobs, pods), min_size=1, max_size=5)


def live_through(
    history: list[tuple[dict[str, Any], str | None, JobView | None, list[PodView]]],
) -> list[tuple[ConversionView, JobView | None, list[PodView], Decision]]:
    """Decide at each point of a history; a changed spec is a new generation."""
    status, generation, before, steps = None, 0, None, []
    for changes, word, the_job, the_pods in history:
        if changes != before:
            generation, before = generation + 1, changes
        seen = conversion(status, generation=generation, run_again=word, **changes)
        decision = decide(seen, the_job, the_pods, NOW)
        steps.append((seen, the_job, the_pods, decision))
        status = decision.status
    return steps


@given(worlds)
def test_deciding_twice_gives_the_same(history):
    for seen, the_job, the_pods, decision in live_through(history):
        assert decide(seen, the_job, the_pods, NOW) == decision


@given(worlds)
def test_a_decision_settles(history):
    """Carried out and looked at again, a decision leads to no endless stream of writes or events."""
    seen, the_job, the_pods, decision = live_through(history)[-1]
    for _ in range(8):  # to the end of this run, and of another one that its annotation asks for
        seen = replace(seen, status=decision.status, raw_status=decision.status.to_wire())
        decision = decide(seen, the_job, the_pods, NOW)
    assert decision.status == seen.status
    assert decision.events == ()


@given(worlds)
def test_one_condition_that_agrees_with_the_phase(history):
    for *_, decision in live_through(history):
        only = decision.status.conditions[0]
        expected = {Phase.SUCCEEDED: "True", Phase.FAILED: "False"}.get(decision.status.phase, "Unknown")
        assert only.status == expected
        assert (decision.status.failure is not None) == (decision.status.phase is Phase.FAILED)
        assert (decision.status.completion_time is not None) == decision.status.phase.is_final


@given(worlds)
def test_a_job_is_created_only_when_there_is_none_and_never_twice_for_one_run(history):
    for _, the_job, _, decision in live_through(history):
        if isinstance(decision.job_action, CreateJob):
            assert the_job is None
            assert decision.status.job_uid is None
        if isinstance(decision.job_action, DeleteJob):
            assert decision.status.phase.is_final
            assert not the_job.finished


@given(worlds)
def test_the_end_of_a_run_is_final(history):
    """Once a run has ended, only a new run changes its outcome."""
    for seen, *_, decision in live_through(history):
        before = seen.status
        same_run = decision.status.run == before.run
        if before.phase is not None and before.phase.is_final and same_run:
            assert decision.status.phase is before.phase
            same = [c.model_copy(update={"observed_generation": 0}) for c in before.conditions]
            now = [c.model_copy(update={"observed_generation": 0}) for c in decision.status.conditions]
            assert now == same


@given(worlds)
def test_a_status_always_fits_the_contract(history):
    for *_, decision in live_through(history):
        assert ModelConversionStatus.model_validate(decision.status.to_wire()) == decision.status
