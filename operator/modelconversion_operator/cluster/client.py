"""The API server as this operator uses it: a handful of requests, with errors told apart.

The calls do not go through the client library's typed methods: those validate every object with pydantic on
the way in and out, which costs more CPU than everything else here. What the library knows is where the server
is and how to prove who asks.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from importlib.metadata import version
from typing import Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio import client, config
from pydantic_core import from_json, to_json

from modelconversion_api.base import API_VERSION, GROUP, KIND, PLURAL, VERSION
from modelconversion_api.fields.storage import CONVERSIONS_USER
from modelconversion_api.profiles import PROFILE_PLURALS, ResolvedProfile
from modelconversion_api.spec import ProfileKind, ProfileRef
from modelconversion_operator.clock import ServerClock
from modelconversion_operator.cluster.connections import Answer, Connections
from modelconversion_operator.deciding.policy import Grant
from modelconversion_operator.deciding.views import (
    MANAGED_BY,
    Body,
    ConversionView,
    JobView,
    Key,
    PodView,
)
from modelconversion_operator.errors import (
    ApiError,
    ConflictError,
    NotFoundError,
    RejectedError,
    SettingsError,
    UnavailableError,
    api_error,
    retry_after_seconds,
)

logger = logging.getLogger(__name__)

USER_AGENT: Final = f"{MANAGED_BY}/{version(MANAGED_BY)}"
"""What each request says of its sender: audit logs and the API server's flow control tell clients by it."""
_FIELD_MANAGER: Final = f"fieldManager={MANAGED_BY}"
"""Whose the fields are that a write sets. Without the version: each would stay as a manager of its own."""
_REQUEST_SECONDS: Final = 15.0
_MERGE_PATCH: Final = "application/merge-patch+json"
_WEBHOOK_IS_DOWN: Final = "failed calling webhook"
"""What the API server says when an admission webhook does not answer, with status 500."""
_DRY_RUN: Final = "dry-run"
"""Name of conversions that are never made."""


Permit = Callable[[], float]
Answered = Callable[[str, str, int], None]


def always() -> float:
    """Permit every write."""
    return _REQUEST_SECONDS


def _ignore(_verb: str, _resource: str, _status: int) -> None:
    """Count nothing."""


