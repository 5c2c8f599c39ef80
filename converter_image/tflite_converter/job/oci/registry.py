"""One repository of a registry, as it is written to: the OCI distribution specification 1.1.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Whoever writes a conversion chooses
the registry, and a registry chooses where uploads and requests for tokens go: these are looked at as web
servers are, a login is shown only to hosts that it was written for, and a token only to the registry.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import urljoin, urlsplit

from modelconversion_api.fields.oci import OCIOutput
from modelconversion_api.reasons import FailureReason, Stage
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.job.oci.content import INDEX, MANIFEST, Blob
from tflite_converter.job.oci.logins import login_for, netloc, read_challenge, read_token
from tflite_converter.job.stores.connections import (
    PASSING,
    REDIRECTS,
    Address,
    BrokenError,
    ForbiddenError,
    Line,
    again,
    chunks,
    refusal,
    server_errors,
)

_MOST_BYTES: Final = 4 << 20
"""Of a manifest or an index, as the specification has it, and of anything else that is read here."""
_LOGIN: Final = "check spec.output.oci: the repository, and the Secret's login for that host"
_NO_REPOSITORY: Final = (
    "create the repository where the registry does not do so by itself, or correct its name"
)


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes


class Repository:
    """A repository that is pushed to.

    Args:
        oci: Which one.
        logins: ``Authorization: Basic`` by host, or by host and the beginning of a repository.
        trust: Whose certificates count.

    """

    def __init__(self, oci: OCIOutput, logins: Mapping[str, str], trust: ssl.SSLContext) -> None:
        self._name, self._path, self._insecure = oci.repository, oci.path, oci.insecure
        self._url, self._logins, self._trust = f"{oci.server}/v2/{oci.path}", logins, trust
        self._host = netloc(oci.server)
        self._lines: dict[str, Line] = {}
        self._reached: Address | None = None
        self._authorization = ""

    def push(self, blob: Blob) -> None:
        """Push a blob, unless it is there. What breaks off is tried again, a bounded number of times.

        Raises:
            ConverterError: StorageAccessDenied, BucketNotFound, StorageUnavailable, UploadCorrupted.

        """
        again(partial(self._push_once, blob))

    def _push_once(self, blob: Blob) -> None:
        there = self._ask("HEAD", f"{self._url}/blobs/{blob.digest}")
        # Some send one on to the store that has it, which is not followed.
        if there.status == HTTPStatus.OK or there.status in REDIRECTS:
            return
        if there.status != HTTPStatus.NOT_FOUND:
            self._refuse(there)
        begun = self._ask("POST", f"{self._url}/blobs/uploads/", {"Content-Length": "0"})
        if begun.status != HTTPStatus.ACCEPTED:
            self._refuse(begun)
        place = urljoin(begun.url, begun.headers.get("Location", ""))
        place = f"{place}{'&' if '?' in place else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size_bytes)}
        put = self._ask("PUT", place, headers, blob)
        if put.status != HTTPStatus.CREATED:
            self._refuse(put)
        self._check(put.headers.get("Docker-Content-Digest"), blob.digest)

    def put(
        self,
        reference: str,
        content: bytes,
        media_type: str = MANIFEST,
        guard: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """Put a manifest or index under a tag or its digest, and make sure that the registry has it.

        Args:
            reference: The tag or digest.
            content: Byte by byte what its digest is of.
            media_type: What it is.
            guard: Headers that say what must be there before.

        Returns:
            The answer; None where ``guard`` says no.

        Raises:
            ConverterError: as :meth:`push`.

        """
        return again(partial(self._put_once, reference, content, media_type, guard or {}))

    def _put_once(
        self, reference: str, content: bytes, media_type: str, guard: Mapping[str, str]
    ) -> Answer | None:
        headers = {"Content-Type": media_type, "Content-Length": str(len(content)), **guard}
        put = self._ask("PUT", f"{self._url}/manifests/{reference}", headers, [content])
        if guard and put.status in (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT):
            return None
        if put.status != HTTPStatus.CREATED:
            self._refuse(put)
        digest = _digest(content)
        self._check(put.headers.get("Docker-Content-Digest"), digest)
        there = self._get_once(digest)
        self._check(None if there is None else _digest(there.content), digest, needed=True)
        return put

    def get(self, reference: str) -> Answer | None:
        """Return the manifest or index of a tag or digest; None for none. Raises as :meth:`push`."""
        return again(partial(self._get_once, reference))

    def _get_once(self, reference: str) -> Answer | None:
        found = self._ask("GET", f"{self._url}/manifests/{reference}", {"Accept": f"{INDEX}, {MANIFEST}"})
        if found.status == HTTPStatus.NOT_FOUND:
            return None
        if found.status != HTTPStatus.OK:
            self._refuse(found)
        return found

    def _check(self, told: str | None, digest: str, *, needed: bool = False) -> None:
        if told != digest and (needed or told is not None):
            cause = f"{self._name}: the registry holds other bytes than were sent ({digest})"
            raise ConverterError(FailureReason.UPLOAD_CORRUPTED, Stage.PUBLISH, cause)

    # How it is asked.

    def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: Blob | Iterable[bytes] | None = None,
    ) -> Answer:
        """Ask, and once more with what the registry wants first."""
        own = netloc(url) == self._host and urlsplit(url).scheme == urlsplit(self._url).scheme
        for _ in range(2):
            more = {"Authorization": self._authorization} if own and self._authorization else {}
            answer = self._send(method, url, {**(headers or {}), **more}, body)
            if answer.status != HTTPStatus.UNAUTHORIZED or not own or not self._log_in(answer):
                break
        return answer

    def _send(
        self, method: str, url: str, headers: Mapping[str, str], body: Blob | Iterable[bytes] | None = None
    ) -> Answer:
        with server_errors(Stage.PUBLISH, self._name):
            self._check_place(url)
            key = f"{urlsplit(url).scheme}://{netloc(url)}"
            if key not in self._lines:
                is_own = netloc(url) == self._host
                self._lines[key] = Line(url, self._trust, partial(self._look, is_own=is_own))
            content = body.chunks() if isinstance(body, Blob) else body
            with closing(self._lines[key].ask(method, url, headers, content)) as answer:
                read = bytearray()
                for chunk in chunks(answer):
                    read += chunk
                    if len(read) > _MOST_BYTES:
                        raise ForbiddenError(f"it answers with more than {_MOST_BYTES} bytes")
                return Answer(url, answer.status, answer.headers, bytes(read))

    def _check_place(self, url: str) -> None:
        """Look at where the registry sends one."""
        try:
            parts = urlsplit(url)
            is_sound = bool(parts.hostname) and (parts.port or 443) > 0
        except ValueError:
            is_sound = False
        if not is_sound:
            raise ForbiddenError("it sends one to nowhere")
        if parts.username is not None or parts.password is not None:
            raise ForbiddenError("it sends one on with a user's name")
        if parts.scheme not in (("https", "http") if self._insecure else ("https",)):
            where = quoted(f"{parts.scheme}://{parts.hostname}")
            raise ForbiddenError(f"it sends one to {where}, which is not https")

    def _look(self, address: Address, *, is_own: bool) -> None:
        if (why := refusal(address, None if is_own else self._reached)) is not None:
            raise ForbiddenError(why)
        if is_own:
            self._reached = address

    def _log_in(self, answer: Answer) -> bool:
        """Get what the registry wants; gives whether asking again is worth it."""
        challenge = read_challenge(answer.headers.get("WWW-Authenticate", ""))
        before, login = self._authorization, login_for(self._logins, f"{self._host}/{self._path}")
        if challenge is None:
            return False
        if challenge.realm is None:
            self._authorization = f"Basic {login}" if login else ""
        else:
            self._authorization = ""
            self._authorization = f"Bearer {self._token(challenge.url(f'repository:{self._path}:pull,push'))}"
        return self._authorization not in ("", before)

    def _token(self, url: str) -> str:
        # A login that the Secret has for another host may be for the one that gives tokens.
        is_own = netloc(url) == self._host
        login = login_for(self._logins, f"{self._host}/{self._path}" if is_own else netloc(url))
        if urlsplit(url).scheme == "http" and not is_own:
            login = None
        answer = self._send("GET", url, {"Authorization": f"Basic {login}"} if login else {})
        if answer.status != HTTPStatus.OK:
            self._refuse(answer)
        try:
            return read_token(answer.content)
        except ValueError as error:
            cause = f"{self._name}: {quoted(netloc(url))}: {error}"
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, Stage.PUBLISH, cause) from error

    def _refuse(self, answer: Answer) -> NoReturn:
        """Say what an answer means that is not the one that was hoped for."""
        status = answer.status
        # Not by the registry's own words, which may be anything.
        phrase = HTTPStatus(status).phrase if status in {s.value for s in HTTPStatus} else ""
        said = f"{self._name}: {quoted(netloc(answer.url))} answers {status} {phrase}".rstrip()
        if status in (401, 403, 407):
            raise ConverterError(FailureReason.STORAGE_ACCESS_DENIED, Stage.PUBLISH, said, hint=_LOGIN)
        if status == HTTPStatus.NOT_FOUND:
            raise ConverterError(FailureReason.BUCKET_NOT_FOUND, Stage.PUBLISH, said, hint=_NO_REPOSITORY)
        if b"DIGEST_INVALID" in answer.content:
            raise ConverterError(FailureReason.UPLOAD_CORRUPTED, Stage.PUBLISH, said)
        failure = ConverterError(FailureReason.STORAGE_UNAVAILABLE, Stage.PUBLISH, said)
        raise BrokenError(failure) if status in PASSING else failure


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
