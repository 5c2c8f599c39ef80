"""The model as the file is to have it: images with their channels last, tensors alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pytorch_engine.original import Original

Order = tuple[int, ...]


class Wrapped(torch.nn.Module):  # type: ignore[misc]
    """Takes and gives tensors alone, in the layout of the file."""

    def __init__(
        self, original: Original, module: Any, inputs: Mapping[str, Order], outputs: Sequence[Order]
    ) -> None:
        super().__init__()
        self.training = False  # and nothing is asked to switch: an exported module cannot
        self.module = module
        self._program = original.program
        self._places = list(original.names)
        self._back = {
            name: tuple(order.index(place) for place in range(len(order))) for name, order in inputs.items()
        }
        self._outputs = outputs

    def forward(self, *given: Any) -> tuple[Any, ...]:
        """Run the model on inputs in the layout of the file."""
        waiting = iter(given)
        flat = []
        for edge in self._program.inputs:
            if edge.is_constant:
                flat.append(edge.value)
                continue
            values, back = next(waiting), self._back[edge.name]
            values = values if _is_plain(back) else values.permute(back)
            flat.append(values if edge.sizes else values.reshape(()))
        results = self.module(*flat)
        own = [results[place] for place in self._places]
        own = [values if values.ndim else values.reshape((1,)) for values in own]
        return tuple(v if _is_plain(o) else v.permute(o) for v, o in zip(own, self._outputs, strict=True))


def _is_plain(order: Order) -> bool:
    return order == tuple(range(len(order)))
