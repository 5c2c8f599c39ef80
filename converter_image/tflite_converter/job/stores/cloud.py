"""What Google Cloud Storage and Azure Blob Storage have in common: a few HTTPS requests, and answers in XML.

They are asked without a library of theirs: those that know both follow redirects on their own, and let nobody
look at whom a connection has reached. How requests are signed, and what is answered, is theirs to document;
each store's module names the pages.
"""

from __future__ import annotations

import base64
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from http import HTTPStatus
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.text import human_size
from modelconversion_api.uris import split_uri
from tflite_converter.errors import ConverterError
from tflite_converter.job.stores.base import (
    Limit,
    Meter,
    ObjectInfo,
    Stored,
    check_proxy,
    corrupted,
    digest_of,
    md5_of,
    received,
    whole_or_not_at_all,
)
from tflite_converter.job.stores.connections import (
    PASSING,
    REDIRECTS,
    BrokenError,
    Line,
    again,
    chunks,
    promised,
    server_errors,
    trusted,
)

MOST_TEXT_BYTES: Final = 32 << 20
"""Of a page of a listing: Azure puts 5000 names into one, each at most a KiB, with a few properties."""
_MOST_ERROR_BYTES: Final = 64 << 10
_CODE: Final = re.compile(r"[A-Za-z0-9]{1,64}")
_DENIED: Final = (401, 403, 407)

Query = Mapping[str, str]


