"""What a watch can be told, and where there is nothing to watch: errors, rights, a CRD, an older store."""

from __future__ import annotations

import asyncio
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import yaml
from rich.console import Console

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import (
    OPERATOR,
    OPERATOR_RULES,
    install_crd,
    install_operator_rbac,
    role_and_binding,
)
from devcluster.tools.binaries import ensure_control_plane_binaries
from support.faults.cases import Case, Stage
from support.faults.cases_cluster import CRD
from support.faults.proxy import Rule, error_event
from support.faults.world import OperatorProcess, Row, World, holds, until
from support.operator.stub_node import StubNode

_LINES: Final[Mapping[str, bytes]] = {
    "ERROR 429, with the seconds to wait": error_event(429, details={"retryAfterSeconds": 1}),
    "ERROR 500": error_event(500),
    "half a line": b'{"type": "ADDED", "obj',
    "a proxy's page": b"<html><body>502 Bad Gateway</body></html>",
}


async def watches_that_say_errors(stage: Stage) -> list[Row]:
    """All three watches end with each of them; meanwhile one conversion goes, and another one comes."""
    rows = []
    async with stage.world() as world:
        operator = await world.operator()
        await world.apply("gone")
        await world.ends("gone")
        for number, (words, line) in enumerate(_LINES.items()):
            gone, new = "gone" if number == 0 else f"new-{number - 1}", f"new-{number}"
            # Nothing can be watched while it goes, so that no event tells of it.
            mute = Rule(lambda r: r.name.startswith("watch "), silent=True, times=3)
            said = Rule(lambda r: r.name.startswith("watch "), says=line, times=3)
            operator.proxy.rules = [mute]
            operator.proxy.cut_watches()
            await until(lambda rule=mute: holds(rule.hits == 3), "all watches are silent")
            await world.api.request("DELETE", world.path("modelconversions", gone))
            await until(lambda name=gone: _is_gone(world, name), f"{gone} is gone")
            operator.proxy.rules = [said]
            operator.proxy.cut_watches()
            await world.apply(new)
            end = await world.ends(new)
            await until(lambda rule=said: holds(rule.hits == 3), "all watches have said it")
            await until(lambda: _counts(operator, Succeeded=1), "what went is not counted", _tail(operator))
            rows.append(
                Row("watch says", f"{words}; all three", f"{end}; the one deleted meanwhile forgotten")
            )
        assert operator.exits == []
    return rows


async def namespace_without_rights(stage: Stage) -> list[Row]:
    """Of three namespaces one has the Role, one gets it later, and one does not exist."""
    rows = []
    account = f"{OPERATOR}-{secrets.token_hex(3)}"
    meta = {"name": account, "namespace": "default"}
    stage.cluster.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}])
    kubeconfig = stage.cluster.service_account_kubeconfig("default", account)
    well, late = (World(stage.cluster, kubeconfig, stage.folder) for _ in range(2))
    absent = f"fault-{secrets.token_hex(4)}"
    async with well.open(), late.open():
        await _grant(stage.cluster, account, well.namespace)
        operator = await well.operator(start=False)
        late.operators.append(operator)
        operator.environment["MODELCONVERSION_NAMESPACES"] = f"{late.namespace},{absent},{well.namespace}"
        await operator.start()
        await well.apply("well")
        await late.apply("late")
        end = await well.ends("well")
        status, words = await operator.get("/readyz")
        assert status == 200, words
        for resource in ("modelconversions", "jobs", "pods"):
            for namespace in (late.namespace, absent):
                assert f"{resource} in namespace {namespace} cannot be listed: 403: {resource}" in words, (
                    words
                )
        assert well.namespace not in words
        assert (await operator.get("/healthz"))[0] == 200
        assert await late.status("late") == {}
        rows.append(
            Row("Role missing", "in one of three namespaces, and one does not exist", f"{end} elsewhere")
        )

        await _grant(stage.cluster, account, late.namespace)
        end = await late.ends("late")
        rows.append(Row("Role comes later", "with a conversion waiting", end))

        told = operator.log.read_text().count(f"jobs in namespace {late.namespace} cannot be")
        assert told == 1, operator.tail()
        await asyncio.to_thread(
            stage.cluster.kubectl, "delete", "rolebinding", OPERATOR, "-n", late.namespace
        )
        operator.proxy.cut_watches()
        await until(lambda: _says(operator, f"jobs in namespace {late.namespace} cannot be"), "it is said")
        await well.apply("other")
        end = await well.ends("other")
        assert await operator.is_ready()
        rows.append(Row("Role taken away", "in one of two namespaces that worked", f"{end} elsewhere"))

        await late.apply("again")
        await _grant(stage.cluster, account, late.namespace)
        rows.append(Row("Role given back", "with a conversion waiting", await late.ends("again")))
        assert operator.exits == []
    return rows


async def _grant(cluster: ControlPlane, account: str, namespace: str) -> None:
    """Give the operator's rights in one namespace, as the chart does with Roles."""
    rules = yaml.safe_load(OPERATOR_RULES.read_text())["rules"]
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "default"}
    objects = role_and_binding("Role", OPERATOR, rules, subject, namespace)
    await asyncio.to_thread(cluster.apply, objects)


