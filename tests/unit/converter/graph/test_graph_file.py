"""The graph's file: Model Explorer's format, true to the file that it is of, and bounded."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given
from hypothesis import strategies as st

from modelconversion_api.fields.compilation import EdgeTPUReport, OperatorFallback
from modelconversion_api.limits import MAX_GRAPH_BYTES
from modelconversion_api.reports.measurements import Inventory, LayerError, OperatorCount
from support.converter.graphs import (
    Document,
    artifact,
    attributes,
    branching,
    check,
    document_of,
    looping,
    operators,
    written_of,
)
from support.converter.pages import HOSTILE
from support.converter.tflite_files import O, T, dense, floats, tflite
from support.converter.tiny_tflite import write_tiny_tflite
from tflite_converter.graph import writing
from tflite_converter.graph.explorer import BITS, ERROR
from tflite_converter.graph.nodes import bits_of
from tflite_converter.graph.writing import MOST_DETAILED, MOST_EDGES
from tflite_converter.targets.objections import ALL_RUNTIMES
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import Operator, Subgraph, Tensor, TFLiteFile

SOUND = {"residual": branching(), "dense": dense()}


@pytest.mark.parametrize("content", SOUND.values(), ids=SOUND)
def test_it_says_what_litert_says_of_the_file(content: bytes) -> None:
    """Operators, edges, shapes, dtypes and scales as LiteRT's own interpreter reads them."""
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    details = interpreter._get_ops_details()
    (graph,) = document_of(content)["graphs"]
    nodes = operators(graph)
    assert [node["label"] for node in nodes] == [detail["op_name"] for detail in details]
    given = {t["index"]: ("GraphInputs", i) for i, t in enumerate(interpreter.get_input_details())}
    for place, (node, detail) in enumerate(zip(nodes, details, strict=True)):
        edges = {
            (given[tensor], str(number)) for number, tensor in enumerate(detail["inputs"]) if tensor in given
        }
        assert edges == {
            ((e["sourceNodeId"], int(e["sourceNodeOutputId"])), e["targetNodeInputId"])
            for e in node["incomingEdges"]
        }
        for number, tensor in enumerate(detail["outputs"]):
            said = attributes(node["outputsMetadata"][number])
            known = tensors[tensor]
            sizes = ",".join(map(str, known["shape_signature"]))
            assert said["tensor_name"] == known["name"]
            assert said["tensor_shape"] == f"{known['dtype'].__name__}[{sizes}]"
            scale, zero = known["quantization"]
            assert said.get("quantization") == (f"{scale:.6g} * (q + {-zero})" if scale else None)
            given[tensor] = (str(place), number)
        constants = [tensors[t] for t in detail["inputs"] if t >= 0 and t not in given]
        sizes_in_bytes = [int(c["shape"].prod()) * c["dtype"]().itemsize for c in constants]
        assert attributes(node).get("bytes of constants") == (str(sum(sizes_in_bytes)) if constants else None)
    outputs = {given[t["index"]] for t in interpreter.get_output_details()}
    ends = graph["nodes"][-1]["incomingEdges"]
    assert {(e["sourceNodeId"], int(e["sourceNodeOutputId"])) for e in ends} == outputs


def test_what_is_known_of_an_operator_stands_at_it() -> None:
    (graph,) = document_of(branching())["graphs"]
    convolution, split, _, _ = map(attributes, operators(graph))
    assert convolution["constant 0"] == "int8[2,3,3,2], 36 bytes, 2 scales, 0.125 to 0.25, along dimension 0"
    assert convolution["constant 1"] == "int32[2], 8 bytes"
    assert convolution[BITS] == "8"
    assert convolution["runs on TFLite Micro"] == "yes"
    assert BITS not in split, "an axis is no weight"
    assert {f"runs on {runtime}" for runtime in ALL_RUNTIMES} <= split.keys()
    assert [node["namespace"] for node in operators(graph)] == ["net/a", "halves", "halves", "out"]


def test_why_a_runtime_does_not_take_an_operator() -> None:
    content = tflite([T("a"), T("b"), T("c")], [O("MyOp"), O("TANH", (1,), (2,))], outputs=(2,))
    (graph,) = document_of(content)["graphs"]
    mine, after = map(attributes, operators(graph))
    assert "register its kernel" in mine["runs on LiteRT"]
    assert after["runs on LiteRT"] == "yes"
    assert "the Edge TPU does not have it" in mine["runs on Edge TPU"]
    assert after["runs on Edge TPU"].startswith("follows an operator")