class Cluster:
    """Requests to the API server. Use as an asynchronous context manager.

    Args:
        kubeconfig: Path of a kubeconfig for use outside a pod; the one that KUBECONFIG names when not given.
        permit: Asked before each write; gives the seconds that it may take, or raises NotLeaderError.
        answered: Told of each request's verb, resource and HTTP status (0 without an answer).

    Attributes:
        clock: The API server's time of day.

    """

    def __init__(
        self, kubeconfig: str | None = None, *, permit: Permit = always, answered: Answered = _ignore
    ) -> None:
        self._kubeconfig = kubeconfig
        self._api: client.ApiClient | None = None
        self._connections: Connections | None = None
        self._permit = permit
        self._answered = answered
        self.clock = ServerClock()

    async def __aenter__(self) -> Cluster:
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            try:
                await config.load_kube_config(self._kubeconfig, client_configuration=configuration)
            except config.ConfigException as error:
                raise SettingsError(f"not in a pod, and KUBECONFIG cannot be used: {error}") from error
        # Told to trust the environment, aiohttp reads it and ~/.netrc before each request, in another thread.
        configuration.client_session_kwargs = {"trust_env": False}
        configuration.proxy = configuration.proxy or _proxy_from_environment(configuration.host)
        self._api = client.ApiClient(configuration)
        if not configuration.proxy:
            tls, name = self._api.rest_client.ssl_context, configuration.tls_server_name
            self._connections = Connections(configuration.host, tls, name)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._connections is not None:
            self._connections.close()
        if self._api is not None:
            await self._api.close()

    async def get_conversion(self, key: Key) -> ConversionView:
        """Read a ModelConversion."""
        return ConversionView.from_body(await self.request("GET", _conversion_path(key)))

    async def patch_status(
        self, key: Key, resource_version: str, changes: Mapping[str, Any]
    ) -> ConversionView:
        """Merge ``changes`` into the status, provided the object is still at ``resource_version``."""
        body = {"metadata": {"resourceVersion": resource_version}, "status": changes}
        return ConversionView.from_body(await self.request("PATCH", f"{_conversion_path(key)}/status", body))

    async def create_job(self, manifest: Body) -> JobView:
        """Create a Job; when it exists already, give that one.

        Raises:
            ConflictError: Neither: it went while this was asked, or a quota was changed at the same time.
            RejectedError: The server will not have it, or a webhook is down that is asked about Jobs.

        """
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        try:
            return JobView.from_body(await self.request("POST", _jobs_path(namespace), manifest))
        except ConflictError:
            job = await self.get_job(namespace, name)
            if job is None:
                raise
            return job
        except UnavailableError as error:
            if _WEBHOOK_IS_DOWN in error.message:
                # To everybody else the server is well: this is about Jobs, and the user should read of it.
                raise RejectedError(error.status, error.message) from error
            raise

    async def get_job(self, namespace: str, name: str) -> JobView | None:
        """Read a Job; None when there is none."""
        try:
            return JobView.from_body(await self.request("GET", f"{_jobs_path(namespace)}/{name}"))
        except NotFoundError:
            return None

    async def patch_job(self, job: JobView, changes: Body) -> JobView:
        """Merge ``changes`` into a Job, provided that it is still as it was seen."""
        same = {"uid": job.uid, "resourceVersion": job.resource_version}
        body = {**changes, "metadata": {**changes.get("metadata", {}), **same}}
        path = f"{_jobs_path(job.namespace)}/{job.name}"
        return JobView.from_body(await self.request("PATCH", path, body))

    async def delete_job(self, job: JobView, *, pods_first: bool = False) -> None:
        """Delete a Job and its pods; that it is gone already, or another one by now, is a success.

        With ``pods_first`` the Job is there until its pods are gone.
        """
        policy = "Foreground" if pods_first else "Background"
        body = {"propagationPolicy": policy, "preconditions": {"uid": job.uid}}
        try:
            await self.request("DELETE", f"{_jobs_path(job.namespace)}/{job.name}", body)
        except (NotFoundError, ConflictError):
            return

    async def list_pods(self, job: JobView) -> tuple[list[PodView], str]:
        """List the pods that a Job controls; gives them and the version of the listing."""
        selector = quote(f"batch.kubernetes.io/controller-uid={job.uid}")
        path = f"/api/v1/namespaces/{job.namespace}/pods?labelSelector={selector}"
        listing = await self.request("GET", path)
        pods = [PodView.from_body(body) for body in listing.get("items") or ()]
        return [pod for pod in pods if pod.job_uid == job.uid], str(listing["metadata"]["resourceVersion"])

    async def may_use(self, namespace: str, grant: Grant) -> bool:
        """Ask whether a Secret or claim has been released for conversions, without reading it.

        Raises:
            RejectedError: The operator may not ask.

        """
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "LocalSubjectAccessReview",
            "metadata": {"namespace": namespace},
            "spec": {
                "user": CONVERSIONS_USER,
                "resourceAttributes": {
                    "namespace": namespace,
                    "verb": grant.verb,
                    "version": "v1",
                    "resource": grant.resource,
                    "name": grant.name,
                },
            },
        }
        path = f"/apis/authorization.k8s.io/v1/namespaces/{namespace}/localsubjectaccessreviews"
        return bool((await self.request("POST", path, body)).get("status", {}).get("allowed"))

    async def get_profile(self, namespace: str, ref: ProfileRef) -> ResolvedProfile | None:
        """Read a profile; None when there is none.

        Raises:
            RejectedError: The operator may not read profiles there.

        """
        where = "" if ref.kind is ProfileKind.CLUSTER else f"namespaces/{namespace}/"
        path = f"/apis/{GROUP}/{VERSION}/{where}{PROFILE_PLURALS[ref.kind]}/{ref.name}"
        try:
            body = await self.request("GET", path)
        except NotFoundError:
            return None
        meta = body["metadata"]
        return ResolvedProfile(
            kind=ref.kind,
            name=ref.name,
            uid=meta["uid"],
            generation=meta["generation"],
            spec=body.get("spec") or {},
        )

    async def check_conversion(self, namespace: str, spec: Body) -> None:
        """Have the API server say whether it would take a conversion, without making one.

        Raises:
            RejectedError: It would not, and says why.

        """
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": _DRY_RUN}, "spec": spec}
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}?dryRun=All"
        with contextlib.suppress(ConflictError):  # one of that name: the rules were asked before
            await self.request("POST", path, body)

    async def create_event(self, key: Key, event: Mapping[str, Any], kind: str = KIND) -> None:
        """Write an event about a ModelConversion, or an object of another kind of ours."""
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            # kubectl orders events of one second as the server lists them: by name.
            "metadata": {"name": f"{key.name}.{time.time_ns():x}", "namespace": key.namespace},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": kind,
                "name": key.name,
                "namespace": key.namespace,
                "uid": key.uid,
            },
            "source": {"component": MANAGED_BY},
            "reportingComponent": MANAGED_BY,
            **event,
        }
        await self.request("POST", f"/api/v1/namespaces/{key.namespace}/events", body)

    def lease(self, namespace: str, name: str) -> LeaseRequests:
        """Give the requests of an election about this Lease."""
        return LeaseRequests(self, namespace, name)

    async def request(
        self, method: str, path: str, body: Body | None = None, seconds: float | None = None
    ) -> Body:
        """Send one request.

        Args:
            method: GET, POST, PATCH (a merge patch) or DELETE.
            path: Path and query.
            body: What to send.
            seconds: How long it may take. Without it, a write must be permitted, and ends in time.

        Raises:
            ApiError: The server answered with an error, or not in time.

        """
        if seconds is None:
            seconds = _REQUEST_SECONDS if method == "GET" else min(_REQUEST_SECONDS, self._permit())
        target = path
        if method in ("POST", "PATCH"):
            target += ("&" if "?" in path else "?") + _FIELD_MANAGER
        try:
            answer = await self._ask(method, target, body, seconds)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            self._answered(method, resource_of(path), 0)
            raise UnavailableError(0, f"{method} {path}: {type(error).__name__}: {error}") from error
        self._answered(method, resource_of(path), answer.status)
        self.clock.heard(answer.headers.get("date"))
        if answer.status >= 400:
            raise _refusal(answer)
        parsed = _parsed(answer.data)
        if parsed is None:  # a proxy's page, or half an answer
            words = f"{method} {path}: the answer is no object: {answer.data[:200].decode(errors='replace')}"
            raise UnavailableError(0, words)
        return parsed

    async def watch(self, path: str, silence_seconds: float) -> AsyncGenerator[bytes]:
        """Give the lines of a watch until the server ends it, or says nothing for too long.

        Raises:
            ApiError: The watch was refused, or broke.

        """
        timeout = aiohttp.ClientTimeout(sock_connect=_REQUEST_SECONDS, sock_read=silence_seconds)
        response = None
        try:
            response = await self._send("GET", path, None, timeout)
            if response.status >= 400:
                raise _refusal(await _whole(response))
            rest = b""
            async for chunk in response.response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in filter(None, lines):
                    yield line
        except TimeoutError:
            logger.info("%s: silent for %.0f s", path.partition("?")[0], silence_seconds)
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(0, f"watch of {path}: {type(error).__name__}: {error}") from error
        finally:
            if response is not None:
                response.response.close()

    async def _ask(self, method: str, path: str, body: Body | None, seconds: float) -> Answer:
        """Send a request and read the whole answer."""
        if self._connections is None:
            return await _whole(await self._send(method, path, body, seconds))
        headers = await self._headers(method)
        data = None if body is None else to_json(body)
        return await self._connections.request(method, path, headers, data, seconds)

    async def _send(
        self, method: str, path: str, body: Body | None, patience: float | aiohttp.ClientTimeout
    ) -> Any:
        """Send a request by aiohttp; gives its response, of which nothing but the head has been read."""
        api, headers = self._transport, await self._headers(method)
        return await api.rest_client.request(
            method, api.configuration.host + path, headers=headers, body=body, _request_timeout=patience
        )

    async def _headers(self, method: str) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            "Content-Type": _MERGE_PATCH if method == "PATCH" else "application/json",
        }
        await self._transport.update_params_for_auth(headers, [], ["BearerToken"], "", method, None)
        return headers

    @property
    def _transport(self) -> client.ApiClient:
        api = self._api
        assert api is not None, "use Cluster as a context manager"  # noqa: S101 - a bug, not bad input
        return api


