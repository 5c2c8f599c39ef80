"""Servers that whoever writes a conversion has chosen, and how they are asked.

A connection is looked at before anything is said through it: addresses of the machine or of its cloud are
no servers of files. No redirect is followed here, no credential is in a message, and what breaks off
is told from what another try cannot help.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from socket import socket
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError, NewConnectionError, ProxyError, SSLError
from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.job.stores.base import CHUNK, trust_bundle, wrong_access
from tflite_converter.job.stores.proxies import is_direct, said_by_proxy

TRIES: Final = 3
PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
"""Answers of a server that is busy, or not well."""
REDIRECTS: Final = (301, 302, 303, 307, 308)
_WAIT_SECONDS: Final = 1.0
_TIMEOUT: Final = urllib3.Timeout(connect=10, read=60)
_LINES: Final = 10
"""Connections to a server that are kept for the next request."""
_SLOWEST_BYTES: Final = 64 << 10
_SLOWEST_SECONDS: Final = 60.0
"""A server that sends less than this many bytes in that time holds the Job for nothing."""
_NO_SERVER: Final = (NewConnectionError, LocationParseError)
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        # Azure, Alibaba, EC2 and Google by IPv6; the others' is link-local.
        ("168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"),
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Look = Callable[[Address], None]
"""Looks at whom a connection has reached; raises :class:`ForbiddenError` where nothing may be asked there."""
Body = BufferedReader | BytesIO | Iterable[bytes]
"""Of a request; one that is no file needs a ``Content-Length`` beside it."""
T = TypeVar("T")


class ForbiddenError(HTTPError):
    """A server that may not be asked."""


class BrokenError(Exception):
    """Something that another try may bring to its end."""

    def __init__(self, failure: ConverterError) -> None:
        super().__init__(failure.cause)
        self.failure = failure


def refusal(address: Address, before: Address | None) -> str | None:
    """Say why nothing may be asked of ``address``; None where it may.

    ``before`` is where a redirect came from, None where there was none, or where a proxy stood between.
    """
    address, before = _plain(address), None if before is None else _plain(before)
    if address in _METADATA or address.is_link_local or address.is_multicast or address.is_unspecified:
        return f"{address} belongs to the machine or its cloud, and holds no models"
    if before is not None and before.is_global and not address.is_global:
        return f"it leads from a public server to {address}, inside this network"
    return None


def sent_to(url: str, words: str, schemes: Iterable[str] = ("https",)) -> SplitResult:
    """Return the parts of a URL that a server sends one to; ``words`` say so, as in ``it redirects to``.

    Raises:
        ForbiddenError: It leads nowhere, is of none of the ``schemes``, or has somebody's name.

    """
    try:
        there = urlsplit(url)
        is_sound = bool(there.hostname) and there.port != 0
    except ValueError:
        is_sound = False
    if not is_sound:
        raise ForbiddenError(f"{words} nowhere")
    if there.scheme not in schemes:
        raise ForbiddenError(f"{words} {quoted(f'{there.scheme}://{there.hostname}')}, which is not https")
    if there.username is not None or there.password is not None:
        raise ForbiddenError(f"{words} {quoted(there.hostname or '')} with a user's name")
    return there


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


def look(address: Address) -> None:
    """Look at whom a connection has reached that no redirect has led to.

    Raises:
        ForbiddenError: Nothing may be asked there.

    """
    if (why := refusal(address, None)) is not None:
        raise ForbiddenError(why)


class Looks:
    """A connection that looks at whom it has reached before it says anything."""

    def __init__(self, host: str, port: int | None = None, *, look: Look = look, **rest: Any) -> None:
        super().__init__(host, port, **rest)  # type: ignore[call-arg] # urllib3's connection stands behind it
        self._look = look

    def _new_conn(self) -> socket:
        reached: socket = super()._new_conn()  # type: ignore[misc] # as above
        try:
            self._look(ipaddress.ip_address(reached.getpeername()[0].partition("%")[0]))
        except BaseException:
            reached.close()
            raise
        return reached


class _Plain(Looks, HTTPConnection):
    pass


class _Encrypted(Looks, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _Encrypted


class _Pool(Protocol):
    """What is common to a server's connections and a proxy's."""

    def urlopen(self, method: str, url: str, **rest: Any) -> BaseHTTPResponse:
        """Ask for ``url``."""


class Line:
    """The connections to one server: straight, or by the platform's proxy, who then decides whom it reaches.

    Args:
        url: Any URL of the server.
        trust: Whose certificates count.
        look: Looks at whom each connection has reached.
        direct: Never by a proxy.

    """

    def __init__(self, url: str, trust: ssl.SSLContext, look: Look = look, *, direct: bool = False) -> None:
        parts = urlsplit(url)
        options: dict[str, Any] = {"timeout": _TIMEOUT, "retries": False, "maxsize": _LINES}
        proxy = None if direct else _proxy(parts)
        self._by_proxy = proxy is not None
        self._pool: _Pool
        if proxy is not None:
            user = urlsplit(proxy)
            login = None
            if user.username is not None:
                login = urllib3.make_headers(
                    proxy_basic_auth=f"{unquote(user.username)}:{unquote(user.password or '')}"
                )
            self._pool = urllib3.ProxyManager(proxy, proxy_headers=login, ssl_context=trust, **options)
            return
        host = (parts.hostname or "").strip("[]")
        if parts.scheme == "https":
            self._pool = _EncryptedPool(host, parts.port or 443, look=look, ssl_context=trust, **options)
        else:
            self._pool = _PlainPool(host, parts.port or 80, look=look, **options)

    def ask(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> BaseHTTPResponse:
        """Ask the server for ``url``, and return its answer before its body has come.

        Raises:
            urllib3.exceptions.HTTPError: There is no answer.

        """
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return self._pool.urlopen(
            method,
            url if self._by_proxy else target,
            headers={"User-Agent": "tflite-converter", "Accept-Encoding": "identity", **headers},
            body=body,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )


def _proxy(url: SplitResult) -> str | None:
    proxies = getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if named is None or proxy_bypass(url.netloc) or is_direct(url.geturl(), os.environ):
        return None
    return named


def trusted(access: StorageAccess, stage: Stage) -> ssl.SSLContext:
    """Return whose certificates count: the system's authorities, and those of ``spec.storage.caBundle``.

    Raises:
        ConverterError: InvalidRequest where the bundle is none.

    """
    context = ssl.create_default_context()
    if access.ca_bundle is not None:
        try:
            trust_bundle(context, access.ca_bundle)
        except ValueError as error:
            raise wrong_access(error, stage) from error
    return context


def again(work: Callable[[], T]) -> T:
    """Do ``work`` until it does not break off, :data:`TRIES` times at most.

    Raises:
        ConverterError: That of the last try.

    """
    for tries_left in reversed(range(TRIES)):
        try:
            return work()
        except BrokenError as error:
            if not tries_left:
                raise error.failure from error.__cause__
            time.sleep(_WAIT_SECONDS)
    raise AssertionError("TRIES is at least one")


@contextmanager
def server_errors(stage: Stage, what: str) -> Iterator[None]:
    """Turn urllib3's errors into reasons; none repeats a query, a header, or a proxy's password.

    Raises:
        BrokenError: Another try may help.
        ConverterError: None will.

    """
    try:
        yield
    except ForbiddenError as error:
        cause = f"{what} may not be read: {error}"
        raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, stage, cause) from error
    except SSLError as error:
        cause = f"{what}: the server's certificate is not trusted: {error}"
        hint = "set spec.storage.caBundle to the certificate authority of the server"
        raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, cause, hint=hint) from error
    except ProxyError as error:
        cause = f"{what}: the proxy does not let it through ({said_by_proxy(error)})"
        hint = "correct converter.proxy of the operator's chart, or let the proxy reach that server"
        raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, cause, hint=hint) from error
    except (HTTPError, TimeoutError) as error:
        words = "cannot be reached" if isinstance(error, _NO_SERVER) else "broke off"
        cause = f"{what}: the connection {words} ({_why(error)})"
        raise BrokenError(ConverterError(FailureReason.STORAGE_UNAVAILABLE, stage, cause)) from error


def _why(error: BaseException) -> str:
    """Return what is wrong, without objects and addresses in memory."""
    text = quoted(str(error).rpartition(": ")[2])
    return text or type(error).__name__


def chunks(answer: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield a body as it arrives.

    Raises:
        urllib3.exceptions.HTTPError: It breaks off, or comes too slowly to be worth waiting for.

    """
    since, arrived = time.monotonic(), 0
    while chunk := answer.read1(CHUNK):
        yield chunk
        arrived += len(chunk)
        if (passed := time.monotonic() - since) > _SLOWEST_SECONDS:
            if arrived < _SLOWEST_BYTES:
                raise HTTPError(f"only {human_size(arrived)} came in {passed:.0f} s")
            since, arrived = time.monotonic(), 0


def promised(answer: BaseHTTPResponse) -> int | None:
    """Return the length of a body that an answer names; None where it names none."""
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() and len(length) <= _MOST_DIGITS else None


_MOST_DIGITS: Final = 18
"""Of a length that is one."""
