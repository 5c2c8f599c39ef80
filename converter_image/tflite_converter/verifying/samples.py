"""Runs a file on samples, each by itself, on whatever runtime."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping

from edge_inference.tensors import joined
from tflite_converter.arrays import Array, NamedArrays


def run_each(
    inputs: Iterable[str],
    samples: NamedArrays,
    run: Callable[[int], Mapping[str, Array]],
    after_each: Callable[[int], None],
    *,
    seconds: float = math.inf,
) -> dict[str, Array]:
    """Return ``{output: (n, ...)}`` of the samples ``{input: (n, ...)}``, or of as many as the time takes.

    Args:
        inputs: Names of what the file takes.
        samples: What it is run on.
        run: Runs the sample of this place, and returns its outputs as values.
        after_each: Is told how many are done.
        seconds: No further sample is begun after these.

    Raises:
        ValueError: an input is missing.

    """
    if missing := [name for name in inputs if name not in samples]:
        raise ValueError(f"it has the inputs {missing}, which the samples do not have")
    deadline = time.monotonic() + seconds
    given: dict[str, list[Array]] = {}
    for place in range(len(next(iter(samples.values())))):
        if place and time.monotonic() > deadline:
            break
        for name, values in run(place).items():
            given.setdefault(name, []).append(values)
        after_each(place + 1)
    return {name: joined(each) for name, each in given.items()}
