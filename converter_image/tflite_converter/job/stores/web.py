"""Files from web servers and from the Hugging Face Hub: pinned by digest or commit.

Whoever writes a conversion chooses the server. So a connection is looked at before anything is asked through
it: addresses that belong to the machine are none, and a public server leads nobody into the network. The only
credential is the Hub's token, and only the Hub itself is shown it.
"""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urljoin, urlsplit

from urllib3.response import BaseHTTPResponse

from modelconversion_api.fields.storage import StorageAccess
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.request import HUB_TOKEN_ENV
from modelconversion_api.text import human_size
from modelconversion_api.uris import HUB, bare, digest, web_url
from tflite_converter.errors import ConverterError, quoted
from tflite_converter.job.stores.base import Limit, Meter, Stored, check_proxy, received, whole_or_not_at_all
from tflite_converter.job.stores.connections import (
    PASSING,
    REDIRECTS,
    Address,
    BrokenError,
    ForbiddenError,
    Line,
    again,
    chunks,
    promised,
    refusal,
    sent_to,
    server_errors,
    trusted,
)

HUB_ENV: Final = "HF_ENDPOINT"
"""The Hub's mirror, as the platform names it; huggingface_hub reads the same variable."""
_MOST_REDIRECTS: Final = 5


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
        self._trust = trusted(access, stage)

    def download(self, uri: str, path: Path, limit: Limit, meter: Meter | None = None) -> Stored:
        """Download a file to ``path``, whole and with the digest that its URI names, or not at all.

        What breaks in the middle, and a server that is busy, is tried again, a bounded number of times.

        Raises:
            ConverterError: SourceTooLarge beyond ``limit``, DigestMismatch, NoSpace, SourceNotFound,
                StorageAccessDenied, StorageUnavailable.

        """
        with whole_or_not_at_all(path, self._stage) as part:
            stored = again(partial(self._download_once, uri, part, limit, meter))
            if (expected := digest(uri)) not in (None, stored.sha256):
                cause = f"{bare(uri)} has the digest {stored.sha256}, expected {expected}"
                raise ConverterError(FailureReason.DIGEST_MISMATCH, self._stage, cause)
        return stored

    def _download_once(self, uri: str, part: Path, limit: Limit, meter: Meter | None) -> Stored:
        with server_errors(self._stage, bare(uri)), closing(self._answer(uri)) as answer:
            if (size := promised(answer)) is not None:
                if size > limit.size_bytes:
                    raise limit.exceeded(self._stage, f"{bare(uri)} has {human_size(size)}")
                if meter is not None:
                    meter.expect(size)
            return received(chunks(answer), part, limit, meter, self._stage, bare(uri))

    def _answer(self, uri: str) -> BaseHTTPResponse:
        """Ask for a file, and follow redirects to it."""
        url, before = web_url(uri, self._hub), None
        for _ in range(_MOST_REDIRECTS + 1):
            reached: list[Address] = []

            token = self._token if uri.startswith("hf://") and _same_server(url, self._hub) else ""
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            answer = Line(url, self._trust, partial(_look, before, reached)).ask("GET", url, headers)
            if answer.status not in REDIRECTS:
                break
            answer.close()
            url = _redirected(url, answer.headers.get("Location", ""))
            before = reached[0] if reached else None
        else:
            raise ForbiddenError(f"it redirects more than {_MOST_REDIRECTS} times")
        if answer.status != 200:
            answer.close()
            raise self._refused(uri, url, answer)
        return answer

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
        return BrokenError(failure) if status in PASSING else failure


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
        ForbiddenError: Nothing may be asked there.

    """
    if (why := refusal(address, before)) is not None:
        raise ForbiddenError(why)
    reached.append(address)


def _redirected(url: str, location: str) -> str:
    """Return where a redirect leads."""
    try:
        joined = urljoin(url, location) if location else ""
    except ValueError:
        joined = ""  # no address at all
    return sent_to(joined, "it redirects to")._replace(fragment="").geturl()
