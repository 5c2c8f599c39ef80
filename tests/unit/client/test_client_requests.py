"""Requests that the process node and a healthy API server have no answer to: logs, and outages.

A stand-in answers them: logs come from a kubelet (tests/e2e has a real one), and outages cannot be ordered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from modelconversion_client import AsyncModelConversionClient, errors
from modelconversion_client.resources import Pod
from support.client.objects import conversion, pod

Answer = Callable[[web.Request], web.Response]


class StandIn:
    """Gives prepared answers, one after another, and keeps what was asked."""

    def __init__(self) -> None:
        self.answers: list[web.Response | Callable[[], web.Response]] = []
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        await request.read()  # kept, so that a test can look at it afterwards
        answer = self.answers.pop(0)
        return answer if isinstance(answer, web.Response) else answer()


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[tuple[StandIn, AsyncModelConversionClient]]:
    server = StandIn()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "s", "user": "u", "namespace": "team"}}],
                "clusters": [
                    {"name": "s", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
                ],
                "users": [{"name": "u", "user": {"token": "token-of-the-test"}}],
            }
        )
    )
    async with AsyncModelConversionClient(kubeconfig=str(kubeconfig)) as client:
        yield server, client
    await runner.cleanup()


def body(**status: Any) -> web.Response:
    return web.json_response(conversion(status=status))


async def test_logs(stand_in: tuple[StandIn, AsyncModelConversionClient]) -> None:
    server, client = stand_in
    server.answers = [web.Response(body=b"first\n\xffsecond\n")]
    assert await client.log(Pod.of(pod("p/../q")), "fetch", lines=7) == ["first", "\ufffdsecond"]
    (asked,) = server.asked
    assert asked.raw_path == "/api/v1/namespaces/team/pods/p%2F..%2Fq/log?container=fetch&tailLines=7"
    assert asked.headers["Authorization"] == "Bearer token-of-the-test"


async def test_an_outage_is_waited_out_once_the_conversion_was_seen(
    stand_in: tuple[StandIn, AsyncModelConversionClient],
) -> None:
    server, client = stand_in
    done = {"phase": "Succeeded", "observedGeneration": 1}
    stale = {"phase": "Failed", "observedGeneration": 0}
    server.answers = [body(**stale), web.Response(status=503), web.Response(text="<html>"), body(**done)]
    found = await client.wait("gesture", interval_seconds=0, timeout_seconds=60)
    assert found.phase == "Succeeded"
    assert server.answers == []
    server.answers = [web.Response(status=503)]
    with pytest.raises(errors.ServerError):
        await client.wait("gesture", interval_seconds=0, timeout_seconds=60)


async def test_lists_are_read_page_by_page(stand_in: tuple[StandIn, AsyncModelConversionClient]) -> None:
    server, client = stand_in
    server.answers = [
        web.json_response({"items": [conversion("a")], "metadata": {"continue": "more"}}),
        web.json_response({"items": [conversion("b")], "metadata": {}}),
    ]
    assert [found.name for found in await client.list()] == ["a", "b"]
    assert server.asked[1].query["continue"] == "more"


async def test_a_retry_is_an_annotation_and_its_run_is_waited_for(
    stand_in: tuple[StandIn, AsyncModelConversionClient],
) -> None:
    server, client = stand_in
    failed = conversion(status={"phase": "Failed", "observedGeneration": 1})
    server.answers = [web.json_response(failed), web.Response(status=409, text="another uid")]
    with pytest.raises(errors.ConflictError):
        await client.retry("gesture")
    asked = dict(failed["metadata"], annotations={"edgeml.dev/run-again": "now"})
    server.answers = [web.json_response(failed), web.json_response({**failed, "metadata": asked})]
    waiting = await client.retry("gesture")
    patch = await server.asked[-1].json()
    assert patch["metadata"].keys() == {"uid", "annotations"}
    assert (patch["metadata"]["uid"], waiting.phase, waiting.has_ended) == (
        "uid-of-gesture",
        "Pending",
        False,
    )
    over = {"phase": "Failed", "observedGeneration": 1, "runAgain": "now"}
    server.answers = [
        web.json_response({**failed, "metadata": asked}),
        web.json_response({**failed, "metadata": asked, "status": over}),
    ]
    assert (await client.wait("gesture", interval_seconds=0)).phase == "Failed"
    assert server.answers == []
