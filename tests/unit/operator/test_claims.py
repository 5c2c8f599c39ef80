"""Claims in a Job's pods: where they are mounted, how, and what must have been released for it."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.manifest import CONVERTS, Part, job_manifest
from modelconversion_operator.deciding.policy import Grant, grants_of
from support.operator.memory import World
from support.operator.objects import DEFAULTS, KEY, spec

MODEL, DATA, OUT = "pvc://models/a/gesture.h5", "pvc://data/val.npy", "pvc://models/converted/"
BOARD = {"name": "pi", "nodeSelector": {"board": "pi"}}


def pod_of(part: Part = CONVERTS, **changes: Any) -> dict[str, Any]:
    wanted = spec(**{"methods": ["Float16"], "calibration": {"uri": "s3://models/val.npy"}} | changes)
    manifest = job_manifest(KEY, "1", ModelConversionSpec.model_validate(wanted), DEFAULTS, part=part)
    found: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return found


def mounts(pod: dict[str, Any]) -> dict[str, dict[str, bool]]:
    """Whether each container may only read each claim that it has."""
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    return {
        c["name"]: {
            m["mountPath"].removeprefix("/claims/"): m["readOnly"]
            for m in c["volumeMounts"]
            if m["mountPath"].startswith("/claims/")
        }
        for c in containers
    }


def claims(pod: dict[str, Any]) -> dict[str, bool]:
    """Whether each claim of a pod is one that it may only read."""
    return {
        v["persistentVolumeClaim"]["claimName"]: v["persistentVolumeClaim"]["readOnly"]
        for v in pod["volumes"]
        if "persistentVolumeClaim" in v
    }


def test_a_conversion_without_claims_has_none() -> None:
    pod = pod_of()
    assert claims(pod) == {}
    assert "fsGroupChangePolicy" not in pod["securityContext"]


def test_what_is_read_is_mounted_for_fetch_alone_and_cannot_be_written() -> None:
    pod = pod_of(source={"uri": MODEL}, calibration={"uri": DATA})
    assert claims(pod) == {"data": True, "models": True}
    assert mounts(pod) == {"fetch": {"data": True, "models": True}, "convert": {}, "publish": {}}
    assert "fsGroupChangePolicy" not in pod["securityContext"], "the kubelet leaves what is only read alone"


def test_what_is_written_is_mounted_for_publish() -> None:
    pod = pod_of(source={"uri": MODEL}, output={"uri": OUT})
    assert claims(pod) == {"models": False}
    assert mounts(pod) == {"fetch": {"models": True}, "convert": {}, "publish": {"models": False}}
    assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"


def test_each_container_is_told_of_its_own_claims() -> None:
    pod = pod_of(source={"uri": DATA}, output={"uri": OUT})
    told = {
        c["name"]: [e["value"] for e in c["env"] if e["name"].startswith("CONVERSION_CLAIM_")]
        for c in [*pod["initContainers"], *pod["containers"]]
    }
    assert told == {"fetch": ["/claims/data"], "convert": [], "publish": ["/claims/models"]}


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Part(board="pi"), {"fetch": {"models": True}, "measure": {}, "publish": {"models": False}}),
        (Part(reads_report=True), {"publish": {"models": False}}),
    ],
)
def test_later_jobs_of_a_run_have_the_outputs_claim_only(part: Part, expected: Any) -> None:
    pod = pod_of(part, source={"uri": DATA}, output={"uri": OUT}, benchmark={"boards": [BOARD]})
    assert mounts(pod) == expected


def test_what_must_be_released_says_how_it_is_used() -> None:
    wanted = spec(source={"uri": MODEL}, output={"uri": OUT}, calibration={"uri": DATA})
    assert grants_of(ModelConversionSpec.model_validate(wanted)) == (
        Grant("secrets", "s3-credentials"),
        Grant("persistentvolumeclaims", "data"),
        Grant("persistentvolumeclaims", "models"),
        Grant("persistentvolumeclaims", "models", "update"),
    )


@pytest.mark.parametrize("strict", [True, False])
async def test_a_claim_that_nobody_released_is_waited_for_whatever_the_setting(strict: bool) -> None:
    world = World()
    world.rules = type(world.rules)(DEFAULTS, secrets_must_be_released=strict)
    world.start(world.rules.limits)
    world.server.unreleased.add("models")
    world.apply("a", source={"uri": MODEL})
    await world.work()
    condition = world.status("ml-a")["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("Unknown", "ClaimNotReleased")
    assert (
        "PersistentVolumeClaim models is not released for conversions to read from: kubectl -n ml create role"
        " conversions-claim-models-get --verb=get --resource=persistentvolumeclaims --resource-name=models;"
        in condition["message"]
    )
    assert world.server.jobs == {}
