"""``modelconversion-viewer``: the page in a cluster, which asks with the token that each request brings."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from modelconversion_api import log
from modelconversion_client.errors import AccessError, ConversionClientError
from modelconversion_client.viewer.app import Viewer, limits
from modelconversion_client.viewer.asking import ApiServer, token_of
from modelconversion_client.viewer.settings import ViewerSettings, load

logger = logging.getLogger(__name__)

_RENEWED_SECONDS = 60.0
"""How often the page's own certificate is read again: what issues it puts a new one there."""


@asynccontextmanager
async def serve(settings: ViewerSettings) -> AsyncIterator[int]:
    """Serve until the block ends; gives the port.

    Raises:
        AccessError: The address or a certificate cannot be used.

    """
    own = _own_tls(settings)
    async with ApiServer(settings.api_server, _tls(settings)) as server:
        viewer = Viewer(lambda request: server.asker(token_of(request.headers.get("Authorization"))))
        runner = web.AppRunner(viewer.application(), **limits())
        await runner.setup()
        renewing = asyncio.create_task(_renew(settings, own))
        try:
            site = web.TCPSite(runner, settings.http_host or None, settings.http_port, ssl_context=own)
            await _start(site, settings)
            yield int(runner.addresses[0][1])
        finally:
            renewing.cancel()
            await runner.cleanup()


async def _start(site: web.TCPSite, settings: ViewerSettings) -> None:
    try:
        await site.start()
    except OSError as error:
        where = f"{settings.http_host or 'port'}:{settings.http_port}"
        raise AccessError(f"cannot serve on {where}: {error.strerror or error}", "choose another") from error


def _tls(settings: ViewerSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.api_server_ca)
    except (OSError, ssl.SSLError) as error:
        step = "mount the certificates of the API server there"
        raise AccessError(f"{settings.api_server_ca} cannot be used: {error}", step) from error


def _own_tls(settings: ViewerSettings) -> ssl.SSLContext | None:
    if settings.tls_folder is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_folder / "tls.crt", settings.tls_folder / "tls.key")
    except (OSError, ssl.SSLError) as error:
        step = "mount a Secret of the type kubernetes.io/tls there"
        raise AccessError(f"{settings.tls_folder} cannot be used: {error}", step) from error
    return context


async def _renew(settings: ViewerSettings, own: ssl.SSLContext | None) -> None:
    """Read the certificate again from time to time; a connection that is made after that has the new one."""
    folder = settings.tls_folder
    while own is not None and folder is not None:
        await asyncio.sleep(_RENEWED_SECONDS)
        try:
            own.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        except (OSError, ssl.SSLError) as error:
            logger.warning("the certificate in %s cannot be read again: %s", folder, error)


async def run(settings: ViewerSettings) -> None:
    """Serve until told to stop.

    Raises:
        AccessError: It cannot.

    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(settings) as port:
        logger.info("the page is served on %s:%d", settings.http_host or "port", port)
        await stop.wait()
    logger.info("stopped")


def main() -> int:
    """Serve the page; gives the exit code: 0 stopped, 1 cannot run, 2 wrong settings."""
    try:
        settings = load()
    except AccessError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    log.configure(settings.log_level, as_json=settings.log_format == "json")
    try:
        asyncio.run(run(settings))
    except ConversionClientError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
