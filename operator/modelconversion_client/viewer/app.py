"""The server: which page a request gets, and what holds for every answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, Protocol

from aiohttp import web

from modelconversion_api.base import KIND
from modelconversion_api.markup import tag
from modelconversion_api.sets import SET_KIND
from modelconversion_api.triggers import TRIGGER_KIND
from modelconversion_client.errors import ConversionClientError, NotFoundError, RefusedError
from modelconversion_client.resources import Conversion, ConversionSet, Trigger
from modelconversion_client.viewer.asking import Asker, Body
from modelconversion_client.viewer.choosing import ROWS, Choice, Order, chosen
from modelconversion_client.viewer.comparison_page import comparison_page
from modelconversion_client.viewer.conversion_page import conversion_page
from modelconversion_client.viewer.group_pages import set_page, trigger_page
from modelconversion_client.viewer.layout import style_sheet
from modelconversion_client.viewer.list_page import MOST_COMPARED, list_page
from modelconversion_client.viewer.listing import (
    CONVERSIONS,
    JSON,
    SETS,
    TRIGGERS,
    Kind,
    Listing,
    all_of,
    page_of,
    path_of,
)
from modelconversion_client.viewer.problem_page import error_page, problem_page, status_of
from modelconversion_client.viewer.report_page import REPORT_POLICY, harmless, report_page

logger = logging.getLogger(__name__)

_SECONDS: Final = 60.0
"""How long an answer may take."""
_MOST_AT_A_TIME: Final = 64
"""Requests that are worked on; more are told to come later."""
_LISTS_AT_A_TIME: Final = 4
"""Lists that are read; more wait. Each takes as much memory as its largest page."""
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src data:; frame-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Server": "model-conversion-viewer",
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "X-DNS-Prefetch-Control": "off",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        # What one person may see, no cache keeps for another.
        "Cache-Control": "no-store",
    }
)
_PROBES: Final = frozenset({"/healthz", "/readyz"})
_PARTS: Final = 2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Reports(Protocol):
    """Fetches reports with the credentials of the person who looks."""

    def where(self, found: Conversion) -> str | None:
        """Return the store that a report would be fetched from; None where it cannot be."""

    async def read(self, found: Conversion) -> bytes:
        """Return a report.

        Raises:
            ConversionClientError: It cannot be read, or is too large.

        """


class Viewer:
    """Answers requests.

    Args:
        connect: Gives what asks the API server for whoever sent a request; an UnauthorizedError where that is
            nobody.
        default_namespace: The namespace that counts where a request names none; empty for all.
        reports: Fetches reports; None where nobody's credentials for the store are here.

    """

    def __init__(
        self,
        connect: Callable[[web.Request], Asker],
        default_namespace: str = "",
        reports: Reports | None = None,
    ) -> None:
        self._connect, self._default, self._reports = connect, default_namespace, reports
        self._under_way = 0
        self._lists = asyncio.Semaphore(_LISTS_AT_A_TIME)

    def application(self) -> web.Application:
        """Return the application; it has no path that takes anything but GET and HEAD."""
        app = web.Application(middlewares=[self._guarded], client_max_size=1)
        pages: dict[str, Handler] = {
            "/": self._list,
            "/conversion": self._conversion,
            "/set": self._set,
            "/trigger": self._trigger,
            "/compare": self._compare,
            "/report": self._report,
            "/report.html": self._report_itself,
            "/style.css": _style,
            "/healthz": _well,
            "/readyz": _well,
        }
        for path, handler in pages.items():
            app.router.add_get(path, handler)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Bound what is under way, and turn whatever goes wrong into a page."""
        if self._under_way >= _MOST_AT_A_TIME and request.path not in _PROBES:
            words = "Too many people look at a time: try again in a moment."
            answer = _page(problem_page("Busy", tag("p", words)), 503)
            answer.headers["Retry-After"] = "5"
            return _with_headers(answer)
        self._under_way += 1
        try:
            return _with_headers(await self._answered(request, handler))
        finally:
            self._under_way -= 1

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        namespace = request.query.get("namespace", "")[:253]
        try:
            async with asyncio.timeout(_SECONDS):
                return await handler(request)
        except ConversionClientError as error:
            status, _ = status_of(error)
            if status >= 500:
                logger.warning("%s: %s", request.path, error.cause)
            answer = _page(error_page(error, namespace), status)
            if status == 401:
                answer.headers["WWW-Authenticate"] = "Bearer"
            return answer
        except web.HTTPException as error:
            answer = _page(problem_page(error.reason, namespace=namespace), error.status)
            answer.headers.update({k: v for k, v in error.headers.items() if k in ("Allow", "Location")})
            return answer
        except TimeoutError:
            words = f"It was not there after {_SECONDS:.0f} s. Name a namespace, or look by name."
            return _page(problem_page("This takes too long", tag("p", words), namespace=namespace), 504)
        except Exception:
            logger.exception("%s: this is a bug", request.path)
            words = "This is a bug: please report it with the log of this page's process."
            return _page(problem_page("This went wrong", tag("p", words), namespace=namespace), 500)

    async def _list(self, request: web.Request) -> web.Response:
        asker, choice = self._connect(request), Choice.of(request.query, self._default)
        async with self._lists:
            found, choice = await _listed(asker, choice)
        return _page(list_page(found, choice, _now()))

    async def _conversion(self, request: web.Request) -> web.Response:
        found = Conversion.of(await self._object(request, CONVERSIONS, KIND))
        where = None if self._reports is None else self._reports.where(found)
        refresh = request.query.get("refresh") == "1"
        return _page(conversion_page(found, _now(), where, refresh=refresh))

    async def _set(self, request: web.Request) -> web.Response:
        return _page(set_page(ConversionSet.of(await self._object(request, SETS, SET_KIND)), _now()))

    async def _trigger(self, request: web.Request) -> web.Response:
        found = Trigger.of(await self._object(request, TRIGGERS, TRIGGER_KIND))
        async with self._lists:
            listing = await all_of(self._connect(request), CONVERSIONS, found.meta.namespace)
        # Its own are those that it controls: anybody can write a label.
        own = [row for row in listing.rows if row.owner == found.meta.uid]
        made = chosen(own, Choice(order=Order.NEWEST))[:ROWS]
        return _page(trigger_page(found, made, _now()))

    async def _compare(self, request: web.Request) -> web.Response:
        named = [name.split("/") for name in dict.fromkeys(request.query.getall("c", []))]
        whole = [(one[0], one[1]) for one in named if len(one) == _PARTS and all(one)]
        if not 1 < len(whole) <= MOST_COMPARED or len(whole) < len(named):
            raise RefusedError(
                f"{len(whole)} conversions cannot be compared", f"tick 2 to {MOST_COMPARED} in a list"
            )
        asker = self._connect(request)
        bodies = await asyncio.gather(*(_read(asker, CONVERSIONS, KIND, *one) for one in whole))
        return _page(comparison_page([Conversion.of(body) for body in bodies], _now()))

    async def _report(self, request: web.Request) -> web.Response:
        found, _ = await self._reported(request)
        return _page(report_page(found))

    async def _report_itself(self, request: web.Request) -> web.StreamResponse:
        """Give the report, which is a stranger's page, to the frame that it belongs into."""
        if request.headers.get("Sec-Fetch-Dest", "iframe") != "iframe":
            query = request.rel_url.raw_query_string
            raise web.HTTPFound(f"report?{query}")
        found, reports = await self._reported(request)
        answer = web.Response(
            body=harmless(await reports.read(found)), content_type="text/html", charset="utf-8"
        )
        answer.headers["Content-Security-Policy"] = REPORT_POLICY
        answer.headers["X-Frame-Options"] = "SAMEORIGIN"
        return answer

    async def _reported(self, request: web.Request) -> tuple[Conversion, Reports]:
        found = Conversion.of(await self._object(request, CONVERSIONS, KIND))
        if self._reports is None or self._reports.where(found) is None:
            raise NotFoundError(
                f"the report of {found.name} cannot be shown here",
                f"fetch it: `kubectl mconv report {found.name} -n {found.meta.namespace} --open`",
            )
        return found, self._reports

    async def _object(self, request: web.Request, kind: Kind, name_of_kind: str) -> Body:
        namespace, name = (request.query.get(part, "") for part in ("namespace", "name"))
        if not (namespace and name):
            raise RefusedError("the address names no namespace or no name", "choose one in a list")
        return await _read(self._connect(request), kind, name_of_kind, namespace, name)