class CloudStore(ABC):
    """A store in a cloud; a subclass says how it is addressed, and shown who asks.

    Args:
        access: ``spec.storage``.
        stage: In whose name failures are told.
        server: URL of the store, without a slash at its end.

    """

    name: str
    """What the store is called in messages."""
    no_bucket: frozenset[str]
    """Codes of errors that say that there is no such bucket."""
    denied: frozenset[str]
    """Codes of errors that say, with another status than 401 and 403, that credentials are none."""
    corrupted: frozenset[str]
    """Codes of errors that say that other bytes have come than were announced."""

    def __init__(self, access: StorageAccess, stage: Stage, server: str) -> None:
        self.stage = stage
        self.server = server
        check_proxy(stage)
        self.trust = trusted(access, stage)
        self._line = Line(server, self.trust)

    @abstractmethod
    def headers(self, method: str, path: str, query: Query, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a request, with what shows who asks."""

    @abstractmethod
    def about(self, stored: Stored, content_type: str) -> dict[str, str]:
        """Return the headers of an upload that say what it is."""

    @abstractmethod
    def page(self, prefix: str, mark: str) -> dict[str, str]:
        """Return the query for the objects below ``prefix`` that come after ``mark``."""

    @abstractmethod
    def entries(self, listing: ET.Element) -> tuple[Sequence[ObjectInfo], str]:
        """Return the objects of a page of a listing, and the mark of the next; empty where it is the last.

        Raises:
            ValueError: It is none.

        """

    @abstractmethod
    def has(self, answer: BaseHTTPResponse, md5: bytes) -> bool:
        """Whether the answer to an upload says that this is the MD5 of what the store has."""

    def is_folder(self, answer: BaseHTTPResponse) -> bool:
        """Whether what was asked for is a folder, which some stores keep as an object without content."""
        return False

    def path(self, bucket: str, key: str = "") -> str:
        """Return the path of a bucket, or of an object, in a URL."""
        return f"/{bucket}" + (f"/{quote(key, safe='/~')}" if key else "")

    def with_query(self, query: Query) -> str:
        """Return the query of a URL with its question mark, or nothing."""
        return f"?{urlencode(query, quote_via=quote)}" if query else ""

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """List the objects whose keys begin with the URI's, page by page."""
        bucket, prefix = split_uri(uri)
        mark = ""
        while True:
            objects, next_mark = again(partial(self._listed, uri, bucket, self.page(prefix, mark)))
            yield from objects
            if not next_mark:
                return
            if next_mark == mark:
                raise self.unavailable(f"{uri}: the store's listing has no end")
            mark = next_mark

    def _listed(self, uri: str, bucket: str, query: Query) -> tuple[Sequence[ObjectInfo], str]:
        with (
            server_errors(self.stage, uri),
            closing(self._answer(uri, "GET", self.path(bucket), query)) as answer,
        ):
            text = body_of(answer, MOST_TEXT_BYTES)
        try:
            return self.entries(parsed(text))
        except (ValueError, ET.ParseError) as error:
            raise self.unavailable(f"{uri}: the store's listing cannot be read") from error

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download an object, as every store does."""
        with whole_or_not_at_all(path, self.stage) as part:
            return again(partial(self._download_once, uri, part, limit, meter))

    def _download_once(self, uri: str, part: Path, limit: Limit, meter: Meter | None) -> Stored:
        path = self.path(*split_uri(uri))
        with server_errors(self.stage, uri), closing(self._answer(uri, "GET", path, {})) as answer:
            if self.is_folder(answer):
                raise self._missing(uri)
            size = promised(answer)
            if size is None and answer.headers.get("Transfer-Encoding") != "chunked":
                # Nothing would tell a whole object from one that breaks off.
                raise HTTPError("no length was named")
            if size is not None:
                if size > limit.size_bytes:
                    raise limit.exceeded(self.stage, f"{uri} has {human_size(size)}")
                if meter is not None:
                    meter.expect(size)
            return received(chunks(answer), part, limit, meter, self.stage, uri)

    def upload(self, uri: str, content: BufferedReader | BytesIO, stored: Stored, content_type: str) -> None:
        """Upload an object in one request, as it is read.

        The MD5 goes along, and the store refuses other bytes. It answers with that of what it has, or else
        the object is read back.
        """
        md5 = md5_of(content).digest()
        headers = self.about(stored, content_type) | {
            "Content-Type": content_type,
            "Content-MD5": base64.b64encode(md5).decode(),
            "Content-Length": str(stored.size_bytes),
        }
        is_told = again(partial(self._upload_once, uri, content, headers, md5))
        if not is_told and again(partial(self._read_back, uri)) != stored:
            raise corrupted(uri, self.stage)

    def _upload_once(
        self, uri: str, content: BufferedReader | BytesIO, headers: Mapping[str, str], md5: bytes
    ) -> bool:
        content.seek(0)
        path = self.path(*split_uri(uri))
        with (
            server_errors(self.stage, uri),
            closing(self._answer(uri, "PUT", path, {}, headers, content)) as answer,
        ):
            body_of(answer, _MOST_ERROR_BYTES)
            return self.has(answer, md5)

    def _read_back(self, uri: str) -> Stored:
        path = self.path(*split_uri(uri))
        with server_errors(self.stage, uri), closing(self._answer(uri, "GET", path, {})) as answer:
            return digest_of(chunks(answer))

    def delete(self, uri: str) -> None:
        """Remove an object, as every store does."""
        try:
            again(partial(self._delete_once, uri))
        except ConverterError as error:
            if error.reason is not FailureReason.SOURCE_NOT_FOUND:
                raise

    def _delete_once(self, uri: str) -> None:
        path = self.path(*split_uri(uri))
        with server_errors(self.stage, uri), closing(self._answer(uri, "DELETE", path, {})) as answer:
            body_of(answer, _MOST_ERROR_BYTES)

    def _answer(
        self,
        uri: str,
        method: str,
        path: str,
        query: Query,
        headers: Mapping[str, str] | None = None,
        body: BufferedReader | BytesIO | None = None,
    ) -> BaseHTTPResponse:
        """Return the answer to a request, where it is a good one.

        Raises:
            BrokenError: Another try may help.
            ConverterError: None will.

        """
        sent = self.headers(method, path, query, headers or {})
        answer = self._line.ask(method, f"{self.server}{path}{self.with_query(query)}", sent, body)
        if answer.status in (200, 201, 202, 204):
            return answer
        with closing(answer):
            raise self._refused(uri, answer, of_bucket=bool(query))

    def _refused(self, uri: str, answer: BaseHTTPResponse, *, of_bucket: bool) -> Exception:
        """Return what any other answer means.

        Of the store's words only its code is told: the rest may repeat what was asked, with a signature.
        """
        status = answer.status
        code = code_of(answer)
        phrase = HTTPStatus(status).phrase if status in {s.value for s in HTTPStatus} else ""
        said = f"{uri}: {self.name} answers {status} {code or phrase}".rstrip()
        if code in self.no_bucket or (status == 404 and of_bucket):
            return ConverterError(
                FailureReason.BUCKET_NOT_FOUND, self.stage, f"{uri}: the bucket does not exist"
            )
        if status in (404, 410):
            return self._missing(uri)
        if status in _DENIED or code in self.denied:
            return ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self.stage, said)
        if code in self.corrupted:
            return ConverterError(FailureReason.UPLOAD_CORRUPTED, self.stage, said)
        if status in REDIRECTS:
            said = f"{said}, and no store is followed elsewhere"
            return ConverterError(FailureReason.STORAGE_ACCESS_DENIED, self.stage, said)
        failure = self.unavailable(said)
        return BrokenError(failure) if status in PASSING else failure

    def _missing(self, uri: str) -> ConverterError:
        return ConverterError(FailureReason.SOURCE_NOT_FOUND, self.stage, f"{uri}: the object does not exist")

    def unavailable(self, cause: str) -> ConverterError:
        """Return the failure of a store that is not there, or that says what cannot be understood."""
        return ConverterError(FailureReason.STORAGE_UNAVAILABLE, self.stage, cause)


def denied(stage: Stage, cause: str, hint: str) -> ConverterError:
    """Return the failure of credentials that are none, or not for this."""
    return ConverterError(FailureReason.STORAGE_ACCESS_DENIED, stage, cause, hint=hint)


def check_endpoint(server: str, bound: str, own_hosts: tuple[str, ...], stage: Stage, hint: str) -> None:
    """Refuse to use credentials at another endpoint than they are for.

    Whoever writes a conversion names the endpoint, and whoever sees a token can use it.

    Args:
        server: The endpoint of the conversion.
        bound: The one that the Secret names; empty for the cloud's own.
        own_hosts: How the names of the cloud's own hosts end.
        stage: In whose name the failure is told.
        hint: What to do about it.

    Raises:
        ConverterError: StorageAccessDenied.

    """
    bound = bound.strip().rstrip("/")
    parts = urlsplit(server)
    is_own = parts.scheme == "https" and (parts.hostname or "").endswith(own_hosts)
    if (server != bound) if bound else not is_own:
        raise denied(stage, f"the credentials are for another endpoint than {server}", hint)


def body_of(answer: BaseHTTPResponse, most_bytes: int) -> bytes:
    """Return the body of an answer.

    Raises:
        urllib3.exceptions.HTTPError: It breaks off, or is longer than ``most_bytes``.

    """
    body = bytearray()
    for chunk in chunks(answer):
        body += chunk
        if len(body) > most_bytes:
            raise HTTPError(f"an answer of more than {human_size(most_bytes)}")
    return bytes(body)


def parsed(text: bytes) -> ET.Element:
    """Parse XML that a server has written, without entities of its own: few bytes could become very many.

    Raises:
        ValueError: It has some, or is no text.
        xml.etree.ElementTree.ParseError: It is no XML.

    """
    words = text.decode("utf-8-sig")
    if "<!DOCTYPE" in words:  # without which none can be declared
        raise ValueError("entities are not read")
    return ET.fromstring(words)  # noqa: S314 - entities are refused above


def code_of(answer: BaseHTTPResponse) -> str:
    """Return the code of an error; an empty text where the store names none."""
    if _CODE.fullmatch(code := answer.headers.get("x-ms-error-code", "")):
        return code
    try:
        code = parsed(body_of(answer, _MOST_ERROR_BYTES)).findtext("{*}Code") or ""
    except (ValueError, ET.ParseError, HTTPError, OSError):
        return ""
    return code if _CODE.fullmatch(code) else ""


def token_of(text: bytes) -> tuple[str, float]:
    """Return the token in an answer of OAuth 2.0, and for how many seconds it counts.

    Raises:
        ValueError: There is none.

    """
    found: Any = json.loads(text)
    token, seconds = found["access_token"], float(found.get("expires_in", 0))
    if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token.strip():
        raise ValueError("no token")
    return token, seconds
