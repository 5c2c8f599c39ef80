"""The graph of an artifact as a file and as a drawing, both of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from modelconversion_api.fields.compilation import MOST_FALLBACKS, CompilerFigures
from modelconversion_api.limits import MAX_GRAPH_BYTES
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.graph import GraphReport, graph_name
from tflite_converter.graph.drawing import drawn
from tflite_converter.graph.explorer import encode
from tflite_converter.graph.nodes import graphs_of
from tflite_converter.tflite.types import TFLiteFile

MOST_DETAILED: Final = 40_000
"""Operators up to which details are tried: more could take gigabytes before their size is known."""
MOST_EDGES: Final = 400_000
"""Operators and edges together up to which there is a file at all."""

_MAPPED: Final = "maps"


class WrittenGraph(NamedTuple):
    """A graph's file and what the report says of it."""

    content: bytes
    report: GraphReport


def written(file: TFLiteFile, artifact: ArtifactReport) -> WrittenGraph | None:
    """Return the graph of ``file`` with what the report on it knows of its operators.

    Details are left out where the file would be larger than
    :data:`~modelconversion_api.limits.MAX_GRAPH_BYTES` with them. None where it would be so without them.
    """
    operators = sum(len(graph.operators) for graph in file.subgraphs)
    if operators + sum(len(operator.inputs) for operator, _ in file.operators()) > MOST_EDGES:
        return None
    graphs = graphs_of(file, {layer.tensor: layer.snr_db for layer in artifact.layers})
    about = {
        "file": artifact.file_name,
        "SHA-256": artifact.sha256,
        "method": artifact.made_by,
        "operators": str(operators),
    }
    label = artifact.file_name.removesuffix(".tflite")
    compiled = _compiled(artifact)
    for is_short in (False, True) if operators <= MOST_DETAILED else (True,):
        content = encode(label, graphs, about, compiled, is_short=is_short)
        if len(content) <= MAX_GRAPH_BYTES:
            report = GraphReport(
                file_name=graph_name(artifact.file_name),
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                operators=operators,
                is_short=is_short,
                drawn=drawn(graphs[0]),
            )
            return WrittenGraph(content, report)
    return None


def _compiled(artifact: ArtifactReport) -> Mapping[str, Mapping[str, str]]:
    """Return what the compilers say of each kind of operator: they name kinds, and not single operators."""
    kinds: dict[str, dict[str, str]] = {}
    names = {} if artifact.inventory is None else {o.operator: None for o in artifact.inventory.operators}
    for compiler, figures in artifact.accelerators:
        if figures.compiled and len(figures.fallbacks) < MOST_FALLBACKS:
            for name in names:
                kinds.setdefault(name, {})[f"compiled for {compiler}"] = _fallback(name, figures)
    return kinds


def _fallback(name: str, figures: CompilerFigures) -> str:
    """Return why operators of this name stay on the CPU."""
    found = [
        f"{f.count} of them stay on the CPU: {f.reason}" for f in figures.fallbacks if f.operator == name
    ]
    return "; ".join(found) or _MAPPED
