"""The client for programs without asyncio: drives the asynchronous one in a thread of its own.

In a thread, so that it works in a notebook too, where a loop runs already.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from modelconversion_api.spec import ProfileKind
from modelconversion_client.client import AsyncModelConversionClient, Spec
from modelconversion_client.resources import (
    Channel,
    Conversion,
    ConversionSet,
    Event,
    Pod,
    Profile,
    Trigger,
)

T = TypeVar("T")


class ModelConversionClient:
    """ModelConversions of a cluster, blocking. Use as a context manager, from one thread.

    Arguments, results and errors are those of
    :class:`~modelconversion_client.client.AsyncModelConversionClient`.
    """

    def __init__(
        self, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None
    ) -> None:
        self._client = AsyncModelConversionClient(kubeconfig=kubeconfig, context=context, namespace=namespace)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="model-conversion", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._run(self._client.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._run(self._client.__aexit__(kind, error, trace))
        finally:
            self._stop()

    @property
    def namespace(self) -> str:
        """The namespace that counts where none is named."""
        return self._client.namespace

    def create(
        self,
        name: str,
        spec: Spec,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        dry_run: bool = False,
    ) -> Conversion:
        """Create a conversion that is not there yet."""
        made = self._client.create(name, spec, namespace=namespace, labels=labels, dry_run=dry_run)
        return self._run(made)

    def apply(
        self,
        name: str,
        spec: Spec,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Conversion:
        """Create a conversion, or change the one of this name."""
        return self._run(self._client.apply(name, spec, namespace=namespace, labels=labels))

    def get(self, name: str, *, namespace: str | None = None) -> Conversion:
        """Read a conversion."""
        return self._run(self._client.get(name, namespace=namespace))

    def list(
        self,
        *,
        namespace: str | None = None,
        all_namespaces: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[Conversion]:
        """Read the conversions of a namespace or of all."""
        listing = self._client.list(namespace=namespace, all_namespaces=all_namespaces, labels=labels)
        return self._run(listing)

    def wait(
        self,
        name: str,
        *,
        namespace: str | None = None,
        timeout_seconds: float = 3600.0,
        on_progress: Callable[[Conversion], None] | None = None,
        interval_seconds: float = 1.0,
    ) -> Conversion:
        """Wait until a conversion has ended, whichever way. ``on_progress`` is called in another thread."""
        waiting = self._client.wait(
            name,
            namespace=namespace,
            timeout_seconds=timeout_seconds,
            on_progress=on_progress,
            interval_seconds=interval_seconds,
        )
        return self._run(waiting)

    def delete(self, name: str, *, namespace: str | None = None, foreground: bool = False) -> None:
        """Delete a conversion and its Jobs; what it has published stays."""
        self._run(self._client.delete(name, namespace=namespace, foreground=foreground))

    def retry(self, name: str, *, namespace: str | None = None) -> Conversion:
        """Make a failed conversion again from its own spec."""
        return self._run(self._client.retry(name, namespace=namespace))

    def get_set(self, name: str, *, namespace: str | None = None) -> ConversionSet:
        """Read a set."""
        return self._run(self._client.get_set(name, namespace=namespace))

    def list_sets(
        self, *, namespace: str | None = None, all_namespaces: bool = False
    ) -> Sequence[ConversionSet]:
        """Read the sets of a namespace or of all."""
        return self._run(self._client.list_sets(namespace=namespace, all_namespaces=all_namespaces))

    def members(self, set_name: str, *, namespace: str | None = None) -> Sequence[Conversion]:
        """Read the conversions of a set."""
        return self._run(self._client.members(set_name, namespace=namespace))

    def retry_set(self, name: str, *, namespace: str | None = None) -> ConversionSet:
        """Have a set's failed members made again, and no other."""
        return self._run(self._client.retry_set(name, namespace=namespace))

    def get_trigger(self, name: str, *, namespace: str | None = None) -> Trigger:
        """Read a trigger."""
        return self._run(self._client.get_trigger(name, namespace=namespace))

    def look(self, name: str, *, namespace: str | None = None) -> Trigger:
        """Have a trigger look at its source now."""
        return self._run(self._client.look(name, namespace=namespace))

    def get_channel(self, name: str, *, namespace: str | None = None) -> Channel:
        """Read a channel."""
        return self._run(self._client.get_channel(name, namespace=namespace))

    def release(self, name: str, sha256: str, *, namespace: str | None = None) -> Channel:
        """Have a channel's pointer name a file, in one's own name."""
        return self._run(self._client.release(name, sha256, namespace=namespace))

    def get_profile(
        self, name: str, *, kind: ProfileKind = ProfileKind.NAMESPACE, namespace: str | None = None
    ) -> Profile:
        """Read a profile of the namespace, or of the cluster."""
        return self._run(self._client.get_profile(name, kind=kind, namespace=namespace))

    def list_profiles(
        self,
        *,
        kind: ProfileKind = ProfileKind.NAMESPACE,
        namespace: str | None = None,
        all_namespaces: bool = False,
    ) -> Sequence[Profile]:
        """Read the profiles of a namespace, of all, or those of the cluster."""
        listing = self._client.list_profiles(kind=kind, namespace=namespace, all_namespaces=all_namespaces)
        return self._run(listing)

    def pods(self, conversion: Conversion) -> Sequence[Pod]:
        """Read the pods of a conversion's Jobs."""
        return self._run(self._client.pods(conversion))

    def events(self, conversion: Conversion, pods: Sequence[Pod] = ()) -> Sequence[Event]:
        """Read what was reported of a conversion, its Job and these pods of it."""
        return self._run(self._client.events(conversion, pods))

    def log(self, pod: Pod, container: str, *, lines: int = 20) -> Sequence[str]:
        """Read the last lines of a container's log, as they are: they may steer a terminal."""
        return self._run(self._client.log(pod, container, lines=lines))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C reaches this thread only
            future.cancel()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
