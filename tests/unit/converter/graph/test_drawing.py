"""A drawing stands for every operator in few nodes, and layers are found in tensors' names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from modelconversion_api.reports.graph import MOST_DRAWN, DrawnNode, GraphReport
from support.converter.graphs import branching, report_of
from support.converter.tflite_files import dense
from tflite_converter.graph.drawing import FEWEST_LAYERS, drawn
from tflite_converter.graph.layers import MOST_CHARACTERS, MOST_PARTS, layer_of
from tflite_converter.graph.nodes import graphs_of
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import Operator, Subgraph, Tensor


def drawn_of(names: Sequence[str]) -> tuple[DrawnNode, ...]:
    """A chain of operators whose outputs have these names."""
    tensors = (Tensor("x", (1,), "int8"), *(Tensor(name, (1, 2), "int8") for name in names))
    chain = tuple(Operator("ADD", 1, (i, i), (i + 1,)) for i in range(len(names)))
    graph = Subgraph("main", tensors, chain, (0,), (len(names),))
    (found,) = graphs_of(replace(read_file(dense(), "f"), subgraphs=(graph,), signatures=()), {})
    return drawn(found)


def test_each_operator_of_a_small_graph_is_drawn() -> None:
    nodes = report_of(branching()).drawn
    assert [(n.label, n.inputs) for n in nodes] == [
        ("CONV_2D", ()),
        ("SPLIT", (0,)),
        ("CONCATENATION", (1,)),
        ("ADD", (2,)),
    ]
    first = nodes[0]
    assert (first.output, first.bits, first.constant_bytes) == ("int8[1,4,4,2]", 8, 44)


def test_a_large_graph_is_drawn_by_its_innermost_layers_that_are_few_enough() -> None:
    names = [f"net/stage{i // 40}/block{i // 2}/op{i}" for i in range(800)]
    nodes = drawn_of(names)
    assert [n.label for n in nodes] == [f"stage{i}" for i in range(20)]
    assert {n.operators for n in nodes} == {40}
    assert [n.inputs for n in nodes] == [(), *((i,) for i in range(19))]


def test_where_outer_layers_are_too_few_inner_ones_are_drawn_together() -> None:
    names = [f"net/block{i // 2}/op{i}" for i in range(800)]
    nodes = drawn_of(names)
    assert FEWEST_LAYERS <= len(nodes) <= MOST_DRAWN
    assert nodes[0].label == "block0 to block2"
    assert nodes[0].operators == 6


def test_without_layers_operators_are_drawn_together() -> None:
    nodes = drawn_of(["t"] * 301)
    assert [n.operators for n in nodes] == [3] * 100 + [1]
    assert nodes[0].label == "ADD to ADD"


@given(st.lists(st.sampled_from(["a/x", "b/x", "a/c/x", "a/d/x", "x"]), max_size=400))
def test_every_operator_is_in_one_node_and_edges_go_forward(names: list[str]) -> None:
    nodes = drawn_of(names)
    assert len(nodes) <= MOST_DRAWN
    assert sum(n.operators for n in nodes) == len(names)
    assert all(source < place for place, node in enumerate(nodes) for source in node.inputs)


def test_an_edge_to_a_node_that_does_not_come_before_is_refused() -> None:
    node = DrawnNode(label="ADD", operators=1, inputs=(0,))
    plain = {"file_name": "x.graph.json", "size_bytes": 1, "sha256": "a" * 64, "operators": 1}
    with pytest.raises(ValidationError, match="does not come before"):
        GraphReport.model_validate(plain | {"drawn": (node,)})


@pytest.mark.parametrize(
    ("operator", "name", "layer"),
    [
        ("TANH", "model/dense/Tanh", ("model", "dense")),
        ("TANH", "StatefulPartitionedCall:0", ()),
        ("TANH", "a//b/ /Tanh:0", ("a", "b")),
        ("TANH", "", ()),
        ("TANH", "///", ()),
        # What TensorFlow leaves of an activation, a normalization and the convolution that they went into.
        ("CONV_2D", "m/relu/Relu;m/bn/FusedBatchNormV3;m/conv/Conv2D1", ("m", "conv")),
        ("DEPTHWISE_CONV_2D", "m/relu/Relu;m/bn/FusedBatchNormV3;m/dw/depthwise", ("m", "dw")),
        ("FULLY_CONNECTED", "m/relu/Relu;m/fc/MatMul;m/fc/BiasAdd", ("m", "fc")),
        ("MEAN", "m/pool/Sum;m/other/x", ("m", "pool")),
        ("TANH", "/".join("abcdefghijkl"), tuple("abcdefgh")),
        ("TANH", "x\x1b\ny/Tanh", ("x\N{REPLACEMENT CHARACTER} y",)),
    ],
)
def test_layers(operator: str, name: str, layer: tuple[str, ...]) -> None:
    assert _layer(operator, name) == layer


@given(st.text(alphabet=st.sampled_from("a/;: \x00é"), max_size=200))
def test_a_layer_is_printable_and_short(name: str) -> None:
    found = _layer("TANH", name)
    assert len(found) <= MOST_PARTS
    assert all(part.isprintable() and 0 < len(part) <= MOST_CHARACTERS and "/" not in part for part in found)


def _layer(operator: str, name: str) -> tuple[str, ...]:
    graph = Subgraph("main", (Tensor(name, (1,), "int8"),), (), (), ())
    return layer_of(Operator(operator, 1, (), (0,)), graph)
