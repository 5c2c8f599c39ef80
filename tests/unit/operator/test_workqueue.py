"""The work queue, on a clock of its own."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_operator.workqueue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(clock)


async def nothing_ready(queue: WorkQueue[str]) -> bool:
    try:
        await asyncio.wait_for(queue.get(), 0.01)
    except TimeoutError:
        return True
    return False


async def test_a_key_stands_in_the_queue_once(queue):
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert await nothing_ready(queue)


async def test_a_key_added_during_its_work_comes_back_once_it_is_done(queue):
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert await nothing_ready(queue)
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert await nothing_ready(queue)


async def test_what_is_urgent_comes_first(queue):
    queue.add("a")
    queue.add("b")
    queue.add("c", urgent=True)
    queue.add("b", urgent=True)
    assert len(queue) == 3
    assert [await queue.get() for _ in range(3)] == ["c", "b", "a"]
    queue.add("a")
    queue.add("b", urgent=True)
    queue.add("b")
    queue.done("a")
    queue.done("b")
    assert [await queue.get(), await queue.get()] == ["b", "a"]


async def test_one_key_wakes_one_of_those_who_wait_and_a_cancelled_one_passes_it_on(queue):
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"


async def test_delays_that_were_overtaken_take_no_room(queue):
    for _ in range(1000):
        queue.add_after("a", 300)
        queue.add("a")
        queue.done(await queue.get())
    assert len(queue._heap) < 100


async def test_the_earliest_delay_wins(queue, clock):
    queue.add_after("a", 60)
    queue.add_after("a", 5)
    queue.add_after("a", 30)
    clock.now += 6
    assert await queue.get() == "a"
    queue.done("a")
    clock.now += 60
    assert await nothing_ready(queue)


async def test_an_immediate_look_cancels_a_delayed_one(queue, clock):
    queue.add_after("a", 5)
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    clock.now += 10
    assert await nothing_ready(queue)


async def test_failures_wait_longer_each_time_up_to_a_minute(queue):
    delays = [queue.add_failed("a") for _ in range(12)]
    assert delays[:3] == [0.25, 0.5, 1.0]
    assert delays[-1] == 60
    queue.forget_failures("a")
    assert queue.add_failed("a") == 0.25


async def test_the_length_of_work_is_known(queue, clock):
    assert queue.longest_work_seconds() == 0
    queue.add("a")
    await queue.get()
    clock.now += 7
    assert queue.longest_work_seconds() == 7
    queue.done("a")
    assert queue.longest_work_seconds() == 0


operations = st.lists(
    st.tuples(st.sampled_from(["add", "after", "get", "done"]), st.sampled_from("abc"), st.integers(0, 5)),
    max_size=60,
)


@given(operations)
def test_no_wish_is_lost_and_no_key_has_two_workers(history):
    async def play() -> None:
        clock = Clock()
        queue: WorkQueue[str] = WorkQueue(clock)
        working: set[str] = set()
        wished: set[str] = set()
        for operation, key, seconds in history:
            clock.now += 1
            if operation == "add":
                queue.add(key)
                wished.add(key)
            elif operation == "after":
                queue.add_after(key, seconds)
                wished.add(key)
            elif operation == "get":
                if not await nothing_ready_or(queue, working, wished):
                    continue
            elif key in working:
                queue.done(key)
                working.discard(key)
        for key in list(working):
            queue.done(key)
        clock.now += 100
        left = set()
        while len(queue) or wished - left:
            left.add(await asyncio.wait_for(queue.get(), 1))
        assert wished <= left

    async def nothing_ready_or(queue: WorkQueue[str], working: set[str], wished: set[str]) -> bool:
        try:
            key = await asyncio.wait_for(queue.get(), 0.001)
        except TimeoutError:
            return False
        assert key not in working
        working.add(key)
        wished.discard(key)
        return True

    asyncio.run(play())
