"""Files from web servers and from the Hugging Face Hub: pinned by digest or commit.

Whoever writes a conversion chooses the server. So a connection is looked at before anything is asked through
it: addresses that belong to the machine are none, and a public server leads nobody into the network. The only
credential is the Hub's token, and only the Hub itself is shown it.
"""

from __future__ import annotations

import ipaddress
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http import HTTPStatus
from pathlib import Path
from socket import socket
from typing import Any, Final
from urllib.parse import SplitResult, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import HTTPError, LocationParseError, NewConnectionError, ProxyError, SSLError
from urllib3.response import BaseHTTPResponse

from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import HUB_TOKEN_ENV
from modelconversion_api.storage import StorageAccess
from modelconversion_api.text import human_size
from modelconversion_api.uris import HUB, bare, digest, web_url
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.job.proxies import is_direct
from tflite_converter.job.storage import (
    Limit,
    Meter,
    Stored,
    check_proxy,
    received,
    trust_bundle,
    whole_or_not_at_all,
    wrong_access,
)
from tflite_converter.job.storage_errors import said_by_proxy

HUB_ENV: Final = "HF_ENDPOINT"
"""The Hub's mirror, as the platform names it; huggingface_hub reads the same variable."""
_CHUNK: Final = 1 << 20
_TRIES: Final = 3
_WAIT_SECONDS: Final = 1.0
_TIMEOUT: Final = urllib3.Timeout(connect=10, read=60)
_MOST_REDIRECTS: Final = 5
_MOST_DIGITS: Final = 18
"""Of a length that is one."""
_SLOWEST_BYTES: Final = 64 << 10
_SLOWEST_SECONDS: Final = 60.0
"""A server that sends less than this many bytes in that time holds the Job for nothing."""
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_NO_SERVER: Final = (NewConnectionError, LocationParseError)
_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        # Azure, Alibaba, EC2 and Google by IPv6; the others' is link-local.
        ("168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"),
    )
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class _ForbiddenError(HTTPError):
    """A server that may not be asked."""


class _BrokenError(Exception):
    """A download that another try may bring to its end."""

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


def _plain(address: Address) -> Address:
    return getattr(address, "ipv4_mapped", None) or address


