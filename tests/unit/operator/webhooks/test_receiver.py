"""The receiver over an API server that only remembers."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from modelconversion_operator.deciding.views import Body
from modelconversion_operator.errors import NotFoundError, RejectedError, UnavailableError
from modelconversion_operator.telemetry.web import serve
from modelconversion_operator.webhooks.receiver import MOST_BYTES, Receiver, routes

SECRET = "canary-of-the-webhook"
BELIEVED = {"Authorization": f"Bearer {SECRET}"}
SPEC: dict[str, Any] = {
    "template": {"conversion": {"source": {"uri": "s3://models/a.h5"}}},
    "webhook": {"secretRef": {"name": "hook"}},
}


class Remembering:
    """An API server with some objects by path."""

    def __init__(self) -> None:
        data = {"secret": base64.b64encode(SECRET.encode()).decode(), "empty": ""}
        self.objects: dict[str, Any] = {
            "nightly": {"spec": SPEC},
            "plain": {"spec": {"template": SPEC["template"]}},
            "elsewhere": {"spec": SPEC | {"webhook": {"secretRef": {"name": "forbidden"}}}},
            "emptied": {"spec": SPEC | {"webhook": {"secretRef": {"name": "hook", "key": "empty"}}}},
            "strange": {"spec": {"template": [], "webhook": {"secretRef": {"name": "hook"}}}},
            "hook": {"data": data},
        }
        self.gets, self.patches = 0, list[tuple[str, Body]]()
        self.down = False

    async def request(self, method: str, path: str, body: Body | None = None) -> Body:
        if self.down:
            raise UnavailableError(0, "the API server is away")
        if method == "PATCH":
            assert body is not None
            self.patches.append((path, body))
            return {}
        self.gets += 1
        name = path.rpartition("/")[2]
        if name == "forbidden":
            raise RejectedError(403, "secrets forbidden is forbidden")
        if name not in self.objects:
            raise NotFoundError(404, "not found")
        found: Body = self.objects[name]
        return found


Running = tuple[Remembering, str, CollectorRegistry]


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    api, registry = Remembering(), CollectorRegistry()
    more = routes(Receiver(api, registry))
    async with serve(
        "127.0.0.1", 0, registry, lambda: None, lambda: None, more=more, most_bytes=MOST_BYTES
    ) as port:
        yield api, f"http://127.0.0.1:{port}", registry


async def call(url: str, body: bytes = b"{}", **headers: str) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        text = await answer.text()
        assert SECRET not in text
        return answer.status


def counted(registry: CollectorRegistry, outcome: str) -> float | None:
    return registry.get_sample_value("modelconversion_webhooks_total", {"outcome": outcome})


async def test_a_call_that_is_believed_asks_for_a_look(running: Running) -> None:
    api, url, registry = running
    assert await call(f"{url}/ml/nightly", **BELIEVED) == 202
    ((path, body),) = api.patches
    assert path.endswith("/namespaces/ml/modelconversiontriggers/nightly/status")
    assert body["status"].keys() == {"lookRequested"}
    assert await call(f"{url}/ml/nightly", **BELIEVED) == 202
    assert api.patches[1][1] != body, "another call is another request"
    other = b'{"Records": [{"s3": {"bucket": {"name": "models"}, "object": {"key": "b.h5"}}}]}'
    assert await call(f"{url}/ml/nightly", other, **BELIEVED) == 202
    assert len(api.patches) == 2, "it was about another object"
    assert [counted(registry, o) for o in ("accepted", "ignored", "refused")] == [2, 1, 0]
    assert api.gets == 2, "trigger and Secret are remembered for a moment"


@pytest.mark.parametrize("name", ["nightly", "plain", "missing", "elsewhere", "emptied", "strange", "A_b"])
async def test_who_does_not_know_the_secret_learns_nothing(
    running: Running, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    api, url, registry = running
    wrong = BELIEVED if name != "nightly" else {"Authorization": "Bearer other"}
    with caplog.at_level(logging.DEBUG):
        assert await call(f"{url}/ml/{name}", **wrong) == 401
    assert (api.patches, counted(registry, "refused")) == ([], 1)
    assert SECRET not in caplog.text


async def test_what_is_too_large_and_an_api_server_that_is_away(running: Running) -> None:
    api, url, registry = running
    assert await call(f"{url}/ml/nightly", b"x" * (MOST_BYTES + 1), **BELIEVED) == 413
    api.down = True
    assert await call(f"{url}/ml/nightly", **BELIEVED) == 503
    api.down = False
    assert await call(f"{url}/ml/nightly", **BELIEVED) == 202
    assert [counted(registry, o) for o in ("unreadable", "failed", "accepted")] == [1, 1, 1]


async def test_a_flood_is_no_flood_of_requests(running: Running) -> None:
    api, url, _ = running
    for number in range(50):
        assert await call(f"{url}/ml/missing", str(number).encode()) == 401
    assert api.gets == 1