def test_what_a_compiler_said_stands_at_operators_of_the_kind() -> None:
    kinds = [OperatorCount(operator=name, dtype="int8", count=1) for name in ("CONV_2D", "SPLIT", "ADD")]
    inventory = Inventory(
        inputs=(), outputs=(), operators=kinds, tensor_dtypes={}, constant_bytes={},
        per_channel_tensors=0, flex_operators=(), custom_operators=(),
    )  # fmt: skip
    tpu = EdgeTPUReport(
        passed=True, compiled=True, operators=4, mapped_operators=3,
        fallbacks=(OperatorFallback(operator="SPLIT", count=1, reason="too large"),),
    )  # fmt: skip
    (graph,) = document_of(branching(), inventory=inventory, edge_tpu=tpu)["graphs"]
    said = [attributes(node).get("compiled for Edge TPU") for node in operators(graph)]
    assert said == ["maps", "1 of them stay on the CPU: too large", None, "maps"]
    predicted = tpu.model_copy(update={"compiled": False})
    (graph,) = document_of(branching(), inventory=inventory, edge_tpu=predicted)["graphs"]
    assert not any("compiled for Edge TPU" in attributes(node) for node in operators(graph))


def test_the_error_by_layer_colours_the_nodes_where_it_was_measured() -> None:
    name = "net/a/Relu;net/a/Conv2D;net/a/BiasAdd"
    layers = (
        LayerError(tensor=name, operator="CONV_2D", snr_db=12.25),
        LayerError(tensor="out/Add", operator="ADD", snr_db=float("inf")),
        LayerError(tensor="elsewhere", operator="ADD", snr_db=1.0),
    )
    document = document_of(branching(), layers=layers)
    assert document["main"]["name"] == ERROR
    assert document["main"]["results"] == {"0": {"value": 12.25}}, "JSON has no infinity"
    assert attributes(operators(document["graphs"][0])[0])[ERROR] == "12.25"
    assert attributes(operators(document["graphs"][0])[3])[ERROR] == "inf"
    plain = document_of(branching())
    assert (plain["main"]["name"], plain["main"]["results"]) == (BITS, {"0": {"value": 8}})


def test_a_loop_leads_to_its_graphs() -> None:
    main, cond, body = document_of(looping())["graphs"]
    assert [graph["id"] for graph in (main, cond, body)] == ["main", "cond", "body"]
    (loop,) = operators(main)
    assert loop["subgraphIds"] == ["cond", "body"]
    assert [node["label"] for graph in (cond, body) for node in operators(graph)] == ["LESS", "TANH"]


@pytest.mark.parametrize("name", ["cond", "main", "label", "graphs", ""])
def test_graphs_of_one_name_are_told_apart(name: str) -> None:
    document = document_of(looping(name))
    assert operators(document["graphs"][0])[0]["subgraphIds"] == [g["id"] for g in document["graphs"][1:]]


def test_a_loop_over_a_graph_that_is_not_there_leads_nowhere() -> None:
    row = T("x", dtype="FLOAT32")
    lost = O("WHILE", options={"condSubgraphIndex": 7, "bodySubgraphIndex": -1})
    (node,) = operators(document_of(tflite([row, row], [lost]))["graphs"][0])
    assert "subgraphIds" not in node


def test_no_weight_is_in_it() -> None:
    def content(*values: float) -> bytes:
        weights = T("w", (2, 4), "FLOAT32", data=floats(*values))
        tensors = [T("x", dtype="FLOAT32"), T("y", (1, 2), "FLOAT32"), weights]
        return tflite(tensors, [O("FULLY_CONNECTED", (0, 2, -1), (1,))])

    one, other = content(*range(8)), content(*(0.1 * i for i in range(8)))
    assert one != other
    assert written_of(one).content == written_of(other).content


def test_the_same_file_gives_the_same_bytes_and_the_report_their_digest(tmp_path: Path) -> None:
    content = write_tiny_tflite(tmp_path / "tiny.tflite", (1, 2, 2, 2)).read_bytes()
    first, second = written_of(content), written_of(content)
    assert first == second
    assert first.report.sha256 == hashlib.sha256(first.content).hexdigest()
    assert first.report.size_bytes == len(first.content)
    assert first.report.file_name == "model_int8.graph.json"


INDEX = st.integers(-1, 9)
TABLES = st.lists(
    st.tuples(
        st.sampled_from(["ADD", "CONV_2D", "WHILE", "MyOp", "CONCATENATION"]),
        st.lists(INDEX, max_size=4),
        st.lists(st.integers(0, 9), max_size=3),
    ),
    max_size=20,
)


