"""The HTML page: whole, safe against what it shows, and right in its plots."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelconversion_api.markup import tag
from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport, Provenance
from modelconversion_api.reports.measurements import Confusion, LayerError
from support.converter import html_reports as sample
from support.converter.pages import HOSTILE, Page
from tflite_converter.report.charts import Point, pareto_front, pareto_plot
from tflite_converter.report.confusion import MOST_CLASSES
from tflite_converter.report.page import render
from tflite_converter.report.svg import axis

LOADS_OR_RUNS = {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
REPORTS = {"ordinary": sample.report(), "huge": sample.huge(), "meagre": sample.meagre()}


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_a_page_is_whole_and_needs_nothing_else(report: ConversionReport) -> None:
    page = Page(render(report))
    assert {name for name, _ in page.elements}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "form"}
    )
    for _, attributes in page.elements:
        assert {"src", "href", "style", "srcdoc"}.isdisjoint(attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in render(report)
    assert "@import" not in render(report)


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    content = render(sample.report())
    (css,) = re.findall(r"<style>(.*?)</style>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policies = [a["content"] for a in Page(content).named("meta") if a.get("http-equiv")]
    assert policies == [
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    ]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_every_plot_and_table_has_a_name(report: ConversionReport) -> None:
    page = Page(render(report))
    assert all(a.get("aria-label") for a in page.named("svg"))
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(a.get("scope") in ("row", "col") for a in page.named("th"))
    levels = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_what_was_recommended_and_why() -> None:
    text = Page(render(sample.report())).text
    for expected in (
        "Full integer",
        "Smallest that agrees with the original: 98.9% agreement at 28% of its size.",
        "2.4KiB smaller, 0.3 points more accurate, 1.4 times slower",
        "Measured on 1,000 samples, validation data",
        "12 samples that calibrate the model as well were left out",
        "Only 12 of 46 features differ",
    ):
        assert expected in text


def test_provenance_has_every_digest_seed_version_and_option() -> None:
    report = sample.report()
    text = Page(render(report)).text
    wire = json.loads(report.to_json())
    digests = {
        value for value in _leaves(wire) if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value)
    }
    assert len(digests) == 9
    assert report.provenance is not None
    expected = [*digests, *report.tool_versions.values(), *report.tool_versions]
    expected += [*report.provenance.options, *report.provenance.isolation, report.provenance.platform]
    expected += [stage.value for stage in report.stage_seconds]
    assert [e for e in expected if e not in text] == []
    assert text.count("Seed7") == 3, "evaluation and calibration, and calibration once more in its own part"


def test_what_the_compilers_made_and_why_operators_stay_on_the_cpu() -> None:
    page = Page(render(sample.report()))
    for text in (
        "8 of 9",
        "about 2,264 inferences a second",
        "internal error of the compiler",
        "the Edge TPU does not have it",
        "AddFullyConnected, AddSoftmax",
        "gesture_classifier_int8_vela.tflite",
        "gesture_classifier_int8_intel_CPU.tflite",
        "in 2 parts",
        "at most 0.0039 from LiteRT on the CPU, where outputs span 0.95",
        "Operators that stay on the CPU beside the Intel CPU",
        "Intel LNL",
        "bring the NPU compiler",
    ):
        assert text in page.text, text


def test_without_a_recommendation_the_page_says_so() -> None:
    page = Page(render(sample.huge()))
    assert "No file is recommended" in page.text
    assert "Dynamic range gave no file (QuantizationFailed): tensor conv1 has no int8 kernel" in page.text


def test_missing_parts_are_left_out() -> None:
    page = Page(render(sample.meagre()))
    headings = re.findall(r"<h2>(.*?)</h2>", render(sample.meagre()))
    assert headings == ["Files", "File by file", "Provenance"]
    assert "random inputs" in page.text
    assert "None" not in page.text


def test_a_thousand_classes_are_cut_to_those_that_are_confused() -> None:
    content = render(sample.huge())
    page = Page(content)
    cells = [a for a in page.named("td") if set((a.get("class") or "").split()) & {"right", "wrong", "none"}]
    assert len(cells) == MOST_CLASSES**2
    assert len(page.with_class("wrong")) == MOST_CLASSES // 2, "each class with what it is taken for"
    assert "1,000 classes" in page.text
    assert len(content) < 300_000


def test_three_hundred_layers_are_all_drawn() -> None:
    page = Page(render(sample.huge()))
    bars = [*page.with_class("bar")]
    assert len(bars) == 300
    assert len(page.with_class("worst")) == 8


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_report_becomes_markup(text: str) -> None:
    """The same elements with the same attributes come out, whatever the names in the model are."""

    def named(replacement: str) -> Page:
        wire = json.loads(sample.report().to_json())
        return Page(render(ConversionReport.model_validate(_with_texts(wire, replacement))))

    plain, hostile = named("name"), named(text)
    assert [name for name, _ in hostile.elements] == [name for name, _ in plain.elements]
    assert [set(a) for _, a in hostile.elements] == [set(a) for _, a in plain.elements]
    assert text.splitlines()[0].strip("\x00\x1b\x0b\ufffe") in hostile.text


FREE_TEXTS = {"dtype", "isolation", "message", "name", "names", "operator", "platform", "problems", "reason"}
FREE_TEXTS |= {"accelerator", "compiler", "recipe", "tensor", "trade", "warnings"}


def _with_texts(value: Any, text: str) -> Any:
    """A report with ``text`` wherever a report takes any text at all."""
    if isinstance(value, dict):
        changed = {}
        for key, inner in value.items():
            free = key in FREE_TEXTS
            if free and isinstance(inner, list):
                changed[key] = [text[:32] for _ in inner]
            else:
                changed[key] = text[:32] if free else _with_texts(inner, text)
        if "mappedOperators" in value and "reason" in value:
            changed["reason"] = value["reason"]  # here it is one of the contract's words
        for key in ("options", "toolVersions", "preprocessing"):
            if key in changed:
                changed[key] = {text: text}
        return changed
    if isinstance(value, list):
        return [_with_texts(inner, text) for inner in value]
    return value


NASTY_NUMBERS = [0, -1, 1, 2**70, -(2**70), 1e308, -1e308, math.inf, -math.inf, math.nan, 0.5]


@given(st.data())
def test_any_report_that_the_contract_takes_is_drawn(data: st.DataObject) -> None:
    """``publish`` draws what the container that ran the model's code has written."""
    wire = json.loads(sample.report().to_json())
    spots = list(_spots(wire))
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(spots))
        if not (isinstance(key, str) and key in holder) and not (isinstance(key, int) and key < len(holder)):
            continue
        value = holder[key]
        if isinstance(value, list):
            holder[key] = data.draw(st.sampled_from([[], value[:1], value * 3]))
        elif isinstance(value, int | float):
            holder[key] = data.draw(st.sampled_from(NASTY_NUMBERS))
        elif value is None or isinstance(value, str):
            holder[key] = data.draw(st.sampled_from([None, "", "x" * 200, *HOSTILE]))
    try:
        report = ConversionReport.model_validate(wire)
    except ValidationError:
        return
    Page(render(report)).text.encode()


