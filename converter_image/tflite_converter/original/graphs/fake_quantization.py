"""Fake quantization as what TFLite computes exactly, in float and in integers. Child only.

TFLite's converter keeps the range of a fake quantization and forgets how many steps it has: 2 bits become 4,
12 become 16, of a type that no kernel takes; a narrow range becomes a whole one, and a range for each channel
of weights becomes operators that no integer kernel can read. So weights are rounded here, and activations by
arithmetic, but for those that the converter understands: 8 bits, a whole range, one for the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import tensorflow as tf

from tflite_converter.arrays import Array
from tflite_converter.original.graphs.reading import (
    ancestors,
    by_name,
    data_inputs,
    node_lists,
    producer,
    replace_nodes,
)

_PER_TENSOR: Final = ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars")
_KINDS: Final = (*_PER_TENSOR, "FakeQuantWithMinMaxVarsPerChannel")
_BITS: Final = 8
_STEPS: Final = 255
"""Between the least and the greatest number of 8 bits."""


@dataclass(frozen=True)
class _Rounding:
    """What a fake quantization does, as TensorFlow's kernel computes it.

    Its arrays are float32, of shape ``()`` or ``(channels,)``.
    """

    bits: int
    is_narrow: bool
    by_channel: bool
    given: tuple[Array, Array]
    low: Array
    high: Array
    step: Array
    zero: Array
    """Steps from ``low`` to 0."""

    @property
    def is_plain(self) -> bool:
        """Whether TFLite's converter makes the same of it."""
        least, greatest = self.given
        return (
            self.bits == _BITS
            and not self.is_narrow
            and not self.by_channel
            and bool(least <= 0.0 <= greatest and least < greatest)
        )


Change = Callable[["_Node"], "list[Any]"]


@dataclass(frozen=True)
class _Node:
    """A fake quantization of something computed, and whether it stands inside of a function."""

    node: Any
    rounding: _Rounding
    inside: bool


def is_fake_quantized(graph: Any) -> bool:
    """Whether the graph rounds activations as integers will: it was trained so, and has their ranges."""
    for nodes in node_lists(graph):
        known = by_name(nodes)
        if any(node.op in _KINDS and _constant(known, node.name) is None for node in nodes):
            return True
    return False


def in_float(graph: Any) -> None:
    """Write fake quantization so that a float file rounds as the model does."""
    _change(graph, lambda found: [found.node] if found.rounding.is_plain else _rounded(found))


def as_clips(graph: Any) -> None:
    """Write fake quantization as its limits only, for integers whose steps are found by calibration."""
    _change(graph, lambda found: _chained(found, _clip(found.rounding)))


def in_eight_bits(graph: Any) -> str | None:
    """Write fake quantization as TFLite's converter takes it for int8; return why that cannot be.

    Fewer bits become the same steps of a wider range, with the limits in front.
    """
    faults: list[str] = []

    def change(found: _Node) -> list[Any]:
        rounding = found.rounding
        if rounding.by_channel:
            faults.append("it has a range for each channel of an activation")
        elif rounding.bits > _BITS:
            faults.append(f"it has {rounding.bits} bits")
        return [found.node] if faults or rounding.bits == _BITS else _coarse(found)

    _change(graph, change, keep_plain_weights=True)
    return faults[0] if faults else None


def _change(graph: Any, change: Change, *, keep_plain_weights: bool = False) -> None:
    for index, nodes in enumerate(list(node_lists(graph))):
        known = by_name(nodes)
        found = [node for node in known.values() if node.op in _KINDS]
        if not found:
            continue
        replaced: dict[str, list[Any]] = {}
        for node in found:
            rounding = _rounding(known, node)
            if rounding is None:
                continue  # a range that is computed: TFLite's converter says what it thinks of that
            weights = _constant(known, node.name)
            if weights is None:
                replaced[node.name] = change(_Node(node, rounding, inside=index > 0))
            elif not (keep_plain_weights and rounding.bits == _BITS and not rounding.by_channel):
                replaced[node.name] = [_const(node, node.name, weights)]
        replace_nodes(nodes, [new for node in list(nodes) for new in replaced.get(node.name, [node])])
        if index > 0:
            _rename_results(graph.library.function[index - 1], replaced)