class _Connection(HTTPSConnection):
    """One that looks at whom it has reached before it says anything."""

    def __init__(
        self, host: str, port: int | None = None, *, look: Callable[[Address], None], **rest: Any
    ) -> None:
        super().__init__(host, port, **rest)
        self._look = look

    def _new_conn(self) -> socket:
        reached = super()._new_conn()
        try:
            self._look(ipaddress.ip_address(reached.getpeername()[0].partition("%")[0]))
        except BaseException:
            reached.close()
            raise
        return reached


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class WebStore:
    """Downloads of ``https`` and ``hf`` URIs."""

    def __init__(self, access: StorageAccess, stage: Stage) -> None:
        self._stage = stage
        self._hub = os.environ.get(HUB_ENV) or HUB
        # Taken out of the environment: nothing that this process may start later inherits it.
        self._token = os.environ.pop(HUB_TOKEN_ENV, "").strip()
        if not (self._token.isascii() and self._token.isprintable()) or " " in self._token:
            cause = "the token for the Hugging Face Hub is none: it has spaces, or letters that no token has"
            hint = "correct the Secret of spec.huggingFace"
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, stage, cause, hint=hint)
        check_proxy(stage)
        self._trust = ssl.create_default_context()
        if access.ca_bundle is not None:
            try:
                trust_bundle(self._trust, access.ca_bundle)
            except ValueError as error:
                raise wrong_access(error, stage) from error

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download a file to ``path``, whole and with the digest that its URI names, or not at all.

        What breaks in the middle, and a server that is busy, is tried again, :data:`_TRIES` times in all.

        Raises:
            ConverterError: SourceTooLarge beyond ``limit``, DigestMismatch, NoSpace, SourceNotFound,
                StorageAccessDenied, StorageUnavailable.

        """
        with whole_or_not_at_all(path, self._stage) as part:
            for tries_left in reversed(range(_TRIES)):
                try:
                    stored = self._download_once(uri, part, limit, meter)
                    break
                except _BrokenError as error:
                    if not tries_left:
                        raise error.failure from error.__cause__
                    time.sleep(_WAIT_SECONDS)
            if (expected := digest(uri)) not in (None, stored.sha256):
                cause = f"{bare(uri)} has the digest {stored.sha256}, expected {expected}"
                raise ConverterError(FailureReason.DIGEST_MISMATCH, self._stage, cause)
        return stored

    def _download_once(self, uri: str, part: Path, limit: Limit, meter: Meter | None) -> Stored:
        with self._errors(uri), closing(self._answer(uri)) as answer:
            promised = answer.headers.get("Content-Length", "")
            if promised.isdecimal() and len(promised) <= _MOST_DIGITS:
                if int(promised) > limit.size_bytes:
                    raise limit.exceeded(self._stage, f"{bare(uri)} has {human_size(int(promised))}")
                if meter is not None:
                    meter.expect(int(promised))
            return received(_chunks(answer), part, limit, meter, self._stage, bare(uri))

    def _answer(self, uri: str) -> BaseHTTPResponse:
        """Ask for a file, and follow redirects to it."""
        url, before = web_url(uri, self._hub), None
        for _ in range(_MOST_REDIRECTS + 1):
            reached: list[Address] = []

            token = self._token if uri.startswith("hf://") and _same_server(url, self._hub) else ""
            answer = self._ask(url, partial(_look, before, reached), token)
            if answer.status not in _REDIRECTS:
                break
            answer.close()
            url = _redirected(url, answer.headers.get("Location", ""))
            before = reached[0] if reached else None
        else:
            raise _ForbiddenError(f"it redirects more than {_MOST_REDIRECTS} times")
        if answer.status != 200:
            answer.close()
            raise self._refused(uri, url, answer)
        return answer

    def _ask(self, url: str, look: Callable[[Address], None], token: str) -> BaseHTTPResponse:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"User-Agent": "tflite-converter", "Accept-Encoding": "identity"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        options: dict[str, Any] = {"ssl_context": self._trust, "timeout": _TIMEOUT, "retries": False}
        if (proxy := self._proxy(parts)) is not None:
            # Whom it reaches is the proxy's to decide.
            user = urlsplit(proxy)
            login = None
            if user.username is not None:
                login = urllib3.make_headers(
                    proxy_basic_auth=f"{unquote(user.username)}:{unquote(user.password or '')}"
                )
            manager = urllib3.ProxyManager(proxy, proxy_headers=login, **options)
            return manager.urlopen(
                "GET", url, headers=headers, redirect=False, preload_content=False, decode_content=False
            )
        pool = _Pool(host.strip("[]"), port, look=look, **options)
        return pool.urlopen(
            "GET", target, headers=headers, redirect=False, preload_content=False, decode_content=False
        )

    @staticmethod
    def _proxy(url: SplitResult) -> str | None:
        proxies = getproxies()
        named = proxies.get("https") or proxies.get("all")
        if named is None or proxy_bypass(url.netloc) or is_direct(url.geturl(), os.environ):
            return None
        return named

    def _refused(self, uri: str, url: str, answer: BaseHTTPResponse) -> Exception:
        """Return what an answer without a file means."""
        status = answer.status
        # Not by the server's own words, which may be anything.
        phrase = HTTPStatus(status).phrase if status in {s.value for s in HTTPStatus} else ""
        said = f"{bare(uri)}: {quoted(urlsplit(url).netloc)} answers {status} {phrase}".rstrip()
        if status in (404, 410):
            return ConverterError(FailureReason.SOURCE_NOT_FOUND, self._stage, said, hint=_NOT_THERE)
        if status in (401, 403, 407, 451):
            hint = _NO_LOGIN if not uri.startswith("hf://") else _NOT_ALLOWED if self._token else _NOT_PUBLIC
            return ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self._stage, said, hint=hint)
        failure = ConverterError(FailureReason.STORAGE_UNAVAILABLE, self._stage, said)
        return _BrokenError(failure) if status in _PASSING else failure

    @contextmanager
    def _errors(self, uri: str) -> Iterator[None]:
        """Turn urllib3's errors into reasons; none repeats a redirect's query, or a proxy's password."""
        try:
            yield
        except _ForbiddenError as error:
            cause = f"{bare(uri)} may not be read: {error}"
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self._stage, cause) from error
        except SSLError as error:
            cause = f"{bare(uri)}: the server's certificate is not trusted: {error}"
            hint = "set spec.storage.caBundle to the certificate authority of the server"
            raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, self._stage, cause, hint=hint) from error
        except ProxyError as error:
            cause = f"{bare(uri)}: the proxy does not let it through ({said_by_proxy(error)})"
            hint = "correct converter.proxy of the operator's chart, or let the proxy reach that server"
            raise ConverterError(FailureReason.STORAGE_UNAVAILABLE, self._stage, cause, hint=hint) from error
        except (HTTPError, TimeoutError) as error:
            words = "cannot be reached" if isinstance(error, _NO_SERVER) else "broke off"
            cause = f"{bare(uri)}: the connection {words} ({_why(error)})"
            failure = ConverterError(FailureReason.STORAGE_UNAVAILABLE, self._stage, cause)
            raise _BrokenError(failure) from error