async def _listed(asker: Asker, choice: Choice) -> tuple[Listing, Choice]:
    """Read a list; gives it with the choice that it fulfils, which for a long one is the cheap one."""
    if choice.is_open:
        found = await page_of(asker, choice.kind, choice.namespace, "")
        if not found.rest:
            return found, choice
        choice = choice.all_by_name
    if choice.needs_all:
        return await all_of(asker, choice.kind, choice.namespace), choice
    return await page_of(asker, choice.kind, choice.namespace, choice.rest, limit=ROWS), choice


async def _read(asker: Asker, kind: Kind, name_of_kind: str, namespace: str, name: str) -> Body:
    what = f"get {name_of_kind} {name} in namespace {namespace}"
    body = await asker.read(path_of(kind.plural, namespace, name), what, {}, JSON)
    if not isinstance(body.get("metadata"), dict):
        raise NotFoundError(f"{what}: the answer is no object", "choose one in a list")
    return body


async def _style(_: web.Request) -> web.Response:
    answer = web.Response(text=style_sheet(), content_type="text/css")
    answer.headers["Cache-Control"] = "public, max-age=86400"
    return answer


async def _well(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _page(html: str, status: int = 200) -> web.Response:
    return web.Response(text=html, status=status, content_type="text/html")


def _with_headers(answer: web.StreamResponse) -> web.StreamResponse:
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    return answer


def _now() -> datetime:
    return datetime.now(UTC)


def limits() -> dict[str, Any]:
    """Return what bounds the requests that an ``AppRunner`` reads: tokens with many groups are long."""
    return {"access_log": None, "max_line_size": 16 << 10, "max_field_size": 32 << 10}
