"""What ``why`` says of conversions in different states."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_api.reasons import FAILURES, FailureReason
from modelconversion_api.status import Reason
from modelconversion_client import resources
from modelconversion_client.explaining import container_words, explain
from modelconversion_client.resources import Conversion, Event, Pod
from modelconversion_operator.deciding import views
from modelconversion_operator.sets.views import RETRY_ANNOTATION, SET_LABEL
from support.client.objects import condition, conversion, pod, terminated

FAILED: dict[str, Any] = {
    "phase": "Failed",
    "conditions": [condition("SourceNotFound", "there is no such file", "False")],
    "failure": {
        "stage": "Fetch",
        "reason": "SourceNotFound",
        "message": "there is no such file. Hint: train it",
        "pod": "gesture-1-b",
        "time": "2026-01-01T00:00:00Z",
    },
}


def test_a_failure_speaks_of_its_own_pod() -> None:
    pods = [
        Pod.of(pod("gesture-1-b", terminated("fetch", 11))),
        Pod.of(pod("gesture-1-c", terminated("fetch", 0), terminated("convert", 137, "OOMKilled"))),
    ]
    told = explain(Conversion.of(conversion(status=FAILED)), pods)
    assert (told.reason, told.stage, told.message) == ("SourceNotFound", "Fetch", "there is no such file.")
    assert told.pod is not None
    assert told.pod.meta.name == "gesture-1-b"
    assert told.container is not None
    assert container_words(told.container) == "container fetch ended with exit code 11 (Error)"
    hint = FAILURES[FailureReason.SOURCE_NOT_FOUND].hint
    assert told.next_step == f"{hint}; then `kubectl mconv retry gesture -n team`"
    other = Conversion.of(conversion(status=FAILED | {"failure": FAILED["failure"] | {"pod": "gone"}}))
    newest = explain(other, pods)
    assert newest.container is not None
    assert container_words(newest.container) == "container convert ended with exit code 137 (OOMKilled)"


def test_a_members_failure_is_the_sets_to_retry() -> None:
    owner = {"ownerReferences": [{"kind": "ModelConversionSet", "name": "fleet"}]}
    told = explain(Conversion.of(conversion(status=FAILED, metadata=owner)), [])
    assert told.next_step.endswith("; then `kubectl mconv retry --set fleet -n team`")
    assert told.pod is None


@pytest.mark.parametrize("reason", [*Reason, *FailureReason])
def test_every_reason_of_one_that_waits_has_a_next_step(reason: str) -> None:
    status = {"phase": "Pending", "conditions": [condition(reason, "words")]}
    told = explain(Conversion.of(conversion(status=status)), [])
    assert told.reason == reason
    assert len(told.next_step) > 10
    assert "retry" not in told.next_step or reason in FAILURES
    if reason in FAILURES:
        assert told.next_step == FAILURES[FailureReason(reason)].hint


def test_a_reason_of_a_newer_operator() -> None:
    status = {"phase": "Pending", "conditions": [condition("NovelReason", "words")]}
    assert "does not know the reason" in explain(Conversion.of(conversion(status=status)), []).next_step


@pytest.mark.parametrize(
    ("state", "in_trouble"),
    [
        ({}, False),
        ({"waiting": {"reason": "PodInitializing"}}, False),
        ({"waiting": {"reason": "ImagePullBackOff"}}, True),
        ({"running": {"startedAt": "2026-01-01T00:00:00Z"}}, False),
        ({"terminated": {"exitCode": 0}}, False),
        ({"terminated": {"exitCode": 70}}, True),
    ],
)
def test_containers_in_trouble(state: dict[str, Any], in_trouble: bool) -> None:
    found = Pod.of(pod("p", {"name": "fetch", "state": state}))
    assert [container.name for container in found.containers] == ["fetch", "convert", "publish"]
    assert (found.troubled is not None) == in_trouble


def test_events_of_both_apis() -> None:
    about = {"involvedObject": {"kind": "Pod", "name": "p"}, "metadata": {"name": "e"}}
    old = Event.of({**about, "type": "Warning", "count": 3, "lastTimestamp": "2026-01-01T00:00:03Z"})
    new = Event.of(
        {**about, "type": "Normal", "lastTimestamp": None, "eventTime": "2026-01-01T00:00:04.123456Z"}
    )
    assert (old.is_warning, old.count, old.about) == (True, 3, "Pod/p")
    assert old.time is not None
    assert new.time is not None
    assert old.time < new.time


def test_names_that_the_operator_gives() -> None:
    assert resources.UID_LABEL == views.UID_LABEL
    assert resources.SET_LABEL == SET_LABEL
    assert resources.RETRY_ANNOTATION == RETRY_ANNOTATION
