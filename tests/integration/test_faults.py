"""The fault matrix, case by case: whatever happens, a conversion has one Job and the right end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib.metadata import version

import pytest
from rich.console import Console

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import OPERATOR, install_crd, install_operator_rbac
from devcluster.tools.binaries import ensure_control_plane_binaries
from support.faults.cases import Stage
from support.faults.matrix import CASES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]  # tens of conversions, one fault each


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A control plane of its own: other tests' operator and node would take part."""
    with ControlPlane(ensure_control_plane_binaries(Console(stderr=True))) as cluster:
        install_crd(cluster)
        kubeconfig = install_operator_rbac(cluster, "default")
        yield Stage(cluster, kubeconfig, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", CASES)
def test_a_conversion_ends_right(stage: Stage, name: str):
    rows = asyncio.run(CASES[name](stage))
    assert rows
    for row in rows:
        print(f"{row.fault} | {row.where} | {row.end}")  # noqa: T201 - shown when it fails, or with -s


def test_requests_and_fields_name_the_operator(stage: Stage):
    """Audit logs, flow control and managedFields tell who it was."""
    fields, agents = asyncio.run(_signed(stage))
    assert agents == {f"{OPERATOR}/{version(OPERATOR)}"}
    job, conversion = fields
    assert {name for _, name, _ in job} == {OPERATOR, "kube-controller-manager"}
    assert ("Update", OPERATOR, None) in job
    assert {name for _, name, part in conversion if part == "status"} == {OPERATOR}


async def _signed(stage: Stage) -> tuple[list[set[tuple[str, str, str | None]]], set[str]]:
    """Convert once; gives who manages fields of Job and conversion, and the agents of all requests."""
    async with stage.world() as world:
        operator = await world.operator(leader_elect="true", lease_namespace="default", lease_seconds="3")
        await world.apply("signed")
        await world.ends("signed")
        job = (await world.status("signed"))["jobName"]
        managers = []
        for path in (world.path("jobs", job), world.path("modelconversions", "signed")):
            _, body = await world.api.request("GET", path)
            managed = body["metadata"]["managedFields"]
            managers.append({(m["operation"], m["manager"], m.get("subresource")) for m in managed})
        await operator.stop()
        return managers, operator.proxy.agents
