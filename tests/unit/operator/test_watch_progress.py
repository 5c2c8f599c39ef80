"""What the probes say of the watches."""

from __future__ import annotations

from modelconversion_operator.cluster.watches import WatchProgress

CONVERSIONS = "/apis/edgeml.dev/v1alpha1/namespaces/{}/modelconversions"


class StubMirror:
    """A mirror of Jobs or pods, as far as the probes look at it."""

    path = "/api/v1/pods"
    listed = False
    age = 0.0

    def age_seconds(self) -> float:
        return self.age


def progress(now: list[float], mirror: StubMirror, namespaces: int = 0) -> WatchProgress:
    return WatchProgress(namespaces, 70, [mirror], clock=lambda: now[0])  # type: ignore[list-item]


def test_it_is_ready_when_every_namespace_is_watched_and_every_mirror_is_full():
    mirror = StubMirror()
    watches = progress([0.0], mirror, namespaces=2)
    watches.asked(CONVERSIONS.format("a"), watch=False)
    assert watches.unready() == "3 of 3 watches have not begun yet"
    watches.asked(CONVERSIONS.format("a"), watch=True)
    watches.asked(CONVERSIONS.format("b"), watch=True)
    assert watches.unready() == "1 of 3 watches have not begun yet"
    mirror.listed = True
    assert watches.unready() is None


def test_a_watch_that_nobody_opens_any_more_is_a_problem():
    now = [0.0]
    watches = progress(now, StubMirror())
    watches.asked(CONVERSIONS.format("a"), watch=True)
    now[0] = 400
    assert watches.problem() is None
    now[0] = 500
    assert watches.problem() == f"the watch of {CONVERSIONS.format('a')} stands still for 500 s"
    watches.asked(CONVERSIONS.format("a"), watch=True)
    assert watches.problem() is None


def test_a_mirror_that_stands_still_is_a_problem_and_requests_for_other_things_are_no_sign_of_life():
    mirror = StubMirror()
    watches = progress([0.0], mirror)
    watches.asked("/apis", watch=False)
    mirror.age = 1000
    assert watches.problem() == "the watch of /api/v1/pods stands still for 1000 s"
