"""Texts that others write, on their way into a status, an event and a line of the log."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.conversion import StageResult
from modelconversion_operator.deciding.decisions import Decision, Rejection
from modelconversion_operator.errors import api_error
from support.operator.objects import (
    NOW,
    conversion,
    decide,
    ended,
    failure_message,
    job,
    pod,
    running,
    waiting,
)
from support.operator.situations import refused

FORGED = "x\n2026-01-01 00:00:00,000 INFO    a: team-b/prod: Succeeded\r\x1b[2J\u2028\x85\u202e"
STARTED = decide(conversion(), None, [], NOW).status


def _unscheduled() -> list[dict[str, Any]]:
    return [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": FORGED}]


def _disrupted() -> list[dict[str, Any]]:
    return [
        {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": FORGED}
    ]


def _failed(*pods: Any, **of_job: Any) -> Decision:
    return decide(conversion(STARTED), job(failed="BackoffLimitExceeded", **of_job), pods, NOW)


def _told_by_a_report() -> Decision:
    text = failure_message(FailureReason.STORAGE_UNAVAILABLE).replace("it broke", "it broke\\n\\u001b[2J")
    assert StageResult.decode(text) is not None
    return _failed(pod(ended(60, text), phase="Failed"))


@pytest.mark.parametrize(
    "decision",
    [
        lambda: decide(conversion(STARTED), None, [], NOW, Rejection(api_error(403, FORGED).message, True)),
        lambda: decide(conversion(STARTED), job(), [pod(waiting("ErrImagePull", FORGED))], NOW),
        lambda: decide(conversion(STARTED), job(), [pod(conditions=_unscheduled(), age=60)], NOW),
        lambda: decide(
            conversion(STARTED), job(), [pod(running(), conditions=_disrupted(), deleting=True)], NOW
        ),
        lambda: decide(
            conversion(STARTED),
            job(created=NOW),
            [],
            NOW,
            events=[refused(FORGED)],
        ),
        lambda: _failed(pod(phase="Failed", reason="Evicted", message=FORGED)),
        lambda: _failed(pod(ended(1, FORGED, "StartError"), phase="Failed")),
        lambda: _failed(pod(ended(137, FORGED, "ContainerStatusUnknown"), phase="Failed")),
        lambda: _failed(failed_message=FORGED),
        _told_by_a_report,
    ],
)
def test_no_text_of_others_has_a_second_line_or_steers_a_terminal(decision):
    made = decision()
    texts = [c.message for c in made.status.conditions] + [event.message for event in made.events]
    if made.status.failure is not None:
        texts.append(made.status.failure.message)
    assert any("\N{REPLACEMENT CHARACTER}[2J" in text for text in texts)
    assert all(text.isprintable() for text in texts)
