"""A graph in few nodes: its operators, or the layers that neighbours belong to where there are many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from modelconversion_api.reports.graph import MOST_DRAWN, MOST_DRAWN_INPUTS, DrawnNode
from tflite_converter.graph.explorer import shape
from tflite_converter.graph.layers import MOST_PARTS
from tflite_converter.graph.nodes import Graph, Node
from tflite_converter.targets.objections import ALL_RUNTIMES

_Run = Sequence[Node]
"""Operators that run one after the other."""

FEWEST_LAYERS: Final = 10
"""With fewer, a drawing says too little."""

_NO_LAYER: Final = "operators"


def drawn(graph: Graph) -> tuple[DrawnNode, ...]:
    """Return at most :data:`~modelconversion_api.reports.graph.MOST_DRAWN` nodes that stand for all.

    One for each operator where there are no more. Else one for neighbours of one layer, of the innermost
    layers that are few enough. Where the next outer ones would be fewer than :data:`FEWEST_LAYERS`, as many
    neighbouring layers, or operators, become one as it takes. Only operators that run one after the other
    become one node, so there is no cycle between them.
    """
    runs = _runs(graph.nodes)
    place_of = [place for place, (_, run) in enumerate(runs) for _ in run]
    made = []
    for place, (label, run) in enumerate(runs):
        sources = {
            source: None
            for node in run
            for edge in node.edges
            if edge.source >= 0 and (source := place_of[edge.source]) != place
        }
        made.append(_node(label, run, tuple(sources)[:MOST_DRAWN_INPUTS], graph))
    return tuple(made)


def _runs(nodes: _Run) -> list[tuple[str, _Run]]:
    if len(nodes) <= MOST_DRAWN:
        return [(node.operator.name, [node]) for node in nodes]
    finer: list[tuple[str, _Run]] = [(node.operator.name, [node]) for node in nodes]
    for depth in range(MOST_PARTS, 0, -1):
        runs = list(_by_layer(nodes, depth))
        if len(runs) < FEWEST_LAYERS:
            break
        if len(runs) <= MOST_DRAWN:
            return runs
        finer = runs
    length = math.ceil(len(finer) / MOST_DRAWN)
    return [_joined(finer[start : start + length]) for start in range(0, len(finer), length)]


def _joined(runs: Sequence[tuple[str, _Run]]) -> tuple[str, _Run]:
    first, last = runs[0][0], runs[-1][0]
    return first if len(runs) == 1 else f"{first} to {last}", [node for _, run in runs for node in run]


def _by_layer(nodes: _Run, depth: int) -> Iterator[tuple[str, _Run]]:
    for layer, run in groupby(nodes, key=lambda node: node.layer[:depth]):
        members = list(run)
        alone = members[0].operator.name if len(members) == 1 else _NO_LAYER
        yield (layer[-1] if layer else alone), members


def _node(label: str, run: _Run, sources: tuple[int, ...], graph: Graph) -> DrawnNode:
    last = next((node.operator for node in reversed(run) if node.operator.outputs), None)
    constants = {tensor.buffer: tensor.nbytes for node in run for tensor in node.constants}
    ratios = [node.snr_db for node in run if node.snr_db is not None and math.isfinite(node.snr_db)]
    return DrawnNode(
        label=label,
        operators=len(run),
        inputs=sources,
        output=None if last is None else shape(graph.subgraph.tensors[last.outputs[0]]),
        constant_bytes=sum(constants.values()),
        bits=min((bits for node in run if (bits := node.bits) is not None), default=None),
        snr_db=min(ratios, default=None),
        refused_by=tuple(name for name in ALL_RUNTIMES if any(name in node.objections for node in run)),
    )