def _rounding(nodes: Mapping[str, Any], node: Any) -> _Rounding | None:
    """Return what a node does; None where its range is computed."""
    if node.op == "FakeQuantWithMinMaxArgs":
        least, greatest = (np.asarray(node.attr[name].f, np.float32) for name in ("min", "max"))
    else:
        limits = [_constant(nodes, producer(reference)) for reference in data_inputs(node)[1:3]]
        if limits[0] is None or limits[1] is None:
            return None
        least, greatest = (np.asarray(limit, np.float32) for limit in (limits[0], limits[1]))
    bits = int(node.attr["num_bits"].i) if "num_bits" in node.attr else _BITS
    is_narrow = bool(node.attr["narrow_range"].b)
    first, last = np.float32(is_narrow), np.float32(2**bits - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        step = (greatest - least) / (last - first)
        zero = np.clip(np.nan_to_num(np.floor(first - least / step + np.float32(0.5))), first, last)
    low, high = (first - zero) * step, (last - zero) * step
    return _Rounding(
        bits, is_narrow, node.op not in _PER_TENSOR, (least, greatest), low, high, step, zero - first
    )


def _constant(nodes: Mapping[str, Any], name: str) -> Array | None:
    """Return what a node gives; None where that depends on an input, or on anything that may change."""
    needed = ancestors(nodes, [name])
    if not all(other in nodes and _is_pure(nodes[other]) for other in needed):
        return None
    definition = tf.compat.v1.GraphDef()
    for other in needed:
        copy = definition.node.add()
        copy.CopyFrom(nodes[other])
        # Inside of functions a first output has a name; all of these operations have only one.
        copy.input[:] = [producer(reference) for reference in data_inputs(copy)]
    alone = tf.Graph()
    try:
        with alone.as_default():
            tf.graph_util.import_graph_def(definition, name="")
            with tf.compat.v1.Session(graph=alone) as session:
                values: Array = np.asarray(session.run(f"{name}:0"))
                return values
    except (tf.errors.OpError, ValueError):
        return None


_PURE: Final = frozenset(
    {
        *("Abs", "Add", "AddV2", "BroadcastTo", "Cast", "Const", "Div", "ExpandDims", "Identity", "Max"),
        *("Maximum", "Min", "Minimum", "Mul", "Neg", "Pack", "RealDiv", "Reshape", "Shape", "Squeeze"),
        *("StopGradient", "Sub", "Transpose", *_KINDS),
    }
)
"""Operations that stand between a variable and its fake quantization."""


def _is_pure(node: Any) -> bool:
    return node.op in _PURE and all(
        reference.rpartition(":")[2] == "0" for reference in data_inputs(node) if ":" in reference
    )


def _clip(rounding: _Rounding) -> Iterator[tuple[str, Array]]:
    yield "Maximum", rounding.low
    yield "Minimum", rounding.high


def _rounded(found: _Node) -> list[Any]:
    rounding = found.rounding
    with np.errstate(divide="ignore"):
        inverse = np.where(rounding.step > 0.0, np.float32(1.0) / rounding.step, np.float32(0.0))
    steps = [
        *_clip(rounding),
        ("Sub", rounding.low),
        ("Mul", inverse),
        ("Sub", rounding.zero - np.float32(0.5)),
        ("Floor", None),
        ("Mul", rounding.step),
    ]
    return _chained(found, steps)


def _chained(found: _Node, steps: Any) -> list[Any]:
    """Return nodes that do one step after another with a constant, the last under the node's name."""
    node, kind = found.node, type(found.node)
    steps = list(steps)
    added: list[Any] = []
    reference = data_inputs(node)[0]
    waits = [other for other in node.input if other.startswith("^")]
    for number, (operation, constant) in enumerate(steps):
        is_last = number == len(steps) - 1
        name = node.name if is_last else f"{node.name}/rounding_{number}"
        operator = kind(name=name, op=operation, input=[reference])
        operator.attr["T"].type = tf.float32.as_datatype_enum
        if constant is not None:
            added.append(_const(node, f"{name}/value", np.asarray(constant, np.float32)))
            operator.input.append(_reference(found, added[-1]))
        operator.input.extend(waits if is_last else [])
        added.append(operator)
        reference = _reference(found, operator)
    return added


def _coarse(found: _Node) -> list[Any]:
    """Return a fake quantization of 8 bits that has the steps, and what keeps the upper limit behind it."""
    rounding, node = found.rounding, found.node
    operator = type(node)(name=f"{node.name}/rounding", op="FakeQuantWithMinMaxVars")
    operator.input.append(data_inputs(node)[0])
    operator.attr["num_bits"].i = _BITS
    wide = rounding.low + np.float32(_STEPS) * rounding.step
    words = (("min", rounding.low), ("max", wide))
    limits = [_const(node, f"{operator.name}_{word}", value) for word, value in words]
    operator.input.extend(_reference(found, limit) for limit in limits)
    last = type(node)(name=node.name, op=node.op, input=[_reference(found, operator)])
    return [*limits, operator, *_chained(_Node(last, rounding, found.inside), [("Minimum", rounding.high)])]


_RESULTS: Final = {"Const": "output", "Floor": "y", "FakeQuantWithMinMaxVars": "outputs"}
"""What operations call their result inside of functions; others call it ``z``."""


def _reference(found: _Node, node: Any) -> str:
    return f"{node.name}:{_RESULTS.get(node.op, 'z')}:0" if found.inside else str(node.name)


def _const(like: Any, name: str, values: Array) -> Any:
    node = type(like)(name=name, op="Const")
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.asarray(values, np.float32)))
    return node


def _rename_results(function: Any, replaced: Mapping[str, list[Any]]) -> None:
    names = {
        f"{name}:outputs:0": f"{name}:{_RESULTS.get(nodes[-1].op, 'z')}:0" for name, nodes in replaced.items()
    }
    for node in function.node_def:
        node.input[:] = [names.get(reference, reference) for reference in node.input]
    for output, reference in function.ret.items():
        function.ret[output] = names.get(reference, reference)
