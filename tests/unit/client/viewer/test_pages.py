"""What the pages show, and that nothing in an object can become more than a text."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelconversion_client import errors
from modelconversion_client.resources import Conversion, ConversionSet, Trigger
from modelconversion_client.viewer.choosing import Choice, Order
from modelconversion_client.viewer.comparison_page import comparison_page
from modelconversion_client.viewer.conversion_page import conversion_page
from modelconversion_client.viewer.group_pages import set_page, trigger_page
from modelconversion_client.viewer.list_page import list_page
from modelconversion_client.viewer.listing import CONVERSIONS, KINDS, Kind, Listing, Row
from modelconversion_client.viewer.problem_page import error_page
from modelconversion_client.viewer.report_page import harmless, report_page
from support.client.objects import artifact, condition, conversion
from support.converter.pages import HOSTILE, Page

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MADE = "2026-01-01T00:00:00Z"
ELEMENTS = {
    *(
        "a",
        "body",
        "button",
        "caption",
        "code",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "footer",
        "form",
        "h1",
        "h2",
    ),
    *(
        "head",
        "header",
        "html",
        "iframe",
        "input",
        "label",
        "li",
        "link",
        "main",
        "meta",
        "nav",
        "option",
        "p",
    ),
    *("pre", "progress", "section", "select", "small", "span", "strong", "summary", "table", "tbody", "td"),
    *("th", "thead", "time", "title", "tr", "ul"),
}
ADDRESSES = re.compile(
    r"#content|\./(\?[^\"<>]*)?|(conversion|set|trigger|report|report\.html)\?[^\"<>]*|compare|data:,"
    r"|style\.css\?[0-9a-f]+"
)


def check(html: str) -> Page:
    """Read a page, which has nothing but what the viewer writes: elements, addresses, no code."""
    page = Page(html)
    for name, attributes in page.elements:
        assert name in ELEMENTS
        assert not [key for key in attributes if key.startswith("on") or key in ("style", "srcdoc")]
        for key in ("href", "src", "action"):
            if key in attributes:
                assert ADDRESSES.fullmatch(attributes[key] or ""), attributes
    assert len(page.named("h1")) == 1
    return page


def full(text: str, name: str = "gesture", phase: str = "Succeeded") -> dict[str, Any]:
    """A conversion with ``text`` in every field that a person or a model can fill."""
    row = artifact("Float16", agreement="0.9990", message=text, uri=text) | {
        "verifications": [{"name": "TFLiteMicro", "outcome": "Passed", "message": text}]
    }
    tensor = {"name": text, "shape": [1], "dtype": text[:32]}
    board = {
        "board": text[:32],
        "node": text,
        "processor": text,
        "runtime": text,
        "time": "2026-01-01T00:00:00Z",
    }
    status = {
        "phase": phase,
        "observedGeneration": 1,
        "runAgain": text[:63],
        "duration": text[:32],
        "conditions": [
            condition(text or "x", text, "True"),
            condition("Failed", text) | {"type": text or "x"},
        ],
        "artifacts": [row],
        "failedMethods": [{"method": "Float32", "reason": "OutOfMemory", "message": text}],
        "recommended": {
            "method": "Float16",
            "uri": text,
            "reason": text,
            "size": text[:32],
            "name": text[:32],
        },
        "measurements": [
            board | {"message": text, "reason": "OutOfMemory"},
            board | {"board": "b", "files": [{"method": "Float16", "passed": False, "message": text}]},
        ],
        "failure": {
            "reason": "SourceNotFound",
            "message": text,
            "stage": "Fetch",
            "time": "2026-01-01T00:00:00Z",
        },
        "source": {
            "sha256": "a" * 64,
            "sizeBytes": 1,
            "format": "KerasH5",
            "inputs": [tensor],
            "outputs": [tensor],
        },
        "reportUri": text,
        "progress": {"stage": "Convert", "percent": 4},
    }
    owners = [{"kind": "ModelConversionSet", "name": text}]
    meta = {"name": name, "annotations": {text: text}, "ownerReferences": owners, "namespace": text}
    return conversion(
        name, status, metadata=meta, source={"uri": text}, profileRef={"name": text}, odd={text: text}
    )


TEXTS = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=40), st.text(alphabet="<>&\"'`/=! \x00\n", max_size=30)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(TEXTS, st.sampled_from(["Succeeded", "Failed", "Running", "Pending"]))
def test_no_text_of_a_conversion_breaks_out(text: str, phase: str) -> None:
    found = Conversion.of(full(text, phase=phase))
    check(conversion_page(found, NOW, text or None, refresh=True))
    check(conversion_page(found, NOW, None, refresh=False))
    check(report_page(found))
    other = Conversion.of(full(f"{text}!", name=text or "x"))
    check(comparison_page([found, other], NOW))


@settings(max_examples=60)
@given(TEXTS, st.sampled_from([*KINDS.values()]))
def test_no_text_of_a_list_breaks_out(text: str, kind: Kind) -> None:
    row = Row(text, text, text, text, tuple(text for _ in kind.columns))
    query = {"kind": kind.page, "namespace": text, "name": "", "rest": text}
    for order in Order:
        choice = Choice.of(query | {"order": order.value}, "")
        check(list_page(Listing([row] * 3, text, 7), choice, NOW))
        check(list_page(Listing([], text, None), choice, NOW))
    check(error_page(errors.ForbiddenError(text, text), text))
    check(error_page(errors.UnauthorizedError(text, text), text))


@settings(max_examples=60)
@given(TEXTS)
def test_no_text_of_a_set_or_trigger_breaks_out(text: str) -> None:
    member = {"model": text[:40], "profile": text, "conversion": text, "phase": "Failed", "message": text}
    conditions = [condition(text or "x", text), condition(text or "x", text) | {"type": "Ready"}]
    status = {"phase": "Failed", "members": [member], "comparisonUri": text, "conditions": conditions}
    meta = {"name": text, "namespace": text, "uid": text}
    body = {"metadata": meta, "spec": {"profiles": [{"name": text}]}, "status": status}
    check(set_page(ConversionSet.of(body), NOW))
    found = Trigger.of(body | {"status": {"conditions": conditions, "active": [text]}})
    row = Row(text, text, "2026-01-01T00:00:00Z", text, tuple(text for _ in CONVERSIONS.columns))
    check(trigger_page(found, [row], NOW))


@pytest.mark.parametrize("text", HOSTILE[:4])
def test_a_hostile_text_can_be_read_as_what_it_is(text: str) -> None:
    page = check(conversion_page(Conversion.of(full(text)), NOW, None, refresh=False))
    assert page.text.count(text) > 5


@pytest.mark.parametrize(
    ("status", "words", "absent"),
    [
        ({}, ["NotSeen", "see that the operator runs"], ["Artifacts"]),
        (
            {"phase": "Running", "conditions": [condition("Running", "it runs")]}
            | {"progress": {"stage": "Quantize", "percent": 40}},
            ["40%, stage Quantize", "Load again every 10 seconds"],
            ["Ended"],
        ),
        (
            {"phase": "Pending", "queuePosition": 3, "conditions": [condition("Queued", "")]},
            ["Place in line"],
            [],
        ),
        (
            {
                "phase": "Succeeded",
                "observedGeneration": 1,
                "conditions": [condition("Converted", "done", "True")],
            },
            ["Succeeded", "done"],
            ["Why", "Load again"],
        ),
        ({"phase": "Exploded", "artifacts": "none"}, ["Pending"], []),
    ],
)
def test_a_conversion_in_each_state(status: dict[str, Any], words: list[str], absent: list[str]) -> None:
    page = check(conversion_page(Conversion.of(conversion(status=status)), NOW, None, refresh=False))
    for word in words:
        assert word in page.text
    for word in absent:
        assert word not in page.text


def test_a_page_loads_itself_again_only_while_there_is_something_to_wait_for() -> None:
    running = conversion(status={"phase": "Running"})
    ended = conversion(status={"phase": "Failed", "observedGeneration": 1})
    for body, times in ((running, 1), (ended, 0)):
        page = check(conversion_page(Conversion.of(body), NOW, None, refresh=True))
        assert len([a for a in page.named("meta") if a.get("http-equiv") == "refresh"]) == times


def test_where_a_report_is_shown_and_where_not() -> None:
    found = Conversion.of(conversion(status={"reportUri": "s3://models/out/report.json"}))
    shown = check(conversion_page(found, NOW, "AWS S3", refresh=False))
    assert "report?namespace=team&name=gesture" in [a.get("href") for a in shown.named("a")]
    assert "fetched from AWS S3" in shown.text
    told = check(conversion_page(found, NOW, None, refresh=False))
    assert "kubectl mconv report gesture -n team --open" in told.text
    (frame,) = check(report_page(found)).named("iframe")
    assert frame["sandbox"] == ""


def test_what_is_not_shown_of_a_long_list_is_told() -> None:
    rows = [
        Row("team", f"c-{n}", "2026-01-01T00:00:00Z", "", ("",) * len(CONVERSIONS.columns))
        for n in range(250)
    ]
    page = check(list_page(Listing(rows, "word", 12_345), Choice(start=100), NOW))
    assert "Only the first 250 by namespace and name were looked at; there are 12,345 more." in page.text
    assert "101 to 200 of 250" in page.text
    assert [a["value"] for a in page.named("input") if a.get("name") == "c"] == [
        f"team/{row.name}" for row in sorted(rows, key=lambda row: row.name)[100:200]
    ]
    assert (
        "None of 250 conversions in any namespace is like that."
        in check(list_page(Listing(rows), Choice(name="zzz"), NOW)).text
    )
    assert (
        "There are no conversions in namespace a."
        in check(list_page(Listing([]), Choice(namespace="a"), NOW)).text
    )


@pytest.mark.parametrize(
    "report",
    [
        b"<link rel=preconnect href=//a>",
        b"<LINK\n/rel=preconnect>",
        b"\xff\xfe" + "<link rel=preconnect>".encode("utf-16-le"),
        b"\xfe\xff" + "<link rel=preconnect>".encode("utf-16-be"),
        b"<meta charset=utf-7>+ADw-link rel=preconnect+AD4-",
        b"<<link><svg><link></svg><!--<link>",
    ],
)
def test_no_link_element_is_left_in_a_report(report: bytes) -> None:
    made = harmless(report)
    assert b"<link" not in made.lower()
    assert not made.startswith((b"\xff\xfe", b"\xfe\xff"))


@given(st.text())
def test_a_report_without_links_is_left_as_it_is(text: str) -> None:
    report = text.replace("<", "").encode(errors="replace")
    assert harmless(report) == report