async def crd_comes_and_goes(stage: Stage) -> list[Row]:
    """The operator starts before its CRD; then the CRD is deleted, with all conversions, and made again."""
    rows = []
    async with stage.world() as world:
        operator = await world.operator(start=False)
        try:
            await _remove_crd(stage.cluster)
            starting = asyncio.create_task(operator.start())
            words = f"the CRD {CRD} is not installed"
            await until(lambda: _says(operator, words, 503), "it says what it waits for", _tail(operator))
            assert (await operator.get("/healthz"))[0] == 200
            await asyncio.to_thread(install_crd, stage.cluster)
            await starting
            await world.apply("first")
            rows.append(Row("CRD missing", "at the start; it comes later", await world.ends("first")))

            await _remove_crd(stage.cluster)
            await until(lambda: _says(operator, words, 503), "it says that the CRD is gone", _tail(operator))
            await until(lambda: _counts(operator), "no conversion is left in the metrics")
            await asyncio.to_thread(install_crd, stage.cluster)
            await until(operator.is_ready, "it is ready again", _tail(operator))
            await world.apply("second")
            end = await world.ends("second")
            rows.append(Row("CRD deleted and made again", "while it runs", end))
        finally:
            await asyncio.to_thread(install_crd, stage.cluster)
        assert operator.exits == []
    return rows


async def _remove_crd(cluster: ControlPlane) -> None:
    await asyncio.to_thread(cluster.kubectl, "delete", "crd", CRD, "--timeout=60s")


async def store_put_back(stage: Stage) -> list[Row]:
    """etcd is put back to what it was: resource versions go back, and what happened since has not."""
    async with _own_cluster(stage) as (own, cluster):
        world = World(cluster, own.kubeconfig, own.folder, seconds=2)
        async with world.open():
            operator = await world.operator(watch_silence_seconds="5")
            await world.apply("before")
            await world.ends("before")
            kept = own.folder / "etcd-kept"
            async with world.running("under-way"):
                await asyncio.to_thread(_stop, cluster)
            await asyncio.to_thread(shutil.copytree, cluster.state / "etcd", kept)
            await asyncio.to_thread(_start, cluster)
            await world.ends("under-way")
            await world.apply(*(f"lost-{n}" for n in range(5)))
            await world.all_end(f"lost-{n}" for n in range(5))
            assert operator.exits == []

            await asyncio.to_thread(_stop, cluster)
            await asyncio.to_thread(shutil.rmtree, cluster.state / "etcd")
            await asyncio.to_thread(shutil.move, kept, cluster.state / "etcd")
            await asyncio.to_thread(_start, cluster)
            # The node has seen this pod end, and would not look at it again.
            node = asyncio.create_task(StubNode(world.api, namespace=world.namespace).run())
            end = await world.ends("under-way")
            node.cancel()
            await world.apply("after")
            await world.ends("after")
            await until(
                lambda: _counts(operator, Succeeded=3), "the lost ones are forgotten", _tail(operator)
            )
            assert operator.exits == [1], operator.tail()
            assert "was put back to an earlier state" in operator.log.read_text()
            assert "Traceback" not in operator.log.read_text()
    where = "with a conversion under way, and five that are lost"
    return [
        Row(
            "etcd put back to an earlier state", where, f"{end}; 1 restart by itself, the lost ones forgotten"
        )
    ]


def _stop(cluster: ControlPlane) -> None:
    cluster.stop_controller_manager()  # it keeps what it has seen in mind, and has to begin anew
    cluster.stop_api_server()
    cluster.stop_etcd()


def _start(cluster: ControlPlane) -> None:
    cluster.start_etcd(wait=False)
    cluster.start_api_server()
    cluster.start_controller_manager()


@asynccontextmanager
async def _own_cluster(stage: Stage) -> AsyncIterator[tuple[Stage, ControlPlane]]:
    """A control plane of its own: what is put back would confuse what other cases leave behind."""
    folder = stage.folder / f"own-{secrets.token_hex(3)}"
    await asyncio.to_thread(folder.mkdir)
    binaries = await asyncio.to_thread(ensure_control_plane_binaries, Console(stderr=True))
    cluster = ControlPlane(binaries)
    await asyncio.to_thread(cluster.__enter__)
    try:
        await asyncio.to_thread(install_crd, cluster)
        kubeconfig: Path = await asyncio.to_thread(install_operator_rbac, cluster, "default")
        yield Stage(cluster, kubeconfig, folder), cluster
    finally:
        await asyncio.to_thread(cluster.__exit__)


async def _is_gone(world: World, name: str) -> bool:
    return (await world.api.request("GET", world.path("modelconversions", name)))[0] == 404


async def _counts(operator: OperatorProcess, **phases: int) -> bool:
    """Whether its metrics have just these conversions."""
    _, text = await operator.get("/metrics")
    found = re.findall(r'^modelconversion_resources\{phase="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {name: int(count) for name, count in found if int(count)} == phases


async def _says(operator: OperatorProcess, words: str, status: int = 200) -> bool:
    code, text = await operator.get("/readyz")
    return code == status and words in text


def _tail(operator: OperatorProcess) -> Callable[[], Awaitable[str]]:
    async def words() -> str:
        return f"{operator.exits}\n{(await operator.get('/readyz'))[1]}\n{operator.tail()}"

    return words


WATCH_CASES: dict[str, Case] = {
    case.__name__: case
    for case in (watches_that_say_errors, namespace_without_rights, crd_comes_and_goes, store_put_back)
}
