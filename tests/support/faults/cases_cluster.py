"""Faults of what is around the operator: servers that go away, webhooks, namespaces, removal, upgrades."""

from __future__ import annotations

import asyncio
import copy
import itertools
import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import yaml

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import CRDS, OPERATOR, install_crd, install_operator_rbac
from modelconversion_api.base import GROUP, PLURAL
from support.faults.cases import Case, Stage, together
from support.faults.world import Json, OperatorProcess, Row, World, holds, until

CRD = "modelconversions.edgeml.dev"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


async def servers_restarted(stage: Stage) -> list[Row]:
    """The API server and etcd go away for some seconds, with conversions at every stage."""
    rows = []
    parts: dict[str, tuple[Callable[[ControlPlane], None], Callable[[ControlPlane], None]]] = {
        "API server killed and started": (ControlPlane.stop_api_server, ControlPlane.start_api_server),
        "etcd killed and started": (ControlPlane.stop_etcd, ControlPlane.start_etcd),
    }
    async with stage.world(seconds=2) as world:
        operator = await world.operator()
        for number, (title, (stop, start)) in enumerate(parts.items()):
            exits = len(operator.exits)
            names = [f"part-{number}-{n}" for n in range(6)]
            async with world.running(*names[:3]):
                await world.apply(*names[3:])
                await asyncio.to_thread(stop, stage.cluster)
            await asyncio.sleep(3)
            await asyncio.to_thread(start, stage.cluster)
            end = await world.all_end(names)
            died = len(operator.exits) - exits
            rows.append(Row(title, "3 s, conversions new, pending and running", f"{end}; {died} restarts"))
    return rows


async def webhook_outage(stage: Stage) -> list[Row]:
    """A webhook that is asked about each Job does not answer, then is removed."""
    async with stage.world() as world:
        await world.operator()
        hook = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": world.namespace},
            "webhooks": [
                {
                    "name": "down.fault-matrix.test",
                    "clientConfig": {"url": "https://127.0.0.1:1/"},
                    "rules": [
                        {
                            "apiGroups": ["batch"],
                            "apiVersions": ["v1"],
                            "operations": ["CREATE"],
                            "resources": ["jobs"],
                        }
                    ],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}},
                    "failurePolicy": "Fail",
                    "sideEffects": "None",
                    "timeoutSeconds": 1,
                    "admissionReviewVersions": ["v1"],
                }
            ],
        }
        await world.api.request("POST", _WEBHOOKS, hook)
        try:
            await asyncio.sleep(1)  # until the API server has read it
            await world.apply("hooked")

            async def told() -> bool:
                conditions = (await world.status("hooked")).get("conditions", [])
                return any("failed calling webhook" in c["message"] for c in conditions)

            await until(told, "the status says that a webhook is down")
            assert (await world.status("hooked"))["phase"] == "Pending"
        finally:
            await world.api.request("DELETE", f"{_WEBHOOKS}/{world.namespace}")
        end = await world.ends("hooked")
    return [Row("webhook down (failurePolicy Fail)", "on the Job's creation", f"said in status; then {end}")]


async def namespace_deleted(stage: Stage) -> list[Row]:
    """The namespace of a running conversion is deleted: nothing holds it."""
    return await together(_namespace_deleted(stage, when) for when in ("running", "stopped before", "frozen"))


async def _namespace_deleted(stage: Stage, when: str) -> list[Row]:
    async with stage.world(seconds=60) as world:
        operator = await world.operator()
        await world.apply("one", "two")
        await world.wait_for_phase("one", "Running")
        if when == "stopped before":
            await operator.stop()
        elif when == "frozen":
            operator.send(signal.SIGSTOP)
        await _delete_namespace(world)
        if when != "stopped before":
            operator.send(signal.SIGCONT)
            await asyncio.sleep(1)
            assert await operator.is_ready()
            assert operator.exits == []
    return [Row("namespace deleted", f"conversions running, operator {when}", "gone, nothing stuck")]


