"""``report.html``: one page that needs nothing else, from a conversion's report.

No script, no external resource, no inline styles; the page's own policy forbids them, so even a mistake in
escaping could load and run nothing. The report's texts come from models that nobody vouches for:
:mod:`modelconversion_api.markup` escapes every one.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from modelconversion_api.markup import Child, Markup, joined, tag
from modelconversion_api.reports.conversion import ArtifactReport, ConversionReport
from modelconversion_api.status import TensorInfo
from modelconversion_api.text import human_latency
from tflite_converter.report import artifacts, data
from tflite_converter.report.boards import Measured, boards, vetoes
from tflite_converter.report.cards import cards
from tflite_converter.report.compilers import compilers
from tflite_converter.report.figures import (
    counted,
    first_of,
    method,
    name_of,
    percent,
    section,
    size,
)
from tflite_converter.report.graph import graph
from tflite_converter.report.provenance import provenance
from tflite_converter.report.shell import whole_page
from tflite_converter.report.snippets import use_it
from tflite_converter.report.training import training
from tflite_converter.report.user_metrics import user_metrics
from tflite_converter.report.verifications import verifications

_NOTHING: Final[Measured] = MappingProxyType({})


def render(report: ConversionReport, measured: Measured = _NOTHING) -> str:
    """Return the page, as text to be written in UTF-8; with what boards have ``measured`` so far."""
    name = _name(report)
    parts = [
        _recommendation(report, measured),
        _warnings(report),
        artifacts.summary(report),
        artifacts.plot(report),
        training(report),
        cards(report),
        boards(report, measured),
        user_metrics(report),
        verifications(report),
        compilers(report),
        artifacts.targets(report),
        use_it(report),
        data.confusion(report),
        data.layers(report),
        graph(report),
        artifacts.attempts(report),
        artifacts.inventory(report),
        data.calibration(report),
        provenance(report),
    ]
    return whole_page(
        f"{name}: TFLite conversion report", _header(report, name), tag("main", *parts), _footer()
    )


def _name(report: ConversionReport) -> str:
    if report.provenance is not None:
        return report.provenance.base_name
    return (
        report.artifacts[0].file_name.removesuffix(".tflite")
        if report.request is None
        else report.request.base_name
    )


def _header(report: ConversionReport, name: str) -> Markup:
    source = report.source
    about = f"{source.format.value}, {size(source.size_bytes)}"
    edges = [_edges("takes", source.inputs), _edges("gives", source.outputs)]
    return tag(
        "header",
        tag("p", "TFLite conversion report", class_="eyebrow"),
        tag("h1", name),
        tag("p", "; ".join([about, *filter(None, edges)])),
    )


def _edges(verb: str, tensors: list[TensorInfo]) -> str:
    descriptions = [f"{t.name} {_shape(t)} {t.dtype}{_layout(t)}" for t in tensors]
    return f"{verb} {first_of(descriptions, 4)}" if descriptions else ""


def _layout(tensor: TensorInfo) -> str:
    return "" if tensor.layout is None else f" {tensor.layout}"


def _shape(tensor: TensorInfo) -> str:
    return "\N{MULTIPLICATION SIGN}".join("?" if s < 0 else str(s) for s in tensor.shape) or "scalar"


def _recommendation(report: ConversionReport, measured: Measured) -> Markup:
    """Which file to use, in the largest type of the page."""
    chosen = _chosen(report)
    if chosen is None or report.recommended is None:
        return tag(
            "section",
            tag("p", "No file is recommended", class_="verdict"),
            tag("p", "None of the files is usable and met its gates; each one's card says why."),
            class_="hero none",
            id="recommendation",
        )
    figures = [
        ("size", size(chosen.size_bytes), f"{percent(chosen.size_fraction)} of the original"),
        ("accuracy", percent(chosen.accuracy), _original(report)) if chosen.accuracy is not None else None,
        ("agreement", percent(chosen.agreement), "with the original")
        if chosen.agreement is not None
        else None,
        ("latency", human_latency(chosen.latency.median_millis), counted(chosen.latency.threads, "thread"))
        if chosen.latency is not None
        else None,
    ]
    tiles = [
        tag("div", tag("dt", name), tag("dd", tag("strong", value), tag("small", note)))
        for name, value, note in filter(None, figures)
    ]
    return tag(
        "section",
        tag("p", "Recommended", class_="eyebrow"),
        tag("p", method(chosen.method, name_of(chosen)), class_="verdict"),
        tag("p", _sentence(report.recommended.reason)),
        _refused(report, measured, chosen),
        tag("dl", *tiles, class_="tiles"),
        _alternatives(report),
        tag("p", data.compared_on(report), class_="lead"),
        class_="hero",
        id="recommendation",
    )


def _refused(report: ConversionReport, measured: Measured, chosen: ArtifactReport) -> Markup | None:
    """Warn where a board has refused the file: which one is taken instead, the operator decides."""
    refusals = vetoes(report, measured, chosen)
    if not refusals:
        return None
    words = f"Boards refuse it ({'; '.join(refusals)}): use what status.recommended of the resource names."
    return tag("p", words, class_="note missed")


def _chosen(report: ConversionReport) -> ArtifactReport | None:
    return next((a for a in report.artifacts if a.is_as(report.recommended)), None)


def _original(report: ConversionReport) -> str:
    original = report.evaluation.original_accuracy
    return "" if original is None else f"the original has {percent(original)}"


def _alternatives(report: ConversionReport) -> Markup | None:
    alternatives = () if report.recommended is None else report.recommended.alternatives
    if not alternatives:
        return None
    items = [tag("li", tag("strong", name_of(a)), ": ", a.trade) for a in alternatives]
    return joined(tag("h2", "Instead of it"), tag("ul", *items))


def _warnings(report: ConversionReport) -> Markup | None:
    """Show the warnings of the conversion; None where there are none."""
    items: list[Child] = [tag("li", _sentence(text)) for text in report.warnings]
    items += [
        tag("li", tag("strong", f"{name_of(f)} gave no file"), f" ({f.reason.value}): {f.message}")
        for f in report.failed_methods
    ]
    if not items:
        return None
    return section("warnings", "Worth knowing", tag("ul", *items, class_="warnings"))


def _sentence(text: str) -> str:
    """``text`` with a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _footer() -> Markup:
    return tag("footer", tag("p", "The same figures for programs are in report.json beside this page."))
