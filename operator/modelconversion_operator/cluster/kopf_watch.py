"""kopf's watch of the conversions, made to survive what the API server may say in it.

kopf ends the process when a watch says ERROR with any code but 410, when a line cannot be read, and when a
listing is refused; and it does not say what went while a watch was broken. It asks once which resources there
are, and waits for ever when the CRD comes later. Its settings change none of that. So two of its functions
are replaced while the operator runs: the one that gives its events, and the one that looks for resources.
Requests, pages, login and time limits stay kopf's, and so does what is behind the events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Final

import aiohttp
from kopf._cogs.clients import errors as kopf_errors
from kopf._cogs.clients import fetching, scanning, watching
from kopf._cogs.structs.references import Resource

from modelconversion_api.base import API_VERSION, GROUP, KIND, PLURAL, VERSION
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.cluster.watch_state import WatchState
from modelconversion_operator.deciding.views import Body, Key
from modelconversion_operator.errors import (
    ApiError,
    UnavailableError,
    api_error,
    error_of_status,
    retry_after_seconds,
)

logger = logging.getLogger(__name__)

_AT_ONCE_SECONDS: Final = 1.0
"""A watch that ends sooner, and has said nothing, was not one."""
_NO_ANSWER: Final = "the answer is not one of an API server; is there a proxy in between?"
_TURNS: Final = 100
"""Turns of the event loop in which each of kopf's tasks has begun."""
_BETWEEN_WATCHES_SECONDS: Final = 0.2


class ConversionWatch:
    """Lists and watches conversions for kopf, for ever.

    Args:
        states: By namespace, or None for the whole cluster, where it is noted how the watch is doing.
        store: What is known; what it has and a listing has not is told as deleted.

    """

    def __init__(self, states: Mapping[str | None, WatchState], store: Store) -> None:
        self._states = states
        self._store = store

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let kopf take its events from here while the block runs."""
        replaced, level = (watching.infinite_watch, scanning.scan_resources), watching.logger.level
        watching.infinite_watch, scanning.scan_resources = self.follow, _resources
        watching.logger.setLevel(logging.CRITICAL)  # it would tell of each try; we tell once
        try:
            yield
        finally:
            watching.infinite_watch, scanning.scan_resources = replaced
            watching.logger.setLevel(level)

    def login_refused(self) -> None:
        """Note that the server did not accept the operator's credentials, which kopf now reads again."""
        error = UnavailableError(401, "the API server refused the operator's credentials")
        if not any(state.problem for state in self._states.values()):
            logger.warning("%s; they are read again until it takes them", error)
        for state in self._states.values():
            state.failed(error, "listed", tell=False)

    async def follow(self, *, settings: Any, resource: Any, namespace: Any, **_: Any) -> AsyncGenerator[Any]:
        """Give kopf's events: what there is, then what happens, and that again after whatever went wrong."""
        state = self._states[namespace]
        while True:
            known = ""
            try:
                async with aclosing(self._list(settings, resource, namespace, state)) as listing:
                    async for event in listing:
                        if isinstance(event, str):
                            known = event
                        else:
                            yield event
                yield watching.Bookmark.LISTED
                async with aclosing(_watch(settings, resource, namespace, state, known)) as news:
                    async for event in news:
                        if not self._is_echo(event):
                            yield event
            except Exception as error:  # whatever stands between us and the server may answer anything
                pause = state.failed(_told(error), "watched" if known else "listed")
            await asyncio.sleep(pause)

    def _is_echo(self, event: Body) -> bool:
        """Whether an event tells what is known: three of four tell what this operator has just written.

        kopf would start a task for each, before it asks whether anybody wants it.
        """
        meta = event["object"]["metadata"]
        return event["type"] != "DELETED" and not self._store.is_news(meta["uid"], meta["resourceVersion"])

    async def _list(
        self, settings: Any, resource: Any, namespace: Any, state: WatchState
    ) -> AsyncGenerator[Any]:
        """Give events for what there is, and for what is there no more; then the listing's version."""
        uids: set[str] = set()
        state.asked()
        version: Any = None
        async with aclosing(
            fetching.fetch_objs(  # type: ignore[type-var]  # it is an asynchronous generator
                settings=settings, resource=resource, namespace=namespace, logger=watching.logger
            )
        ) as pages:
            async for page, page_version in pages:
                version = page_version
                state.asked()
                if not (isinstance(version, str) and version.isdecimal()):
                    raise UnavailableError(0, _NO_ANSWER)
                for body in page or ():
                    if (uid := _uid(body)) is None:
                        continue
                    uids.add(uid)
                    if self._store.contradicts(uid, body["metadata"]["resourceVersion"], version):
                        state.contradicted(body["metadata"]["name"])
                        await asyncio.Event().wait()  # the process ends
                    yield {"type": None, "object": body}
        if not state.take_listing(version):
            await asyncio.Event().wait()
        for key in self._store.keys(namespace):
            if key.uid not in uids:
                yield _gone(key, version)
        yield version


