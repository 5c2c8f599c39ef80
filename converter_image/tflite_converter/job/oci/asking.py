"""A registry, and how it is asked: the OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Whoever writes a conversion chooses
the registry, and a registry chooses where uploads, downloads and requests for tokens go: these are looked at
as web servers are, a login is shown only to hosts that it was written for, and a token only to the registry.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import urljoin, urlsplit

from urllib3.response import BaseHTTPResponse

from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.job.oci.content import Blob
from tflite_converter.job.oci.logins import login_for, netloc, read_challenge, read_token
from tflite_converter.job.stores.connections import (
    PASSING,
    REDIRECTS,
    Address,
    BrokenError,
    ForbiddenError,
    Line,
    chunks,
    refusal,
    sent_to,
    server_errors,
)

MOST_BYTES: Final = 4 << 20
"""Of a manifest or an index, as the specification has it, and of anything else that is read whole."""
_MOST_REDIRECTS: Final = 5


@dataclass(frozen=True)
class Asks:
    """Who asks which repository, and what it says to whom it is refused."""

    stage: Stage
    name: str
    """What messages call it."""
    server: str
    """The registry's URL, without a slash at its end."""
    path: str
    """The repository in the registry."""
    actions: str
    """What a token is to be for, e.g. ``pull``."""
    login_hint: str
    missing: FailureReason
    """The reason where there is nothing."""
    missing_hint: str

    @property
    def insecure(self) -> bool:
        """Whether HTTP without TLS is spoken."""
        return self.server.startswith("http://")


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass
class _Before:
    """Whom the request before a redirect has reached, elsewhere than at the registry."""

    address: Address | None = None


