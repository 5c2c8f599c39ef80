"""The page that compares the members of a set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelconversion_api.methods import Method
from support.converter import html_reports as sample
from support.converter.pages import HOSTILE, Page
from tflite_converter.report.comparison import Compared, Member, figures_of, render_comparison

FILE = Compared(Method.FULL_INTEGER, "Full integer", 24 << 10, 0.97, 0.91, 0.92, 1.5)
MEMBERS = [
    Member("gesture", "doorbell", FILE),
    Member("gesture", "phone", replace(FILE, method=Method.FLOAT16, size_bytes=48 << 10, accuracy=0.92)),
    Member("gesture", "npu", None, "CompilerNotFound"),
    Member("person", "doorbell", replace(FILE, accuracy=None, original_accuracy=None, latency_millis=None)),
]


def test_each_member_has_a_row_with_the_figures_of_its_report() -> None:
    report = sample.report()
    chosen = next(a for a in report.artifacts if a.is_as(report.recommended))
    found = figures_of(report)
    assert found is not None
    assert (found.size_bytes, found.agreement, found.accuracy) == (
        chosen.size_bytes,
        chosen.agreement,
        chosen.accuracy,
    )
    page = Page(render_comparison("edge", MEMBERS))
    assert len(page.named("tr")) == 1 + len(MEMBERS)
    for words in ("24.0 KiB", "48.0 KiB", "97.0%", "91.0%", "original 92.0%", "CompilerNotFound", "1.5 ms"):
        assert words in page.text, words
    assert "2 models, 3 of 4 members with a file" in page.text
    assert "CompilerNotFound: gesture for npu" in page.text


def test_a_model_is_drawn_where_there_is_something_to_compare() -> None:
    page = Page(render_comparison("edge", MEMBERS))
    drawn = {section["id"] for section in page.named("section")}
    assert drawn == {"members", "model-gesture"}, "person has one file"
    assert len(page.with_class("point")) == 2
    assert len(page.with_class("front")) == 1


def test_accuracy_is_compared_only_where_each_file_has_one() -> None:
    mixed = [MEMBERS[0], replace(MEMBERS[3], model="gesture", profile="phone")]
    assert "agreement with the original" in Page(render_comparison("edge", mixed)).text


def test_a_report_that_recommends_nothing_has_no_figures() -> None:
    assert figures_of(sample.report().model_copy(update={"recommended": None})) is None


@pytest.mark.parametrize("text", HOSTILE)
def test_nobodys_words_become_markup(text: str) -> None:
    file = replace(FILE, made_by=text)
    members = [Member(text, text, file), Member(text, f"{text}2", file), Member(text, "b", None, text)]
    page = Page(render_comparison(text, members))
    assert page.named("script") == page.named("img") == []
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    (policy,) = [a["content"] for a in page.named("meta") if a.get("http-equiv")]
    assert str(policy).startswith("default-src 'none'; style-src 'sha256-")


def test_a_thousand_members_make_a_page_of_reasonable_size() -> None:
    many = [Member(f"model-{n // 4}", f"p{n % 4}", FILE) for n in range(1000)]
    page = render_comparison("edge", many)
    assert len(page) < 1 << 20
    assert 'id="model-' not in page
