"""An asynchronous Kubernetes client for programs of the tests that handle thousands of objects."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml

Json = dict[str, Any]

MERGE_PATCH = "application/merge-patch+json"
_CHUNK_BYTES = 1 << 20


class AsyncApi:
    """The API server as the user of a kubeconfig with a token. Use as an asynchronous context manager."""

    def __init__(self, kubeconfig: Path, connections: int = 16) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)
        self._server: str = cluster["server"]
        self._headers = {"Authorization": f"Bearer {user['token']}"}
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._session = aiohttp.ClientSession(
            self._server, headers=self._headers, connector=connector, timeout=aiohttp.ClientTimeout(60)
        )
        self._free = asyncio.Semaphore(self._connections)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def request(self, method: str, path: str, body: Json | None = None) -> tuple[int, Json]:
        """The status code and the answer."""
        assert self._session is not None
        kind = MERGE_PATCH if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body)
        async with (
            self._free,
            self._session.request(method, path, data=data, headers={"Content-Type": kind}) as response,
        ):
            return response.status, json.loads(await response.read())

    async def text(self, path: str) -> str:
        """A document that is no JSON, such as the server's metrics."""
        assert self._session is not None
        async with self._session.get(path) as response:
            return await response.text()

    async def follow(self, path: str, selector: str = "") -> AsyncIterator[tuple[str, Json]]:
        """What is there, then what changes, for ever; what went between two watches is not told."""
        while True:
            query = f"{path}?labelSelector={selector}"
            try:
                status, listing = await self.request("GET", query)
                if status != 200:
                    await asyncio.sleep(0.2)
                    continue
                for item in listing["items"]:
                    yield "ADDED", item
                version = listing["metadata"]["resourceVersion"]
                async for event in self._events(f"{query}&watch=true&resourceVersion={version}"):
                    yield event
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(0.2)

    async def _events(self, path: str) -> AsyncIterator[tuple[str, Json]]:
        assert self._session is not None
        endless = aiohttp.ClientTimeout(None)
        async with self._session.get(path, timeout=endless) as response:
            rest = b""
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    yield event["type"], event["object"]
