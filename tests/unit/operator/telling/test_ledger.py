"""The mark never passes what was not told, whatever comes in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from modelconversion_operator.telling.events import Kind, Moment
from modelconversion_operator.telling.ledger import UNSEEN_SECONDS, Ledger, Offer
from support.operator.objects import NOW


def moment(name: str, seconds: float = 0) -> Moment:
    return Moment(Kind.STARTED, name, NOW + timedelta(seconds=seconds))


def body() -> bytes:
    return b"{}"


def never() -> bytes:
    raise AssertionError("what is not taken is not made")


def test_a_moment_is_taken_once() -> None:
    ledger = Ledger(NOW)
    assert ledger.offer(moment("a"), body) is Offer.TAKEN
    assert ledger.offer(moment("a"), never) is Offer.KNOWN
    ledger.settle("a")
    assert ledger.offer(moment("a"), never) is Offer.KNOWN
    assert len(ledger) == 0


def test_what_happened_before_the_mark_was_told_before() -> None:
    ledger = Ledger(NOW)
    assert ledger.offer(moment("a", -1), never) is Offer.KNOWN
    assert ledger.offer(moment("b", 0), body) is Offer.TAKEN


def listed(ledger: Ledger) -> Ledger:
    ledger.begin_listing()
    ledger.end_listing(complete=True)
    return ledger


def test_the_mark_stays_before_what_waits_and_what_may_be_unknown() -> None:
    ledger = listed(Ledger(NOW))
    ledger.offer(moment("a", 10), body)
    ledger.offer(moment("b", 20), body)
    later = NOW + timedelta(seconds=1000)
    ledger.settle("b")
    assert not ledger.advance(later, 0)  # nothing was told that lies before
    assert ledger.mark == NOW + timedelta(seconds=10)
    ledger.settle("a")
    assert ledger.advance(later, 30)
    assert ledger.mark == later - timedelta(seconds=UNSEEN_SECONDS + 30)
    assert not ledger.advance(later, 0)  # further, but past nothing that is worth a write
    assert not ledger.advance(later, 500)
    assert ledger.mark == later - timedelta(seconds=UNSEEN_SECONDS)  # it never goes back


def test_what_finds_no_room_is_asked_for_again_and_holds_the_mark() -> None:
    ledger = listed(Ledger(NOW, most_waiting=2))
    for name, seconds, expected in (("a", 5, Offer.TAKEN), ("b", 6, Offer.TAKEN), ("c", 7, Offer.NO_ROOM)):
        assert ledger.offer(moment(name, seconds), body) is expected
    assert not ledger.wants_listing
    ledger.settle("a")
    assert ledger.wants_listing
    ledger.settle("b")
    later = NOW + timedelta(hours=1)
    ledger.advance(later, 0)
    assert ledger.mark == NOW + timedelta(seconds=7)
    ledger.begin_listing()
    assert not ledger.wants_listing
    ledger.advance(later, 0)
    assert ledger.mark == NOW + timedelta(seconds=7)  # it is not over yet
    ledger.end_listing(complete=False)
    assert ledger.wants_listing
    ledger.begin_listing()
    assert ledger.offer(moment("c", 7), body) is Offer.TAKEN
    ledger.end_listing(complete=True)
    assert not ledger.wants_listing


def test_of_what_was_told_the_oldest_is_forgotten_first() -> None:
    ledger = listed(Ledger(NOW, most_told=2))
    for name in "abc":
        ledger.offer(moment(name), body)
        ledger.settle(name)
    assert [ledger.offer(moment(name), body) for name in "abc"] == [Offer.TAKEN, Offer.KNOWN, Offer.KNOWN]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("happen"), st.integers(0, 200)),
        st.tuples(st.just("deliver"), st.integers(0, 5)),
        st.tuples(st.just("advance"), st.integers(0, 5)),
        st.tuples(st.just("list"), st.booleans()),
    ),
    max_size=60,
)


@settings(max_examples=1000, deadline=None)
@given(STEPS)
def test_a_process_that_begins_at_the_mark_tells_all_that_was_not_told(steps: list[tuple[str, int]]) -> None:
    """The API server has every moment; what was not delivered is not before the mark."""
    ledger, clock = listed(Ledger(NOW, most_waiting=2, most_told=1000)), 0
    happened: dict[str, Moment] = {}
    waiting: list[str] = []
    delivered: set[str] = set()

    def offer(known: Moment) -> None:
        if ledger.offer(known, body) is Offer.TAKEN:
            waiting.append(known.id)

    def happen(seconds: int) -> None:
        nonlocal clock
        clock += seconds
        made = moment(f"m{len(happened)}", clock)
        happened[made.id] = made
        offer(made)

    def deliver(index: int) -> None:
        if waiting:
            event_id = waiting.pop(index % len(waiting))
            delivered.add(event_id)
            ledger.settle(event_id)

    def advance(seconds: int) -> None:
        ledger.advance(NOW + timedelta(seconds=clock), seconds)

    def list_all(complete: int) -> None:
        if ledger.wants_listing:
            ledger.begin_listing()
            for known in list(happened.values())[: None if complete else 1]:
                offer(known)
            ledger.end_listing(complete=bool(complete))

    actions: dict[str, Callable[[int], None]] = {
        "happen": happen,
        "deliver": deliver,
        "advance": advance,
        "list": list_all,
    }
    for action, number in steps:
        actions[action](number)
        lost = [
            known for known in happened.values() if known.id not in delivered and known.time < ledger.mark
        ]
        assert lost == []
        assert len(ledger) <= 2
    for _ in range(len(happened) + 1):
        while waiting:
            deliver(0)
        list_all(1)
    assert delivered == happened.keys()
