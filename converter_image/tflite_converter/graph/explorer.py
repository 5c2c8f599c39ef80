"""Graphs as Model Explorer reads them: nodes, edges and attributes in JSON, and node data to colour them by.

Source of the format: ``graph_builder.py`` and ``node_data_builder.py`` of google-ai-edge/model-explorer. Its
viewer takes a file ``{"label": ..., "graphs": [...]}`` as graphs, and passes over what else is in it; as node
data it takes ``{GRAPH: {"results": ...}}``. Both are in one file here, so that it can be given twice.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from modelconversion_api.limits import NAME_LENGTH
from modelconversion_api.text import printable, shortened
from tflite_converter.graph.nodes import INPUTS, Edge, Graph, Node
from tflite_converter.targets.objections import ALL_RUNTIMES
from tflite_converter.tflite.types import Subgraph, Tensor

ERROR: Final = "error by layer: signal-to-noise ratio in dB"
BITS: Final = "bits of the weights"
"""Names of the node data."""
TAKEN: Final = "yes"
"""What stands where a runtime takes an operator; otherwise its reason does."""

_GRAPH_INPUTS, _GRAPH_OUTPUTS = "GraphInputs", "GraphOutputs"
_MOST_TENSORS: Final = 32
"""Outputs, or constants, of one operator that are described."""
_SMALL: Final = {"stop": 0, "bgColor": "#f4a259", "textColor": "#000000"}
_LARGE: Final = {"stop": 1, "bgColor": "#e8f1fb", "textColor": "#000000"}

_Attributes = list[tuple[str, str]]


def encode(
    label: str,
    graphs: Sequence[Graph],
    about: Mapping[str, str],
    compiled: Mapping[str, Mapping[str, str]],
    *,
    is_short: bool,
) -> bytes:
    """Return the file's content, the same for the same arguments.

    ``about`` are attributes of the whole file, and ``compiled`` what a compiler made of operators, by the
    operator's kind and then by the compiler's name. A short one has no attributes of nodes.
    """
    identifiers = [graph.identifier for graph in graphs]
    document: dict[str, Any] = {
        "label": label,
        "graphs": [_graph(graph, identifiers, about, compiled, is_short=is_short) for graph in graphs],
    }
    if not is_short:
        document |= {graph.identifier: _node_data(graph) for graph in graphs}
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def quantization(tensor: Tensor) -> str:
    """Say what the tensor's integers stand for, e.g. ``0.0039 * (q + 128)``."""
    if tensor.is_per_channel:
        low, high = min(tensor.scales), max(tensor.scales)
        along = tensor.quantized_dimension
        return f"{len(tensor.scales)} scales, {low:.6g} to {high:.6g}, along dimension {along}"
    zero = tensor.zero_points[0] if tensor.zero_points else 0
    moved = f"(q {'+' if zero < 0 else '-'} {abs(zero)})" if zero else "q"
    return f"{tensor.scales[0]:.6g} * {moved}"


def shape(tensor: Tensor) -> str:
    """Dtype and sizes, -1 where one is open, e.g. ``int8[1,96,96,3]``."""
    return f"{tensor.dtype}[{','.join(map(str, tensor.shape))}]"


def _graph(
    graph: Graph,
    identifiers: Sequence[str],
    about: Mapping[str, str],
    compiled: Mapping[str, Mapping[str, str]],
    *,
    is_short: bool,
) -> dict[str, Any]:
    tensors = graph.subgraph.tensors
    given = {
        "id": _GRAPH_INPUTS,
        "label": _GRAPH_INPUTS,
        "namespace": "",
        "incomingEdges": [],
        "outputsMetadata": _outputs(graph.subgraph.inputs, tensors),
    }
    taken = {
        "id": _GRAPH_OUTPUTS,
        "label": _GRAPH_OUTPUTS,
        "namespace": "",
        "incomingEdges": list(map(_edge, graph.outputs)),
    }
    nodes = (
        {
            "id": str(place),
            "label": _text(node.operator.name),
            "namespace": "/".join(node.layer),
            "incomingEdges": list(map(_edge, node.edges)),
        }
        | ({"subgraphIds": [identifiers[i] for i in node.subgraphs]} if node.subgraphs else {})
        | ({} if is_short else _details(node, graph.subgraph, compiled))
        for place, node in enumerate(graph.nodes)
    )
    return {
        "id": graph.identifier,
        "nodes": [given, *nodes, taken],
        "groupNodeAttributes": {"": dict(about)},
    }


def _details(node: Node, graph: Subgraph, compiled: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "attrs": _pairs([*_attributes(node), *compiled.get(node.operator.name, {}).items()]),
        "outputsMetadata": _outputs(node.operator.outputs, graph.tensors),
    }


def _attributes(node: Node) -> Iterator[tuple[str, str]]:
    yield "operator version", str(node.operator.version)
    for name, value in node.operator.options.items():
        yield name, str(value)
    for number, tensor in enumerate(node.constants[:_MOST_TENSORS]):
        words = f"{shape(tensor)}, {tensor.nbytes} bytes"
        yield f"constant {number}", f"{words}, {quantization(tensor)}" if tensor.is_quantized else words
    if node.constants:
        yield "bytes of constants", str(node.constant_bytes)
    if node.bits is not None:
        yield BITS, str(node.bits)
    if node.snr_db is not None:
        yield ERROR, f"{node.snr_db:g}"
    for runtime in ALL_RUNTIMES:
        yield f"runs on {runtime}", node.objections.get(runtime, TAKEN)


def _outputs(indices: Sequence[int], tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
    described = []
    for number, index in enumerate(indices[:_MOST_TENSORS]):
        tensor = tensors[index]
        attributes = [
            ("tensor_index", str(index)),
            ("tensor_name", _text(tensor.name)),
            ("tensor_shape", shape(tensor)),
        ]
        if tensor.is_quantized:
            attributes.append(("quantization", quantization(tensor)))
        described.append({"id": str(number), "attrs": _pairs(attributes)})
    return described


def _node_data(graph: Graph) -> dict[str, Any]:
    """Return what colours the nodes: the error where it was measured, otherwise the weights' bits."""
    values: dict[int, float] = {
        place: node.snr_db
        for place, node in enumerate(graph.nodes)
        if node.snr_db is not None and math.isfinite(node.snr_db)
    }
    name = ERROR if values else BITS
    if not values:
        values = {place: bits for place, node in enumerate(graph.nodes) if (bits := node.bits) is not None}
    return {
        "name": name,
        "results": {str(place): {"value": value} for place, value in values.items()},
        "gradient": [_SMALL, _LARGE],
    }


def _edge(edge: Edge) -> dict[str, str]:
    return {
        "sourceNodeId": _GRAPH_INPUTS if edge.source == INPUTS else str(edge.source),
        "sourceNodeOutputId": str(edge.output),
        "targetNodeInputId": str(edge.input),
    }


def _pairs(attributes: _Attributes) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in attributes]


def _text(name: str) -> str:
    return shortened(printable(name), NAME_LENGTH)
