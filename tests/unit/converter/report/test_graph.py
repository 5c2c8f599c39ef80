"""The drawing of a graph: nothing overlaps, edges begin and end at nodes, and names stay texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ConversionReport, RecommendedMethod
from modelconversion_api.reports.graph import DrawnNode, GraphReport
from support.converter import html_reports as sample
from support.converter.pages import HOSTILE, Page
from tflite_converter.report.graph import LOW_DB
from tflite_converter.report.layout import Point, Sizes, lay_out
from tflite_converter.report.page import render

SIZES = Sizes(width=100, height=30, across=10, down=20, lane=8)
DAGS = st.lists(st.lists(st.integers(0, 100), max_size=4), max_size=40).map(
    lambda wishes: [sorted({wish % i for wish in row}) if i else [] for i, row in enumerate(wishes)]
)


@given(DAGS)
def test_nodes_lie_apart_and_edges_lead_down_from_node_to_node(inputs: Sequence[Sequence[int]]) -> None:
    layout = lay_out(inputs, SIZES)
    tops = layout.nodes
    for place, one in enumerate(tops):
        assert one.x - SIZES.width / 2 >= -1e-6
        assert one.x + SIZES.width / 2 <= layout.width + 1e-6
        assert one.y + SIZES.height <= layout.height + 1e-6
        for other in tops[:place]:
            if one.y == other.y:
                assert abs(one.x - other.x) >= SIZES.width + SIZES.across - 1e-6
    pairs = [(source, node) for node, sources in enumerate(inputs) for source in sources]
    for (source, node), points in zip(pairs, layout.edges, strict=True):
        assert points[0] == Point(tops[source].x, tops[source].y + SIZES.height)
        assert points[-1] == tops[node]
        assert [p.y for p in points] == sorted(p.y for p in points)


@given(DAGS)
def test_an_edge_passes_beside_the_nodes_of_the_ranks_between(inputs: Sequence[Sequence[int]]) -> None:
    layout = lay_out(inputs, SIZES)
    for points in layout.edges:
        for point in points[1:-1]:
            beside = [t for t in layout.nodes if t.y <= point.y <= t.y + SIZES.height]
            assert all(abs(point.x - top.x) > SIZES.width / 2 for top in beside)


def test_a_chain_is_straight_beside_what_passes_it() -> None:
    layout = lay_out([[], [0], [1], [0, 2], [3]], SIZES)
    assert max(top.x for top in layout.nodes) == pytest.approx(min(top.x for top in layout.nodes), abs=1)


def test_nothing_takes_no_place() -> None:
    layout = lay_out([], SIZES)
    assert (layout.nodes, layout.edges, layout.width, layout.height) == ((), (), 0.0, 0.0)


def with_graph(*nodes: DrawnNode, target: str = "") -> ConversionReport:
    """The ordinary report, in which the full-integer file has this graph."""
    report = sample.report()
    assert report.provenance is not None
    graph = GraphReport(
        file_name="gesture_int8.graph.json", size_bytes=9, sha256="a" * 64, operators=9, drawn=nodes
    )
    artifacts = tuple(
        a.model_copy(update={"graph": graph}) if a.method is Method.FULL_INTEGER else a
        for a in report.artifacts
    )
    provenance = report.provenance.model_copy(update={"options": {"target": target}})
    return report.model_copy(update={"artifacts": artifacts, "provenance": provenance})


NODES = (
    DrawnNode(label="CONV_2D", operators=1, output="int8[1,2]", bits=8, constant_bytes=2048, snr_db=LOW_DB),
    DrawnNode(label="dense", operators=7, inputs=(0,), snr_db=LOW_DB - 0.1, refused_by=("Edge TPU",)),
)


def test_the_drawing_says_what_is_known_of_each_node() -> None:
    page = Page(render(with_graph(*NODES, target="EdgeTPU")))
    assert "Edge TPU does not take it" in page.text
    assert [a["class"] for a in page.with_class("node")] == ["node", "node lossy refused"]
    assert len(page.with_class("edge")) == 1
    for text in (
        "CONV_2D; gives int8[1,2]; 2.0 KiB of constants; weights in 8 bits; signal-to-noise ratio 20.0 dB",
        "dense: 7 operators; signal-to-noise ratio 19.9 dB; not taken by Edge TPU",
        "2 nodes from top to bottom: CONV_2D, dense.",
    ):
        assert text in page.text
    (svg,) = page.with_class("nodes")
    assert (svg["role"], svg["aria-label"]) == ("img", "Graph of Full integer")
    assert page.named("desc")


@pytest.mark.parametrize("target", ["", "Cloud", "GPU", "Microcontroller"])
def test_what_another_target_refuses_is_not_marked(target: str) -> None:
    page = Page(render(with_graph(*NODES, target=target)))
    assert page.with_class("refused") == []


def test_the_recommended_file_s_graph_is_open_and_the_others_are_folded() -> None:
    report = with_graph(*NODES)
    graph = next(a.graph for a in report.artifacts if a.graph is not None)
    artifacts = tuple(a.model_copy(update={"graph": graph}) for a in report.artifacts)
    best = RecommendedMethod(method=Method.FLOAT16, reason="best")
    page = Page(render(report.model_copy(update={"artifacts": artifacts, "recommended": best})))
    labels = [a["aria-label"] for a in page.with_class("nodes")]
    assert labels[0] == "Graph of Float16"
    assert sorted(labels) == sorted({*labels})
    assert len(labels) == len(artifacts)
    assert page.text.count("Graph of Full integer") > page.text.count("Graph of Float16")


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 5000, ""])
def test_names_stay_texts(name: str) -> None:
    content = render(with_graph(DrawnNode(label=name, operators=1, output=name, refused_by=(name,))))
    page = Page(content)
    assert {found for found, _ in page.elements}.isdisjoint({"script", "img", "b", "style "})
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f]", content)
    assert len([1 for found, _ in page.elements if found == "style"]) == 1
    for _, attributes in page.elements:
        assert not any(key.startswith("on") or key == "style" for key in attributes)


def test_without_graphs_there_is_no_part() -> None:
    assert 'id="graph"' not in render(sample.report())
    assert 'id="graph"' not in render(with_graph())
