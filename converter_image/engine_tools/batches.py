"""Whether a batch that a model fixes can be one sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from engine_tools.running import Arrays, Original
from engine_tools.sizes import Edge

_SEED: Final = 0


def made_up(edges: Sequence[Edge], sizes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return numbers for every input, in these sizes: normally distributed ones, or 0 and 1."""
    generator = np.random.default_rng(_SEED)
    return {
        edge.name: generator.standard_normal(sizes[edge.name]).astype(np.float32)
        if edge.dtype.kind == "f"
        else generator.integers(0, 2, sizes[edge.name])
        for edge in edges
    }


def same_alone(
    original: Original, alone: Original, edges: Sequence[Edge], sizes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Whether each sample gives by itself what it gives among others.

    Args:
        original: The model, which takes inputs of these sizes.
        alone: The model, which takes one sample.
        edges: The inputs.
        sizes: Their sizes, the batch first.

    """
    samples = made_up(edges, sizes)
    together = original.run(samples)
    for index in range(next(iter(sizes.values()))[0]):
        single = alone.run({name: values[index : index + 1] for name, values in samples.items()})
        for name, values in single.items():
            expected = together[name][index : index + 1]
            if expected.shape != values.shape or not np.allclose(expected, values, rtol=1e-3, atol=1e-5):
                return False
    return True
