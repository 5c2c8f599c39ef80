"""Who may have a Job next: properties of the rule, and the lines that it is applied to."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from modelconversion_operator.deciding.admission import Admission, Limits, Place, Waiting, admit
from modelconversion_operator.deciding.views import Key
from support.operator.objects import NOW

NAMES = ("a", "b", "c", "d")


def key(namespace: str, number: int) -> Key:
    return Key(namespace, f"m{number}", f"{namespace}-{number}")


def line(namespace: str, count: int) -> list[Waiting]:
    return [Waiting(NOW + timedelta(seconds=n), key(namespace, n)) for n in range(count)]


limits = st.builds(Limits, st.integers(0, 12), st.integers(0, 5))
lines = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9), max_size=4).map(
    lambda counts: {name: line(name, count) for name, count in counts.items()}
)
usage = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 6), max_size=4)
turns = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 50), max_size=4)


def after(chosen: list[Waiting], running: dict[str, int]) -> Counter[str]:
    return Counter(running) + Counter(entry.key.namespace for entry in chosen)


@given(lines, usage, limits, turns)
def test_no_limit_is_ever_passed(waiting, running, limit, served):
    chosen = admit(waiting, running, limit, served)
    has = after(chosen, running)
    if limit.total and chosen:
        assert sum(has.values()) <= limit.total
    for name in {entry.key.namespace for entry in chosen}:
        assert not limit.per_namespace or has[name] <= limit.per_namespace


@given(lines, usage, limits, turns)
def test_no_place_stays_empty_while_somebody_could_have_it(waiting, running, limit, served):
    chosen = admit(waiting, running, limit, served)
    has = after(chosen, running)
    if not limit.total or sum(has.values()) < limit.total:
        for name, all_of_it in waiting.items():
            left = len(all_of_it) - sum(entry.key.namespace == name for entry in chosen)
            assert not left or (limit.per_namespace and has[name] >= limit.per_namespace)


@given(lines, usage, limits, turns)
def test_who_waits_on_has_at_most_one_job_less_than_who_was_served(waiting, running, limit, served):
    chosen = admit(waiting, running, limit, served)
    has = after(chosen, running)
    winners = {entry.key.namespace for entry in chosen}
    for name, all_of_it in waiting.items():
        taken = sum(entry.key.namespace == name for entry in chosen)
        full = limit.per_namespace and has[name] >= limit.per_namespace
        if taken < len(all_of_it) and not full:
            assert all(has[winner] <= has[name] + 1 for winner in winners)


@given(lines, usage, limits, turns)
def test_within_a_namespace_the_oldest_go_first(waiting, running, limit, served):
    chosen = admit(waiting, running, limit, served)
    for name, all_of_it in waiting.items():
        mine = [entry for entry in chosen if entry.key.namespace == name]
        assert mine == all_of_it[: len(mine)]


@given(lines, st.integers(1, 4))
def test_nobody_starves_with_one_place_after_the_other(waiting, total):
    """However long the others' lines are, each namespace has its turn within one round."""
    left = {name: list(all_of_it) for name, all_of_it in waiting.items() if all_of_it}
    served: dict[str, int] = {}
    turn, since_turn = 0, dict.fromkeys(left, 0)
    while left:
        for entry in admit(left, {}, Limits(total=1), served):
            name = entry.key.namespace
            turn += 1
            served[name] = turn
            left[name].remove(entry)
            for other in left:
                since_turn[other] += 1
            since_turn[name] = 0
        left = {name: rest for name, rest in left.items() if rest}
        assert all(since_turn[name] < len(NAMES) for name in left)


