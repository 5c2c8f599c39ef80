"""When each stage of a run was: what the cluster and ``convert`` say, and nothing that nobody knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageFailure, StageResult
from modelconversion_api.status import MOST_STAGES, ModelConversionStatus, StageTime
from modelconversion_operator.deciding.views import PodView
from support.operator.objects import NOW, conversion, decide, job, pod, published, wire

STARTED = decide(conversion(), None, [], NOW).status.model_copy(update={"job_uid": "job-1"})
EPOCH = NOW.timestamp()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def state(begun: float, ended: float | None = None, code: int = 0, message: str = "") -> dict[str, Any]:
    if ended is None:
        return {"running": {"startedAt": wire(after(begun))}}
    times = {"startedAt": wire(after(begun)), "finishedAt": wire(after(ended))}
    return {"terminated": {"exitCode": code, "reason": "x", "message": message, **times}}


def placed(at: float) -> list[dict[str, Any]]:
    return [{"type": "PodScheduled", "status": "True", "lastTransitionTime": wire(after(at))}]


def its_pod(*states: dict[str, Any], phase: str = "Running", made: float = 3, **more: Any) -> PodView:
    return pod(*states, phase=phase, age=-made, conditions=placed(made + 2), **more)


def told(times: dict[Stage, tuple[float, float]], failure: StageFailure | None = None) -> str:
    shifted = {stage: (EPOCH + at, seconds) for stage, (at, seconds) in times.items()}
    return StageResult(times=shifted, failure=failure).encode()


def shown(status: ModelConversionStatus) -> list[tuple[str, float, float]]:
    return [
        (s.name.value, (s.start_time - NOW).total_seconds(), (s.end_time - NOW).total_seconds())
        for s in status.stages
    ]


def ended_with(
    *pods: PodView, at: float = 40, status: ModelConversionStatus = STARTED, **of_job: Any
) -> ModelConversionStatus:
    found = decide(conversion(status), job(**of_job), list(pods), after(at)).status
    assert found.completion_time == after(at)
    return found


INNER = {Stage.LOAD: (10.5, 4.25), Stage.QUANTIZE: (14.75, 10.0), Stage.EVALUATE: (16.0, 9.5)}


def test_a_run_that_succeeded_has_every_stage() -> None:
    its = its_pod(state(7, 9), state(9, 26, message=told(INNER)), state(27, 29, message=published()))
    status = ended_with(its, complete=True)
    assert shown(status) == [
        ("Queue", 0, 3),
        ("Schedule", 3, 5),
        ("Start", 5, 7),
        ("Fetch", 7, 9),
        ("Load", 10.5, 14.75),
        ("Quantize", 14.75, 24.75),
        ("Evaluate", 16, 25.5),
        ("Publish", 27, 29),
    ]
    assert {stage.pod for stage in status.stages[1:]} == {its.name}
    assert not [stage for stage in status.stages if stage.reason]


@pytest.mark.parametrize(
    "message",
    [
        "",
        "no JSON",
        published(),
        told({Stage.LOAD: (-100, 4)}),
        told({Stage.LOAD: (27.5, 1)}),
        told({Stage.PUBLISH: (10, 1)}),
        told({Stage.LOAD: (9e10, 1)}),
    ],
)
def test_where_convert_says_nothing_that_can_be_true_its_container_stands_for_it(message: str) -> None:
    its = its_pod(state(7, 9), state(9, 26, message=message), state(27, 29, message=published()))
    assert ("Convert", 9, 26) in shown(ended_with(its, complete=True))


def test_what_convert_says_is_kept_within_its_container() -> None:
    said = told({Stage.LOAD: (8.5, 3), Stage.EVALUATE: (20, 9e9)})
    its = its_pod(state(7, 9), state(9, 26, message=said), state(27, 29, message=published()))
    assert shown(ended_with(its, complete=True))[4:6] == [("Load", 9, 11.5), ("Evaluate", 20, 27)]


def test_the_stage_that_failed_says_why_and_each_try_is_there() -> None:
    why = StageFailure(stage=Stage.LOAD, reason=FailureReason.UNREADABLE_MODEL, message="it broke")
    first = its_pod(state(7, 9), state(9, 12, 137), phase="Failed", name="a")
    said = told({Stage.LOAD: (20.5, 2)}, why)
    last = its_pod(state(17, 19), state(20, 24, 15, said), phase="Failed", name="b", made=14)
    status = ended_with(first, last, failed="PodFailurePolicy")
    assert status.failure is not None
    assert status.failure.reason is FailureReason.UNREADABLE_MODEL
    reasons = {(s.name.value, s.pod): s.reason for s in status.stages if s.reason}
    assert reasons == {
        ("Convert", "a"): FailureReason.OUT_OF_MEMORY,
        ("Load", "b"): FailureReason.UNREADABLE_MODEL,
    }


def test_what_goes_on_at_the_end_of_the_run_ends_with_it() -> None:
    status = ended_with(its_pod(state(7, 9), state(9)), at=30, overdue=True)
    assert shown(status)[-1] == ("Convert", 9, 30)
    assert status.stages[-1].reason is FailureReason.ACTIVE_DEADLINE_EXCEEDED


def test_a_pod_that_never_had_a_node_waited_for_it_until_the_end() -> None:
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
    its = pod(phase="Pending", age=-3, conditions=[waits])
    status = ended_with(its, at=2000)
    assert shown(status) == [("Queue", 0, 3), ("Schedule", 3, 2000)]
    assert status.stages[-1].reason is FailureReason.UNSCHEDULABLE


def test_a_run_without_a_pod_waited_all_the_time() -> None:
    found = decide(conversion(STARTED), None, [], after(5)).status
    assert shown(found) == [("Queue", 0, 5)]


def test_times_that_two_clocks_contradict_are_left_out() -> None:
    its = its_pod(state(7, 9), state(9, 8), state(27, 29, message=published()), made=-2)
    assert [name for name, *_ in shown(ended_with(its, complete=True))] == [
        "Schedule",
        "Start",
        "Fetch",
        "Publish",
    ]


def test_a_container_that_could_not_be_started_did_not_begin_in_1970() -> None:
    odd = {"exitCode": 128, "reason": "StartError", "startedAt": "1970-01-01T00:00:00Z"}
    its = its_pod({"terminated": odd | {"finishedAt": wire(after(8))}}, phase="Failed")
    status = ended_with(its, failed="BackoffLimitExceeded")
    assert [name for name, *_ in shown(status)] == ["Queue", "Schedule"]


def test_nothing_is_written_while_a_run_goes_on() -> None:
    running = decide(conversion(STARTED), job(), [its_pod(state(7, 9), state(9))], after(20)).status
    assert running.completion_time is None
    assert running.stages == []


def test_told_twice_it_is_there_once() -> None:
    its = its_pod(state(7, 9), state(9, 26), state(27, 29, message=published()))
    once = ended_with(its, complete=True)
    before = STARTED.model_copy(update={"stages": once.stages})
    assert ended_with(its, complete=True, status=before).stages == once.stages


def test_of_very_many_the_last_are_kept() -> None:
    many = [
        StageTime.model_validate(
            {"name": "Fetch", "startTime": wire(after(-n)), "seconds": "1", "pod": f"{n}"}
        )
        for n in range(MOST_STAGES)
    ]
    its = its_pod(state(7, 9), state(9, 26), state(27, 29, message=published()))
    status = ended_with(its, complete=True, status=STARTED.model_copy(update={"stages": many}))
    assert len(status.stages) == MOST_STAGES
    assert status.stages[-1].name.value == "Publish"


@given(st.lists(st.integers(-5, 60), min_size=6, max_size=6), st.integers(0, 60), st.booleans())
def test_whatever_the_clocks_say_no_stage_is_shorter_than_nothing(
    times: list[int], end: int, complete: bool
) -> None:
    a, b, c, d, e, f = times
    its = its_pod(state(a, b), state(c, d, message=told(INNER)), state(e, f, message=published()))
    found = decide(conversion(STARTED), job(complete=complete), [its], after(end)).status
    assert ModelConversionStatus.model_validate(found.to_wire()) == found
    assert all(stage.end_time >= stage.start_time for stage in found.stages)
