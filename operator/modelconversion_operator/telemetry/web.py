"""``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from modelconversion_operator.errors import SettingsError

Probe = Callable[[], str | None]
"""Gives None when all is well, else what is wrong."""


def _nothing() -> None:
    """Remark nothing."""


@asynccontextmanager
async def serve(
    host: str,
    port: int,
    registry: CollectorRegistry,
    healthy: Probe,
    ready: Probe,
    remarks: Probe = _nothing,
    more: Callable[[web.Application], None] = lambda _: None,
    most_bytes: int = 1 << 10,
) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port, which the system chooses when ``port`` is 0.

    ``remarks`` are what ``/readyz`` says below its "ok": what is not well although the process is ready.
    ``more`` adds other paths, whose bodies have at most ``most_bytes``.

    Raises:
        SettingsError: The address cannot be used.

    """

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=most_bytes)
    more(app)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", _handler(healthy))
    app.router.add_get("/readyz", _handler(ready, remarks))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        # Probes and Prometheus come from outside the pod, by whichever kind of address the cluster has.
        site = web.TCPSite(runner, host or None, port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"cannot serve on {host or 'port'}:{port}: {error.strerror or error}"
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _handler(probe: Probe, remarks: Probe = _nothing) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        if problem := probe():
            return web.Response(text=problem, status=503)
        return web.Response(text="\n".join(filter(None, ("ok", remarks()))))

    return handle