class World:
    """An admission, the Jobs that there are, and who was woken."""

    def __init__(self, limit: Limits) -> None:
        self.jobs: dict[str, set[str]] = {}
        self.woken: list[str] = []
        self.now = 0.0
        self.admission = Admission(limit, lambda: self.jobs, self.woken.append, lambda: self.now)

    def ask(self, namespace: str, number: int) -> Place | None:
        return self.admission.ask(key(namespace, number), NOW + timedelta(seconds=number))

    def start(self, namespace: str, number: int) -> None:
        """The Job of an admitted conversion is there."""
        self.jobs.setdefault(namespace, set()).add(key(namespace, number).uid)
        self.admission.leave(key(namespace, number).uid)

    def end(self, namespace: str, number: int) -> None:
        self.jobs[namespace].discard(key(namespace, number).uid)
        self.admission.fill()


def test_without_limits_everybody_may_at_once():
    world = World(Limits())
    assert world.ask("a", 1) is None
    assert len(world.admission) == 0


def test_a_promise_counts_until_the_job_is_there_and_the_job_from_then_on():
    world = World(Limits(total=1))
    assert world.ask("a", 1) is None
    assert world.ask("a", 1) is None
    assert world.ask("a", 2) == Place(1, 1)
    world.start("a", 1)
    assert world.ask("a", 2) == Place(1, 1)
    world.woken.clear()
    world.end("a", 1)
    assert world.woken == ["a-2"]
    assert world.ask("a", 2) is None


def test_a_new_process_counts_the_jobs_that_are_there():
    world = World(Limits(total=2))
    world.jobs = {"a": {"a-1", "a-2"}}
    assert world.ask("a", 3) == Place(1, 1)


def test_the_order_after_a_restart_is_that_of_the_start_times():
    world = World(Limits(total=1))
    world.jobs = {"a": {"a-0"}}
    assert [world.ask("a", n) for n in (3, 1, 2)] == [Place(1, 1), Place(1, 2), Place(2, 3)]
    assert world.ask("a", 3) == Place(3, 3)


def test_who_leaves_the_line_lets_the_others_move_up():
    world = World(Limits(total=1))
    world.jobs = {"a": {"a-0"}}
    for number in range(1, 9):
        world.ask("a", number)
    world.woken.clear()
    world.now = 60
    for number in range(1, 6):
        world.admission.leave(key("a", number).uid)
    assert world.woken == []  # just looked; and not at every step
    world.now = 120
    world.admission.fill()
    assert world.woken == ["a-6"]  # from 6 to 1; 7 went to 2, which is more than a quarter
    assert world.ask("a", 8) == Place(3, 3)


def test_a_namespace_whose_job_was_refused_leaves_its_place_to_others():
    world = World(Limits(total=1))
    assert world.ask("a", 1) is None
    assert world.ask("a", 2) == Place(1, 1)
    assert world.ask("b", 3) == Place(1, 1)
    world.admission.refuse(key("a", 1), 15)
    assert world.woken[-1] == "b-3"
    assert world.ask("a", 1) == Place(1, 2)
    world.start("b", 3)
    world.now = 16
    world.end("b", 3)
    assert world.ask("a", 1) is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "start", "end", "leave"]), st.sampled_from(NAMES), st.integers(0, 5)
        )
    ),
    limits,
)
def test_promises_and_jobs_together_stay_within_the_limits(history, limit):
    world = World(limit)
    allowed: set[tuple[str, int]] = set()
    for what, namespace, number in history:
        running = world.jobs.get(namespace, set())
        uid = key(namespace, number).uid
        if what == "ask" and uid not in running:
            if world.ask(namespace, number) is None:
                allowed.add((namespace, number))
        elif what == "start" and (namespace, number) in allowed:
            world.start(namespace, number)
            allowed.discard((namespace, number))
        elif what == "end" and uid in running:
            world.end(namespace, number)
        elif what == "leave":
            world.admission.leave(key(namespace, number).uid)
            allowed.discard((namespace, number))
        if limit:
            assert not limit.total or sum(map(len, world.jobs.values())) <= limit.total
            assert all(not limit.per_namespace or len(j) <= limit.per_namespace for j in world.jobs.values())