class LeaseRequests:
    """An election's requests. They need no permit: they are how one is got."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def get_lease(self, seconds: float) -> Body:
        """Read the lease."""
        return await self._cluster.request("GET", f"{self._folder}/{self._name}", seconds=seconds)

    async def create_lease(self, spec: Body, seconds: float) -> Body:
        """Create the lease."""
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": spec,
        }
        return await self._cluster.request("POST", self._folder, body, seconds)

    async def patch_lease(self, resource_version: str, spec: Body, seconds: float) -> Body:
        """Change the lease, provided that it is still at ``resource_version``."""
        body = {"metadata": {"resourceVersion": resource_version}, "spec": spec}
        return await self._cluster.request("PATCH", f"{self._folder}/{self._name}", body, seconds)


def _proxy_from_environment(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY name for a server."""
    server = urlsplit(url)
    return None if proxy_bypass(server.netloc) else getproxies().get(server.scheme)


def resource_of(path: str) -> str:
    """Resource and subresource that a path is about, e.g. modelconversions/status."""
    parts = path.partition("?")[0].split("/")
    if "namespaces" not in parts:
        return parts[-1]
    resource = parts[parts.index("namespaces") + 2 :]
    return "/".join((resource[0], *resource[2:3]))


def _parsed(data: bytes) -> Body | None:
    """Read an answer; None where it is no JSON object."""
    try:
        value = from_json(data)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


async def _whole(response: Any) -> Answer:
    """Read a response of aiohttp to its end."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, response.reason or "", headers, await response.read())


def _refusal(answer: Answer) -> ApiError:
    """Make the exception that fits an answer of 400 and more."""
    parsed = _parsed(answer.data)
    said = answer.data[:200].decode(errors="replace") if parsed is None else parsed.get("message")
    return api_error(answer.status, str(said or answer.reason), retry_after_seconds(answer.headers))


def _conversion_path(key: Key) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{key.namespace}/{PLURAL}/{key.name}"


def _jobs_path(namespace: str) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/jobs"
