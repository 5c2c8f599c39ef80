"""What the probes say of the watches, where work may begin, and how a failure is told and tried again."""

from __future__ import annotations

import logging

import pytest

from modelconversion_operator.cluster.watch_state import WatchProgress, WatchState
from modelconversion_operator.errors import ApiError, NotFoundError, RejectedError, UnavailableError

MODELS, JOBS, PODS = "modelconversions", "jobs", "pods"
FORBIDDEN = 'jobs.batch is forbidden: User "operator" cannot list resource "jobs" in the namespace "b"'


class Watches:
    """Watches of some namespaces, and a clock that is moved by hand."""

    def __init__(self, *namespaces: str | None) -> None:
        self.now = 1000.0
        self.completed: list[str | None] = []
        self.progress = WatchProgress(70, self.completed.append, lambda: self.now)
        scopes = namespaces or (None,)
        self._of = {(r, n): self.progress.watch(r, n) for n in scopes for r in (MODELS, JOBS, PODS)}

    def of(self, resource: str, namespace: str | None = None) -> WatchState:
        return self._of[resource, namespace]

    def list_all(self, namespace: str | None = None, *but: str) -> None:
        for resource in {MODELS, JOBS, PODS} - set(but):
            assert self.of(resource, namespace).take_listing("5")


def test_it_is_ready_when_all_has_been_listed_everywhere():
    watches = Watches("a", "b")
    assert watches.progress.unready() == "6 of 6 watches have not begun yet"
    watches.list_all("a")
    assert watches.progress.unready() == "3 of 6 watches have not begun yet"
    assert (watches.progress.knows("a"), watches.progress.knows("b")) == (True, False)
    watches.list_all("b")
    assert watches.progress.unready() is None
    assert watches.progress.remarks() is None
    assert watches.completed == ["a", "b"]


def test_the_whole_cluster_is_one_place():
    watches = Watches()
    watches.list_all(None, PODS)
    assert not watches.progress.knows("any")
    watches.list_all()
    assert watches.progress.knows("any")
    assert watches.completed == [None]


def test_one_namespace_that_is_refused_holds_nobody_up_and_is_named():
    watches = Watches("a", "b")
    watches.list_all("a")
    watches.list_all("b", JOBS)
    assert watches.progress.unready() is not None  # its answer is still to come
    watches.of(JOBS, "b").failed(RejectedError(403, FORBIDDEN), "listed")
    words = f"jobs in namespace b cannot be listed: 403: {FORBIDDEN}"
    assert watches.progress.unready() is None
    assert watches.progress.remarks() == words
    assert watches.progress.failing(JOBS) == 1
    assert watches.progress.failing(PODS) == 0
    assert not watches.progress.knows("b")
    assert watches.completed == ["a"]
    watches.of(JOBS, "b").take_listing("9")
    assert watches.progress.knows("b")
    assert watches.progress.remarks() is None
    assert watches.completed == ["a", "b"]


def test_with_no_namespace_that_works_it_is_not_ready():
    watches = Watches("a", "b")
    for name in ("a", "b"):
        watches.of(JOBS, name).failed(RejectedError(403, "no"), "listed")
        watches.list_all(name, JOBS)
    unready = watches.progress.unready()
    assert unready is not None
    assert unready.splitlines() == [
        "2 of 6 watches have not begun yet",
        "jobs in namespace a cannot be listed: 403: no",
        "jobs in namespace b cannot be listed: 403: no",
    ]


def test_a_right_that_was_taken_away_everywhere_is_not_ready_either_and_one_of_two_is():
    watches = Watches("a", "b")
    watches.list_all("a")
    watches.list_all("b")
    watches.of(PODS, "a").failed(RejectedError(403, "no"), "watched")
    assert watches.progress.unready() is None
    watches.of(JOBS, "b").failed(RejectedError(403, "no"), "listed")
    assert (watches.progress.unready() or "").startswith(
        "nothing can be worked on\npods in namespace a cannot"
    )
    watches.of(PODS, "a").heard()
    assert watches.progress.unready() is None


@pytest.mark.parametrize("error", [UnavailableError(0, "refused"), UnavailableError(500, "etcd is away")])
def test_an_outage_after_the_start_leaves_it_ready_and_at_the_start_is_waited_for(error: ApiError):
    watches = Watches("a", "b")
    watches.list_all("a")
    watches.list_all("b", PODS)
    watches.of(PODS, "b").failed(error, "listed")
    assert watches.progress.unready() is not None
    watches.now += (
        31  # an object that cannot be read, for instance, fails the listing of one namespace for ever
    )
    watches.of(PODS, "b").failed(error, "listed")
    assert watches.progress.unready() is None
    watches.of(PODS, "b").take_listing("6")
    for resource in (MODELS, JOBS, PODS):
        for name in ("a", "b"):
            watches.of(resource, name).failed(error, "listed")
    assert watches.progress.unready() is None


