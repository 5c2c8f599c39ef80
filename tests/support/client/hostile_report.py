"""A report by somebody who can write into the bucket: everything that a page can try without being asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

CLICKED = ("top", "self", "blank", "script", "form")
"""What it has to be clicked on, from above: each is 50 pixels high, and 60 below the one before."""

_REPORT = """<!DOCTYPE html><html><head><title>report</title>
<link rel=preconnect href="{at}"><LINK rel=dns-prefetch href="{at}"><link rel=prefetch href="{at}/prefetch">
<link rel=stylesheet href="{at}/style"><link rel=preload as=image href="{at}/preload">
<link rel=modulepreload href="{at}/module"><link rel=icon href="{at}/icon">
<link rel=manifest href="{at}/manifest">
<meta http-equiv=refresh content="1;url={at}/refresh">
<meta http-equiv=x-dns-prefetch-control content=on>
<style>@import "{at}/import"; body {{ background: url({at}/background) }}
@font-face {{ font-family: x; src: url({at}/font) }} p {{ font-family: x }}</style>
<script>fetch("{at}/fetch"); document.title = "it ran";
try {{ parent.document.title = "owned" }} catch (error) {{ }}
try {{ parent.postMessage("owned", "*") }} catch (error) {{ }}</script></head>
<body onload="fetch('{at}/onload')"><p id=text>the report's own words</p>
<img src="{at}/image" onerror="fetch('{at}/onerror')"><svg onload="fetch('{at}/svg')"></svg>
<svg><image href="{at}/svg-image" /></svg><iframe src="{at}/frame"></iframe>
<object data="{at}/object"></object>
<embed src="{at}/embed"><video src="{at}/video" poster="{at}/poster" autoplay></video>
<a style="{place}top:0" href="{at}/top" target=_top>top</a>
<a style="{place}top:60px" href="{at}/self">self</a>
<a style="{place}top:120px" href="{at}/blank" target=_blank ping="{at}/ping">blank</a>
<a style="{place}top:180px" href="javascript:fetch('{at}/javascript')">script</a>
<form action="{at}/form" method=post><button style="{place}top:240px">form</button></form>
<form action="{at}/typed"><input name=typed autofocus></form></body></html>"""
_PLACE = "position:fixed;left:0;width:200px;height:50px;background:red;"


@dataclass
class Stranger:
    """A server of the stranger's, which must never hear of anybody."""

    url: str = ""
    connections: int = 0
    paths: set[str] = field(default_factory=set)

    @property
    def report(self) -> str:
        return _REPORT.format(at=self.url, place=_PLACE)


@asynccontextmanager
async def stranger() -> AsyncIterator[Stranger]:
    """The server, under a name of its own, as long as the block lasts."""
    heard = Stranger()

    async def answer(request: web.Request) -> web.Response:
        heard.paths.add(request.path)
        return web.Response(text="heard", headers={"Access-Control-Allow-Origin": "*"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    assert runner.server is not None
    made = runner.server.connection_made

    def counted(handler: object, transport: object) -> None:
        heard.connections += 1
        made(handler, transport)  # type: ignore[arg-type] - as they come

    runner.server.connection_made = counted  # type: ignore[method-assign] - a connection without a request, too
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    heard.url = f"http://stranger.localhost:{runner.addresses[0][1]}"
    yield heard
    await runner.cleanup()


@asynccontextmanager
async def in_the_open(report: str) -> AsyncIterator[str]:
    """The report as a page of its own, by a server that has never heard of policies; gives its address."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=report, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()
