"""The original model, run by torch: what the file is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from engine_tools.running import Arrays
from pytorch_engine.archive import Archive
from pytorch_engine.loading import load
from pytorch_engine.program import Program

_SEED: Final = 0


class Original:
    """An exported program in torch, with the inputs and outputs that are tensors by their names."""

    def __init__(self, program: Program, exported: Any) -> None:
        torch.manual_seed(_SEED)
        self.module = exported.module(check_guards=False)
        # The sizes that it was exported with are not held: whether others give the same is found out.
        self.module.validate_inputs = False
        self.program = program
        self.names = named_outputs(program)

    def run(self, sample: Arrays) -> Arrays:
        """Return the outputs for inputs in the model's own shapes.

        Raises:
            Exception: torch's own, where it stops.

        """
        flat = []
        for edge in self.program.inputs:
            if edge.is_constant:
                flat.append(edge.value)
                continue
            values = torch.from_numpy(np.array(sample[edge.name]))
            shaped = values.reshape(()) if edge.sizes == () else values
            flat.append(shaped.to(getattr(torch, edge.dtype)))
        with torch.no_grad():
            results = self.module(*flat)
        return {name: as_array(results[place]) for place, name in self.names.items()}


def named_outputs(program: Program) -> dict[int, str]:
    """Return the name of each output that is a tensor, by its place.

    One that comes twice, or that is an input, gets a number: no two tensors of a file have one name.
    """
    taken = {edge.name for edge in program.inputs}
    found: dict[int, str] = {}
    for place, output in enumerate(program.outputs):
        if output.name is None:
            continue
        name, number = output.name, 1
        while name in taken:
            number += 1
            name = f"{output.name}_{number}"
        taken.add(name)
        found[place] = name
    return found


def as_array(tensor: Any) -> np.ndarray[Any, Any]:
    """Return a tensor's values; numpy has no bfloat16, and float32 has all of its values."""
    plain = tensor.detach()
    array: np.ndarray[Any, Any] = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
    return array


def opened(archive: Archive, program: Program, folder: Path) -> Original:
    """Return the model of a checked file; ``folder`` is for what torch reads.

    Raises:
        EngineError: UnreadableModel, UnsupportedFormat.

    """
    return Original(program, load(archive, program, folder))
