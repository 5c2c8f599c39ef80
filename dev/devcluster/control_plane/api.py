"""A thin Kubernetes client over httpx: plain dictionaries in and out, one connection pool."""

from __future__ import annotations

import base64
import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import httpx
import yaml

from devcluster.errors import ApiError

Json = dict[str, Any]

_PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class KubeApi:
    """The Kubernetes API as the user of a kubeconfig (token credentials)."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._watches: set[socket.socket] = set()
        self._ended = False
        self._client = httpx.Client(
            base_url=cluster["server"],
            headers={"Authorization": f"Bearer {user['token']}"},
            verify=ssl.create_default_context(cadata=authority),
            timeout=20,
            trust_env=False,  # a proxy has no business between here and 127.0.0.1
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def end_watches(self) -> None:
        """End the watches that other threads follow, now and later."""
        self._ended = True
        for watching in list(self._watches):
            watching.shutdown(socket.SHUT_RDWR)

    def get(self, path: str, **params: str) -> Json:
        """GET an object or a list."""
        return self._request("GET", path, params=params)

    def create(self, path: str, body: Json) -> Json:
        """POST an object."""
        return self._request("POST", path, json=body)

    def replace(self, path: str, body: Json) -> Json:
        """PUT an object."""
        return self._request("PUT", path, json=body)

    def patch(self, path: str, body: Json, kind: Literal["merge", "apply"] = "merge") -> Json:
        """PATCH an object: a merge patch, or a forced server-side apply."""
        params = {"fieldManager": "devcluster", "force": "true"} if kind == "apply" else {}
        headers = {"Content-Type": _PATCH_TYPES[kind]}
        return self._request("PATCH", path, content=json.dumps(body), headers=headers, params=params)

    def delete(self, path: str, body: Json | None = None) -> Json:
        """DELETE an object."""
        return self._request("DELETE", path, json=body or {})

    def ready(self) -> bool:
        """Whether the API server says that it is ready."""
        try:
            return self._client.get("/readyz", timeout=2).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def watch(self, path: str, resource_version: str, seconds: int = 300) -> Iterator[Json]:
        """Events after ``resource_version``, for at most so many seconds."""
        params = {
            "watch": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
        timeout = httpx.Timeout(20, read=seconds + 20)
        with self._client.stream("GET", path, params=params, timeout=timeout) as response:
            if response.is_error:
                response.read()
                raise _error(response)
            # A file descriptor of its own: closing a socket does not wake a thread that reads from it.
            connection = response.extensions["network_stream"].get_extra_info("socket")
            with socket.fromfd(connection.fileno(), connection.family, connection.type) as watching:
                self._watches.add(watching)
                if self._ended:
                    watching.shutdown(socket.SHUT_RDWR)
                try:
                    for line in response.iter_lines():
                        yield _event(line)
                finally:
                    self._watches.discard(watching)

    def _request(self, method: str, path: str, **options: Any) -> Json:
        response = self._client.request(method, path, **options)
        if response.is_error:
            raise _error(response)
        body: Json = response.json()
        return body


def _event(line: str) -> Json:
    event: Json = json.loads(line)
    if event["type"] == "ERROR":
        status = event["object"]
        raise ApiError(status.get("code", 0), status.get("reason", ""), status.get("message", ""))
    return event


def _error(response: httpx.Response) -> ApiError:
    try:
        status = response.json()
    except ValueError:
        status = {}
    reason = status.get("reason") or response.reason_phrase
    return ApiError(response.status_code, reason, status.get("message") or response.text[:500])