_NOT_PUBLIC: Final = (
    "the repository is private or gated, or there is none of that name: set spec.huggingFace.secretRef to a"
    " Secret with a token that may read it"
)
_NOT_ALLOWED: Final = (
    "the token may not read it: accept the repository's terms on its page, or take a token of somebody who"
    " may"
)
_NOT_THERE: Final = "correct the uri; paths are case-sensitive"
_NO_LOGIN: Final = "only public files are read so: put it into a bucket that spec.storage has credentials for"


def _same_server(url: str, other: str) -> bool:
    one, two = urlsplit(url), urlsplit(other)
    return (one.scheme, one.hostname, one.port or 443) == (two.scheme, two.hostname, two.port or 443)


def _look(before: Address | None, reached: list[Address], address: Address) -> None:
    """Note whom a connection has reached.

    Raises:
        _ForbiddenError: Nothing may be asked there.

    """
    if (why := refusal(address, before)) is not None:
        raise _ForbiddenError(why)
    reached.append(address)


def _why(error: BaseException) -> str:
    """Return what is wrong, without objects and addresses in memory."""
    text = quoted(str(error).rpartition(": ")[2])
    return text or type(error).__name__


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads."""
    try:
        there = urlsplit(urljoin(url, location))
        is_sound = bool(location and there.hostname) and (there.port or 443) > 0
    except ValueError:
        is_sound = False
    if not is_sound:
        raise _ForbiddenError("it redirects to nowhere")
    if there.scheme != "https":
        where = quoted(f"{there.scheme}://{there.hostname}")
        raise _ForbiddenError(f"it redirects to {where}, which is not https")
    if there.username is not None or there.password is not None:
        raise _ForbiddenError(f"it redirects to {quoted(there.hostname or '')} with a user's name")
    return there._replace(fragment="").geturl()


def _chunks(answer: BaseHTTPResponse) -> Iterator[bytes]:
    """Yield a body as it arrives.

    Raises:
        urllib3.exceptions.HTTPError: It breaks off, or comes too slowly to be worth waiting for.

    """
    since, arrived = time.monotonic(), 0
    while chunk := answer.read1(_CHUNK):
        yield chunk
        arrived += len(chunk)
        if (passed := time.monotonic() - since) > _SLOWEST_SECONDS:
            if arrived < _SLOWEST_BYTES:
                raise HTTPError(f"only {human_size(arrived)} came in {passed:.0f} s")
            since, arrived = time.monotonic(), 0
