"""Downloads from a web server: bounded in size and time, whole or not at all."""

from __future__ import annotations

import hashlib
import http.client
import os
import ssl
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from ..errors import ChannelUnavailableError, ChannelUntrustedError
from .pointer import PointedFile

_CHUNK: Final = 1 << 16
_SILENCE_SECONDS: Final = 30.0
"""Without a byte for so long, a server is not there."""
_LARGEST_POINTER: Final = 64 << 10


class Transport:
    """The web server where a pointer and its files lie.

    Args:
        url: Of the pointer, ``https://`` or ``http://``; its query (a SAS token) is sent for the files too.
        ca_file: Certificates that are trusted besides the system's.
        headers: Sent with every request, e.g. ``Authorization``; to this server only.
        seconds: How long one download may take.

    Raises:
        ValueError: The URL is none of a web server.

    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | Path | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 600.0,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError("the pointer's URL must begin with https:// or http://")
        self._parts, self._headers, self._seconds = parts, dict(headers or {}), seconds
        context = ssl.create_default_context()
        if ca_file is not None:
            context.load_verify_locations(str(ca_file))
        self._opener = build_opener(HTTPSHandler(context=context), _NoRedirects())

    def pointer(self) -> bytes:
        """Download the pointer.

        Raises:
            ChannelUnavailableError: It cannot be had now.
            ChannelUntrustedError: It is too large for one.

        """
        parts = []
        size = 0
        for chunk in self._chunks(urlunsplit(self._parts)):
            size += len(chunk)
            if size > _LARGEST_POINTER:
                raise ChannelUntrustedError(
                    f"what is there is larger than a pointer ({_LARGEST_POINTER} bytes)"
                )
            parts.append(chunk)
        return b"".join(parts)

    def download(self, file: PointedFile, target: Path) -> None:
        """Download a file beside the pointer to ``target``, which is there whole and checked, or not at all.

        Raises:
            ChannelUnavailableError: It cannot be had now.
            ChannelUntrustedError: It is not what the pointer names.
            OSError: It cannot be written.

        """
        folder = self._parts.path.rpartition("/")[0]
        url = urlunsplit(self._parts._replace(path=f"{folder}/{file.path}", fragment=""))
        part = target.with_name(f".{uuid.uuid4().hex}.part")
        digest, size = hashlib.sha256(), 0
        try:
            with part.open("wb") as stream:
                for chunk in self._chunks(url):
                    size += len(chunk)
                    if size > file.size_bytes:
                        break
                    digest.update(chunk)
                    stream.write(chunk)
                stream.flush()
                os.fsync(stream.fileno())
            if size != file.size_bytes or digest.hexdigest() != file.sha256:
                raise ChannelUntrustedError(f"{file.path} is not the file that the pointer names")
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _chunks(self, url: str) -> Iterator[bytes]:
        deadline = time.monotonic() + self._seconds
        where = urlsplit(url)._replace(query="").geturl()  # a query may be a credential
        request = Request(url, headers=self._headers)  # noqa: S310 - of a web server, as checked above
        try:
            with self._opener.open(request, timeout=_SILENCE_SECONDS) as response:
                while chunk := response.read1(_CHUNK):
                    yield chunk
                    if time.monotonic() > deadline:
                        raise ChannelUnavailableError(f"{where} took longer than {self._seconds:.0f} s")
                missing = response.length
        # urllib's own errors are OSErrors; their texts name the reason, and no header.
        except (OSError, http.client.HTTPException) as error:
            raise ChannelUnavailableError(f"{where}: {error}") from error
        if missing:
            raise ChannelUnavailableError(f"{where} broke off")


class _NoRedirects(HTTPRedirectHandler):
    """Follows none: the headers are for one server, and a pointer's place is known."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse; the answer is then an error of its code."""