async def _resources(**_: Any) -> Collection[Resource]:
    """Give kopf the resources that it may need to know, whether or not they are there already."""
    # kopf begins when it is told that these have come, which it has to wait for by then: a server answers
    # after its other tasks have started.
    for _turn in range(_TURNS):
        await asyncio.sleep(0)
    verbs = frozenset(("get", "list", "watch", "patch"))
    return {
        Resource(GROUP, VERSION, PLURAL, kind=KIND, singular=KIND.lower(), namespaced=True, verbs=verbs),
        # It waits to hear of these before it begins, although it is told to look at neither.
        Resource("", "v1", "namespaces", kind="Namespace", namespaced=False, verbs=verbs),
        Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False, verbs=verbs),
    }


async def _watch(
    settings: Any, resource: Any, namespace: Any, state: WatchState, version: str
) -> AsyncGenerator[Any]:
    """Give what happens after ``version``, for as long as the server can say it."""
    while True:
        state.asked()
        lines = watching.watch_objs(
            settings=settings,
            resource=resource,
            namespace=namespace,
            since=version,
            operator_pause_waiter=asyncio.Future(),
        )
        spoke = False
        async with aclosing(lines) as stream:  # type: ignore[type-var]  # it is an asynchronous generator
            async for line in stream:
                body = _object(line)
                spoke = True
                version = _version(body) or version
                state.heard(version)
                if line["type"] != "BOOKMARK":
                    yield line
        if not spoke and state.age_seconds() < _AT_ONCE_SECONDS:
            raise UnavailableError(0, "the watch ended at once")
        state.heard()
        await asyncio.sleep(_BETWEEN_WATCHES_SECONDS)


def _object(line: Any) -> Body:
    """Return the object of a watch's line.

    Raises:
        ApiError: The server says that something went wrong, or that it knows too little to go on.

    """
    kind, body = (line.get("type"), line.get("object")) if isinstance(line, dict) else (None, None)
    if kind == "ERROR" and isinstance(body, dict):
        raise error_of_status(body)
    known = kind in ("ADDED", "MODIFIED", "DELETED") and _uid(body) is not None
    if not isinstance(body, dict) or not (known or kind == "BOOKMARK"):
        raise UnavailableError(0, "a line of the watch is no event")
    return body


def _told(error: Exception) -> ApiError:
    """Return what went wrong as one of our own errors."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, kopf_errors.APIError):
        words = error.message or next((a for a in error.args if isinstance(a, str)), "no reason given")
        return api_error(error.status, words, retry_after_seconds(error.headers))
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError | OSError):
        return UnavailableError(0, f"{type(error).__name__}: {error}")
    logger.debug("an answer that cannot be read", exc_info=error)
    return UnavailableError(0, _NO_ANSWER)


def _uid(body: Any) -> str | None:
    """Return the UID of an object that has what each object of an API server has, else None."""
    meta = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(meta, dict):
        return None
    named = all(isinstance(meta.get(name), str) for name in ("uid", "name", "namespace"))
    return str(meta["uid"]) if named and str(meta.get("resourceVersion")).isdecimal() else None


def _version(body: Body) -> str | None:
    meta = body.get("metadata")
    version = meta.get("resourceVersion") if isinstance(meta, dict) else None
    return version if isinstance(version, str) and version.isdecimal() else None


def _gone(key: Key, version: str) -> Body:
    """Make the event of a deletion that no watch has told of."""
    meta = {"uid": key.uid, "name": key.name, "namespace": key.namespace, "resourceVersion": version}
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {**meta, "generation": 1}, "spec": {}}
    return {"type": "DELETED", "object": body}
