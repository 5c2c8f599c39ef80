"""Logins for registries, and what a registry asks for: pure readings of texts that others have written."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit

_PARAMETER: Final = re.compile(r'([A-Za-z]+)="([^"\\]*)"')
_LONGEST_TOKEN: Final = 64 << 10


class Challenge(NamedTuple):
    """What a registry wants before it answers."""

    realm: str | None
    """Where a token is given; None where it wants the login itself."""
    service: str = ""

    def url(self, scope: str) -> str:
        """Return where a token for ``scope`` is asked for."""
        assert self.realm is not None  # noqa: S101 - the caller has looked
        query = {"service": self.service, "scope": scope} if self.service else {"scope": scope}
        return f"{self.realm}{'&' if '?' in self.realm else '?'}{urlencode(query)}"


def read_challenge(header: str) -> Challenge | None:
    """Read ``WWW-Authenticate``; None where it asks for nothing that is known here.

    The scope that it names is passed over: what a token is for is not for the registry to say.
    """
    if found := re.search(r"(?i)\bbearer\s+(.*)", header):
        said = {name.lower(): value for name, value in _PARAMETER.findall(found[1])}
        return Challenge(said["realm"], said.get("service", "")) if said.get("realm") else None
    return Challenge(None) if re.search(r"(?i)\bbasic\b", header) else None


def read_logins(text: str) -> dict[str, str]:
    """Return the value of ``Authorization: Basic`` by host, from a configuration file of Docker's.

    Podman's may name the beginning of a repository behind the host.

    Raises:
        ValueError: It is none. The message holds nothing of it.

    """
    try:
        auths = json.loads(text)["auths"]
        return {_place(server): _basic(entry) for server, entry in auths.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        words = "it is no Docker configuration with logins by user and password, {auths: {HOST: {auth: ...}}}"
        raise ValueError(words) from None


def login_for(logins: Mapping[str, str], place: str) -> str | None:
    """Return the login for a host and repository, the one with the longest beginning; None for none."""
    while place not in logins and "/" in place:
        place = place.rpartition("/")[0]
    return logins.get(place)


def _place(server: str) -> str:
    """Return what a key of ``auths`` stands for; of a URL it is the host, as Docker has it."""
    if "://" in server:
        return netloc(server)
    host, slash, path = server.rstrip("/").partition("/")
    return f"{host.lower()}{slash}{path}"


def _basic(entry: dict[str, Any]) -> str:
    if auth := entry.get("auth"):
        login = base64.b64decode(auth, validate=True)
    else:
        login = f"{entry['username']}:{entry['password']}".encode()
    if b":" not in login or not login.strip(b":"):
        raise binascii.Error("no user and password")
    return base64.b64encode(login).decode()


def read_token(content: bytes) -> str:
    """Return the token that a realm has given.

    Raises:
        ValueError: It has given none.

    """
    try:
        said = json.loads(content)
        token = said.get("token") or said.get("access_token")
    except (ValueError, AttributeError, RecursionError):
        token = None
    sound = isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token
    if not sound or len(token) > _LONGEST_TOKEN:
        raise ValueError("it gives no token")
    return str(token)


def netloc(url: str) -> str:
    """Return the host and port of a URL, as logins are written: without the scheme's own port."""
    parts = urlsplit(url)
    port = parts.port
    own = {"https": 443, "http": 80}.get(parts.scheme)
    host = (parts.hostname or "").lower()
    return host if port in (None, own) else f"{host}:{port}"
