"""Conversions that follow profiles: a real API server with its rules, the operator with its own rights."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.errors import ProcessError
from support.cluster.conversions import Conversions, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]

Json = dict[str, Any]
CLUSTER, OWN = "ClusterConversionProfile", "ConversionProfile"


def profile(conversions: Conversions, kind: str, name: str, **spec: Any) -> Json:
    """Write a profile; gives the reference to it."""
    meta = {"name": name} | ({"namespace": conversions.namespace} if kind == OWN else {})
    body = {"apiVersion": "edgeml.dev/v1beta1", "kind": kind, "metadata": meta, "spec": spec}
    conversions.cluster.apply([body])
    return {"kind": kind, "name": name}


@pytest.fixture
def name(conversions: Conversions) -> Iterator[str]:
    """Name of a profile that is gone afterwards: those of the cluster belong to no namespace."""
    name = f"doorbell-{secrets.token_hex(3)}"
    yield name
    conversions.kubectl("delete", "clusterconversionprofile", name, "--ignore-not-found")


def failure(conversions: Conversions, name: str) -> Json:
    until(lambda: conversions.status(name).get("phase") == "Failed", "it has failed", 60)
    found: Json = conversions.status(name)["failure"]
    return found


def test_a_conversion_gets_what_its_profile_says(uploaded: Conversions, name: str) -> None:
    ref = profile(uploaded, CLUSTER, name, methods=["Float16"], validation={"maxSizeBytes": 1})
    uploaded.apply("follower", profileRef=ref, validation={"minAgreement": "0.5"})
    assert failure(uploaded, "follower")["reason"] == "GatesNotMet"
    status = uploaded.status("follower")
    assert status["methods"] == "Float16"
    assert [artifact["method"] for artifact in status["artifacts"]] == ["Float16"]
    assert status["profile"]["spec"]["validation"] == {"maxSizeBytes": 1}
    uid = json.loads(uploaded.kubectl("get", "clusterconversionprofile", name, "-o", "json"))["metadata"][
        "uid"
    ]
    assert (status["profile"]["uid"], status["profile"]["generation"]) == (uid, 1)

    profile(uploaded, CLUSTER, name, methods=["DynamicRange"])
    uploaded.patch("follower", {"validation": None})
    until(lambda: uploaded.status("follower").get("phase") == "Succeeded", "the next run is over", 60)
    status = uploaded.status("follower")
    assert (status["methods"], status["profile"]["generation"]) == ("DynamicRange", 2)


def test_rules_that_need_both_are_the_api_servers(conversions: Conversions, name: str) -> None:
    ref = profile(conversions, CLUSTER, name, methods=["FullInteger"])
    conversions.apply("without-data", profileRef=ref)
    found = failure(conversions, "without-data")
    assert found["reason"] == "ProfileConflict"
    assert f"with ClusterConversionProfile {name}: " in found["message"]
    assert "FullInteger and Int16Activations need calibration data: set calibration.uri" in found["message"]
    assert conversions.kubectl("get", "jobs", "-o", "name") == ""
    assert conversions.kubectl("get", "mconv", "-o", "name").split() == [
        "modelconversion.edgeml.dev/without-data"
    ]


def test_a_profile_of_the_namespace_is_waited_for(uploaded: Conversions) -> None:
    uploaded.apply("early", profileRef={"name": "late"})

    def reason() -> str | None:
        conditions = uploaded.status("early").get("conditions", [])
        return next((c["reason"] for c in conditions if c["type"] == "Succeeded"), None)

    until(lambda: reason() == "ProfileNotFound", "it waits", 30)
    profile(uploaded, OWN, "late", methods=["DynamicRange"])
    until(lambda: uploaded.status("early").get("phase") == "Succeeded", "it is converted", 90)


@pytest.mark.parametrize("kind", [CLUSTER, OWN])
def test_a_profile_is_held_against_the_same_rules(conversions: Conversions, name: str, kind: str) -> None:
    with pytest.raises(ProcessError, match="set either methods"):
        profile(conversions, kind, name, methods=["Float16"], target="Cloud")


def test_kubectl_explains_profiles(conversions: Conversions) -> None:
    assert "Gates for each artifact" in conversions.kubectl("explain", "conversionprofile.spec.validation")
