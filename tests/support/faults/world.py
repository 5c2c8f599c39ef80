"""What the cases of the fault matrix work with: operators, a stub node, conversions that take a moment."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.processes import free_ports
from devcluster.services.release import release_manifests
from support.faults.proxy import FaultProxy
from support.operator.async_api import AsyncApi
from support.operator.stub_node import StubNode

Json = dict[str, Any]
logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 120.0
UNTOUCHED = "fault-matrix/no-node"
"""Pods with this node selector are never started by the stub node."""
_MODELS = "/apis/edgeml.dev/v1alpha1"
_SHORT_TTL = 600


@dataclass(frozen=True)
class Row:
    """A line of the matrix: a fault, where it struck, and how it ended."""

    fault: str
    where: str
    end: str


class OperatorProcess:
    """An operator process behind a proxy of its own, kept running as a kubelet keeps a container."""

    def __init__(self, proxy: FaultProxy, folder: Path, namespace: str, **settings: str) -> None:
        self.proxy = proxy
        self.log = folder / "operator.log"
        self.exits: list[int] = []
        """Exit codes of ended processes: -9 for those killed."""
        self.command = [sys.executable, "-m", "modelconversion_operator"]
        (self.port,) = free_ports(1)
        self.environment = os.environ | {
            "KUBECONFIG": str(proxy.kubeconfig),
            "MODELCONVERSION_CONVERTER_IMAGE": "converter:test",
            "MODELCONVERSION_NAMESPACES": namespace,
            "MODELCONVERSION_HTTP_HOST": "127.0.0.1",
            "MODELCONVERSION_HTTP_PORT": str(self.port),
        }
        self.environment |= {f"MODELCONVERSION_{k.upper()}": v for k, v in settings.items()}
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._restarts = True

    async def start(self) -> None:
        """Start it, and go on starting it whenever it ends."""
        self._restarts = True
        self._keeper = asyncio.create_task(self._keep())
        await until(self.is_ready, "the operator is ready", self._words)

    def kill(self) -> None:
        """Kill it, at once; the next process follows."""
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Send a signal to the process that runs now."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, number: int = signal.SIGTERM) -> None:
        """End it for good."""
        self._restarts = False
        if self._process is not None and self._process.returncode is None:
            self.send(number)
            self.send(signal.SIGCONT)
        if self._keeper is not None:
            await self._keeper
            self._keeper = None

    async def get(self, path: str) -> tuple[int, str]:
        """GET a path of its own web server; 0 where there is none."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{self.port}{path}") as response,
            ):
                return response.status, await response.text()
        except (aiohttp.ClientError, OSError):
            return 0, ""

    async def is_ready(self) -> bool:
        """Whether it says so itself."""
        return (await self.get("/readyz"))[0] == 200

    async def leads(self) -> bool:
        """Whether its metrics say so."""
        return "modelconversion_leader 1.0" in (await self.get("/metrics"))[1]

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-2000:] if self.log.exists() else ""

    async def _words(self) -> str:
        return f"{self.exits}\n{self.tail()}"

    async def _keep(self) -> None:
        while self._restarts:
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self.command, env=self.environment, stdout=log, stderr=log
                )
                if not self._restarts:
                    self._process.kill()  # it was ended for good while this one was being made
                try:
                    self.exits.append(await self._process.wait())
                except asyncio.CancelledError:
                    self._process.kill()
                    raise
            await asyncio.sleep(0.1)


