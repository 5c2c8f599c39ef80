"""The API server as this operator uses it: a handful of requests, with errors told apart.

The calls go through the client library's transport, not its typed methods: those validate every object with
pydantic on the way in and out, which costs more CPU than everything else here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config

from modelconversion_api.base import API_VERSION, GROUP, KIND, PLURAL, VERSION

from .errors import ConflictError, NotFoundError, SettingsError, UnavailableError, api_error
from .manifest import MANAGED_BY
from .views import Body, Key

_REQUEST_SECONDS: Final = 15.0
_MERGE_PATCH: Final = "application/merge-patch+json"


class Cluster:
    """Requests to the API server. Use as an asynchronous context manager.

    Args:
        kubeconfig: Path of a kubeconfig for use outside a pod; the one that KUBECONFIG names when not given.

    """

    def __init__(self, kubeconfig: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        self._api: client.ApiClient | None = None

    async def __aenter__(self) -> Cluster:
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            try:
                await config.load_kube_config(self._kubeconfig, client_configuration=configuration)
            except config.ConfigException as error:
                raise SettingsError(f"not in a pod, and KUBECONFIG cannot be used: {error}") from error
        self._api = client.ApiClient(configuration)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._api is not None:
            await self._api.close()

    async def get_conversion(self, key: Key) -> Body:
        """Read a ModelConversion."""
        return await self._request("GET", _conversion_path(key))

    async def patch_status(self, key: Key, resource_version: str, changes: Mapping[str, Any]) -> Body:
        """Merge ``changes`` into the status, provided the object is still at ``resource_version``."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": changes}
        return await self._request("PATCH", f"{_conversion_path(key)}/status", body)

    async def create_job(self, manifest: Body) -> Body:
        """Create a Job; when it exists already, give that one."""
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            return await self._request("POST", _jobs_path(namespace), manifest)
        except ConflictError:
            return await self._request("GET", f"{_jobs_path(namespace)}/{name}")

    async def get_job(self, namespace: str, name: str) -> Body | None:
        """Read a Job; None when there is none."""
        try:
            return await self._request("GET", f"{_jobs_path(namespace)}/{name}")
        except NotFoundError:
            return None

    async def patch_job(self, namespace: str, name: str, changes: Body) -> Body:
        """Merge ``changes`` into a Job."""
        return await self._request("PATCH", f"{_jobs_path(namespace)}/{name}", changes)

    async def delete_job(self, namespace: str, name: str) -> None:
        """Delete a Job and its pods; that it is gone already is a success."""
        try:
            await self._request(
                "DELETE", f"{_jobs_path(namespace)}/{name}", {"propagationPolicy": "Background"}
            )
        except NotFoundError:
            return

    async def list_pods(self, namespace: str, job_name: str) -> list[Body]:
        """List the pods of a Job."""
        path = f"/api/v1/namespaces/{namespace}/pods?labelSelector=batch.kubernetes.io/job-name%3D{job_name}"
        items: list[Body] = (await self._request("GET", path))["items"]
        return items

    async def create_event(self, key: Key, event: Mapping[str, Any]) -> None:
        """Write an event about a ModelConversion."""
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{key.name}.", "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.uid,
            },
            "source": {"component": MANAGED_BY},
            "reportingComponent": MANAGED_BY,
            **event,
        }
        await self._request("POST", f"/api/v1/namespaces/{key.namespace}/events", body)

    async def _request(self, method: str, path: str, body: Body | None = None) -> Body:
        api = self._api
        assert api is not None, "use Cluster as a context manager"  # noqa: S101 - a bug, not bad input
        headers = {
            "Accept": "application/json",
            "Content-Type": _MERGE_PATCH if method == "PATCH" else "application/json",
        }
        await api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = api.configuration.host + path
        try:
            response = await api.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=_REQUEST_SECONDS
            )
            data = await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise UnavailableError(0, f"{method} {path}: {type(error).__name__}: {error}") from error
        parsed = _parsed(data)
        if response.status >= 400:
            raise api_error(response.status, str(parsed.get("message") or response.reason))
        return parsed


def _parsed(data: bytes) -> Body:
    try:
        value = json.loads(data)
    except ValueError:
        return {"message": data[:200].decode(errors="replace")}
    return value if isinstance(value, dict) else {}


def _conversion_path(key: Key) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{key.namespace}/{PLURAL}/{key.name}"


def _jobs_path(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"