@given(TABLES, st.lists(st.integers(0, 9), max_size=4), st.lists(st.integers(0, 9), max_size=4))
def test_whatever_the_tables_say_no_edge_dangles_and_there_is_no_cycle(
    table: list[tuple[str, list[int], list[int]]], inputs: list[int], outputs: list[int]
) -> None:
    """Operators may take what is given later, give what another one has given, and take their own."""
    graph = Subgraph(
        "main",
        tuple(Tensor(f"a/t{i}", (1,), "int8", data=memoryview(b"x") if i == 0 else None) for i in range(10)),
        tuple(Operator(n, 1, tuple(i), tuple(o), is_custom=n == "MyOp") for n, i, o in table),
        tuple(inputs),
        tuple(outputs),
    )
    found = written_of(_file(graph))
    check(json.loads(found.content))
    assert sum(node.operators for node in found.report.drawn) == len(table)


@given(
    st.lists(
        st.text(max_size=40) | st.sampled_from(HOSTILE) | st.just("x/" * 5000 + "y"), min_size=5, max_size=5
    )
)
def test_whatever_names_are_they_stay_texts_of_bounded_length(names: list[str]) -> None:
    tensors = tuple(Tensor(name, (1,), "int8") for name in names[:3])
    operators_ = (Operator(names[3], 1, (0,), (1,), is_custom=True), Operator("ADD", 1, (1, 0), (2,)))
    graph = Subgraph(names[4], tensors, operators_, (0,), (2,))
    content = written_of(_file(graph, graph)).content
    check(json.loads(content))
    assert content.isascii()
    assert all(32 <= byte < 127 for byte in content), "no control character leaves the file as it is"
    assert len(content) < 60_000


def test_ten_thousand_operators_fit_with_all_details() -> None:
    found = written_of(_chain(10_000))
    assert not found.report.is_short
    assert len(found.content) < MAX_GRAPH_BYTES / 2
    assert len(json.loads(found.content)["graphs"][0]["nodes"]) == 10_002


def test_more_operators_lose_their_details_and_at_last_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_DETAILED", 500)
    monkeypatch.setattr(writing, "MOST_EDGES", 3000)
    assert MOST_DETAILED < MOST_EDGES
    short = written_of(_chain(501))
    assert short.report.is_short
    document: Document = json.loads(short.content)
    check(document)
    assert len(operators(document["graphs"][0])) == 501
    assert "attrs" not in operators(document["graphs"][0])[0]
    assert written_of(_chain(500)).report.is_short is False
    assert writing.written(_chain(1500), artifact()) is None
    monkeypatch.setattr(writing, "MAX_GRAPH_BYTES", 40_000)
    assert written_of(_chain(100)).report.is_short
    monkeypatch.setattr(writing, "MAX_GRAPH_BYTES", 1000)
    assert writing.written(_chain(100), artifact()) is None


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [
        ("int4", 4),
        ("uint8", 8),
        ("float16", 16),
        ("bfloat16", 16),
        ("int64", 64),
        ("bool", 8),
        ("string", None),
    ],
)
def test_bits(dtype: str, bits: int | None) -> None:
    assert bits_of(dtype) == bits


def _file(*graphs: Subgraph) -> TFLiteFile:
    empty = read_file(dense(), "model.tflite")
    return replace(empty, subgraphs=graphs, signatures=())


def _chain(length: int) -> TFLiteFile:
    """Convolutions by channel that follow each other, with names as long as TensorFlow's are."""
    scales = tuple(0.01 * i for i in range(1, 65))
    tensors, chain = [Tensor("x", (1, 8, 8, 64), "int8", scales=(0.1,), zero_points=(-1,))], []
    for i in range(length):
        name = f"model/stage{i // 100}/block{i}/conv2d/Relu;model/stage{i // 100}/block{i}/conv2d/Conv2D"
        tensors.append(Tensor(name, (1, 8, 8, 64), "int8", scales=(0.1,), zero_points=(-1,)))
        weights = Tensor(f"w{i}", (64, 1, 1, 64), "int8", scales=scales, buffer=2 * i, data=memoryview(b"w"))
        bias = Tensor(f"b{i}", (64,), "int32", scales=scales, buffer=2 * i + 1, data=memoryview(b"b"))
        tensors += [weights, bias]
        chain.append(Operator("CONV_2D", 3, (max(0, 3 * i - 2), 3 * i + 2, 3 * i + 3), (3 * i + 1,)))
    return _file(Subgraph("main", tuple(tensors), tuple(chain), (0,), (3 * length - 2,)))
