"""What a conversion is looked at for at once, and what waits for more."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_operator.cluster.news import BATCH_SECONDS, job_presses, pod_presses
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.cluster.watch_state import WatchProgress
from modelconversion_operator.cluster.watches import make_mirrors
from modelconversion_operator.workqueue import WorkQueue
from support.operator.objects import KEY, conversion, ended, job, pod, running

RUNS = running()
GONE = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}


@pytest.mark.parametrize(
    ("view", "presses"),
    [
        (pod(phase="Pending"), False),
        (pod(RUNS), False),
        (pod(ended(0), RUNS), False),
        (pod(ended(0), ended(0), RUNS), False),
        (pod(ended(0), ended(0), ended(0)), True),
        (pod(ended(0), ended(0), ended(0), phase="Succeeded"), True),
        (pod(ended(3), phase="Pending"), True),
        (pod(RUNS, phase="Failed"), True),
        (pod(RUNS, deleting=True), True),
        (pod(RUNS, conditions=[GONE]), True),
    ],
)
def test_of_a_pod_what_ends_something_presses(view, presses):
    assert pod_presses(view) is presses


@pytest.mark.parametrize(
    ("changes", "presses"),
    [
        ({}, False),
        ({"complete": True}, True),
        ({"failed": "BackoffLimitExceeded"}, True),
        ({"overdue": True}, True),
        ({"deleting": True}, True),
        ({"suspend": True}, True),
    ],
)
def test_of_a_job_what_ends_or_stops_it_presses(changes, presses):
    assert job_presses(job(**changes)) is presses


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Silent:
    """Lists one pod, and says nothing after that."""

    async def request(self, method: str, path: str) -> dict[str, Any]:
        raise NotImplementedError

    def watch(self, path: str, silence_seconds: float) -> Any:
        raise NotImplementedError


async def test_steps_on_the_way_are_looked_at_together_and_an_end_at_once():
    clock, store = Clock(), Store()
    queue: WorkQueue[str] = WorkQueue(clock)
    store.put_conversion(conversion())
    store.put_job(job())
    mirrors = make_mirrors(Silent(), store, queue, WatchProgress(70), (), 70)
    wake = mirrors[1]._wake
    wake(KEY.uid, False)
    wake(KEY.uid, False)
    assert len(queue) == 0
    clock.now = BATCH_SECONDS
    assert await queue.get() == KEY.uid
    queue.done(KEY.uid)
    wake(KEY.uid, False)
    wake(KEY.uid, True)
    assert await queue.get() == KEY.uid
    queue.done(KEY.uid)
    clock.now += 10 * BATCH_SECONDS
    queue.add("another")
    assert await queue.get() == "another", "the step was looked at with the end"
