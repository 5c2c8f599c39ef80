"""The page in a real browser, as ``kubectl mconv page`` serves it: a hostile report, keyboard, colours."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.local import installed_program
from devcluster.services.s3 import ObjectStore
from modelconversion_api.base import API_VERSION, KIND, PLURAL
from support.client.browser import PROGRAMS, Page, browsing, find_browser
from support.client.hostile_report import CLICKED, in_the_open, stranger
from support.client.objects import artifact, condition
from support.converter.pages import HOSTILE

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("crd")]

WAIT_SECONDS = 2.0
"""How long a page has to do what it must not: its own refresh would come after one."""
_CONTRAST = """(() => {
  const parts = (text) => (text.match(/[0-9.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4 });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const behind = (e) => { for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] === 1) return c }
    return [255, 255, 255] };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) { const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.getClientRects().length) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walk.currentNode.data]) }
  return found })()"""
"""The contrast of each text on the page with what is behind it, as WCAG 2 computes it."""

_FLAWS = (
    "[...document.querySelectorAll('table')].filter((t) => !t.querySelector('caption, thead th')).length",
    "[...document.querySelectorAll('input[type=checkbox]')].filter((e) => !e.ariaLabel).length",
    "[...document.querySelectorAll('input:not([type]), select')].filter((e) => !e.labels.length).length",
    "document.querySelectorAll('h1').length - 1",
)
"""What must be none of: tables without heads, fields without labels, pages without one title."""


@pytest.fixture
async def browser() -> AsyncIterator[Page]:
    program = find_browser()
    if program is None:
        pytest.skip(f"there is no browser: install one of {', '.join(PROGRAMS)}")
    # The name is the stranger's, who has made it point here.
    async with browsing(program, "--host-resolver-rules=MAP rebound.example 127.0.0.1") as page:
        yield page


@pytest.fixture
def url(
    control_plane: ControlPlane, object_store: ObjectStore, namespace: str, bucket: str, tmp_path: Path
) -> Iterator[str]:
    """The page on this machine, with two conversions whose reports are in a real bucket."""
    for name in ("first", "second"):
        make(control_plane, object_store, namespace, bucket, name)
    environment = os.environ | {
        "KUBECONFIG": str(control_plane.kubeconfig),
        "AWS_ACCESS_KEY_ID": object_store.access_key,
        "AWS_SECRET_ACCESS_KEY": object_store.secret_key,
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
    }
    command = [installed_program("kubectl-mconv"), "page", "-n", namespace]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def make(control_plane: ControlPlane, store: ObjectStore, namespace: str, bucket: str, name: str) -> None:
    """Make a conversion whose texts are hostile, as if it had run."""
    folder = f"s3://{bucket}/{name}"
    spec = {
        "source": {"uri": f"s3://{bucket}/a.h5"},
        "output": {"uri": f"{folder}/"},
        "methods": ["Float16", "FullInteger"],
        "calibration": {"uri": f"s3://{bucket}/a.npy"},
        "storage": {"endpoint": store.endpoint},
    }
    status: dict[str, Any] = {
        "observedGeneration": 1,
        "runGeneration": 1,
        "phase": "Succeeded",
        "conditions": [condition("Converted", HOSTILE[1], "True")],
        "artifacts": [
            artifact("Float16", agreement="0.9990", latencyMillis="0.0031", message=HOSTILE[0]),
            artifact("FullInteger", agreement="0.9800", passed=False, message=HOSTILE[2]),
        ],
        "recommended": {
            "method": "Float16",
            "name": "Float16",
            "uri": f"{folder}/a_float16.tflite",
            "reason": HOSTILE[0],
            "size": "23.4KiB",
        },
        "source": {"sha256": "a" * 64, "sizeBytes": 90000, "format": "KerasH5"},
        "reportUri": f"{folder}/report.json",
    }
    path = f"/apis/{API_VERSION}/namespaces/{namespace}/{PLURAL}"
    body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}
    control_plane.api.create(path, body)
    control_plane.api.patch(f"{path}/{name}/status", {"status": status})
    store.client().put_object(Bucket=bucket, Key=f"{name}/report.html", Body=b"<p>the report</p>")


def at(url: str, page: str, namespace: str, name: str) -> str:
    return f"{url}{page}?namespace={namespace}&name={name}"


async def test_a_hostile_report_does_nothing_and_reaches_nobody(
    browser: Page, url: str, object_store: ObjectStore, namespace: str, bucket: str
) -> None:
    async with stranger() as heard:
        # What it would do: without this, the rest could not fail.
        async with in_the_open(heard.report) as open_url:
            await browser.open(open_url)
            await asyncio.sleep(WAIT_SECONDS)
        assert {"/fetch", "/image", "/style", "/font", "/refresh"} <= heard.paths

        await browser.open("about:blank")
        await asyncio.sleep(0.5)
        heard.paths.clear()
        heard.connections = 0
        body = heard.report.encode()
        object_store.client().put_object(Bucket=bucket, Key="first/report.html", Body=body)
        where = at(url, "report", namespace, "first")
        await browser.open(where)
        title = await browser.evaluate("document.title")
        await asyncio.sleep(WAIT_SECONDS)
        assert title.startswith("Report of first")
        tree = await browser.send("Page.getFrameTree")
        tabs = await tabs_of(browser)
        left, top = await browser.evaluate(
            "(({x, y}) => [x, y])(document.querySelector('iframe').getBoundingClientRect())"
        )
        for place in range(len(CLICKED)):
            await browser.click(left + 50, top + 25 + 60 * place)
            await asyncio.sleep(0.5)
            await browser.open(where)  # a frame that has been sent away shows nothing more to click on
        await browser.press("Enter", 13, "\r")
        await asyncio.sleep(WAIT_SECONDS)
        assert (heard.paths, heard.connections) == (set(), 0)
        assert await browser.evaluate("location.href") == where
        assert await browser.evaluate("document.title") == title
        assert await tabs_of(browser) == tabs, "it opened no other tab"
        assert "the report's own words" in heard.report
        assert tree["frameTree"]["frame"]["url"] == where


async def tabs_of(browser: Page) -> int:
    found = (await browser.send("Target.getTargets"))["targetInfos"]
    return sum(target["type"] == "page" for target in found)


async def test_a_report_has_an_origin_of_its_own_and_stays_in_its_frame(
    browser: Page, url: str, namespace: str
) -> None:
    await browser.open(at(url, "report", namespace, "first"))
    assert await browser.evaluate("document.querySelector('iframe').contentDocument") is None
    assert await browser.evaluate("document.querySelector('iframe').sandbox.length") == 0
    # Opened without its frame, a browser is sent to the page around it.
    await browser.open(at(url, "report.html", namespace, "first"))
    assert await browser.evaluate("location.href") == at(url, "report", namespace, "first")


def test_a_report_has_a_policy_of_its_own(
    url: str, object_store: ObjectStore, namespace: str, bucket: str
) -> None:
    where = at(url, "report.html", namespace, "first")
    plain = httpx.get(where, trust_env=False)
    assert plain.text == "<p>the report</p>"
    assert plain.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert plain.headers["Content-Type"] == "text/html; charset=utf-8"
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    # In UTF-16, which its first bytes would say, a link is none of the bytes that a link has.
    hidden = b"\xff\xfe" + '<link rel="preconnect" href="https://stranger.example">'.encode("utf-16-le")
    for body in (hidden, b"\xef\xbb\xbf<LiNk rel=preconnect href=https://stranger.example>"):
        object_store.client().put_object(Bucket=bucket, Key="first/report.html", Body=body)
        sent = httpx.get(where, trust_env=False).content
        assert not sent.startswith(b"\xff\xfe")
        assert b"<link" not in sent.lower()


def test_a_report_that_is_too_large_or_not_there_is_told(
    url: str, object_store: ObjectStore, namespace: str, bucket: str
) -> None:
    big = b" " * ((16 << 20) + 1)
    object_store.client().put_object(Bucket=bucket, Key="first/report.html", Body=big)
    object_store.client().delete_object(Bucket=bucket, Key="second/report.html")
    for name, words in (("first", "has more than 16 MiB"), ("second", "NoSuchKey")):
        answer = httpx.get(at(url, "report.html", namespace, name), trust_env=False, timeout=60)
        assert answer.status_code == 502
        assert words in answer.text
        assert object_store.secret_key not in answer.text


async def test_a_name_that_was_made_to_point_here_is_refused(browser: Page, url: str, namespace: str) -> None:
    for page in ("", "conversion", "report.html", "style.css"):
        rebound = at(url.replace("127.0.0.1", "rebound.example"), page, namespace, "first")
        await browser.open(rebound)
        assert await browser.evaluate("document.body.innerText") == "this page is for this machine alone"


def test_only_under_the_names_of_this_machine_and_with_the_secret(url: str) -> None:
    server = url.split("/")[2]
    assert httpx.get(f"http://{server}/", trust_env=False).status_code == 404
    assert httpx.get(f"http://{server}/{'x' * 43}/", trust_env=False).status_code == 404
    assert httpx.get(url, headers={"Host": "evil.example"}, trust_env=False).status_code == 403
    assert httpx.post(url, trust_env=False).status_code == 405
    assert httpx.get(url.replace("127.0.0.1", "localhost"), trust_env=False).status_code == 200


async def test_hostile_texts_are_texts(browser: Page, url: str, namespace: str) -> None:
    await browser.open(at(url, "conversion", namespace, "first"))
    assert await browser.evaluate("document.querySelectorAll('script, img, [onerror]').length") == 0
    words = await browser.evaluate("document.body.textContent")
    assert HOSTILE[0] in words
    assert HOSTILE[1] in words


async def test_by_the_keyboard_alone_and_without_scripts(browser: Page, url: str, namespace: str) -> None:
    await browser.send("Emulation.setScriptExecutionDisabled", value=True)
    await browser.open(url)
    await browser.press("Tab", 9)
    assert await browser.evaluate("document.activeElement.innerText") == "To the content"
    ticked = 0
    for _ in range(40):
        await browser.press("Tab", 9)
        if await browser.evaluate("document.activeElement.type === 'checkbox'"):
            await browser.press(" ", 32, " ")
            ticked += 1
        if await browser.evaluate("document.activeElement.innerText.startsWith('Compare the ticked')"):
            break
    assert ticked == 2
    await browser.press("Enter", 13, "\r")
    await asyncio.sleep(1)
    assert await browser.evaluate("document.querySelector('h1').innerText") == "2 conversions compared"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_text_can_be_read_and_a_telephone_shows_it(
    browser: Page, url: str, namespace: str, dark: bool
) -> None:
    pages = (
        url,
        f"{url}?kind=set",
        at(url, "conversion", namespace, "first"),
        at(url, "conversion", namespace, "absent"),
        f"{url}compare?c={namespace}/first&c={namespace}/second",
    )
    for page in pages:
        await browser.open(page)
        await browser.look(width=360, height=700, dark=dark)
        poor = [found for found in await browser.evaluate(_CONTRAST) if found[0] < 4.5]
        assert not poor, page
        assert await browser.evaluate("document.documentElement.scrollWidth") <= 360, page
        for flaw in _FLAWS:
            assert await browser.evaluate(flaw) == 0, (page, flaw)