async def operator_removed(stage: Stage) -> list[Row]:
    """Process, permissions and CRD are removed in every order, then the namespace: nothing is stuck."""
    rows = []
    crd = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{CRD}"
    for number, order in enumerate(itertools.permutations(("operator", "permissions", "CRD"))):
        async with stage.world(seconds=60) as world:
            operator = await world.operator()
            await world.apply("one", "two")
            await world.wait_for_phase("one", "Running")
            end = "CRD gone, namespace gone with all that was in it"
            try:
                if number == 0:
                    await _until_collected(world)
                for part in order:
                    await _remove(part, stage.cluster, operator)
                await until(partial(_gone, world, crd), "the CRD is gone")
                if number == 0:
                    await until(partial(_no_jobs, world), "the Jobs are gone")
                    end = f"conversions and Jobs gone with their CRD; {end}"
                await _delete_namespace(world)
            finally:
                await operator.stop(signal.SIGKILL)
                await asyncio.to_thread(install_crd, stage.cluster)
                await asyncio.to_thread(install_operator_rbac, stage.cluster, "default")
        rows.append(Row("operator removed", " → ".join(order), end))
    return rows


async def _until_collected(world: World) -> None:
    """Wait until Kubernetes' garbage collector knows the resource.

    It looks for new ones every 30 s. When a CRD goes that it has not seen yet, the Jobs stay until their TTL.
    """
    await world.apply("collected")
    await world.wait_for_phase("collected", "Running")
    job = (await world.status("collected"))["jobName"]
    await world.api.request("DELETE", world.path("modelconversions", "collected"))
    await until(partial(_gone, world, world.path("jobs", job)), "the deleted conversion's Job is gone")


async def _remove(part: str, cluster: ControlPlane, operator: OperatorProcess) -> None:
    if part == "operator":
        await operator.stop()
    elif part == "permissions":
        await asyncio.to_thread(cluster.kubectl, "delete", "clusterrole,clusterrolebinding", OPERATOR)
    else:
        await asyncio.to_thread(cluster.kubectl, "delete", "crd", CRD, "--timeout=60s")


async def upgraded(stage: Stage) -> list[Row]:
    """CRD and operator change under a running conversion: it keeps its Job and ends as it would have."""
    rows = []
    async with stage.world(seconds=3) as world:
        operator = await world.operator()
        try:
            async with world.running("crd", "image"):
                jobs = await world.items("jobs")
                before = {j["metadata"]["uid"]: j["spec"]["template"]["spec"] for j in jobs}
                await asyncio.to_thread(stage.cluster.apply, [_newer_crd()])
                operator.environment["MODELCONVERSION_CONVERTER_IMAGE"] = "converter:next"
                operator.send(signal.SIGTERM)
                await until(lambda: holds(operator.exits == [0]), "the old operator has ended")
            ends = [await world.ends(name) for name in ("crd", "image")]
            after = {j["metadata"]["uid"]: j["spec"]["template"]["spec"] for j in await world.items("jobs")}
            assert after == before, "a Job of the old version was touched"
            await world.apply("next", newField="seen")
            ends.append(await world.ends("next"))
            images = {
                j["spec"]["template"]["spec"]["containers"][0]["image"] for j in await world.items("jobs")
            }
            assert images == {"converter:test", "converter:next"}
        finally:
            await asyncio.to_thread(install_crd, stage.cluster)
        rows.append(Row("CRD upgraded (new field with a default)", "conversions running", ends[0]))
        rows.append(Row("operator upgraded (new converter image)", "conversions running", ends[1]))
        rows.append(Row("CRD newer than the operator", "a conversion that uses the new field", ends[2]))
    return rows


def _newer_crd() -> Json:
    """The CRD of a later version: with a field that this operator does not know, and a default for it."""
    path = CRDS / f"{PLURAL}.{GROUP}.yaml"
    crd: Json = copy.deepcopy(yaml.safe_load(path.read_text()))
    schema: Any = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["newField"] = {"type": "string", "default": "new"}
    return crd


async def _delete_namespace(world: World) -> None:
    path = f"/api/v1/namespaces/{world.namespace}"
    await world.api.request("DELETE", path)
    await until(lambda: _gone(world, path), f"namespace {world.namespace} is gone")


async def _no_jobs(world: World) -> bool:
    return await world.items("jobs") == []


async def _gone(world: World, path: str) -> bool:
    status, _ = await world.api.request("GET", path)
    return status == 404


CLUSTER_CASES: dict[str, Case] = {
    case.__name__: case
    for case in (servers_restarted, webhook_outage, namespace_deleted, operator_removed, upgraded)
}
