"""The sink: an HTTP server that takes events or traces, one request each."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp

from modelconversion_api.text import printable
from modelconversion_operator.errors import SettingsError, retry_after_seconds
from modelconversion_operator.telling.events import CONTENT_TYPE

AT_A_TIME: Final = 4
"""Requests under way."""
_REQUEST_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 5.0
_MOST_READ: Final = 1 << 16
"""Bytes of an answer's body that are read, so that its connection can be used again."""
_LONGEST_TOKEN: Final = 1 << 16
_LATER: Final = (408, 425, 429)


class Outcome(StrEnum):
    """What came of sending an event, and the label of the metric."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of sending an event.

    Attributes:
        outcome: Delivered, refused for good, or failed and to be tried again.
        words: Why not, without anything secret.
        wait_seconds: How long the sink asks to be left alone.

    """

    outcome: Outcome
    words: str = ""
    wait_seconds: float = 0.0


def judge(status: int, headers: Mapping[str, str], _body: bytes = b"") -> Verdict:
    """Say what an answer means: 2xx is delivered; 408, 425, 429 and 5xx may pass; the rest will not."""
    if 200 <= status < 300:
        return Verdict(Outcome.DELIVERED)
    if status in _LATER or status >= 500:
        return Verdict(Outcome.FAILED, f"it answers {status}", retry_after_seconds(headers))
    if 300 <= status < 400:
        words = f"it answers {status}, and redirects are not followed: name the address that it leads to"
        return Verdict(Outcome.REFUSED, words)
    return Verdict(Outcome.REFUSED, f"it answers {status}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a sink is spoken to.

    Attributes:
        content_type: Of what is sent.
        judge: Says what an answer means, by its status, its headers and what was read of its body.

    """

    content_type: str
    judge: Callable[[int, Mapping[str, str], bytes], Verdict]


EVENTS: Final = Dialect(CONTENT_TYPE, judge)


@dataclass(frozen=True, slots=True)
class Access:
    """What a sink asks for.

    Attributes:
        token_file: File with a token, read for each request, so that a new one counts at once; or empty.
        header: The header that the token is all of; empty for "Authorization: Bearer".
        ca_file: File with certificates that are trusted beside the system's; or empty.
        flag: The setting that names that file.

    """

    token_file: str = ""
    header: str = ""
    ca_file: str = ""
    flag: str = "--events-ca-file"


def url_problem(url: str) -> str | None:
    """Say why a URL cannot be a sink; None where it can. The words repeat nothing of it."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"it is no URL: {error}"
    if parts.scheme not in ("http", "https") or not host:
        return "it must be http://HOST... or https://HOST..."
    if parts.username is not None or parts.password is not None:
        return (
            "it has a user in it, which all can read who may read the Deployment: use a token from a Secret"
        )
    if parts.fragment or url != printable(url) or " " in url:
        return "it has a fragment, a space or a character that no URL has"
    return None


class Sink:
    """Sends events. Use as an asynchronous context manager.

    No proxy of the environment is used: those are for the way to the API server and to the store, and what is
    told would leave the cluster on a way that nobody chose for it.

    Args:
        url: Where to; its query may be a secret, and is told to nobody.
        access: What it asks for.
        user_agent: What each request says of its sender.
        dialect: How it is spoken to.

    Raises:
        SettingsError: The file with certificates cannot be used.

    """

    def __init__(self, url: str, access: Access, user_agent: str, dialect: Dialect = EVENTS) -> None:
        parts = urlsplit(url)
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        """The sink for people."""
        self._url, self._query = url, parts.query
        self._access, self._judge = access, dialect.judge
        self._headers = {"Content-Type": dialect.content_type, "User-Agent": user_agent}
        self._tls = ssl.create_default_context()
        if access.ca_file:
            try:
                self._tls.load_verify_locations(cafile=access.ca_file)
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(f"{access.flag}: {access.ca_file} cannot be used: {error}") from None
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=AT_A_TIME, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def deliver(self, body: bytes) -> Verdict:
        """Send one event or trace; whatever goes wrong is in the verdict."""
        assert self._session is not None, "use Sink as a context manager"  # noqa: S101 - a bug, not bad input
        try:
            headers = self._headers | self._authorization()
        except (OSError, ValueError) as error:
            return Verdict(Outcome.FAILED, f"the token cannot be read: {_without_value(error)}")
        try:
            answer = self._session.post(self._url, data=body, headers=headers, allow_redirects=False)
            async with answer as response:
                body = await response.content.read(_MOST_READ)
                return self._judge(response.status, response.headers, body)
        except TimeoutError:
            return Verdict(Outcome.FAILED, f"it says nothing for {_REQUEST_SECONDS:.0f} s")
        except (aiohttp.ClientError, OSError) as error:
            return Verdict(Outcome.FAILED, self._words(error))

    def _authorization(self) -> dict[str, str]:
        """Return the header with the token.

        Raises:
            OSError: There is no such file.
            ValueError: What is in it is no token.

        """
        if not self._access.token_file:
            return {}
        with Path(self._access.token_file).open("rb") as file:
            token = file.read(_LONGEST_TOKEN).strip()
        if self._access.header:
            if not token or any(byte < 0x20 or byte >= 0x7F for byte in token):
                raise ValueError("it is empty, or has a character that no header takes")
            return {self._access.header: token.decode()}
        if not token or any(byte <= 0x20 or byte >= 0x7F for byte in token):
            raise ValueError("it is empty, or has a space or a character that no header takes")
        return {"Authorization": f"Bearer {token.decode()}"}

    def _words(self, error: BaseException) -> str:
        """Return an error for the log, without the URL's query."""
        text = printable(f"{type(error).__name__}: {error}")
        return text.replace(self._query, "...") if self._query else text


def _without_value(error: OSError | ValueError) -> str:
    return error.strerror or type(error).__name__ if isinstance(error, OSError) else str(error)
