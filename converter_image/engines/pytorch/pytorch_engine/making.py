"""The float file of a loaded model, with what went where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from conversion_engine.messages import EngineError, Reason, Stage, Tensor
from engine_tools.batches import made_up, same_alone
from engine_tools.float_file import FloatFile
from engine_tools.running import Arrays
from engine_tools.sizes import Edge
from pytorch_engine.converting import ANOTHER_WAY, WRITER, float_file, with_names
from pytorch_engine.images import image_inputs, image_outputs
from pytorch_engine.original import Original
from pytorch_engine.rewriting import rewritten
from pytorch_engine.wrapping import Order, Wrapped


@dataclass(frozen=True, slots=True)
class Made:
    """A float file that runs."""

    content: bytes
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    group: int
    warnings: tuple[str, ...]


def made(original: Original, edges: Sequence[Edge], sizes: dict[str, tuple[int, ...]]) -> Made:
    """Return the float file, and its inputs and outputs.

    Args:
        original: The model.
        edges: Its inputs that are tensors.
        sizes: The size that each is to have; a batch that need not be one becomes 1 in it.

    Raises:
        EngineError: UnsupportedOperation, ConversionFailed, SourceTooLarge.

    """
    warnings: list[str] = []
    group = _group(original, edges, sizes, warnings)
    module, precisions = rewritten(original)
    if precisions:
        warnings.append(f"the model computes in {' and '.join(precisions)}: its files do so in float32")
    images = image_inputs(original.program)
    orders = {edge.name: _order(len(edge.sizes), is_image=edge.name in images) for edge in edges}
    pictures, ranks = image_outputs(original.program), _ranks(original)
    turned = [
        _order(ranks[name], is_image=_own(original, name) in pictures) for name in original.names.values()
    ]
    samples = made_up(edges, sizes)
    given = {
        name: np.ascontiguousarray(np.transpose(_listed(v), orders[name])) for name, v in samples.items()
    }
    tensors = tuple(_tensor(given[edge.name], edge) for edge in edges)
    wrapped = Wrapped(original, module, orders, turned)
    names = list(original.names.values())
    content = with_names(float_file(wrapped, tensors), [edge.name for edge in edges], names)
    file = FloatFile(content, WRITER, ANOTHER_WAY)
    _check_shapes(original, file, samples, given, dict(zip(names, turned, strict=True)))
    inputs = tuple(_input(edge, file, orders[edge.name]) for edge in edges)
    outputs = tuple(_output(name, file, order) for name, order in zip(names, turned, strict=True))
    for edge, tensor in zip(edges, inputs, strict=True):
        if edge.dtype.kind in "iu" and edge.dtype.name != tensor.dtype:
            warnings.append(
                f"the input {edge.name!r} is {edge.dtype.name} in the model, {tensor.dtype} in its files"
            )
    return Made(content, inputs, outputs, group, tuple(warnings))


def _group(
    original: Original, edges: Sequence[Edge], sizes: dict[str, tuple[int, ...]], warnings: list[str]
) -> int:
    """Return how many samples the file takes at once.

    A batch that the model fixes becomes 1 where each sample gives by itself what it gives among the others;
    then ``sizes`` have it.
    """
    batches = {shape[0] for shape in sizes.values() if shape}
    batch = batches.pop() if len(batches) == 1 and all(sizes.values()) else 1
    if batch <= 1 or any(len(edge.sizes) < 2 or edge.sizes[0] == -1 for edge in edges):
        return 1
    try:
        is_same = same_alone(original, original, edges, sizes)
    except Exception:  # its graph is written for the one batch; torch has a class for each error
        return batch
    if not is_same:
        return batch
    sizes.update({name: (1, *shape[1:]) for name, shape in sizes.items()})
    warnings.append(f"the model takes batches of {batch}: its files take one sample at a time")
    return 1


def _order(rank: int, *, is_image: bool) -> Order:
    # A number is a list of one in the file.
    return (0, *range(2, rank), 1) if is_image else tuple(range(max(1, rank)))


def _ranks(original: Original) -> dict[str, int]:
    return {name: original.program.outputs[place].rank for place, name in original.names.items()}


def _own(original: Original, name: str) -> str | None:
    """Return what the graph calls an output: of one that comes twice the name was changed."""
    place = next(place for place, other in original.names.items() if other == name)
    return original.program.outputs[place].name


def _listed(values: Any) -> Any:
    return np.reshape(values, (1,)) if np.ndim(values) == 0 else values


def _tensor(values: Any, edge: Edge) -> Any:
    tensor = torch.from_numpy(values)
    # Floats are float32 here, whatever they are in the model.
    return tensor if edge.dtype.kind == "f" else tensor.to(getattr(torch, edge.dtype.name))


def _input(edge: Edge, file: FloatFile, order: Order) -> Tensor:
    detail = file.inputs[edge.name]
    shape = tuple(map(int, detail["shape_signature"]))
    return Tensor(edge.name, np.dtype(detail["dtype"]).name, edge.sizes or (1,), shape, order)


def _output(name: str, file: FloatFile, order: Order) -> Tensor:
    detail = file.outputs[name]
    shape = tuple(map(int, detail["shape_signature"]))
    own = tuple(shape[order.index(place)] for place in range(len(order)))
    return Tensor(name, np.dtype(detail["dtype"]).name, own, shape, order)


def _check_shapes(
    original: Original, file: FloatFile, samples: Arrays, given: Arrays, orders: dict[str, Order]
) -> None:
    """Run both on made-up numbers: the file has to run, and to give what has the original's shapes.

    Raises:
        EngineError: ConversionFailed.

    """
    found = file.run(given)
    try:
        expected = original.run(samples)
    except Exception:
        return  # made-up numbers may be none that it takes; the samples will show it
    for name, values in found.items():
        wanted = np.transpose(_listed(expected[name]), orders[name]).shape
        if wanted != values.shape:
            cause = f"{WRITER} wrote a file whose output {name!r} has the shape {list(values.shape)}"
            cause += f", where the model has {list(wanted)}"
            raise EngineError(Reason.CONVERSION_FAILED, Stage.CONVERT, cause, hint=ANOTHER_WAY)
