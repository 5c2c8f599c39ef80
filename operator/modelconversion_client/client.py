"""The asynchronous client. :mod:`modelconversion_client.blocking` has the same without ``await``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

from modelconversion_api.base import API_VERSION, KIND, PLURAL
from modelconversion_api.channels import CHANNEL_KIND, CHANNEL_PLURAL
from modelconversion_api.profiles import PROFILE_PLURALS
from modelconversion_api.sets import SET_PLURAL
from modelconversion_api.spec import ModelConversionSpec, ProfileKind
from modelconversion_api.status import RUN_AGAIN_ANNOTATION, Phase
from modelconversion_api.triggers import LOOK_NOW_ANNOTATION, TRIGGER_KIND, TRIGGER_PLURAL
from modelconversion_client.errors import (
    ConflictError,
    NotFoundError,
    NotRetryableError,
    ServerError,
    UnreachableError,
    WaitTimeoutError,
)
from modelconversion_client.resources import (
    RETRY_ANNOTATION,
    SET_LABEL,
    UID_LABEL,
    Channel,
    Conversion,
    ConversionSet,
    Event,
    Pod,
    Profile,
    Trigger,
)
from modelconversion_client.server import Server, part, selector

Spec = ModelConversionSpec | Mapping[str, Any]
"""A spec of the contract, or the same as it stands in YAML."""
DELETE_SECONDS: Final = 120.0
"""How long an object's deletion with all that belongs to it is waited for."""


