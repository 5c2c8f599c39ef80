"""The graph of a model as it converts best: in float32, and without what litert-torch does not write.

The original stays as it is: a changed graph is a module of its own, which shares the weights.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from typing import Any, Final

import torch

from pytorch_engine.original import Original

_OTHERS: Final = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float64: "float64"}
_TRANSPOSED: Final = (
    torch.ops.aten.conv_transpose1d.default,
    torch.ops.aten.conv_transpose2d.input,
    torch.ops.aten.conv_transpose3d.input,
)
_PADDING, _OUTPUT_PADDING = 4, 5
"""Places of their arguments."""
_TO_THE_END: Final = 2**63 - 1


def rewritten(original: Original) -> tuple[Any, tuple[str, ...]]:
    """Return the module to convert, and the types other than float32 that the model is in."""
    module = original.module
    others = {edge.dtype for edge in original.program.inputs if not edge.is_constant} & {*_OTHERS.values()}
    others |= {_OTHERS[value.dtype] for _, value in _tensors(module) if value.dtype in _OTHERS}
    others |= {_OTHERS[kind] for node in module.graph.nodes for kind in _types(node)}
    cropped = [node.name for node in module.graph.nodes if _is_cropped(node)]
    if not others and not cropped:
        return module, ()
    changed = torch.fx.GraphModule(module, copy.deepcopy(module.graph))
    for node in list(changed.graph.nodes):
        if others and _types(node):
            node.args = torch.fx.node.map_aggregate(node.args, _float32)
            node.kwargs = torch.fx.node.map_aggregate(node.kwargs, _float32)
        if node.name in cropped:
            _crop(changed.graph, node)
    for name, value in _tensors(changed):
        if value.dtype in _OTHERS:
            owner, _, last = name.rpartition(".")
            new = value.detach().float()
            is_weight = isinstance(value, torch.nn.Parameter)
            setattr(changed.get_submodule(owner), last, torch.nn.Parameter(new) if is_weight else new)
    changed.recompile()
    return changed, tuple(sorted(others))


def _tensors(module: Any) -> Iterator[tuple[str, Any]]:
    """Yield what the graph reads from the module: weights, buffers and constants."""
    for name in dict.fromkeys(node.target for node in module.graph.nodes if node.op == "get_attr"):
        value = operator.attrgetter(name)(module)
        if isinstance(value, torch.Tensor):
            yield name, value


def _types(node: Any) -> list[Any]:
    """Return the types other than float32 among an operator's arguments."""
    found: list[Any] = []
    torch.fx.node.map_aggregate((node.args, node.kwargs), lambda a: found.append(a) if _is_other(a) else None)
    return found


def _is_other(argument: Any) -> bool:
    return isinstance(argument, torch.dtype) and argument in _OTHERS


def _float32(argument: Any) -> Any:
    return torch.float32 if _is_other(argument) else argument


def _is_cropped(node: Any) -> bool:
    """Whether it is a transposed convolution that litert-torch refuses: padded, and padded again after it."""
    if node.target not in _TRANSPOSED or len(node.args) <= _OUTPUT_PADDING:
        return False
    padding, more = node.args[_PADDING], node.args[_OUTPUT_PADDING]
    pairs = list(zip(padding, more, strict=False))
    return any(more) and all(isinstance(p, int) and isinstance(m, int) and p >= m for p, m in pairs)


def _crop(graph: Any, node: Any) -> None:
    """Have it compute all that there is, and cut away what its padding would have."""
    padding, more = node.args[_PADDING], node.args[_OUTPUT_PADDING]
    none = [0] * len(padding)
    rest = node.args[_OUTPUT_PADDING + 1 :]
    with graph.inserting_after(node):
        whole = graph.create_node("call_function", node.target, (*node.args[:_PADDING], none, none, *rest))
    last = whole
    for place, (before, after) in enumerate(zip(padding, more, strict=True)):
        arguments = (last, place + 2, before, after - before or _TO_THE_END)
        with graph.inserting_after(last):
            last = graph.create_node("call_function", torch.ops.aten.slice.Tensor, arguments)
    node.replace_all_uses_with(last, delete_user_cb=lambda user: user is not whole)
    graph.erase_node(node)
