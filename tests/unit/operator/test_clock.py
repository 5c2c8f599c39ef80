"""The API server's time of day, whatever this machine's clock says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from hypothesis import given
from hypothesis import strategies as st

from modelconversion_operator.clock import ServerClock

SERVER = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clocks:
    """A running clock, and a machine's clock that jumps."""

    def __init__(self) -> None:
        self.running = 1000.0
        self.machine = SERVER
        self.clock = ServerClock(lambda: self.running, lambda: self.machine)

    def hear(self, at: datetime) -> None:
        self.clock.heard(format_datetime(at, usegmt=True))


def test_before_the_first_answer_it_is_this_machines_time():
    clocks = Clocks()
    clocks.machine = SERVER.replace(microsecond=999)
    assert clocks.clock.now() == SERVER


def test_nonsense_is_not_believed():
    clocks = Clocks()
    for nonsense in (None, "", "yesterday"):
        clocks.clock.heard(nonsense)
    assert clocks.clock.now() == SERVER


@given(st.lists(st.tuples(st.floats(0, 1000), st.integers(-(10**9), 10**9), st.booleans()), max_size=20))
def test_a_machines_clock_that_jumps_changes_nothing(steps):
    clocks = Clocks()
    clocks.hear(SERVER)
    true = SERVER
    for seconds, jump, answered in steps:
        clocks.running += seconds
        true += timedelta(seconds=seconds)
        clocks.machine = true + timedelta(seconds=jump)
        if answered:
            clocks.hear(true)
        assert abs(clocks.clock.now() - true) <= timedelta(seconds=3)


def test_the_servers_clock_is_followed_when_it_is_set():
    clocks = Clocks()
    clocks.hear(SERVER)
    clocks.running += 20
    clocks.hear(SERVER + timedelta(hours=1))
    assert clocks.clock.now() == SERVER + timedelta(hours=1)


def test_whole_seconds_do_not_make_time_step_to_and_fro():
    clocks = Clocks()
    clocks.hear(SERVER)
    last = clocks.clock.now()
    for _ in range(50):
        clocks.running += 10.3
        clocks.hear(clocks.clock.now() - timedelta(seconds=1))
        assert clocks.clock.now() >= last
        last = clocks.clock.now()
