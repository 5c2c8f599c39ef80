"""Ask the API server: with the token that a request brought, and with nothing else."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self
from urllib.parse import urlencode

import aiohttp

from modelconversion_client.errors import (
    ConversionClientError,
    ServerError,
    TooLargeError,
    UnauthorizedError,
    UnreachableError,
    refusal,
)

Body = dict[str, Any]

AGENT: Final = "model-conversion-viewer"
MOST_BYTES: Final = 8 << 20
"""The largest answer that is read."""
_SECONDS: Final = 20.0
_CHUNK: Final = 1 << 16
_LONGEST_TOKEN: Final = 16 << 10
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What may stand after Bearer (RFC 6750, section 2.1)."""
_NEXT_STEP: Final = "see that the API server runs, and that a network policy lets this page reach it"


class Asker(Protocol):
    """Asks for one person. Every call may raise a ConversionClientError."""

    async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> Body:
        """Get an object; empty parameters are left out, and ``what`` says to people what was asked for."""


def token_of(header: str | None) -> str:
    """Return the token of an ``Authorization`` header.

    Raises:
        UnauthorizedError: There is none, or what is there is none.

    """
    if header is None:
        raise UnauthorizedError(
            "nobody is logged in: the request has no token",
            "come through the proxy that logs people in and passes their token on as `Authorization: Bearer`;"
            " or use `kubectl mconv page`, which needs none",
        )
    kind, _, token = header.partition(" ")
    token = token.strip()
    if kind.lower() != "bearer" or len(token) > _LONGEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UnauthorizedError(
            "the Authorization header has no bearer token",
            "have the proxy pass the person's token on as `Authorization: Bearer TOKEN`",
        )
    return token


class ApiServer:
    """The API server of a cluster. Use as an asynchronous context manager.

    Args:
        url: Its address.
        tls: Whom to believe that it is it.

    """

    def __init__(self, url: str, tls: ssl.SSLContext) -> None:
        self._url, self._tls = url.rstrip("/"), tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=32),
            # One session speaks for many people: nothing of one may stick to it.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=_SECONDS),
            headers={"User-Agent": AGENT},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def asker(self, token: str) -> Asker:
        """Return what asks with a person's token."""
        return _TokenAsker(self, token)

    async def get(self, path: str, what: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Body:
        """Get an object.

        Raises:
            ConversionClientError: The server answered with an error, or not at all.

        """
        assert self._session is not None, "use it as a context manager"  # noqa: S101 - a bug, not bad input
        given = urlencode({name: value for name, value in query.items() if value})
        url = f"{self._url}{path}{'?' if given else ''}{given}"
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as answer:
                data = await _bounded(answer, what)
                status = answer.status
        except TimeoutError as error:
            raise UnreachableError(f"{what}: no answer in {_SECONDS:.0f} s", _NEXT_STEP) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(
                f"{what}: the API server cannot be reached: {error}", _NEXT_STEP
            ) from error
        if status >= 300:
            raise _with_own_steps(refusal(status, data, what))
        try:
            parsed = json.loads(data)
        except ValueError as error:
            raise ServerError(
                f"{what}: the answer is no object", "look at what is between here and the API server"
            ) from error
        return parsed if isinstance(parsed, dict) else {}


class _TokenAsker:
    def __init__(self, server: ApiServer, token: str) -> None:
        self._server, self._token = server, token

    async def read(self, path: str, what: str, query: Mapping[str, str], accept: str) -> Body:
        headers = {"Accept": accept, "Authorization": f"Bearer {self._token}"}
        return await self._server.get(path, what, query, headers)


async def _bounded(answer: aiohttp.ClientResponse, what: str) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        data += chunk
        if len(data) > MOST_BYTES:
            raise TooLargeError(
                f"{what}: the answer has more than {MOST_BYTES >> 20} MiB", "name a namespace"
            )
    return bytes(data)


def _with_own_steps(error: ConversionClientError) -> ConversionClientError:
    """Return an error that speaks of tokens, where the client's speaks of kubeconfigs."""
    if isinstance(error, UnauthorizedError):
        return UnauthorizedError(
            error.cause,
            "log in again: the API server does not accept this token; it has run out, or was issued by"
            " somebody whom the API server does not know",
        )
    return error
