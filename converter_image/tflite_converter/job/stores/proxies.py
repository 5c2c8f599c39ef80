"""The proxy between a Job and its store: what libraries do not know of it, and words without its password."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY")


def is_direct(endpoint: str | None, environ: Mapping[str, str]) -> bool:
    """Whether a network of NO_PROXY, such as 10.0.0.0/8, holds the endpoint's address.

    Everything else of NO_PROXY boto3 understands by itself; see ``should_bypass_proxies`` of botocore. A name
    is not looked up for that, as in other programs.
    """
    try:
        address = ipaddress.ip_address(urlsplit(endpoint or "").hostname or "")
    except ValueError:
        return False
    entries = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(",")
    return any(_holds(entry.strip(), address) for entry in entries if "/" in entry)


def _holds(network: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def proxy_problem(environ: Mapping[str, str]) -> str | None:
    """Say which variable is no proxy's URL, without its value, which may have a password.

    None when all is well.
    """
    for name in (*_PROXIES, *map(str.lower, _PROXIES)):
        if (value := environ.get(name)) and not _is_url(value):
            return f"{name} is not the URL of a proxy, such as http://proxy.example:3128"
    return None


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and text.isprintable()
    except ValueError:  # of a port that is none
        return False


def said_by_proxy(error: object) -> str:
    """Return what the proxy answered, or that it did not: never its URL, which may have a password.

    ``error`` is urllib3's.
    """
    reason = getattr(error, "original_error", None)
    text = str(reason)
    return text if text.startswith("Tunnel connection failed") else type(reason or error).__name__
