"""Operators that onnx2tf would write as others than they are, written as ones that it knows, or refused.

Found by the ONNX project's own tests of operators: a part of what an operator says is left out without a
word, and the file computes something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from onnx_engine.reading import graphs_of, opset_of
from onnx_engine.recurrent import FIRST_STATES, rewritten_recurrent
from onnx_engine.resizing import Axis, axes_by_scales, axes_by_sizes, is_repetition, nearest
from onnx_engine.scope import Scope, attribute, refused

_OF_SOME_AXES: Final = ("axes", "keep_aspect_ratio_policy")
_SIZES_OF_RESIZE: Final = (1, 2, 3)
"""Operands that have to be constants, by their places: onnx2tf takes something else for computed ones."""


def rewritten(model: Any) -> Any:
    """Return the model, changed in its place.

    It has been simplified: what can be computed is a constant, and shapes are known as far as they can be.

    Raises:
        EngineError: UnsupportedOperation, naming what has no equal.

    """
    opset, graphs = opset_of(model), list(graphs_of(model))
    read = {value.name for graph in graphs for value in graph.output}
    read |= {name for graph in graphs for node in graph.node for name in node.input}
    for graph in graphs:
        scope = Scope(graph, opset, read)
        nodes = [new for node in graph.node for new in _RULES.get(node.op_type, _as_it_is)(node, scope)]
        del graph.node[:]
        graph.node.extend(nodes)
    return model


def _as_it_is(node: Any, _scope: Scope) -> Iterator[Any]:
    yield node


def _elu(node: Any, scope: Scope) -> Iterator[Any]:
    """Write max(x, 0) + alpha (exp(min(x, 0)) - 1): TFLite's ELU has no alpha but 1."""
    alpha = float(attribute(node, "alpha", 1.0))
    if alpha == 1.0:
        yield node
        return
    yield from _exponential(node, scope, scale=alpha, steep=1.0, whole=1.0)


def _celu(node: Any, scope: Scope) -> Iterator[Any]:
    """Write max(x, 0) + alpha (exp(min(x, 0) / alpha) - 1)."""
    alpha = float(attribute(node, "alpha", 1.0))
    yield from _exponential(node, scope, scale=alpha, steep=1.0 / alpha if alpha else 0.0, whole=1.0)


def _selu(node: Any, scope: Scope) -> Iterator[Any]:
    """Write gamma (max(x, 0) + alpha (exp(min(x, 0)) - 1))."""
    alpha = float(attribute(node, "alpha", 1.6732631921768188))
    gamma = float(attribute(node, "gamma", 1.0507010221481323))
    yield from _exponential(node, scope, scale=alpha, steep=1.0, whole=gamma)


def _exponential(node: Any, scope: Scope, *, scale: float, steep: float, whole: float) -> Iterator[Any]:
    """Yield whole * (max(x, 0) + scale * (exp(steep * min(x, 0)) - 1)), without what is 1."""
    x, y = node.input[0], node.output[0]

    def number(value: float) -> str:
        return scope.constant(np.array(value, np.float32), f"{y}/number")

    def step(kind: str, *inputs: str) -> Any:
        return helper.make_node(kind, list(inputs), [scope.free(f"{y}/{kind}")])

    yield (positive := helper.make_node("Relu", [x], [scope.free(f"{y}/positive")]))
    yield (last := step("Min", x, number(0.0)))
    if steep != 1.0:
        yield (last := step("Mul", last.output[0], number(steep)))
    yield (last := step("Exp", last.output[0]))
    yield (last := step("Sub", last.output[0], number(1.0)))
    if scale != 1.0:
        yield (last := step("Mul", last.output[0], number(scale)))
    if whole == 1.0:
        yield helper.make_node("Add", [positive.output[0], last.output[0]], [y])
        return
    yield (last := step("Add", positive.output[0], last.output[0]))
    yield helper.make_node("Mul", [last.output[0], number(whole)], [y])


def _hardmax(node: Any, scope: Scope) -> Iterator[Any]:
    """Say the axis that is meant where none is given."""
    if scope.opset >= 13 and attribute(node, "axis", None) is None:
        node.attribute.append(helper.make_attribute("axis", -1))
    yield node


def _gather_elements(node: Any, scope: Scope) -> Iterator[Any]:
    """Count indices from the front: a kernel that is given negative ones stops."""
    data, indices = node.input[:2]
    sizes = scope.sizes(data)
    axis = int(attribute(node, "axis", 0))
    size = 0 if sizes is None else sizes[axis]
    known = scope.constants.get(indices)
    if known is not None:
        values = numpy_helper.to_array(known)
        if (values < 0).any():
            if not size:
                raise refused("GatherElements with indices from the end of a size that is open")
            node.input[1] = scope.constant(np.where(values < 0, values + size, values), f"{indices}/positive")
    elif size:
        kind = np.int32 if _element_type(scope.graph, indices) == TensorProto.INT32 else np.int64
        zero, whole = (scope.constant(np.array(v, kind), f"{indices}/number") for v in (0, size))
        negative, moved, positive = (
            scope.free(f"{indices}/{word}") for word in ("less", "moved", "positive")
        )
        yield helper.make_node("Less", [indices, zero], [negative])
        yield helper.make_node("Add", [indices, whole], [moved])
        yield helper.make_node("Where", [negative, moved, indices], [positive])
        node.input[1] = positive
    yield node