def _leaves(value: Any) -> Iterator[Any]:
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield inner
        yield from _leaves(inner)


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _spots(inner)


@pytest.mark.parametrize("counts", [(), ((),), ((3,), (1, 2, 3)), ((-5, 0), (0, 2**80))])
def test_counts_that_are_no_square(counts: tuple[tuple[int, ...], ...]) -> None:
    confusion = Confusion(against="Original", labels=(1, 2, 3), names=("a",), counts=counts)
    artifact = sample.artifact(Method.FLOAT32, 100, 0.9).model_copy(update={"confusion": confusion})
    Page(render(sample.report([artifact])))


def test_layers_without_a_number() -> None:
    values = [math.nan, math.inf, -math.inf, 1e300, 12.0]
    layers = tuple(LayerError(tensor=f"t{i}", operator="ADD", snr_db=v) for i, v in enumerate(values))
    artifact = sample.artifact(Method.FULL_INTEGER, 100, 0.9).model_copy(update={"layers": layers})
    page = Page(render(sample.report([artifact])))
    assert len(page.with_class("bar")) == 5


def test_the_name_comes_from_the_provenance() -> None:
    report = sample.report(provenance=Provenance(base_name="a & b"))
    assert "<h1>a &amp; b</h1>" in render(report)


POINTS = st.lists(
    st.builds(
        Point,
        st.integers(1, 50),
        st.integers(0, 20).map(lambda n: n / 20),
        st.just(""),
        st.sampled_from(Method),
        st.booleans(),
        st.sampled_from(["", "", "", "a try"]),
    ),
    min_size=1,
    max_size=12,
)


@given(POINTS)
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    front = pareto_front(points)
    taking_part = [p for p in points if p.passed and not p.attempt]

    def beats(one: Point, other: Point) -> bool:
        as_good = one.size_bytes <= other.size_bytes and one.quality >= other.quality
        return as_good and (one.size_bytes, one.quality) != (other.size_bytes, other.quality)

    assert all(not any(beats(p, f) for p in taking_part) for f in front)
    unbeaten = {(p.size_bytes, p.quality) for p in taking_part if not any(beats(q, p) for q in taking_part)}
    assert {(f.size_bytes, f.quality) for f in front} == unbeaten


@given(POINTS, st.none() | st.floats(0, 1))
def test_every_file_is_in_the_plot_and_tries_are_smaller(points: list[Point], original: float | None) -> None:
    page = Page(pareto_plot(points, "accuracy", original))
    assert len(page.named("circle")) == sum(not p.attempt for p in points)
    assert len(page.named("polygon")) == sum(bool(p.attempt) for p in points)
    assert len(page.with_class("missed")) == sum(not p.passed and not p.attempt for p in points)
    for circle in page.named("circle"):
        assert 0 < float(circle["cx"] or -1) < 760
        assert 0 < float(circle["cy"] or -1) < 360


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_an_axis_holds_its_values_between_round_ticks(low: float, span: float) -> None:
    found = axis(low, low + span, 0, 100)
    tolerance = 1e-6 * max(abs(low), span)
    assert found.low <= low + tolerance
    assert found.high >= low + span - tolerance
    assert 1 <= len(found.ticks) <= 9
    assert 0 <= found.at(low) <= found.at(low + span) <= 100


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (tag("td", "a < b & c", class_="num"), '<td class="num">a &lt; b &amp; c</td>'),
        (tag("a", title="\"'<"), '<a title="&quot;&#x27;&lt;"></a>'),
        (tag("p", None, ["x", tag("b", "y")], 3), "<p>x<b>y</b>3</p>"),
        (tag("rect", x=1.0, y=2.345, rx=None, hidden=True), '<rect x="1" y="2.35" hidden></rect>'),
        (tag("meta", http_equiv="x"), '<meta http-equiv="x">'),
        (tag("p", "a\x00\x1bb\ud800"), "<p>a\ufffd\ufffdb\ufffd</p>"),
    ],
)
def test_tags(made: str, expected: str) -> None:
    assert made == expected
