"""A recorded run, told by watches in any order and with gaps, ends in the same status."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import FailureReason
from modelconversion_operator.deciding.views import JobView, PodView
from support.operator.memory import World
from support.operator.objects import ended, failure_message, pod, published, running

Record = tuple[list[JobView], list[PodView | None]]
"""What each watch tells, in its own order; None where the pod's watch tells that it is gone."""
UID = "ml-a"
DONE = (ended(), ended(), ended(message=published()))


def _record(world: World, last: Sequence[dict[str, Any]], phase: str, *, lost: bool = False) -> Record:
    """Record a run that ends with the pod's containers in ``last``; ``lost`` with the pod deleted."""
    job = world.job_of(UID)
    stages: list[tuple[str, Sequence[dict[str, Any]]]] = [
        ("Pending", ()),
        ("Pending", (running(),)),
        ("Pending", (ended(), running())),
        ("Running", (ended(), ended(), running())),
        (phase, last),
    ]
    pods: list[PodView | None] = [
        replace(
            pod(*states, phase=now),
            owner_uid=UID,
            job_uid=job.uid,
            resource_version=world.server.version(),
        )
        for now, states in stages
    ]
    end = {"complete": True} if phase == "Succeeded" else {"failed_reason": "PodFailurePolicy"}
    jobs = [job, replace(job, resource_version=world.server.version(), **end)]
    return jobs, [*pods, None] if lost else pods


def _tell(world: World, record: Record, order: Sequence[bool], missing: Sequence[bool]) -> None:
    """Let the watches tell a record: ``order`` says whose turn it is, ``missing`` what is never heard."""
    jobs, pods = (list(reversed(told)) for told in record)
    turns = [*order, *[True] * (len(jobs) + len(pods))]
    latest: PodView | None = None
    for number, is_jobs_turn in enumerate(turns):
        source = (jobs or pods) if is_jobs_turn else (pods or jobs)
        if not source:
            break
        told = source.pop()
        is_heard = not missing[number % len(missing)]
        if isinstance(told, JobView):
            if is_heard:
                world.store.put_job(told)
        elif told is not None:
            latest = told
            if is_heard:
                world.store.put_pod(told)
        elif latest is not None and is_heard:
            world.store.drop_pod(latest)
        world.queue.add(UID)
        asyncio.run(world.work())


def _happened(world: World, record: Record) -> None:
    """Let the API server have what the record ends with: watches tell of what was."""
    jobs, pods = record
    body = world.server.jobs[jobs[-1].name]
    kind = "Complete" if jobs[-1].complete else "Failed"
    body["metadata"]["resourceVersion"] = jobs[-1].resource_version
    body["status"] = {"conditions": [{"type": kind, "status": "True", "reason": "PodFailurePolicy"}]}
    if pods[-1] is not None:
        world.server.pods = {pods[-1].uid: pods[-1]}


def _look_again(world: World) -> None:
    """Let the operator look at the API server itself, as it does now and then."""
    world.reconciler._last_look[UID] = -math.inf
    world.queue.add(UID)
    asyncio.run(world.work())


def _end(last: Sequence[dict[str, Any]], phase: str, order: Sequence[bool], missing: Sequence[bool]) -> Any:
    world = World()
    world.apply("a")
    asyncio.run(world.work())
    record = _record(world, last, phase)
    _happened(world, record)
    _tell(world, record, order, missing)
    _look_again(world)
    assert len(world.server.jobs) == 1, "nothing is done twice"
    status = world.status(UID)
    counted = world.metrics.registry.get_sample_value(
        "modelconversion_conversions_total",
        {
            "outcome": status["phase"].lower(),
            "reason": status.get("failure", {}).get("reason", "Converted"),
        },
    )
    assert counted == 1
    # When it was first seen to run is told by what was heard.
    return {k: v for k, v in status.items() if k not in ("jobUid", "waitingSince")}


ENDS = {
    "succeeded": (DONE, "Succeeded"),
    "failed": ((ended(), ended(21, failure_message(FailureReason.UNREADABLE_MODEL))), "Failed"),
}
turns = st.lists(st.booleans(), max_size=8)
gaps = st.lists(st.booleans(), min_size=8, max_size=8)


@pytest.mark.parametrize("name", ENDS)
@given(order=turns, missing=gaps)
def test_any_order_and_any_gap_end_in_the_same_status(
    name: str, order: list[bool], missing: list[bool]
) -> None:
    last, phase = ENDS[name]
    expected = _end(last, phase, [False] * 8, [False])
    assert expected["phase"] == phase
    assert _end(last, phase, order, missing) == expected


@given(order=turns, missing=gaps)
def test_a_pod_that_went_as_it_published_has_published_or_is_read_again(
    order: list[bool], missing: list[bool]
) -> None:
    world = World()
    world.apply("a")
    asyncio.run(world.work())
    record = _record(world, DONE, "Succeeded", lost=True)
    _happened(world, record)
    _tell(world, record, order, missing)
    _look_again(world)
    status = world.status(UID)
    if status["phase"] == "Succeeded":
        assert status["recommended"]["method"] == "FullInteger"
        assert len(world.server.jobs) == 1
    else:
        assert "its report is being read" in status["conditions"][0]["message"]
        assert len(world.server.jobs) == 2