def test_a_missing_crd_is_named():
    watches = Watches()
    watches.of(MODELS).failed(NotFoundError(404, "404 page not found"), "listed")
    assert watches.progress.remarks() == (
        "modelconversions cannot be listed: 404: 404 page not found"
        " (the CRD modelconversions.edgeml.dev is not installed)"
    )


def test_very_many_problems_are_counted():
    watches = Watches(*(f"n{i}" for i in range(30)))
    for i in range(30):
        watches.of(JOBS, f"n{i}").failed(RejectedError(403, "no"), "listed")
    lines = (watches.progress.remarks() or "").splitlines()
    assert (len(lines), lines[-1]) == (21, "and 10 more")


def test_a_failure_is_told_once_until_it_is_another_one_or_over(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    jobs = Watches("b").of(JOBS, "b")
    for _ in range(50):
        jobs.failed(RejectedError(403, FORBIDDEN), "listed")
    jobs.failed(UnavailableError(503, "busy"), "listed")
    jobs.take_listing("7")
    jobs.failed(RejectedError(403, FORBIDDEN), "watched")
    jobs.take_listing("8")  # to list is allowed, to watch is not: the problem stays
    jobs.failed(RejectedError(403, FORBIDDEN), "watched")
    jobs.heard("9")
    told = [record.getMessage().partition(": ")[0] for record in caplog.records]
    assert told == [
        "jobs in namespace b cannot be listed",
        "jobs in namespace b cannot be listed",
        "jobs in namespace b",  # well again
        "jobs in namespace b cannot be watched",
        "jobs in namespace b",
    ]


def test_tries_come_more_and_more_slowly_and_as_slowly_as_the_server_asks():
    watches = Watches()
    jobs = watches.of(JOBS)
    pauses = [jobs.failed(UnavailableError(503, "busy"), "listed") for _ in range(12)]
    assert pauses[0] < 0.3
    assert 5 < pauses[-1] < 11
    assert max(jobs.failed(RejectedError(403, "no"), "listed") for _ in range(9)) > 11
    assert jobs.failed(UnavailableError(429, "slow down", 30), "listed") == 30
    assert jobs.failed(UnavailableError(429, "slow down", 1e9), "listed") == 120
    watches.now += 1000
    assert jobs.failed(UnavailableError(503, "busy"), "listed") < 0.3


def test_what_is_too_old_to_go_on_from_is_no_problem_but_is_not_tried_in_a_storm():
    jobs = Watches().of(JOBS)
    pauses = [jobs.failed(ApiError(410, "too old"), "watched") for _ in range(12)]
    assert jobs.problem is None
    assert pauses[0] < 0.3
    assert pauses[-1] > 5


def test_a_listing_older_than_the_last_one_means_a_restored_cluster():
    watches = Watches()
    jobs = watches.of(JOBS)
    assert jobs.take_listing("100")
    jobs.heard("120")
    jobs.heard("none")
    assert jobs.take_listing("120")
    assert not watches.progress.restored.is_set()
    assert not jobs.take_listing("99")
    assert watches.progress.restored.is_set()
    assert watches.progress.history.startswith(
        "jobs are at version 99 and were at 120: the cluster was put back"
    )


def test_what_the_server_has_not_spoken_of_may_be_unknown():
    watches = Watches("a")
    watches.now += 50
    assert watches.progress.unheard_seconds() == 0  # of what was never listed, nothing is known at all
    watches.list_all("a")
    watches.now += 100
    watches.of(MODELS, "a").heard()
    watches.of(PODS, "a").heard()
    watches.of(JOBS, "a").failed(UnavailableError(0, "away"), "listed")
    watches.of(JOBS, "a").asked()  # tries are no news
    watches.now += 20
    assert watches.progress.unheard_seconds() == 120
    watches.list_all("a")
    watches.now += 1
    assert watches.progress.unheard_seconds() == 1


def test_a_watch_that_nobody_opens_any_more_is_a_problem():
    watches = Watches("a")
    watches.list_all("a")
    watches.now += 420
    assert watches.progress.problem() is None
    watches.of(MODELS, "a").heard()
    watches.of(PODS, "a").failed(UnavailableError(0, "away"), "listed")  # a try is a sign of life
    watches.now += 80
    assert watches.progress.problem() == "the watch of jobs in namespace a stands still for 500 s"
    assert watches.progress.age_seconds() == 500
    watches.of(JOBS, "a").asked()
    assert watches.progress.problem() is None
