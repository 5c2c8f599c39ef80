"""A real browser without a window, driven by its DevTools protocol: what a page does there is what it does.

https://chromedevtools.github.io/devtools-protocol/ has the commands.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
_FLAGS = (
    "--headless",
    "--no-sandbox",  # it may run as root here
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    # Its own traffic is none of the page's.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
_SECONDS = 30


def find_browser() -> str | None:
    """The first browser of this machine."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            body = message.json()
            if "id" in body:
                self._answers.pop(body["id"]).set_result(body)
            elif body["method"] == "Page.loadEventFired":
                self._loaded.set()

    async def send(self, method: str, **parameters: Any) -> Any:
        """Send a command; gives what it returns."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        body = await asyncio.wait_for(answer, _SECONDS)
        assert "error" not in body, (method, body)
        return body["result"]

    async def open(self, url: str) -> None:
        """Go to an address, and wait until everything there has been loaded."""
        await self.send("Page.enable")
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), _SECONDS)

    async def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page, which is the browser's doing and not the page's."""
        result = await self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def click(self, x: float, y: float) -> None:
        """Click at a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            await self.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more
            )

    async def look(self, *, width: int, height: int, dark: bool = False) -> bytes:
        """A picture of the page, as PNG."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme])
        await asyncio.sleep(0.3)
        return base64.b64decode((await self.send("Page.captureScreenshot"))["data"])

    def close(self) -> None:
        self._reading.cancel()


@asynccontextmanager
async def browsing(program: str, *flags: str) -> AsyncIterator[Page]:
    """A browser with one tab, which ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program,
            *_FLAGS,
            *flags,
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            port = await asyncio.wait_for(_port(process), _SECONDS)
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    tabs = await answer.json()
                (tab,) = [one for one in tabs if one["type"] == "page"]
                async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    page = Page(socket)
                    yield page
                    page.close()
        finally:
            process.terminate()
            await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    async for line in process.stderr:
        if found := re.search(rb"DevTools listening on ws://[^:]+:([0-9]+)/", line):
            return int(found[1])
    raise AssertionError("the browser ended before it listened")