def _element_type(graph: Any, name: str) -> int:
    values = (*graph.input, *graph.value_info)
    return next((int(v.type.tensor_type.elem_type) for v in values if v.name == name), TensorProto.INT64)


def _lp_pool(node: Any, _scope: Scope) -> Iterator[Any]:
    padding = attribute(node, "auto_pad", b"NOTSET")
    if padding in (b"SAME_UPPER", b"SAME_LOWER"):
        raise refused(f"LpPool with auto_pad {padding.decode()}")
    yield node


def _resize(node: Any, scope: Scope) -> Iterator[Any]:
    """Write what a kernel would do otherwise as rows that are picked, or refuse it."""
    if attribute(node, "antialias", 0):
        raise refused("Resize with antialias")
    operands = [_operand(node, place, scope) for place in _SIZES_OF_RESIZE]
    sizes = scope.sizes(node.input[0])
    if not sizes or not all(sizes):
        yield node  # of a size that is open nobody knows more
        return
    axes = _axes_of_resize(node, sizes, operands[1], operands[2])
    mode = _text(node, "mode", "nearest")
    coordinates = _text(node, "coordinate_transformation_mode", "half_pixel")
    if mode == "nearest":
        yield from _nearest(node, scope, axes, coordinates)
        return
    if not all(axis.is_exact for axis in axes):
        raise refused("Resize by a scale that gives no whole size", "export the model with sizes")
    if coordinates == "pytorch_half_pixel" and any(axis.after == 1 < axis.before for axis in axes):
        raise refused("Resize to one value by pytorch_half_pixel")
    yield _with_sizes(node, scope, axes)


def _operand(node: Any, place: int, scope: Scope) -> Any:
    """Return a constant operand; None where it is left out.

    Raises:
        EngineError: it is computed.

    """
    name = node.input[place] if place < len(node.input) else ""
    if not name:
        return None
    if name not in scope.constants:
        raise refused("Resize to a size that is computed", "export the model with fixed sizes")
    values = numpy_helper.to_array(scope.constants[name])
    return values if values.size else None


def _axes_of_resize(node: Any, sizes: list[int], scales: Any, wanted: Any) -> list[Axis]:
    rank = len(sizes)
    chosen = [int(axis) % rank for axis in attribute(node, "axes", range(rank))]
    if scales is not None:
        whole = dict(zip(chosen, map(float, scales), strict=True))
        return axes_by_scales(sizes, [whole.get(place, 1.0) for place in range(rank)])
    given = dict(zip(chosen, map(int, wanted if wanted is not None else ()), strict=True))
    after = [given.get(place, sizes[place]) for place in range(rank)]
    return axes_by_sizes(sizes, after, chosen, _text(node, "keep_aspect_ratio_policy", "stretch"))


def _nearest(node: Any, scope: Scope, axes: list[Axis], coordinates: str) -> Iterator[Any]:
    rounding = _text(node, "nearest_mode", "round_prefer_floor")
    indices = [nearest(axis, coordinates, rounding) for axis in axes]
    if any(each is None for each in indices):
        yield node
        return
    if all(map(is_repetition, axes, indices)):
        yield _with_sizes(node, scope, axes)
        return
    picked, y = node.input[0], node.output[0]
    places = [place for place, each in enumerate(indices) if list(each) != list(range(axes[place].before))]
    for place in places:
        output = y if place == places[-1] else scope.free(f"{y}/picked")
        rows = scope.constant(indices[place], f"{y}/rows")
        yield helper.make_node("Gather", [picked, rows], [output], axis=place)
        picked = output


def _with_sizes(node: Any, scope: Scope, axes: list[Axis]) -> Any:
    """Return the node with a size for each axis in the model's order: onnx2tf takes others' order for it."""
    if not any(attribute.name in _OF_SOME_AXES for attribute in node.attribute):
        return node
    sizes = scope.constant(np.array([axis.after for axis in axes], np.int64), f"{node.output[0]}/sizes")
    made = helper.make_node("Resize", [node.input[0], "", "", sizes], list(node.output), name=node.name)
    made.attribute.extend(a for a in node.attribute if a.name not in _OF_SOME_AXES)
    return made


def _text(node: Any, name: str, default: str) -> str:
    value = attribute(node, name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


_RULES: Final[dict[str, Callable[[Any, Scope], Iterator[Any]]]] = {
    "Elu": _elu,
    "Celu": _celu,
    "Selu": _selu,
    "Hardmax": _hardmax,
    "GatherElements": _gather_elements,
    "LpPool": _lp_pool,
    "Resize": _resize,
    **dict.fromkeys(FIRST_STATES, rewritten_recurrent),
}