class World:
    """A control plane with a namespace for one case, and a stub node in it."""

    def __init__(
        self, cluster: ControlPlane, operator_kubeconfig: Path, folder: Path, *, seconds: float = 0.2
    ) -> None:
        self.cluster, self.folder = cluster, folder
        self.namespace = f"fault-{secrets.token_hex(4)}"
        self.operators: list[OperatorProcess] = []
        self._kubeconfig = operator_kubeconfig
        self._seconds = seconds
        self._stack = AsyncExitStack()
        self._jobs_seen: defaultdict[str, set[str]] = defaultdict(set)
        self._pods_may_end = asyncio.Event()
        self._pods_may_end.set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        """Make the namespace and run the node while the block runs; end its operators after it."""
        await asyncio.to_thread(self.cluster.create_namespace, self.namespace)
        await asyncio.to_thread(self.cluster.apply, release_manifests(self.namespace, "s3-credentials"))
        async with _PickyApi(self.cluster.kubeconfig) as self.api, self._stack:
            kept = [asyncio.create_task(_again(what)) for what in (self._run_node, self._watch_jobs)]
            try:
                yield self
            finally:
                await asyncio.gather(*(o.stop(signal.SIGKILL) for o in self.operators))
                for task in kept:
                    task.cancel()
                await asyncio.gather(*kept, return_exceptions=True)
                await self.api.request("DELETE", f"/api/v1/namespaces/{self.namespace}")

    async def operator(self, *, start: bool = True, **settings: str) -> OperatorProcess:
        """An operator for the case's namespace, behind its own proxy."""
        folder = self.folder / f"{self.namespace}-{len(self.operators)}"
        folder.mkdir()
        proxy = await self._stack.enter_async_context(FaultProxy(self._kubeconfig, folder).serving())
        made = OperatorProcess(proxy, folder, self.namespace, **settings)
        self.operators.append(made)
        if start:
            await made.start()
        return made

    async def apply(self, *names: str, **spec: Any) -> None:
        """Create conversions."""
        for name in names:
            made = {
                "apiVersion": "edgeml.dev/v1alpha1",
                "kind": "ModelConversion",
                "metadata": {"name": name},
                "spec": {
                    "source": {"uri": "s3://models/gesture_classifier.h5"},
                    "output": {"uri": f"s3://models/out/{name}/"},
                    "storage": {"secretRef": {"name": "s3-credentials"}},
                    "methods": ["Float32", "DynamicRange", "Float16", "FullInteger"],
                    "calibration": {"uri": "s3://models/val.npy"},
                }
                | spec
                | {"job": {"ttlSecondsAfterFinished": _SHORT_TTL} | spec.get("job", {})},
            }
            status, answer = await self.api.request("POST", self.path("modelconversions"), made)
            assert status == 201, answer

    @asynccontextmanager
    async def running(self, *names: str) -> AsyncIterator[None]:
        """Create conversions that the operator says are Running; no pod ends before the block does."""
        self._pods_may_end.clear()
        try:
            await self.apply(*names)
            for name in names:
                await self.wait_for_phase(name, "Running")
            yield
        finally:
            self._pods_may_end.set()

    def path(self, resource: str, name: str = "") -> str:
        """The path of a resource, or of an object, in the case's namespace."""
        is_ours = resource.startswith("model") or resource == "conversionprofiles"
        group = _MODELS if is_ours else "/apis/batch/v1" if resource == "jobs" else "/api/v1"
        return f"{group}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    async def status(self, name: str) -> Json:
        """The status of a conversion; empty where there is none."""
        try:
            answer = await self.api.request("GET", self.path("modelconversions", name))
        except (aiohttp.ClientError, OSError):
            return {}
        found: Json = answer[1].get("status") or {}
        return found

    async def items(self, resource: str) -> list[Json]:
        """All objects of a resource in the case's namespace."""
        status, answer = await self.api.request("GET", self.path(resource))
        assert status == 200, answer
        found: list[Json] = answer["items"]
        return found

    async def wait_for_phase(self, name: str, *phases: str) -> Json:
        """Wait until a conversion is in one of the phases; gives its status."""

        async def reached() -> bool:
            return (await self.status(name)).get("phase") in phases

        await until(reached, f"{name} is {' or '.join(phases)}", self._words(name))
        return await self.status(name)

    async def ends(self, name: str, phase: str = "Succeeded", reason: str = "Converted") -> str:
        """Wait for a conversion's end, and check that it is the right one.

        Right is: phase, condition and generation as they would be without a fault; exactly one Job created
        by all operators together, as the API server confirmed it; that Job, and no other, there with the
        TTL that follows a harvest, or removed because it went on; and not more than one event of the end.
        """
        status = await self.wait_for_phase(name, "Succeeded", "Failed")
        words = f"{name} ended {status['phase']}: {status.get('failure')}"
        assert status["phase"] == phase, words + await self._words(name)()
        (condition,) = (c for c in status["conditions"] if c["type"] == "Succeeded")
        assert condition["reason"] == reason, condition
        assert status["observedGeneration"] == condition["observedGeneration"]
        # Two ways of counting: an API server that dies may have made a Job and not said so, and a Job that is
        # gone quickly may be missed by a watch that was broken.
        answered = sum(o.proxy.jobs_created[name] for o in self.operators)
        await until(lambda: holds(self._jobs_seen[name]), f"the Job of {name} is seen")
        seen = len(self._jobs_seen[name])
        assert seen == 1, f"{seen} Jobs of {name} were seen"
        assert answered <= 1, f"{answered} Jobs were created for {name}"
        jobs = [
            j for j in await self.items("jobs") if j["metadata"]["labels"]["edgeml.dev/conversion"] == name
        ]
        if phase == "Succeeded":
            # A Job controller that was cut off makes a second pod where the first has published; such a Job
            # would do the work again, and is removed.
            assert {j["metadata"]["name"] for j in jobs} <= {status["jobName"]}
            assert len(status["artifacts"]) == 4
            await until(lambda: self._cleaned_up(status["jobName"]), f"the Job of {name} has its TTL")
        else:  # in these cases nothing ever ran, and the Job has nothing left to give
            await until(lambda: self._removed(status["jobName"]), f"the Job of {name} is gone")
        events = await self._events(name)
        # The status is written first and only one writer can win; its event follows, and is lost in a crash.
        assert events[reason] <= 1, events
        told = ", ".join(f"{r} {n}x" for r, n in sorted(events.items()))
        return f"{phase}, 1 Job, events: {told or 'none'}"

    async def all_end(self, names: Iterable[str]) -> str:
        """Wait for the right end of each."""
        ends = [await self.ends(name) for name in names]
        return f"{len(ends)} of {len(ends)} Succeeded, 1 Job each"

    async def _cleaned_up(self, job: str) -> bool:
        status, body = await self.api.request("GET", self.path("jobs", job))
        return status == 404 or body["spec"]["ttlSecondsAfterFinished"] == _SHORT_TTL

    async def _removed(self, job: str) -> bool:
        return (await self.api.request("GET", self.path("jobs", job)))[0] == 404

    async def _events(self, name: str) -> Counter[str]:
        events = await self.items("events")
        return Counter(e["reason"] for e in events if e["involvedObject"]["name"] == name)

    def _words(self, name: str) -> Callable[[], Awaitable[str]]:
        async def words() -> str:
            return "\n".join([str(await self.status(name)), *(o.tail() for o in self.operators)])

        return words

    async def _run_node(self) -> None:
        node = StubNode(self.api, namespace=self.namespace, seconds=self._seconds, may_end=self._pods_may_end)
        await node.run()

    async def _watch_jobs(self) -> None:
        async for _, job in self.api.follow(self.path("jobs"), "edgeml.dev/conversion-uid"):
            meta = job["metadata"]
            self._jobs_seen[meta["labels"]["edgeml.dev/conversion"]].add(meta["uid"])


async def _again(what: Callable[[], Awaitable[None]]) -> None:
    """Do something that never ends, and again after the API server was away."""
    while True:
        try:
            await what()
        except Exception as error:  # whatever an API server that dies makes of a request
            logger.info("starting again: %r", error)
        await asyncio.sleep(0.3)


async def holds(value: object) -> bool:
    """A condition for :func:`until` that needs no waiting itself."""
    return bool(value)


class _PickyApi(AsyncApi):
    """Hides the pods that are to stay pending from the stub node."""

    async def follow(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Json]]:
        async for kind, pod in super().follow(path, selector):
            if UNTOUCHED not in pod["spec"].get("nodeSelector", {}):
                yield kind, pod


async def until(
    done: Callable[[], Awaitable[bool]], what: str, words: Callable[[], Awaitable[str]] | None = None
) -> None:
    """Wait until ``done`` says so; fail with ``words`` when it takes too long."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_SECONDS
    while not await done():
        if loop.time() > end:
            raise AssertionError(f"not in {PATIENCE_SECONDS:.0f} s: {what}\n{await words() if words else ''}")
        await asyncio.sleep(0.05)
