"""Which spans follow from a status: within the whole run, the same each time, and none that is invented."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason
from modelconversion_api.status import ModelConversionStatus, StageName
from modelconversion_operator.deciding.views import ConversionView
from modelconversion_operator.sets.views import SetView
from modelconversion_operator.telling.events import Kind, View
from modelconversion_operator.telling.spans import ENDS, context_of, context_of_end, ends_of, trace_of
from support.operator.objects import KEY, NOW, spec, wire

LATER = NOW + timedelta(seconds=60)
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT.removesuffix("01") + "00"


def view(traceparent: str | None = None, **status: Any) -> ConversionView:
    meta: dict[str, Any] = {
        "namespace": KEY.namespace,
        "name": KEY.name,
        "uid": KEY.uid,
        "generation": 3,
        "resourceVersion": "1",
        "annotations": {} if traceparent is None else {"edgeml.dev/traceparent": traceparent},
    }
    fields: dict[str, Any] = {
        "runGeneration": 2,
        "phase": "Succeeded",
        "startTime": wire(NOW),
        "completionTime": wire(LATER),
    }
    fields = {name: value for name, value in (fields | status).items() if value is not None}
    return ConversionView.from_body({"metadata": meta, "spec": spec(), "status": fields})


def set_view(traceparent: str | None = None, **status: Any) -> SetView:
    meta = {"namespace": "ml", "name": "both", "uid": "5e7", "generation": 4, "resourceVersion": "1"}
    annotations = {} if traceparent is None else {"edgeml.dev/traceparent": traceparent}
    fields = {
        "observedGeneration": 4,
        "phase": "Succeeded",
        "startTime": wire(NOW),
        "completionTime": wire(LATER),
        "total": 3,
        "succeeded": 3,
    }
    body = {"metadata": meta | {"annotations": annotations}, "spec": {}, "status": fields | status}
    return SetView.from_body(body)


def stage(name: str, at: float, seconds: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "startTime": wire(NOW + timedelta(seconds=at)), "seconds": seconds, **more}


FAILED: dict[str, Any] = {
    "phase": "Failed",
    "conditions": [
        {
            "type": "Succeeded",
            "status": "False",
            "reason": "GatesNotMet",
            "message": "FullInteger: agreement 0.9 is below 0.99",
            "lastTransitionTime": wire(LATER),
        }
    ],
    "failure": {"stage": "Evaluate", "reason": "GatesNotMet", "message": "missed", "time": wire(LATER)},
    "stages": [stage("Load", 1, "2.5", pod="p"), stage("Evaluate", 4, "6", pod="p", reason="GatesNotMet")],
}


@pytest.mark.parametrize(
    ("of", "kinds"),
    [
        (view(phase="Running", completionTime=None), []),
        (view(), [Kind.SUCCEEDED]),
        (view(**FAILED), [Kind.FAILED]),
        (view(UNSAMPLED), []),
        (view("nonsense"), [Kind.SUCCEEDED]),
        (set_view(), [Kind.SET_SUCCEEDED]),
        (set_view(phase="Running"), []),
        (set_view(UNSAMPLED), []),
    ],
)
def test_a_run_is_told_of_when_it_has_ended_unless_its_trace_is_not_recorded(
    of: View, kinds: list[Kind]
) -> None:
    assert [moment.kind for moment in ends_of(of)] == kinds
    assert set(kinds) <= set(ENDS)


def test_a_run_has_a_span_with_its_stages_in_it() -> None:
    stages = [
        stage("Queue", 0, "3"),
        stage("Schedule", 3, "1", pod="p"),
        stage("Load", 6.25, "2.5", pod="p"),
        stage("Measure", 40, "9", pod="b", board="pi"),
    ]
    trace = trace_of(view(stages=stages))
    whole, queue, _, load, board = trace.spans
    assert (whole.name, whole.start, whole.end, whole.parent) == ("conversion", NOW, LATER, None)
    assert [span.name for span in trace.spans[1:]] == ["queue", "schedule", "load", "measure"]
    assert (load.start, load.end) == (NOW + timedelta(seconds=6.25), NOW + timedelta(seconds=8.75))
    assert (load.parent, load.is_remote, load.error) == (whole.id, False, None)
    for span in trace.spans:
        assert span.attributes["k8s.namespace.name"] == KEY.namespace
        assert span.attributes["edgeml.conversion.name"] == KEY.name
    assert "k8s.pod.name" not in queue.attributes
    assert (board.attributes["k8s.pod.name"], board.attributes["edgeml.board.name"]) == ("b", "pi")


def test_what_failed_says_why() -> None:
    whole, load, evaluate = trace_of(view(**FAILED)).spans
    assert (whole.error, whole.message) == ("GatesNotMet", "FullInteger: agreement 0.9 is below 0.99")
    assert whole.attributes["edgeml.conversion.failed_stage"] == "Evaluate"
    assert (load.error, evaluate.error) == (None, "GatesNotMet")


def test_a_long_message_is_cut() -> None:
    conditions = [FAILED["conditions"][0] | {"message": "x" * 30_000}]
    assert len(trace_of(view(**FAILED | {"conditions": conditions})).spans[0].message) == 1024


def test_a_traceparent_is_the_parent_of_the_run() -> None:
    trace = trace_of(view(PARENT, stages=[stage("Queue", 0, "3")]))
    whole, queue = trace.spans
    assert trace.id.hex() == PARENT.split("-")[1]
    assert whole.parent is not None
    assert (whole.parent.hex(), whole.is_remote) == (PARENT.split("-")[2], True)
    assert (queue.parent, queue.is_remote) == (whole.id, False)
    assert "edgeml.traceparent.ignored" not in whole.attributes


@pytest.mark.parametrize("text", ["", "nonsense", PARENT.upper(), "00-" + "1" * 5000])
def test_one_that_is_none_is_ignored_and_told(text: str) -> None:
    trace, own = trace_of(view(text)), trace_of(view())
    assert (trace.id, trace.spans[0].id, trace.spans[0].parent) == (own.id, own.spans[0].id, None)
    assert trace.spans[0].attributes["edgeml.traceparent.ignored"] is True


def test_each_run_has_a_trace_of_its_own() -> None:
    runs = [view(), view(runGeneration=3), view(runAgain="now"), view(runAgain="later")]
    assert len({trace_of(run).id for run in runs}) == 4
    assert len({trace_of(run).spans[0].id for run in runs}) == 4


def test_a_member_is_a_part_of_its_set() -> None:
    of_set = trace_of(set_view())
    context = context_of_end(set_view(), set_view().status)
    member = trace_of(view(str(context)))
    assert member.id == of_set.id
    assert member.spans[0].parent == of_set.spans[0].id
    # And with it of what the set is a part of.
    below = context_of(set_view(PARENT))
    assert below.trace_id.hex() == PARENT.split("-")[1]
    assert trace_of(view(str(below))).spans[0].parent == trace_of(set_view(PARENT)).spans[0].id
    assert ends_of(view(str(context_of(set_view(UNSAMPLED))))) == []


@pytest.mark.parametrize(
    ("asked", "followed"), [(None, None), ("1", None), ("1", "1"), ("2", "1"), (None, "1")]
)
def test_members_made_in_a_retry_are_parts_of_its_end(asked: str | None, followed: str | None) -> None:
    now = set_view(**{} if followed is None else {"retried": followed})
    wanted = asked or followed
    at_the_end = set_view(**{} if wanted is None else {"retried": wanted})
    assert context_of_end(replace(now, retry=asked), now.status) == context_of(at_the_end)


def test_each_end_of_a_set_has_a_span_of_its_own() -> None:
    ends = [set_view(), set_view(observedGeneration=5), set_view(retried="1"), set_view(retried="2")]
    assert len({(trace_of(end).id, trace_of(end).spans[0].id) for end in ends}) == 4


def test_what_has_not_ended_has_no_trace() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        trace_of(view(completionTime=None))


numbers = st.floats(-100, 200).map(lambda x: round(x, 3))
stages = st.builds(
    stage,
    st.sampled_from(StageName).map(str),
    numbers,
    st.floats(0, 300).map(lambda x: f"{x:.3f}"),
    pod=st.sampled_from(["p", "q"]),
    reason=st.none() | st.sampled_from(FailureReason).map(str),
)


@given(
    st.lists(stages, max_size=64).map(lambda found: [{k: v for k, v in s.items() if v} for s in found]),
    st.sampled_from([None, PARENT, "nonsense"]),
    st.integers(-5, 100),
    st.sampled_from(["Succeeded", "Failed"]),
)
def test_every_part_is_within_the_whole_and_told_again_it_is_the_same(
    found: list[dict[str, Any]], traceparent: str | None, length: int, phase: str
) -> None:
    end = wire(NOW + timedelta(seconds=length))
    of = view(traceparent, phase=phase, stages=found, completionTime=end)
    trace = trace_of(of)
    whole, *parts = trace.spans
    assert whole.start <= whole.end
    for part in parts:
        assert part.parent == whole.id
        assert whole.start <= part.start <= part.end <= whole.end
    known = {(s["name"], s["pod"], s["startTime"]) for s in found}
    assert len({part.id for part in parts}) <= len(known)
    assert whole.id not in {part.id for part in parts}
    # Another replica reads it from the API server.
    again = ModelConversionStatus.model_validate(of.status.to_wire()).to_wire()
    assert trace_of(view(traceparent, **again)) == trace
