"""Requests to the API server, with errors told apart.

The calls do not go through the Kubernetes library's typed methods: those know nothing of this project's
resources, and check every object twice. What the library knows is where the server is and who asks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import client

from modelconversion_client.access import Access, find_access
from modelconversion_client.errors import ServerError, UnreachableError, refusal

FIELD_MANAGER: Final = "model-conversion-client"
"""Whose the fields are that are applied."""
JSON: Final = "application/json, */*"
_SECONDS: Final = 30.0
_PAGE: Final = 500

Body = dict[str, Any]


class Server:
    """One API server. Use as an asynchronous context manager.

    Args:
        kubeconfig: Path of a kubeconfig; found as kubectl finds it when not given.
        context: Name of a context in it.
        namespace: Instead of the context's.

    """

    def __init__(self, kubeconfig: str | None, context: str | None, namespace: str | None) -> None:
        self._kubeconfig, self._context, self._namespace = kubeconfig, context, namespace
        self._access: Access | None = None
        self._api: Any = None

    async def __aenter__(self) -> Self:
        self._access = await find_access(self._kubeconfig, self._context)
        self._api = client.ApiClient(self._access.configuration)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.close()

    @property
    def namespace(self) -> str:
        """The namespace that counts where none is named."""
        assert self._access is not None, "use the client as a context manager"  # noqa: S101 - a bug, not bad input
        return self._namespace or self._access.namespace

    async def read(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        accept: str = JSON,
    ) -> Body:
        """Send a request and read the object that it is answered with.

        Args:
            method: GET, POST, DELETE, PATCH (a merge patch) or APPLY (server-side apply).
            path: Path from the root, quoted.
            what: The request for people; errors begin with it.
            body: What to send.
            query: Parameters; empty ones are left out.
            accept: The form of the answer that is asked for.

        Raises:
            ConversionClientError: The server answered with an error, or not at all.

        """
        data = await self.read_bytes(method, path, what, body=body, query=query, accept=accept)
        try:
            parsed: Body = json.loads(data)
        except ValueError as error:
            words = data[:200].decode(errors="replace")
            raise ServerError(
                f"{what}: the answer is no object: {words}", "look at what is in between"
            ) from error
        return parsed

    async def read_bytes(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Body | None = None,
        query: Mapping[str, str] | None = None,
        accept: str = JSON,
    ) -> bytes:
        """Send a request as :meth:`read` does, and give the answer as it comes."""
        assert self._api is not None, "use the client as a context manager"  # noqa: S101 - a bug, not bad input
        types = {"PATCH": "application/merge-patch+json", "APPLY": "application/apply-patch+yaml"}
        headers = {
            "Accept": accept,
            "User-Agent": FIELD_MANAGER,
            "Content-Type": types.get(method, "application/json"),
        }
        manager = {"fieldManager": FIELD_MANAGER} if method in ("POST", "PATCH", "APPLY") else {}
        given = urlencode({name: value for name, value in {**(query or {}), **manager}.items() if value})
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], "", method, None)
        host = self._api.configuration.host
        try:
            answer = await self._api.rest_client.request(
                "PATCH" if method == "APPLY" else method,
                f"{host}{path}{'?' if given else ''}{given}",
                headers=headers,
                body=body,
                _request_timeout=aiohttp.ClientTimeout(total=_SECONDS),
            )
            data: bytes = await answer.read()
        except TimeoutError as error:
            raise UnreachableError(f"{what}: {host} did not answer in {_SECONDS:.0f} s", _LOOK) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{what}: {host} cannot be reached: {error}", _LOOK) from error
        if answer.status >= 400:
            raise refusal(answer.status, data, what)
        return data

    async def items(self, path: str, what: str, query: Mapping[str, str] | None = None) -> list[Body]:
        """Read every object of a list, page by page."""
        found: list[Body] = []
        token = ""
        while True:
            page = {**(query or {}), "limit": str(_PAGE), "continue": token}
            answer = await self.read("GET", path, what, query=page)
            found += answer.get("items") or []
            token = (answer.get("metadata") or {}).get("continue") or ""
            if not token:
                return found


_LOOK: Final = "see that the cluster runs and that the --context is the right one: `kubectl cluster-info`"


def selector(values: Mapping[str, str]) -> str:
    """Return a label or field selector."""
    return ",".join(f"{name}={value}" for name, value in values.items())


def part(text: str) -> str:
    """Return a name as it stands in a path: one part, whatever is in it."""
    return quote(text, safe="")