class AsyncModelConversionClient:
    """ModelConversions of a cluster. Use as an asynchronous context manager.

    Where a method takes ``namespace``, the client's own counts unless it is given. Every method may raise any
    :class:`~modelconversion_client.errors.ConversionClientError`.

    Args:
        kubeconfig: Path of a kubeconfig; ``KUBECONFIG``, ``~/.kube/config`` or the pod's service account when
            not given, as with kubectl.
        context: A context of it; the current one when not given.
        namespace: Instead of the context's.

    """

    def __init__(
        self, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
    ) -> None:
        self._server = Server(kubeconfig, context, namespace)

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.__aexit__(kind, error, trace)

    @property
    def namespace(self) -> str:
        """The namespace that counts where none is named."""
        return self._server.namespace

    async def create(
        self,
        name: str,
        spec: Spec,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> Conversion:
        """Create a conversion that is not there yet; ``dry_run`` only asks the server whether it would.

        Raises:
            ConflictError: There is one of this name.
            RefusedError: The spec breaks a rule; the cause has the server's words.

        """
        body = _manifest(name, namespace or self.namespace, spec, labels or {})
        return await self._create(body, dry_run=dry_run)

    async def apply(
        self,
        name: str,
        spec: Spec,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Conversion:
        """Create a conversion, or change the one of this name, by server-side apply.

        Raises:
            RefusedError: The spec breaks a rule, or changes what cannot change while the conversion runs.
            ConflictError: Somebody else has set a field to something else.

        """
        namespace = namespace or self.namespace
        body = _manifest(name, namespace, spec, labels or {})
        what = f"apply {KIND} {name} in namespace {namespace}"
        return Conversion.of(
            await self._server.read("APPLY", _path(PLURAL, namespace, name), what, body=body)
        )

    async def get(self, name: str, *, namespace: str | None = None) -> Conversion:
        """Read a conversion.

        Raises:
            NotFoundError: There is none of this name.

        """
        return Conversion.of(await self._get(PLURAL, KIND, name, namespace or self.namespace))

    async def list(
        self,
        *,
        namespace: str | None = None,
        all_namespaces: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[Conversion]:
        """Read the conversions of a namespace or of all, by namespace and name."""
        where = None if all_namespaces else namespace or self.namespace
        bodies = await self._list(PLURAL, where, {"labelSelector": selector(labels or {})})
        return [Conversion.of(body) for body in bodies]

    async def wait(
        self,
        name: str,
        *,
        namespace: str | None = None,
        timeout_seconds: float = 3600.0,
        on_progress: Callable[[Conversion], None] | None = None,
        interval_seconds: float = 1.0,
    ) -> Conversion:
        """Wait until a conversion has ended, whichever way.

        An API server that is away meanwhile is asked again until the time is up.

        Args:
            name: The conversion.
            namespace: Its namespace.
            timeout_seconds: How long to wait.
            on_progress: Called with the conversion at first, and whenever it has changed.
            interval_seconds: Seconds between two looks.

        Raises:
            WaitTimeoutError: It has not ended in time; the cause says how things stand.
            NotFoundError: There is none of this name, or no more.

        """
        end = time.monotonic() + timeout_seconds
        last: Conversion | None = None
        while True:
            try:
                found = await self.get(name, namespace=namespace)
            except (UnreachableError, ServerError):
                if last is None or time.monotonic() >= end:
                    raise
                await asyncio.sleep(interval_seconds)
                continue
            if on_progress is not None and found != last:
                on_progress(found)
            last = found
            if found.has_ended:
                return found
            if time.monotonic() >= end:
                raise _too_late(found, timeout_seconds)
            await asyncio.sleep(interval_seconds)

    async def delete(self, name: str, *, namespace: str | None = None, foreground: bool = False) -> None:
        """Delete a conversion and its Jobs; what it has published stays.

        Args:
            name: The conversion.
            namespace: Its namespace.
            foreground: Wait until it is gone, with its Jobs and pods.

        Raises:
            NotFoundError: There is none of this name.
            WaitTimeoutError: It is still there after two minutes.

        """
        namespace = namespace or self.namespace
        found = await self.get(name, namespace=namespace)
        await self._delete(found)
        if foreground:
            await self._gone(found)

    async def retry(self, name: str, *, namespace: str | None = None) -> Conversion:
        """Run a failed conversion once more, by its annotation edgeml.dev/run-again; gives it as it is then.

        Raises:
            NotRetryableError: It has not failed, or it is a set's: see :meth:`retry_set`.
            ConflictError: Somebody has made another one of this name meanwhile.

        """
        namespace = namespace or self.namespace
        found = await self.get(name, namespace=namespace)
        _check_retry(found)
        # With its UID: what somebody made in the meantime under the same name is not meant.
        body = {"metadata": {"uid": found.meta.uid, "annotations": {RUN_AGAIN_ANNOTATION: _stamp()}}}
        what = f"annotate {KIND} {name} in namespace {namespace}"
        return Conversion.of(
            await self._server.read("PATCH", _path(PLURAL, namespace, name), what, body=body)
        )

    async def get_set(self, name: str, *, namespace: str | None = None) -> ConversionSet:
        """Read a set."""
        body = await self._get(SET_PLURAL, "ModelConversionSet", name, namespace or self.namespace)
        return ConversionSet.of(body)

    async def list_sets(
        self, *, namespace: str | None = None, all_namespaces: bool = False
    ) -> Sequence[ConversionSet]:
        """Read the sets of a namespace or of all."""
        bodies = await self._list(SET_PLURAL, None if all_namespaces else namespace or self.namespace)
        return [ConversionSet.of(body) for body in bodies]

    async def members(self, set_name: str, *, namespace: str | None = None) -> Sequence[Conversion]:
        """Read the conversions of a set."""
        return await self.list(namespace=namespace, labels={SET_LABEL: set_name})

    async def retry_set(self, name: str, *, namespace: str | None = None) -> ConversionSet:
        """Have a set's failed members made again, and no other, by its annotation."""
        namespace = namespace or self.namespace
        body = {"metadata": {"annotations": {RETRY_ANNOTATION: _stamp()}}}
        what = f"annotate ModelConversionSet {name} in namespace {namespace}"
        path = _path(SET_PLURAL, namespace, name)
        return ConversionSet.of(await self._server.read("PATCH", path, what, body=body))

    async def get_trigger(self, name: str, *, namespace: str | None = None) -> Trigger:
        """Read a trigger."""
        return Trigger.of(await self._get(TRIGGER_PLURAL, TRIGGER_KIND, name, namespace or self.namespace))

    async def look(self, name: str, *, namespace: str | None = None) -> Trigger:
        """Have a trigger look at its source now, by its annotation; gives it as it is then."""
        namespace = namespace or self.namespace
        body = {"metadata": {"annotations": {LOOK_NOW_ANNOTATION: _stamp()}}}
        what = f"annotate {TRIGGER_KIND} {name} in namespace {namespace}"
        path = _path(TRIGGER_PLURAL, namespace, name)
        return Trigger.of(await self._server.read("PATCH", path, what, body=body))

    async def get_channel(self, name: str, *, namespace: str | None = None) -> Channel:
        """Read a channel."""
        return Channel.of(await self._get(CHANNEL_PLURAL, CHANNEL_KIND, name, namespace or self.namespace))

    async def release(self, name: str, sha256: str, *, namespace: str | None = None) -> Channel:
        """Have a channel's pointer name a file, in one's own name; gives the channel as it is then.

        Args:
            name: The channel.
            sha256: Digest of one of its candidates or releases.
            namespace: Instead of the client's own.

        """
        namespace = namespace or self.namespace
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        answer = await self._server.read("POST", path, "ask who this is", body=review)
        own_name = str(answer["status"]["userInfo"]["username"])
        body = {"spec": {"release": {"sha256": sha256, "approvedBy": own_name}}}
        what = f"release a file on {CHANNEL_KIND} {name} in namespace {namespace}"
        path = _path(CHANNEL_PLURAL, namespace, name)
        return Channel.of(await self._server.read("PATCH", path, what, body=body))

    async def get_profile(
        self, name: str, *, kind: ProfileKind = ProfileKind.NAMESPACE, namespace: str | None = None
    ) -> Profile:
        """Read a profile of the namespace, or of the cluster."""
        where = None if kind is ProfileKind.CLUSTER else namespace or self.namespace
        return Profile.of(await self._get(PROFILE_PLURALS[kind], kind, name, where), kind)

    async def list_profiles(
        self,
        *,
        kind: ProfileKind = ProfileKind.NAMESPACE,
        namespace: str | None = None,
        all_namespaces: bool = False,
    ) -> Sequence[Profile]:
        """Read the profiles of a namespace, of all, or those of the cluster."""
        everywhere = all_namespaces or kind is ProfileKind.CLUSTER
        bodies = await self._list(PROFILE_PLURALS[kind], None if everywhere else namespace or self.namespace)
        return [Profile.of(body, kind) for body in bodies]

    async def pods(self, conversion: Conversion) -> Sequence[Pod]:
        """Read the pods of a conversion's Jobs, the oldest first; a Job's go with it."""
        path = f"/api/v1/namespaces/{part(conversion.meta.namespace)}/pods"
        labels = selector({UID_LABEL: conversion.meta.uid})
        bodies = await self._server.items(path, f"list pods of {conversion.name}", {"labelSelector": labels})
        return sorted(map(Pod.of, bodies), key=lambda pod: (str(pod.meta.created), pod.meta.name))

    async def events(self, conversion: Conversion, pods: Sequence[Pod] = ()) -> Sequence[Event]:
        """Read what was reported of a conversion, its Job and these pods of it, the oldest first.

        The API server forgets events, by default after an hour.
        """
        uids = [conversion.meta.uid, conversion.status.job_uid, *(pod.meta.uid for pod in pods)]
        path = f"/api/v1/namespaces/{part(conversion.meta.namespace)}/events"
        what = f"list events of {conversion.name}"
        bodies = [
            body
            for uid in filter(None, uids)
            for body in await self._server.items(path, what, {"fieldSelector": f"involvedObject.uid={uid}"})
        ]
        return sorted(map(Event.of, bodies), key=lambda event: str(event.time))

    async def log(self, pod: Pod, container: str, *, lines: int = 20) -> Sequence[str]:
        """Read the last lines of a container's log, as they are: they may steer a terminal."""
        path = f"/api/v1/namespaces/{part(pod.meta.namespace)}/pods/{part(pod.meta.name)}/log"
        what = f"read the log of {pod.meta.name}, container {container}"
        query = {"container": container, "tailLines": str(lines)}
        return (
            (await self._server.read_bytes("GET", path, what, query=query))
            .decode(errors="replace")
            .splitlines()
        )

    async def _get(self, plural: str, kind: str, name: str, namespace: str | None) -> dict[str, Any]:
        where = "" if namespace is None else f" in namespace {namespace}"
        return await self._server.read("GET", _path(plural, namespace, name), f"get {kind} {name}{where}")

    async def _list(
        self, plural: str, namespace: str | None, query: Mapping[str, str] | None = None
    ) -> Sequence[dict[str, Any]]:
        where = "" if namespace is None else f" in namespace {namespace}"
        return await self._server.items(_path(plural, namespace), f"list {plural}{where}", query)

    async def _create(self, body: dict[str, Any], *, dry_run: bool) -> Conversion:
        meta = body["metadata"]
        what = f"create {KIND} {meta['name']} in namespace {meta['namespace']}"
        query = {"dryRun": "All" if dry_run else ""}
        path = _path(PLURAL, meta["namespace"])
        return Conversion.of(await self._server.read("POST", path, what, body=body, query=query))

    async def _delete(self, found: Conversion) -> None:
        meta = found.meta
        # With its UID: what somebody made in the meantime under the same name is not meant.
        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": meta.uid}}
        what = f"delete {KIND} {meta.name} in namespace {meta.namespace}"
        await self._server.read("DELETE", _path(PLURAL, meta.namespace, meta.name), what, body=body)

    async def _gone(self, found: Conversion) -> None:
        end = time.monotonic() + DELETE_SECONDS
        while time.monotonic() < end:
            try:
                now = await self.get(found.name, namespace=found.meta.namespace)
            except NotFoundError:
                return
            if now.meta.uid != found.meta.uid:
                step = "look at it: somebody made it anew just now"
                raise ConflictError(f"there is another {KIND} {found.name} already", step)
            await asyncio.sleep(0.2)
        raise WaitTimeoutError(
            f"{found.name} is not gone after {DELETE_SECONDS:.0f} s",
            f"see what holds it: `kubectl get mconv {found.name} -o jsonpath={{.metadata.finalizers}}`",
        )


def _stamp() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _path(plural: str, namespace: str | None, name: str = "") -> str:
    where = "" if namespace is None else f"/namespaces/{part(namespace)}"
    return f"/apis/{API_VERSION}{where}/{plural}{'/' if name else ''}{part(name)}"


def _manifest(name: str, namespace: str, spec: Spec, labels: Mapping[str, str]) -> dict[str, Any]:
    wire = spec.to_wire() if isinstance(spec, ModelConversionSpec) else dict(spec)
    meta: dict[str, Any] = {"name": name, "namespace": namespace}
    if labels:
        meta["labels"] = dict(labels)
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": meta, "spec": wire}


def _check_retry(found: Conversion) -> None:
    if found.owner_set is not None:
        raise NotRetryableError(
            f"{found.name} is a member of the set {found.owner_set}, which makes its members itself",
            f"retry the set's failed members: `kubectl mconv retry --set {found.owner_set} -n"
            f" {found.meta.namespace}` (its annotation {RETRY_ANNOTATION})",
        )
    if found.phase is not Phase.FAILED:
        raise NotRetryableError(
            f"{found.name} is {found.phase}, and only what has failed is run again",
            f"wait for its end, or run it again: `kubectl annotate --overwrite mconv {found.name}"
            f" {RUN_AGAIN_ANNOTATION}=$(date +%s)`",
        )


def _too_late(found: Conversion, seconds: float) -> WaitTimeoutError:
    condition = found.condition
    words = (
        "the operator has not seen it yet"
        if condition is None
        else f"{condition.reason}: {condition.message}"
    )
    return WaitTimeoutError(
        f"{found.name} has not ended after {seconds:.0f} s; it is {found.phase} ({words})",
        f"wait longer, or ask what it waits for: `kubectl mconv why {found.name} -n {found.meta.namespace}`",
    )
