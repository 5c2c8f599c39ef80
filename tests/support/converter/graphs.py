"""Model Explorer's documented graph format, checked by hand, and files to make graphs of."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from modelconversion_api.methods import Method
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.graph import GraphReport
from support.converter.tflite_files import O, T, ints, tflite
from tflite_converter.graph.writing import WrittenGraph, written
from tflite_converter.tflite.file import read_file
from tflite_converter.tflite.types import TFLiteFile

Document = dict[str, Any]

_NODE = {"id", "label", "namespace", "incomingEdges", "subgraphIds", "attrs", "outputsMetadata"}
_EDGE = {"sourceNodeId", "sourceNodeOutputId", "targetNodeInputId"}


def artifact(content: bytes = b"", **changes: object) -> ArtifactReport:
    """A full-integer file's report, without measurements."""
    return ArtifactReport(
        method=Method.FULL_INTEGER,
        file_name="model_int8.tflite",
        size_bytes=max(1, len(content)),
        size_fraction=1.0,
        sha256=hashlib.sha256(content).hexdigest(),
        passed=True,
    ).changed(**changes)


def written_of(file: TFLiteFile | bytes, **changes: object) -> WrittenGraph:
    """The graph of a file, which has one."""
    read = read_file(file, "model.tflite") if isinstance(file, bytes) else file
    found = written(read, artifact(**changes))
    assert found is not None
    return found


def document_of(file: TFLiteFile | bytes, **changes: object) -> Document:
    """The graph's file, read and checked."""
    document: Document = json.loads(written_of(file, **changes).content)
    check(document)
    return document


def report_of(content: bytes, **changes: object) -> GraphReport:
    return written_of(content, **changes).report


def operators(graph: Document) -> list[Document]:
    """The nodes that are operators."""
    return [node for node in graph["nodes"] if node["id"].isdecimal()]


def attributes(node: Document) -> dict[str, str]:
    return {pair["key"]: pair["value"] for pair in node["attrs"]}


def check(document: Document) -> None:
    """``GraphCollection``, ``Graph``, ``GraphNode``, ``IncomingEdge``, ``KeyValue`` and ``ModelNodeData``.

    Beyond the types: ids are unique, edges begin at nodes that come before, and subgraphs are there.
    """
    graphs = document["graphs"]
    identifiers = [graph["id"] for graph in graphs]
    assert isinstance(document["label"], str)
    assert len(set(identifiers)) == len(identifiers) > 0
    assert document.keys() <= {"label", "graphs", *identifiers}
    for graph in graphs:
        assert graph.keys() <= {"id", "nodes", "groupNodeAttributes"}
        for group in graph["groupNodeAttributes"].values():
            assert all(isinstance(text, str) for pair in group.items() for text in pair)
        seen: dict[str, int | None] = {}
        for node in graph["nodes"]:
            assert {"id", "label", "namespace", "incomingEdges"} <= node.keys() <= _NODE
            assert all(isinstance(node[key], str) for key in ("id", "label", "namespace"))
            for edge in node["incomingEdges"]:
                assert edge.keys() == _EDGE
                assert all(isinstance(value, str) for value in edge.values())
                assert edge["sourceNodeId"] in seen, "an edge begins at a node that comes before"
                outputs = seen[edge["sourceNodeId"]]
                assert outputs is None or int(edge["sourceNodeOutputId"]) < outputs
            places = [edge["targetNodeInputId"] for edge in node["incomingEdges"]]
            assert len(set(places)) == len(places)
            assert set(node.get("subgraphIds", ())) <= set(identifiers)
            _check_pairs(node.get("attrs", []))
            for item in node.get("outputsMetadata", []):
                assert item.keys() == {"id", "attrs"}
                _check_pairs(item["attrs"])
            assert node["id"] not in seen
            described = node.get("outputsMetadata")
            seen[node["id"]] = None if described is None or len(described) == 32 else len(described)
        data = document.get(graph["id"], {"results": {}})
        assert data.keys() <= {"name", "results", "gradient"}
        assert data["results"].keys() <= seen.keys()
        assert all(isinstance(result["value"], int | float) for result in data["results"].values())
        assert [stop["stop"] for stop in data.get("gradient", [])] in ([], [0, 1])


def _check_pairs(pairs: list[Document]) -> None:
    assert all(pair.keys() == {"key", "value"} for pair in pairs)
    assert all(isinstance(value, str) for pair in pairs for value in pair.values())
    assert len({pair["key"] for pair in pairs}) == len(pairs)


def branching() -> bytes:
    """A residual block of integers, with a custom operator and two outputs of one operator."""
    scaled = {"scales": [0.5], "zero_points": [-3]}
    return tflite(
        [
            T("x", (1, 4, 4, 2), **scaled),
            T("out/Add", (1, 4, 4, 2), **scaled),
            T("w", (2, 3, 3, 2), data=bytes(range(36)), scales=[0.25, 0.125]),
            T("net/a/Relu;net/a/Conv2D;net/a/BiasAdd", (1, 4, 4, 2), **scaled),
            T("halves/Mine:0", (1, 4, 4, 1), **scaled),
            T("halves/Mine:1", (1, 4, 4, 1), **scaled),
            T("halves/concat", (1, 4, 4, 2), **scaled),
            T("axis", (), "INT32", data=ints(3)),
            T("b", (2,), "INT32", data=ints(1, 2)),
        ],
        [
            O("CONV_2D", (0, 2, 8), (3,)),
            O("SPLIT", (7, 3), (4, 5), options={"numSplits": 2}),
            O("CONCATENATION", (5, 4), (6,), options={"axis": 3}),
            O("ADD", (6, 0), (1,)),
        ],
    )


def looping(body: str = "body") -> bytes:
    """A loop, with its condition and its body."""
    row = {"dtype": "FLOAT32"}
    return tflite(
        [T("x", **row), T("y", **row)],
        [O("WHILE", (0,), (1,), options={"condSubgraphIndex": 1, "bodySubgraphIndex": 2})],
        others=[
            (
                "cond",
                [T("x", **row), T("low", **row, data=bytes(16)), T("go", (1, 4), "BOOL")],
                [O("LESS", (0, 1), (2,))],
            ),
            (body, [T("x", **row), T("y", **row)], [O("TANH", (0,), (1,))]),
        ],
    )
