"""Two conversions with one output URI: both say so, and the later one does not overwrite the other's."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.status import ModelConversionStatus
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding import decide as deciding
from modelconversion_operator.deciding.decisions import CreateJob, Decision
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.seen import Rival, Seen
from modelconversion_operator.deciding.views import ConversionView, Key
from support.operator.objects import KEY, NOW, conversion, decide, spec, wire

BEGUN = decide(conversion(), None, [], NOW).status
OTHER = Key(KEY.namespace, "other", "0000")


def _decided(*rivals: Rival, how: Any = "wait") -> Decision:
    seen = Seen(conversion(BEGUN), rivals=rivals)
    return deciding.decide(seen, NOW, policy=Policy(shared_output=how))


def _shared(status: ModelConversionStatus) -> str | None:
    return next((c.message for c in status.conditions if c.type == "OutputShared"), None)


EARLIER, LATER = Rival(OTHER, NOW - timedelta(seconds=1)), Rival(OTHER, NOW + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("rival", "how", "runs", "reason"),
    [
        (EARLIER, "wait", False, "OutputShared"),
        (EARLIER, "refuse", False, "OutputShared"),
        (EARLIER, "allow", True, "Created"),
        (LATER, "wait", True, "Created"),
        (LATER, "refuse", True, "Created"),
        (Rival(OTHER, NOW), "wait", False, "OutputShared"),  # of two that began together, one is the first
        (Rival(OTHER), "wait", True, "Created"),  # over, or not begun
    ],
)
def test_the_later_one_waits_or_is_refused(rival: Rival, how: str, runs: bool, reason: str) -> None:
    decision = _decided(rival, how=how)
    assert isinstance(decision.job_action, CreateJob) is runs
    assert decision.status.conditions[0].reason == reason
    assert decision.status.conditions[0].status == ("False" if how == "refuse" and not runs else "Unknown")
    assert "other in this namespace" in (_shared(decision.status) or "")


def test_waiting_for_another_has_no_deadline() -> None:
    status = _decided(EARLIER).status
    assert status.waiting_since is None
    later = deciding.decide(Seen(conversion(status), rivals=(EARLIER,)), NOW + timedelta(days=2))
    assert later.status.phase == "Pending"


def test_the_condition_goes_with_the_last_rival_and_names_a_few_of_many() -> None:
    many = tuple(Rival(Key(KEY.namespace, f"r{n}", f"u{n}")) for n in range(9))
    status = _decided(*many).status
    assert _shared(status) == "r0, r1, r2 and 6 others in this namespace: the same output.uri"
    alone = deciding.decide(Seen(conversion(status)), NOW)
    assert _shared(alone.status) is None


def _view(name: str, namespace: str = "ml", phase: str | None = None, **changes: Any) -> ConversionView:
    meta = {"namespace": namespace, "name": name, "uid": f"{namespace}-{name}", "generation": 1}
    status: dict[str, Any] = {"observedGeneration": 1, "startTime": wire(NOW)}
    body = {"metadata": meta | {"resourceVersion": "5"}, "spec": spec(**changes)}
    return ConversionView.from_body(body | {"status": status | ({"phase": phase} if phase else {})})


@pytest.mark.parametrize(
    ("view", "is_rival"),
    [
        (_view("b"), True),
        (_view("b", output={"uri": "s3://models/out"}), True),  # a slash makes no other place
        (_view("b", phase="Succeeded"), True),  # its files would be overwritten
        (_view("b", output={"uri": "s3://models/other/"}), False),
        (_view("b", storage={"endpoint": "https://elsewhere:9000"}), False),
        (_view("b", namespace="team-b"), False),  # whose names are none of our business
        (_view("b", output={}), False),
    ],
)
def test_rivals_are_those_of_one_place(view: ConversionView, is_rival: bool) -> None:
    store = Store()
    store.put_conversion(_view("a", phase="Running"))
    store.put_conversion(view)
    assert [r.key.name for r in store.rivals("ml-a")] == (["b"] if is_rival else [])
    assert [r.key.name for r in store.rivals(view.key.uid)] == (["a"] if is_rival else [])
    store.drop_conversion(view.key)
    assert store.rivals("ml-a") == []


def _to(uri: str, **storage: Any) -> dict[str, Any]:
    return {"output": {"uri": uri}, "storage": storage}


@pytest.mark.parametrize(
    ("one", "other", "is_rival"),
    [
        (_to("az://out/x/", azure={"account": "a"}), _to("az://out/x", azure={"account": "a"}), True),
        (_to("az://out/x/", azure={"account": "a"}), _to("az://out/x/", azure={"account": "b"}), False),
        (
            _to("az://out/x/", azure={"account": "a"}, endpoint="https://one"),
            _to("az://out/x/", azure={"account": "a"}, endpoint="https://other"),
            True,  # that endpoint is of S3
        ),
        (
            _to("gs://out/x/", googleCloud={"endpoint": "https://g/"}),
            _to("gs://out/x/", googleCloud={"endpoint": "https://g"}),
            True,
        ),
        (_to("gs://out/x/", googleCloud={"endpoint": "https://g"}), _to("gs://out/x/"), False),
        (_to("gs://out/x/"), _to("s3://out/x/"), False),
        (_to("gs://out/x/", googleCloud="nothing"), _to("gs://out/x/"), True),
    ],
)
def test_one_place_in_a_cloud(one: dict[str, Any], other: dict[str, Any], is_rival: bool) -> None:
    store = Store()
    store.put_conversion(_view("a", **one))
    store.put_conversion(_view("b", **other))
    assert [r.key.name for r in store.rivals("ml-a")] == (["b"] if is_rival else [])


def test_another_output_makes_a_rival_no_longer_one() -> None:
    store = Store()
    store.put_conversion(_view("a"))
    store.put_conversion(_view("b"))
    moved = _view("b", output={"uri": "s3://models/moved/"})
    newer = ConversionView(**{f: getattr(moved, f) for f in moved.__slots__} | {"resource_version": "6"})
    store.put_conversion(newer)
    assert store.rivals("ml-a") == []


def test_one_that_has_ended_is_looked_at_again_for_its_rival() -> None:
    store = Store()
    store.put_conversion(_view("a", phase="Succeeded"))
    assert store.reopen("ml-a") is None
    store.put_conversion(_view("b"))
    assert store.reopen("ml-a") == Key("ml", "a", "ml-a")
