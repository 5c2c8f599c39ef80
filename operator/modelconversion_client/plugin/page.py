"""``kubectl mconv page``: the read-only page on this machine, with the person's own credentials."""

from __future__ import annotations

import asyncio
import secrets
import webbrowser
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from modelconversion_client.plugin import options
from modelconversion_client.plugin.exits import UsageProblem, tells_errors
from modelconversion_client.plugin.output import show, tell

if TYPE_CHECKING:
    from aiohttp import web

    from modelconversion_client.resources import Conversion
    from modelconversion_client.server import Server

_ADDRESS: Final = "127.0.0.1"


@tells_errors
def page(
    port: Annotated[int, typer.Option(help="Port; one that is free unless given.", max=65535)] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    endpoint: options.Endpoint = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
) -> None:
    """Serve a page on this machine with conversions, sets, triggers and reports, until it is interrupted.

    It reads with your kubeconfig what you may read, and changes nothing. The address that it prints has a
    secret in it: whoever on this machine knows it sees what you see.

    Example:
      kubectl mconv page --open

    """
    asyncio.run(_serve(port, open_page, endpoint, (kubeconfig, context, namespace)))


async def _serve(
    port: int, open_page: bool, endpoint: str | None, cluster: tuple[str | None, str | None, str | None]
) -> None:
    from aiohttp import web

    from modelconversion_client.server import Server
    from modelconversion_client.viewer.app import limits

    async with Server(*cluster) as server:
        secret = secrets.token_urlsafe(32)
        runner = web.AppRunner(local_application(server, secret, endpoint), **limits())
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, _ADDRESS, port).start()
            except OSError as error:
                problem = f"cannot listen on {_ADDRESS}:{port}: {error.strerror}"
                raise UsageProblem(problem, "name another --port") from error
            url = f"http://{_ADDRESS}:{runner.addresses[0][1]}/{secret}/"
            show(url)
            tell("Only you should know this address. Ctrl-C ends it.")
            if open_page:
                await asyncio.to_thread(webbrowser.open, url)
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def local_application(server: Server, secret: str, endpoint: str | None) -> web.Application:
    """Return the page under a path that nobody can guess, for requests that name this machine.

    A page of a stranger in the same browser can send requests here: it does not know the path. One whose own
    name has been made to point here (DNS rebinding) gives itself away by that name.
    """
    from aiohttp import web

    from modelconversion_client.viewer.app import Viewer

    asker = _ServerAsker(server)
    viewer = Viewer(lambda _: asker, server.namespace, _StoreReports(endpoint))

    @web.middleware
    async def only_here(request: web.Request, handler: Any) -> Any:
        transport = request.transport
        port = None if transport is None else transport.get_extra_info("sockname")[1]
        if request.headers.get("Host") not in (f"{_ADDRESS}:{port}", f"localhost:{port}"):
            raise web.HTTPForbidden(text="this page is for this machine alone")
        return await handler(request)

    app = web.Application(middlewares=[only_here])
    app.add_subapp(f"/{secret}", viewer.application())
    return app


class _ServerAsker:
    """Asks with the kubeconfig."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> dict[str, Any]:
        return await self._server.read("GET", path, what, query=query, accept=accept)


class _StoreReports:
    """Fetches reports with this machine's credentials for the store, as ``kubectl mconv report`` does."""

    def __init__(self, endpoint: str | None) -> None:
        self._endpoint = endpoint

    def where(self, found: Conversion) -> str | None:
        uri = found.status.report_uri
        if uri is None or not uri.startswith("s3://"):
            return None
        storage = found.raw_spec.get("storage") or {}
        return self._endpoint or storage.get("endpoint") or "AWS S3"

    async def read(self, found: Conversion) -> bytes:
        return await asyncio.to_thread(self._read, found)

    def _read(self, found: Conversion) -> bytes:
        from modelconversion_client.plugin.run import page_uri
        from modelconversion_client.plugin.store import Store
        from modelconversion_client.viewer.report_page import MOST_REPORT_BYTES

        storage = found.raw_spec.get("storage") or {}
        store = Store(self._endpoint or storage.get("endpoint"), storage.get("region"))
        return store.read(page_uri(found.status.report_uri or ""), MOST_REPORT_BYTES)
