"""Where the nodes and edges of a drawn graph lie: ranks from top to bottom, and places within a rank.

The method is Sugiyama's (K. Sugiyama, S. Tagawa, M. Toda, 1981) in its simplest form: a node's rank is the
longest way to it, an edge over several ranks keeps a free lane in each, and a node lies under the middle of
what it takes from, or as near to that as its neighbours let it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

MOST_LANES: Final = 1500
"""Places that long edges keep; what comes after that is drawn straight."""

_LIGHT: Final = 1e-3
"""Weight of a lane beside a node: lanes give way."""


class Point(NamedTuple):
    """A place, in px."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """What the nodes take, in px."""

    width: float
    height: float
    across: float
    """Between two nodes of a rank."""
    down: float
    """Between two ranks."""
    lane: float
    """Width that an edge keeps in a rank that it passes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A laid-out graph."""

    nodes: tuple[Point, ...]
    """Middle of each node's upper side."""
    edges: tuple[tuple[Point, ...], ...]
    """Points that each edge goes through, from its source to its end."""
    width: float
    height: float


@dataclass(slots=True)
class _Item:
    """A node, or a lane, in its rank."""

    node: int
    """The node, or the source of the edge that has the lane."""
    is_lane: bool
    wish: float = 0.0
    x: float = 0.0


def lay_out(inputs: Sequence[Sequence[int]], sizes: Sizes) -> Layout:
    """Return places for nodes of which each takes from those at ``inputs``, all of them earlier ones."""
    ranks: list[int] = []
    for sources in inputs:
        ranks.append(max((ranks[source] + 1 for source in sources), default=0))
    rows: list[list[_Item]] = [[] for _ in range(max(ranks, default=-1) + 1)]
    items = [_Item(node, is_lane=False) for node in range(len(inputs))]
    for item in items:
        rows[ranks[item.node]].append(item)
    lanes: dict[tuple[int, int], _Item] = {}
    for node, sources in enumerate(inputs):
        for source in sources:
            for rank in range(ranks[source] + 1, ranks[node]):
                if (source, rank) not in lanes and len(lanes) < MOST_LANES:
                    # Edges of one source share their lanes: they carry the same tensor, or its neighbours.
                    lanes[source, rank] = _Item(source, is_lane=True)
                    rows[rank].append(lanes[source, rank])
    for row in rows:
        for item in row:
            item.wish = _wish(item, items, inputs)
        row.sort(key=lambda item: (item.wish, item.is_lane))
        _place(row, sizes)
    return _moved_into_view(inputs, ranks, items, lanes, sizes)


def _wish(item: _Item, items: Sequence[_Item], inputs: Sequence[Sequence[int]]) -> float:
    """Where the item would lie if it were alone: all that it depends on is placed."""
    if item.is_lane:
        return items[item.node].x
    sources = inputs[item.node]
    return sum(items[source].x for source in sources) / len(sources) if sources else 0.0


def _place(row: Iterable[_Item], sizes: Sizes) -> None:
    """Keep the order and the distances, and move as little as that takes: in the sense of least squares.

    Neighbours that are too near become one block, which lies where its members want it on the whole (pool
    adjacent violators).
    """
    blocks: list[tuple[float, float, list[_Item], list[float]]] = []
    reach = 0.0
    for item in row:
        width = sizes.lane if item.is_lane else sizes.width
        middle = reach + width / 2
        reach += width + sizes.across
        weight = _LIGHT if item.is_lane else 1.0
        # In coordinates that have every earlier item's width taken off, order is all that must be kept.
        block = (weight * (item.wish - middle), weight, [item], [middle])
        while blocks and blocks[-1][0] / blocks[-1][1] >= block[0] / block[1]:
            total, weights, members, middles = blocks.pop()
            block = (total + block[0], weights + block[1], members + block[2], middles + block[3])
        blocks.append(block)
    for total, weight, members, middles in blocks:
        for item, middle in zip(members, middles, strict=True):
            item.x = total / weight + middle


def _moved_into_view(
    inputs: Sequence[Sequence[int]],
    ranks: Sequence[int],
    items: Sequence[_Item],
    lanes: dict[tuple[int, int], _Item],
    sizes: Sizes,
) -> Layout:
    sides = [(item, sizes.width / 2) for item in items] + [(lane, sizes.lane / 2) for lane in lanes.values()]
    left = min((item.x - half for item, half in sides), default=0.0)
    width = max((item.x + half for item, half in sides), default=0.0) - left
    step = sizes.height + sizes.down
    tops = [Point(item.x - left, rank * step) for item, rank in zip(items, ranks, strict=True)]

    def points(source: int, node: int) -> Iterable[Point]:
        yield Point(tops[source].x, tops[source].y + sizes.height)
        for rank in range(ranks[source] + 1, ranks[node]):
            if (lane := lanes.get((source, rank))) is not None:
                yield Point(lane.x - left, rank * step)
                yield Point(lane.x - left, rank * step + sizes.height)
        yield tops[node]

    edges = tuple(tuple(points(source, node)) for node, sources in enumerate(inputs) for source in sources)
    height = (max(ranks, default=-1) + 1) * step - sizes.down
    return Layout(tuple(tops), edges, width, max(height, 0.0))
