"""A Job that somebody changed is put right, and it is said once that it was."""

from __future__ import annotations

import pytest

from modelconversion_operator.deciding.decisions import PatchJob
from modelconversion_operator.deciding.repairs import job_changes
from support.operator.objects import KEY, NOW, conversion, decide, job, pod, running

STARTED = decide(conversion(), None, [], NOW).status.model_copy(update={"job_uid": "job-1"})
OTHER_LABELS = {"labels": {"app": "x"}}


@pytest.mark.parametrize(
    ("changes", "patch", "words"),
    [
        ({"parallelism": 0}, {"spec": {"parallelism": 1}}, "parallelism 0 back to 1"),
        ({"parallelism": 3}, {"spec": {"parallelism": 1}}, "parallelism 3 back to 1"),
        ({"backoffLimit": 0}, {"spec": {"backoffLimit": 2}}, "backoffLimit 0 back to 2"),
        (
            {"activeDeadlineSeconds": 1},
            {"spec": {"activeDeadlineSeconds": 3600}},
            "activeDeadlineSeconds 1 back",
        ),
        ({"ttl": 0}, {"spec": {"ttlSecondsAfterFinished": 86400}}, None),
        (
            {"parallelism": 0, "ttl": 0},
            {"spec": {"parallelism": 1, "ttlSecondsAfterFinished": 86400}},
            "parallelism 0 back to 1",
        ),
    ],
)
@pytest.mark.parametrize("pods", [[], [pod(running())]], ids=["waiting", "running"])
def test_what_somebody_changed_is_changed_back(changes, patch, words, pods):
    decision = decide(conversion(STARTED), job(**changes), pods, NOW)
    assert isinstance(decision.job_action, PatchJob)
    assert job_changes(decision.job_action, KEY) == patch
    event = decision.job_action.event
    assert (event is None) == (words is None)
    if event is not None:
        assert (event.type, event.reason) == ("Warning", "JobChanged")
        assert words in event.message


@pytest.mark.parametrize("meta", [{"ownerReferences": []}, OTHER_LABELS, {"labels": None}], ids=str)
def test_labels_and_owner_that_somebody_took_away_are_written_again(meta):
    """One of the two is enough to know the Job again; without the owner nothing would ever remove it."""
    decision = decide(conversion(STARTED), job(meta=meta), [pod(running())], NOW)
    assert isinstance(decision.job_action, PatchJob)
    written = job_changes(decision.job_action, KEY)["metadata"]
    assert written["labels"]["edgeml.dev/conversion-uid"] == KEY.uid
    assert written["ownerReferences"][0]["uid"] == KEY.uid
    assert decision.status.phase == "Running"


def test_a_job_that_is_as_it_was_made_is_left_alone():
    assert decide(conversion(STARTED), job(), [pod(running())], NOW).job_action is None


@pytest.mark.parametrize(
    "changed", [{"complete": True}, {"failed": "BackoffLimitExceeded"}, {"deleting": True}]
)
def test_a_job_that_is_over_is_not_put_right(changed):
    decision = decide(conversion(STARTED), job(parallelism=0, **changed), [], NOW)
    assert decision.job_action is None


def test_a_shorter_time_to_live_waits_for_the_end():
    short = {"ttlSecondsAfterFinished": 5}
    decision = decide(conversion(STARTED, job=short), job(ttl=3600), [pod(running())], NOW)
    assert decision.job_action is None
