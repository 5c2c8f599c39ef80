"""Which inputs and outputs are images or volumes, so that the file has them with their channels last.

The others keep the model's layout. Both are told from the graph: shapes would not say it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from pytorch_engine.program import Program

_FEWEST_DIMENSIONS: Final = 4
_SPATIAL: Final = re.compile(
    r"torch\.ops\.aten\.(conv(_transpose|_depthwise)?[23]d|convolution|\w*pool[23]d\w*|upsample_\w+|pixel_\w+"
    r"|instance_norm|group_norm|native_group_norm|grid_sampler\w*|channel_shuffle|im2col|col2im|reflection_pad[23]d"
    r"|replication_pad[23]d)\..*"
)
"""Operators to which dimension 1 is the channels, and those after it are places."""
_THROUGH: Final = re.compile(
    r"torch\.ops\.aten\.(add|sub|mul|div|pow|neg|abs|sqrt|exp|clamp\w*|relu6?|leaky_relu|prelu|elu|celu|selu|gelu|silu"
    r"|mish|sigmoid|tanh|hardtanh|hardswish|hardsigmoid|softplus|logit|log_?softmax|softmax|batch_norm|dropout"
    r"|feature_dropout|clone|contiguous|detach|to|_to_copy|cat|slice|chunk|split\w*|pad|constant_pad_nd|minimum"
    r"|maximum|where)_?\..*"
)
"""Operators that leave the dimensions where they are."""
_TENSORS: Final = ("as_tensor", "as_tensors", "as_optional_tensors")


def image_inputs(program: Program) -> set[str]:
    """Return the inputs of four dimensions and more that reach an operator on images as they are."""
    readers = defaultdict(list)
    for node in _nodes(program):
        for name in _names(argument["arg"] for argument in node["inputs"]):
            readers[name].append((str(node["target"]), list(_names(node["outputs"]))))
    return {
        edge.name
        for edge in program.inputs
        if len(edge.sizes) >= _FEWEST_DIMENSIONS and _reaches(edge.name, readers)
    }


def image_outputs(program: Program) -> set[str]:
    """Return the outputs of four dimensions and more that come of an operator on images as they are."""
    writers = defaultdict(list)
    for node in _nodes(program):
        for name in _names(node["outputs"]):
            read = _names(argument["arg"] for argument in node["inputs"])
            writers[name].append((str(node["target"]), list(read)))
    return {
        output.name
        for output in program.outputs
        if output.name is not None and output.rank >= _FEWEST_DIMENSIONS and _reaches(output.name, writers)
    }


def _reaches(name: str, beside: Mapping[str, list[tuple[str, list[str]]]]) -> bool:
    waiting, seen = [name], {name}
    while waiting:
        for target, names in beside.get(waiting.pop(), ()):
            if _SPATIAL.fullmatch(target):
                return True
            if _THROUGH.fullmatch(target):
                waiting += [other for other in names if other not in seen]
                seen.update(names)
    return False


def _nodes(program: Program) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = program.document["graph_module"]["graph"]["nodes"]
    return found


def _names(arguments: Iterable[Any]) -> Iterator[str]:
    """Yield the tensors among arguments or outputs of an operator."""
    for argument in arguments:
        for how, value in argument.items():
            if how in _TENSORS:
                for item in value if isinstance(value, list) else [value]:
                    yield from _names([item]) if "name" not in item else [item["name"]]
