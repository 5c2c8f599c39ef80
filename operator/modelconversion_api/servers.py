"""Servers that a spec names: what the schema's patterns cannot say of them."""

from __future__ import annotations

import ipaddress
from typing import Final

_MOST_PORT: Final = 65535


def check_server(url: str) -> str:
    """Return a URL as it is, where its host and port can be those of a server.

    Raises:
        ValueError: The port is none, or what stands in brackets is no IPv6 address.

    """
    check_host(url.partition("://")[2].partition("/")[0])
    return url


def check_host(host: str) -> str:
    """Return ``HOST[:PORT]`` as it is, under the conditions of :func:`check_server`."""
    name, _, rest = host.removeprefix("[").partition("]") if host.startswith("[") else host.partition(":")
    port = rest.removeprefix(":")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            raise ValueError(f"names no server: [{name}] is no IPv6 address") from None
    if rest and not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MOST_PORT):
        raise ValueError(f"names no server: a port is a number from 1 to {_MOST_PORT}, and it has {port!r}")
    return host