class Asker:
    """Asks a registry, and where it sends one. Threads may ask at the same time.

    Args:
        asks: Whom, and for what.
        logins: ``Authorization: Basic`` by host, or by host and the beginning of a repository.
        trust: Whose certificates count.

    """

    def __init__(self, asks: Asks, logins: Mapping[str, str], trust: ssl.SSLContext) -> None:
        self.url = f"{asks.server}/v2/{asks.path}"
        """Of the repository."""
        self._asks, self._logins, self._trust = asks, logins, trust
        self._host = netloc(asks.server)
        self._lines: dict[str, Line] = {}
        self._reached: Address | None = None
        self._authorization = ""
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Blob | Iterable[bytes] | None = None,
    ) -> Answer:
        """Ask, and once more with what the registry wants first. No redirect is followed.

        Raises:
            BrokenError: Another try may help.
            ConverterError: StorageAccessDenied, StorageUnavailable.

        """
        for _ in range(2):
            sent = self._shown_to(url)
            answer = self._send(method, url, {**(headers or {}), **sent}, body)
            if not self._is_asked_to_log_in(answer.status, url, answer.headers, sent):
                break
        return answer

    @contextmanager
    def opened(self, url: str, accept: str) -> Iterator[BaseHTTPResponse]:
        """Yield the answer to a GET, which is 200, before its body has come. Redirects are followed.

        Raises:
            BrokenError, ConverterError: as :meth:`ask`, and the reason for what is not there.

        """
        with server_errors(self._asks.stage, self._asks.name):
            logged_in, before = False, _Before()
            for _ in range(_MOST_REDIRECTS + 2):
                sent = self._shown_to(url)
                line = self._line(url) if self._is_own(url) else self._away(url, before)
                answer = line.ask("GET", url, {"Accept": accept, **sent})
                with closing(answer):
                    if answer.status == HTTPStatus.OK:
                        yield answer
                        return
                    if answer.status in REDIRECTS:
                        url = urljoin(url, answer.headers.get("Location", ""))
                        continue
                    wants = self._is_asked_to_log_in(answer.status, url, answer.headers, sent)
                    if logged_in or not wants:
                        self.refuse(Answer(url, answer.status, answer.headers, b""))
                    logged_in = True
            raise ForbiddenError(f"it redirects more than {_MOST_REDIRECTS} times")

    def _shown_to(self, url: str) -> dict[str, str]:
        """Return the header of what the registry has asked for, for the registry itself."""
        shown = self._authorization
        return {"Authorization": shown} if shown and self._is_own(url) else {}

    def _is_own(self, url: str) -> bool:
        try:
            return netloc(url) == self._host and urlsplit(url).scheme == urlsplit(self.url).scheme
        except ValueError:  # it is looked at before anything is asked there
            return False

    def _is_asked_to_log_in(
        self, status: int, url: str, headers: Mapping[str, str], sent: Mapping[str, str]
    ) -> bool:
        """Get what an answer asks for; gives whether asking again is worth it."""
        if status != HTTPStatus.UNAUTHORIZED or not self._is_own(url):
            return False
        with self._lock:
            # Another thread may have been asked before, and have it by now.
            if sent.get("Authorization", "") != self._authorization:
                return True
            return self._log_in(headers.get("WWW-Authenticate", ""))

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Blob | Iterable[bytes] | None = None
    ) -> Answer:
        with server_errors(self._asks.stage, self._asks.name):
            content = body.chunks() if isinstance(body, Blob) else body
            with closing(self._line(url).ask(method, url, headers, content)) as answer:
                read = bytearray()
                for chunk in chunks(answer):
                    read += chunk
                    if len(read) > MOST_BYTES:
                        raise ForbiddenError(f"it answers with more than {MOST_BYTES} bytes")
                return Answer(url, answer.status, answer.headers, bytes(read))

    def _line(self, url: str) -> Line:
        self._check_place(url)
        key = f"{urlsplit(url).scheme}://{netloc(url)}"
        if key not in self._lines:
            is_own = netloc(url) == self._host
            self._lines[key] = Line(url, self._trust, partial(self._look, is_own=is_own))
        return self._lines[key]

    def _away(self, url: str, before: _Before) -> Line:
        """Return a line to where a redirect leads, which is looked at with where that came from in mind."""
        self._check_place(url)

        def look(address: Address) -> None:
            if (why := refusal(address, before.address or self._reached)) is not None:
                raise ForbiddenError(why)
            before.address = address

        return Line(url, self._trust, look)

    def _check_place(self, url: str) -> None:
        """Look at where the registry sends one."""
        sent_to(url, "it sends one to", ("https", "http") if self._asks.insecure else ("https",))

    def _look(self, address: Address, *, is_own: bool) -> None:
        if (why := refusal(address, None if is_own else self._reached)) is not None:
            raise ForbiddenError(why)
        if is_own:
            self._reached = address

    def _log_in(self, wanted: str) -> bool:
        challenge = read_challenge(wanted)
        before, login = self._authorization, login_for(self._logins, f"{self._host}/{self._asks.path}")
        if challenge is None:
            return False
        if challenge.realm is None:
            self._authorization = f"Basic {login}" if login else ""
        else:
            scope = f"repository:{self._asks.path}:{self._asks.actions}"
            self._authorization = f"Bearer {self._token(challenge.url(scope))}"
        return self._authorization not in ("", before)

    def _token(self, url: str) -> str:
        # A login that the Secret has for another host may be for the one that gives tokens.
        is_own = netloc(url) == self._host
        login = login_for(self._logins, f"{self._host}/{self._asks.path}" if is_own else netloc(url))
        if urlsplit(url).scheme == "http" and not is_own:
            login = None
        answer = self._send("GET", url, {"Authorization": f"Basic {login}"} if login else {})
        if answer.status != HTTPStatus.OK:
            self.refuse(answer)
        try:
            return read_token(answer.content)
        except ValueError as error:
            cause = f"{self._asks.name}: {quoted(netloc(url))}: {error}"
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self._asks.stage, cause) from error

    def refuse(self, answer: Answer) -> NoReturn:
        """Say what an answer means that is not the one that was hoped for.

        Raises:
            BrokenError: Another try may help.
            ConverterError: The reason.

        """
        status = answer.status
        # Not by the registry's own words, which may be anything.
        phrase = HTTPStatus(status).phrase if status in {s.value for s in HTTPStatus} else ""
        said = f"{self._asks.name}: {quoted(netloc(answer.url))} answers {status} {phrase}".rstrip()
        if status in (401, 403, 407):
            hint = self._asks.login_hint
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self._asks.stage, said, hint=hint)
        if status == HTTPStatus.NOT_FOUND:
            raise ConverterError(self._asks.missing, self._asks.stage, said, hint=self._asks.missing_hint)
        if b"DIGEST_INVALID" in answer.content:
            raise ConverterError(FailureReason.UPLOAD_CORRUPTED, self._asks.stage, said)
        failure = ConverterError(FailureReason.STORAGE_UNAVAILABLE, self._asks.stage, said)
        raise BrokenError(failure) if status in PASSING else failure
