"""A node that runs nothing: it says of every pod of a conversion that it ran and published a summary.

``python tests/support/operator/stub_node.py --kubeconfig FILE [--namespace NAME] [--fail SHARE]``

It patches a pod's status twice, as a kubelet would: first that ``fetch`` runs, then that all three containers
have ended, ``publish`` with the summary of a conversion. The Job's own end is the Job controller's work. Pods
of triggers, sets and channels have one container, which says what such a Job says when all is well.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from modelconversion_api.channels import MOVE_ENV, Moved, MoveRequest
from modelconversion_api.methods import DEFAULT_METHODS, Method
from modelconversion_api.reasons import FAILURES, FailureReason, Stage
from modelconversion_api.reports.conversion import (
    ArtifactSummary,
    ConversionSummary,
    Look,
    RecommendedMethod,
    StageFailure,
    StageResult,
)
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import SourceInfo, TensorInfo

# For the program; in a test run pytest's setting `pythonpath` has done it.
sys.path.insert(0, str(Path(__file__).parents[2]))

from support.operator.async_api import AsyncApi

Json = dict[str, Any]
CONTAINERS = ("fetch", "convert", "publish")
_SMALL = "app.kubernetes.io/managed-by=model-conversion-operator,!edgeml.dev/conversion-uid"
_FAILURE = FailureReason.UNREADABLE_MODEL


def summary() -> ConversionSummary:
    """What the gesture model's conversion by all four methods publishes, about."""
    artifacts = tuple(
        ArtifactSummary(
            method=method,
            file_name=method.file_name("gesture_classifier"),
            size_bytes=20480 + 1024 * number,
            size_fraction=0.25 + 0.1 * number,
            sha256=f"{number:x}" * 64,
            agreement=0.996,
            accuracy=0.945,
            passed=True,
        )
        for number, method in enumerate(DEFAULT_METHODS)
    )
    features = TensorInfo(name="features", shape=[1, 46], dtype="float32")
    gestures = TensorInfo(name="gesture", shape=[1, 5], dtype="float32")
    return ConversionSummary(
        source=SourceInfo(
            sha256="a" * 64,
            size_bytes=80288,
            format=SourceFormat.KERAS_H5,
            inputs=[features],
            outputs=[gestures],
        ),
        artifacts=artifacts,
        recommended=RecommendedMethod(method=Method.FULL_INTEGER, reason="smallest that agrees"),
        stage_seconds={Stage.FETCH: 0.2, Stage.CONVERT: 3.1, Stage.PUBLISH: 0.3},
    )


PUBLISHED = StageResult(summary=summary()).encode()
FAILED = StageResult(
    failure=StageFailure(stage=Stage.LOAD, reason=_FAILURE, message="the file is cut short")
).encode()


class StubNode:
    """Ends every pod that carries the conversion's labels.

    Every pod "runs" for ``seconds``, and for longer while ``may_end`` is not set; of each hundred,
    ``fail_percent`` fail in ``convert``.
    """

    def __init__(
        self,
        api: AsyncApi,
        *,
        namespace: str | None = None,
        seconds: float = 0.5,
        fail_percent: int = 0,
        may_end: asyncio.Event | None = None,
    ) -> None:
        self._api, self._seconds, self._fail_percent, self._may_end = api, seconds, fail_percent, may_end
        self._path = f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Follow the pods until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_small())
            async for kind, pod in self._api.follow(self._path, "edgeml.dev/conversion-uid"):
                uid = pod["metadata"]["uid"]
                if kind == "DELETED":
                    self._seen.discard(uid)
                elif uid not in self._seen:
                    self._seen.add(uid)
                    if pod["status"].get("phase", "Pending") == "Pending":
                        fails = len(self._seen) % 100 < self._fail_percent
                        group.create_task(self._end(_path(pod), fails))

    async def _run_small(self) -> None:
        """End the pods of looks, comparisons and moves."""
        async for kind, pod in self._api.follow(self._path, _SMALL):
            uid = pod["metadata"]["uid"]
            if kind != "DELETED" and uid not in self._seen and pod["status"].get("phase") == "Pending":
                self._seen.add(uid)
                (container,) = pod["spec"]["containers"]
                state = {"name": container["name"], "image": "stub", "imageID": "", "ready": False}
                state |= {"restartCount": 0, "state": _ended(0, _said_by(container))}
                await self._patch(_path(pod), {"phase": "Succeeded", "containerStatuses": [state]})

    async def _end(self, path: str, fails: bool) -> None:
        await self._patch(path, _status("Pending", {"fetch": {"running": {"startedAt": _now()}}}))
        await asyncio.sleep(self._seconds)
        if self._may_end is not None:
            await self._may_end.wait()
        if fails:
            code = FAILURES[_FAILURE].exit_code
            await self._patch(path, _status("Failed", {"fetch": _ended(), "convert": _ended(code, FAILED)}))
            return
        ended = {name: _ended() for name in CONTAINERS} | {"publish": _ended(0, PUBLISHED)}
        await self._patch(path, _status("Succeeded", ended))

    async def _patch(self, path: str, status: Json) -> None:
        while True:
            try:
                answer, _ = await self._api.request("PATCH", f"{path}/status", {"status": status})
            except (aiohttp.ClientError, TimeoutError):
                answer = 503  # a server at its limits, and one patch more or less must not end the node
            if answer < 429:  # a pod that is gone is no business of this node any more
                return
            await asyncio.sleep(0.5)


def _said_by(container: Json) -> str:
    """What the one container of a small Job says."""
    command = container["command"][-1]
    if command == "job-look":
        return StageResult(look=Look(stamp="1", sha256="a" * 64, size_bytes=80288)).encode()
    if command == "job-move":
        env = {each["name"]: each.get("value", "") for each in container["env"]}
        request = MoveRequest.model_validate_json(env[MOVE_ENV])
        moved = Moved(sequence=request.sequence + 1, sha256=request.candidate.sha256)
        return StageResult(moved=moved).encode()
    return StageResult().encode()


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ended(code: int = 0, message: str = "") -> Json:
    reason = "Error" if code else "Completed"
    state = {"exitCode": code, "reason": reason, "startedAt": _now(), "finishedAt": _now()}
    return {"terminated": state | ({"message": message} if message else {})}


def _status(phase: str, states: Json) -> Json:
    statuses = [
        {
            "name": name,
            "image": "stub",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": states.get(name, {"waiting": {"reason": "PodInitializing"}}),
        }
        for name in CONTAINERS
    ]
    return {"phase": phase, "initContainerStatuses": statuses[:2], "containerStatuses": statuses[2:]}


async def _main(options: argparse.Namespace) -> None:
    async with AsyncApi(options.kubeconfig) as api:
        node = StubNode(
            api, namespace=options.namespace, seconds=options.seconds, fail_percent=options.fail_percent
        )
        running = asyncio.create_task(node.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, running.cancel)
        await asyncio.wait([running])


def main() -> None:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", help="only pods of this namespace")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long every pod runs")
    parser.add_argument("--fail-percent", type=int, default=0, help="pods of a hundred that fail")
    asyncio.run(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
