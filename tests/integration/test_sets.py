"""Sets of conversions: a real API server, the operator with its own rights, the real converter and S3."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import pytest

from devcluster.errors import ProcessError
from support.cluster.conversions import Conversions, Operator, until
from support.converter.tiny_tflite import write_tiny_tflite

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]

Json = dict[str, Any]
SMALL, HALF, IMPOSSIBLE = "small", "half", "impossible"
PROFILES: dict[str, Json] = {
    SMALL: {"methods": ["DynamicRange"]},
    HALF: {"methods": ["Float16"]},
    IMPOSSIBLE: {"methods": ["Float16"], "validation": {"maxSizeBytes": 1}},
}

SPEC: Json = {
    "models": [{"name": "a", "source": {"uri": "s3://models/a.h5"}}],
    "profiles": [{"name": "small"}],
    "output": {"uri": "s3://models/out/"},
}


class Sets:
    """Sets in the namespace of conversions, and profiles for them."""

    def __init__(self, conversions: Conversions) -> None:
        self.conversions = conversions
        for name, spec in PROFILES.items():
            self.write("ConversionProfile", name, spec)

    def write(self, kind: str, name: str, spec: Json, **meta: Any) -> None:
        meta = {"name": name, "namespace": self.conversions.namespace} | meta
        body = {"apiVersion": "edgeml.dev/v1beta1", "kind": kind, "metadata": meta, "spec": spec}
        self.conversions.cluster.apply([body])

    def apply(self, name: str, profiles: list[str], models: tuple[str, ...] = ("tiny",), **more: Any) -> None:
        source = {"uri": self.conversions.uri("tiny.tflite")}
        spec: Json = {
            "models": [{"name": model, "source": source} for model in models],
            "profiles": [{"name": profile} for profile in profiles],
            "output": {"uri": self.conversions.uri(f"sets/{name}/")},
            "storage": {
                "endpoint": self.conversions.store.endpoint,
                "secretRef": {"name": "s3-credentials"},
            },
        }
        self.write("ModelConversionSet", name, spec | more)

    def get(self, name: str) -> Json:
        found: Json = json.loads(self.conversions.kubectl("get", "mcset", name, "-o", "json"))
        return found

    def status(self, name: str) -> Json:
        found: Json = self.get(name).get("status", {})
        return found

    def ended(self, name: str) -> Json:
        over = ("Succeeded", "Failed")
        until(lambda: self.status(name).get("phase") in over, f"set {name} has ended", 150)
        return self.status(name)

    def members(self, name: str) -> dict[str, Json]:
        """Conversions of a set by model and profile."""
        text = self.conversions.kubectl("get", "mconv", "-l", f"edgeml.dev/set={name}", "-o", "json")
        found = {}
        for body in json.loads(text)["items"]:
            model, profile = body["spec"]["output"]["uri"].rstrip("/").split("/")[-2:]
            found[f"{model}/{profile}"] = body
        return found


@pytest.fixture
def sets(conversions: Conversions, operator: Operator, tmp_path: Path) -> Sets:
    assert operator.process is not None
    conversions.upload({"tiny.tflite": write_tiny_tflite(tmp_path / "tiny.tflite", (1, 4096))})
    return Sets(conversions)


def rows(status: Json) -> list[tuple[str, str, str]]:
    return [(row["model"], row["profile"], row["phase"]) for row in status["members"]]


def test_models_times_profiles_with_a_table_and_a_page(sets: Sets, operator: Operator) -> None:
    sets.apply("both", [SMALL, HALF], ("one", "two"), maxParallel=2)
    status = sets.ended("both")
    assert status["phase"] == "Succeeded", status
    assert rows(status) == [(m, p, "Succeeded") for m in ("one", "two") for p in (SMALL, HALF)]
    assert [row["recommended"] for row in status["members"]] == ["DynamicRange", "Float16"] * 2
    assert (status["total"], status["succeeded"], status["failed"], status["progress"]) == (4, 4, 0, "4/4")
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Succeeded": "True", "Ready": "True"}
    key = status["comparisonUri"].removeprefix(f"s3://{sets.conversions.bucket}/")
    page = sets.conversions.objects("sets/both/")[key].decode()
    assert key == "sets/both/compare.html"
    assert page.count("<tr>") == 1 + 4
    assert 'id="model-one"' in page
    assert operator.metric('modelconversion_sets{phase="Succeeded"}') >= 1
    owner = sets.get("both")["metadata"]["uid"]
    for body in sets.members("both").values():
        assert [o["uid"] for o in body["metadata"]["ownerReferences"]] == [owner]
    sets.conversions.kubectl("delete", "mcset", "both")
    until(lambda: not sets.members("both"), "its members go with it", 60)


def test_of_all_that_must_pass_none_begins_after_a_failure_and_only_the_failed_are_tried_again(
    sets: Sets,
) -> None:
    sets.apply("strict", [SMALL, IMPOSSIBLE, HALF], maxParallel=1)
    status = sets.ended("strict")
    assert status["phase"] == "Failed"
    assert rows(status) == [
        ("tiny", SMALL, "Succeeded"),
        ("tiny", IMPOSSIBLE, "Failed"),
        ("tiny", HALF, "Pending"),
    ]
    condition = status["conditions"][0]
    assert condition["reason"] == "MembersFailed"
    assert condition["message"].startswith(
        "1 of 3 succeeded, 1 failed: tiny/impossible GatesNotMet; 1 did not"
    )
    before = {name: body["metadata"]["uid"] for name, body in sets.members("strict").items()}

    sets.write("ConversionProfile", IMPOSSIBLE, {"methods": ["Float16"]})
    sets.conversions.kubectl("annotate", "mcset", "strict", "edgeml.dev/retry-failed=1")
    until(lambda: sets.status("strict").get("retried") == "1", "it was tried again", 60)
    status = sets.ended("strict")
    assert status["phase"] == "Succeeded", status
    after = {name: body["metadata"]["uid"] for name, body in sets.members("strict").items()}
    assert after["tiny/small"] == before["tiny/small"]
    assert after["tiny/impossible"] != before["tiny/impossible"]


def test_a_set_goes_on_through_the_deaths_of_its_operator(sets: Sets, operator: Operator) -> None:
    sets.apply("survivor", [SMALL, HALF, IMPOSSIBLE], maxParallel=1, policy="AnyMayFail")
    for count in (1, 2, 3):
        until(lambda count=count: len(sets.members("survivor")) >= count, f"{count} members are there", 90)
        operator.kill()
        operator.start()
    status = sets.ended("survivor")
    assert (status["phase"], status["succeeded"], status["failed"]) == ("Succeeded", 2, 1)
    assert len(sets.members("survivor")) == 3
    jobs = json.loads(sets.conversions.kubectl("get", "jobs", "-o", "json"))["items"]
    assert len(jobs) == 4, "one for each member, and one that compares"


def test_a_suspended_set_begins_nothing_and_a_changed_one_makes_what_is_new(sets: Sets) -> None:
    sets.apply("later", [SMALL], suspend=True)
    until(lambda: sets.status("later").get("phase") == "Suspended", "it is suspended", 30)
    assert sets.members("later") == {}
    sets.apply("later", [SMALL], suspend=False)
    assert sets.ended("later")["phase"] == "Succeeded"
    uid = sets.members("later")["tiny/small"]["metadata"]["uid"]
    sets.apply("later", [SMALL, HALF], suspend=False)
    until(lambda: sets.status("later").get("observedGeneration") == 3, "it was seen", 30)
    assert rows(sets.ended("later")) == [("tiny", SMALL, "Succeeded"), ("tiny", HALF, "Succeeded")]
    assert sets.members("later")["tiny/small"]["metadata"]["uid"] == uid, "what is as wanted stays"
    sets.apply("later", [HALF], suspend=False)
    until(lambda: set(sets.members("later")) == {"tiny/half"}, "what nobody wants is gone", 60)


def test_a_name_that_something_else_has_is_a_failed_member(sets: Sets) -> None:
    sets.apply("first", [SMALL], suspend=True)
    sets.apply("second", [HALF])
    (name,) = [body["metadata"]["name"] for body in sets.ended("second") and sets.members("second").values()]
    sets.conversions.kubectl("delete", "mcset", "second", "--cascade=orphan")
    sets.conversions.kubectl(
        "patch", "mconv", name, "--type=merge", "-p", '{"metadata":{"ownerReferences":null}}'
    )
    sets.apply("second", [HALF])
    status = sets.ended("second")
    assert [(row["phase"], row["reason"]) for row in status["members"]] == [("Failed", "NameTaken")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"models": []}, "models"),
        ({"profiles": [{"name": "a"}, {"name": "a", "kind": "ClusterConversionProfile"}]}, "Duplicate value"),
        ({"maxParallel": 0}, "maxParallel"),
        ({"policy": "Maybe"}, "policy"),
    ],
)
def test_what_the_api_server_refuses(sets: Sets, changes: Json, words: str) -> None:
    with pytest.raises(ProcessError, match=words):
        sets.write("ModelConversionSet", "bad", SPEC | changes)


def test_more_members_than_there_may_be_are_refused(sets: Sets) -> None:
    with pytest.raises(ProcessError, match="more than 1000 conversions: make several sets"):
        sets.apply("wide", [f"p{n}" for n in range(32)], tuple(f"m{n}" for n in range(32)))


def test_a_set_has_a_name_that_fits(sets: Sets) -> None:
    with pytest.raises(ProcessError, match="at most 52 characters"):
        sets.apply("s" * 53, [SMALL])
    name = f"s{secrets.token_hex(25)}s"[:52]
    sets.apply(name, [SMALL], suspend=True)
    until(lambda: sets.status(name).get("phase") == "Suspended", "it is seen", 30)
