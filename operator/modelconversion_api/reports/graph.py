"""The graph of an artifact: a file for Model Explorer, and a small drawing for the report."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from ..base import ApiModel, Sha256
from ..limits import MAX_GRAPH_BYTES, KindText, SentenceText

GRAPH_SUFFIX: Final = ".graph.json"
MOST_DRAWN: Final = 150
"""Nodes of a drawing: a graph with more is drawn by its layers."""
MOST_DRAWN_INPUTS: Final = 32
"""Edges into one node that are drawn; the file has all."""


def graph_name(artifact_name: str) -> str:
    """Return the name of the graph's file for ``x_int8.tflite``."""
    return f"{artifact_name.removesuffix('.tflite')}{GRAPH_SUFFIX}"


class DrawnNode(ApiModel):
    """An operator, or neighbours of one layer in their order."""

    label: KindText
    """The operator's kind, or the layer's name."""
    operators: Annotated[int, Field(ge=1)]
    """How many it stands for."""
    inputs: Annotated[tuple[int, ...], Field(max_length=MOST_DRAWN_INPUTS)] = ()
    """Places of the nodes that give what it takes; all of them come before it."""
    output: SentenceText | None = None
    """Dtype and shape of what the last operator gives, e.g. ``int8[1,48,48,8]``."""
    constant_bytes: Annotated[int, Field(ge=0)] = 0
    """Bytes of its constants: weights, biases and sizes."""
    bits: Annotated[int, Field(ge=1, le=128)] | None = None
    """Bits of one weight, the fewest where they differ; None where it has no weights."""
    snr_db: float | None = None
    """Signal-to-noise ratio of what it gives against the float file, the worst one; None where that was not
    measured."""
    refused_by: Annotated[tuple[KindText, ...], Field(max_length=8)] = ()
    """Runtimes and accelerators that do not take it, or one of its operators."""


class GraphReport(ApiModel):
    """The graph of an artifact."""

    file_name: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]+\.graph\.json$")]
    """Graph JSON of Model Explorer."""
    size_bytes: Annotated[int, Field(gt=0, le=MAX_GRAPH_BYTES)]
    sha256: Sha256
    operators: Annotated[int, Field(ge=0)]
    """Operators of all graphs of the artifact."""
    is_short: bool = False
    """Whether the file has nodes and edges only: with all details it would have been too large."""
    drawn: Annotated[tuple[DrawnNode, ...], Field(max_length=MOST_DRAWN)] = ()
    """The main graph, for a drawing."""

    @model_validator(mode="after")
    def _check_edges(self) -> Self:
        for place, node in enumerate(self.drawn):
            if any(not 0 <= source < place for source in node.inputs):
                raise ValueError("an edge of the drawing begins at a node that does not come before its end")
        return self
