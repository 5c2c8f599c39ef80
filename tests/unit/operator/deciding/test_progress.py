"""How far a conversion is: what the pod says, what is made of it, and how rarely it is written."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import urllib.error
import urllib.request
from datetime import timedelta

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.reasons import Stage
from modelconversion_api.request import StageProgress
from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.cluster.progress_reader import ProgressReader
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.decisions import Decision
from modelconversion_operator.deciding.progress import WRITE_SECONDS
from modelconversion_operator.workqueue import WorkQueue
from support.operator.objects import KEY, NOW, conversion, decide, ended, job, pod, running
from tflite_converter.job.progress import Estimate, serving
from tflite_converter.progress import Event

CONVERTING = [pod(ended(), running())]
STARTED = decide(conversion(), None, [], NOW).status.model_copy(update={"job_uid": "job-1"})


def at(seconds: float, status: ModelConversionStatus, reported: StageProgress | None) -> Decision:
    when = NOW + timedelta(seconds=seconds)
    return decide(conversion(status), job(), CONVERTING, when, reported=reported)


def says(stage: Stage, percent: int) -> StageProgress:
    return StageProgress(stage=stage, percent=percent)


def seen(decision: Decision) -> tuple[Stage, int]:
    assert decision.status.progress is not None
    return decision.status.progress.stage, decision.status.progress.percent


def test_the_pod_s_own_words_move_the_span_of_its_container():
    assert seen(at(0, STARTED, None)) == (Stage.CONVERT, 10)
    assert seen(at(0, STARTED, says(Stage.LOAD, 0))) == (Stage.LOAD, 10)
    assert seen(at(0, STARTED, says(Stage.QUANTIZE, 50))) == (Stage.QUANTIZE, 50)
    assert seen(at(0, STARTED, says(Stage.EVALUATE, 100))) == (Stage.EVALUATE, 90)


def test_the_pod_cannot_claim_to_be_in_another_container_s_stage():
    assert seen(at(0, STARTED, says(Stage.PUBLISH, 99))) == (Stage.CONVERT, 10)


def test_a_short_conversion_costs_no_write_for_its_progress():
    first = at(0, STARTED, says(Stage.LOAD, 0)).status
    for second in range(1, int(WRITE_SECONDS)):
        decision = at(second, first, says(Stage.QUANTIZE, 9 * second))
        assert decision.status == first
        assert decision.recheck_seconds == WRITE_SECONDS - second
    later = at(WRITE_SECONDS, first, says(Stage.QUANTIZE, 95))
    assert seen(later) == (Stage.QUANTIZE, 86)
    assert "Quantize" in later.status.conditions[0].message


def test_nothing_new_is_not_written_however_long_it_takes():
    first = at(0, STARTED, says(Stage.LOAD, 7)).status
    assert at(3000, first, says(Stage.LOAD, 7)).status == first


@given(st.lists(st.tuples(st.sampled_from(Stage), st.integers(0, 100), st.integers(0, 30)), max_size=12))
def test_it_never_goes_back_and_is_never_written_too_often(history):
    status, clock, writes = STARTED, 0, []
    for stage, percent, seconds in history:
        clock += seconds
        decision = at(clock, status, says(stage, percent))
        if decision.status != status:
            writes.append((clock, seen(decision)[1]))
        status = decision.status
    for (earlier, before), (later, after) in itertools.pairwise(writes):
        assert later - earlier >= WRITE_SECONDS
        assert after >= before


def test_another_pod_begins_anew():
    first = at(0, STARTED, says(Stage.EVALUATE, 90)).status
    second = [pod(running(), name="second")]
    decision = decide(conversion(first), job(), second, NOW + timedelta(seconds=1))
    assert seen(decision) == (Stage.FETCH, 0)
    assert decision.events == ()  # nothing was said to be wrong


# What the converter makes of its steps.


def steps(*events: tuple[Stage, float | None], methods: int = 2) -> list[int]:
    estimate, percents = Estimate(methods), []
    for stage, fraction in events:
        estimate(Event(stage, "x", fraction))
        percents.append(estimate.latest.percent)
    return percents


def test_a_conversion_from_end_to_end():
    L, C, K, Q, E = Stage.LOAD, Stage.CONVERT, Stage.CALIBRATE, Stage.QUANTIZE, Stage.EVALUATE  # noqa: N806
    original = [(L, None), (C, None), (E, 0.0), (E, 1.0)]
    first, second = [(Q, None), (E, 0.0), (E, 1.0)], [(Q, None), (K, 0.5), (E, 0.0), (E, 0.5), (E, 1.0)]
    percents = steps(*original, *first, *second)
    assert percents == [0, 25, 40, 50, 50, 57, 75, 75, 80, 82, 91, 99]


@given(
    st.lists(
        st.builds(Event, st.sampled_from(Stage), st.just("x"), st.none() | st.floats(-1, 2)), max_size=30
    )
)
def test_an_estimate_only_grows_and_ends_below_a_hundred(events):
    estimate, before = Estimate(3), 0
    for event in events:
        estimate(event)
        assert before <= estimate.latest.percent <= 99
        before = estimate.latest.percent


def test_training_stands_between_two_conversions():
    L, C, T, Q, E = Stage.LOAD, Stage.CONVERT, Stage.TRAIN, Stage.QUANTIZE, Stage.EVALUATE  # noqa: N806
    estimate, percents = Estimate(1, trains=True), []
    plain = [(L, None), (C, 1.0), (E, 1.0), (Q, None), (E, 1.0), (L, None), (E, 1.0)]
    for stage, fraction in [*plain, (T, 0.0), (T, 0.5), (T, 1.0), (C, None), (Q, None), (E, 1.0)]:
        estimate(Event(stage, "x", fraction))
        percents.append(estimate.latest.percent)
    assert percents == [0, 12, 15, 15, 30, 30, 30, 30, 55, 80, 85, 90, 99]
    assert seen(at(0, STARTED, says(Stage.TRAIN, 50))) == (Stage.TRAIN, 50)


def test_a_warning_is_no_step():
    estimate = Estimate(1)
    estimate(Event(Stage.EVALUATE, "few samples", warning=True))
    assert estimate.latest == says(Stage.LOAD, 0)


# The way from the one to the other.


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return bytes(response.read())


def test_the_estimate_is_served_while_it_runs():
    estimate = Estimate(1)
    with serving(estimate, "127.0.0.1", 0) as port:
        assert port is not None
        estimate(Event(Stage.CONVERT, "freezing"))
        assert json.loads(get(port, "/progress")) == {"stage": "Convert", "percent": 25}
        with pytest.raises(urllib.error.HTTPError):
            get(port, "/../etc/passwd")
    with pytest.raises(urllib.error.URLError):
        get(port, "/progress")


@pytest.mark.parametrize("address", [None, "", "192.0.2.1", "no address"])
def test_a_conversion_runs_although_nobody_can_ask(address):
    with serving(Estimate(1), address, 0) as port:
        assert port is None


def test_somebody_who_asks_and_says_nothing_does_not_keep_others_out():
    estimate = Estimate(1)
    with serving(estimate, "127.0.0.1", 0) as port:
        assert port is not None
        with socket.create_connection(("127.0.0.1", port)):
            assert get(port, "/progress")


def reader(port: int) -> tuple[ProgressReader, Store, WorkQueue[str]]:
    store, queue = Store(), WorkQueue[str]()
    store.put_conversion(conversion())
    return ProgressReader(store, queue, seconds=1, port=port), store, queue


ON_THIS_MACHINE = [pod(ended(), running(), podIP="127.0.0.1")]


async def test_a_running_pod_is_asked_and_news_lead_to_a_look():
    estimate = Estimate(1)
    with serving(estimate, "127.0.0.1", 0) as port:
        assert port is not None
        asking, store, queue = reader(port)
        assert asking.latest(KEY.uid, ON_THIS_MACHINE) is None
        async with aiohttp.ClientSession(trust_env=False) as session:
            await asking.ask_all(session)
            assert asking.latest(KEY.uid, ON_THIS_MACHINE) == says(Stage.LOAD, 0)
            assert await queue.get() == KEY.uid
            queue.done(KEY.uid)
            await asking.ask_all(session)
            assert len(queue) == 0  # the same answer is no news
            estimate(Event(Stage.CONVERT, "freezing"))
            await asking.ask_all(session)
            assert len(queue) == 1
            assert asking.latest(KEY.uid, [pod(ended(), ended(), running(), podIP="127.0.0.1")]) is None
            store.drop_conversion(KEY)
            await asking.ask_all(session)


ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    b'HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n{"stage":"Load","percent":4000000000}',
    b'HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n{"stage":"Load","percent":1}' + b" " * 90000,
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    b"\x00\xff garbage",
    b"",
]


@pytest.mark.parametrize("answer", ANSWERS, ids=["text", "range", "long", "redirect", "garbage", "nothing"])
async def test_whatever_a_pod_answers_is_a_progress_or_nothing(answer):
    asked = 0

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, aiohttp.ClientSession(trust_env=False) as session:
        asking, _, queue = reader(server.sockets[0].getsockname()[1])
        asking.latest(KEY.uid, ON_THIS_MACHINE)
        for _ in range(5):
            await asking.ask_all(session)
        assert asking.latest(KEY.uid, ON_THIS_MACHINE) in (None, says(Stage.LOAD, 1))
        assert len(queue) <= 1
        if asking.latest(KEY.uid, ON_THIS_MACHINE) is None:
            assert asked <= 6  # three tries; the library repeats one whose connection broke


@pytest.mark.parametrize("address", ["", "not-an-ip", None])
async def test_a_pod_without_an_address_is_not_asked(address):
    asking, _, _ = reader(1)
    assert asking.latest(KEY.uid, [pod(ended(), running(), podIP=address)]) is None
    async with aiohttp.ClientSession(trust_env=False) as session:
        await asking.ask_all(session)
