"""The original function, run by JAX: what the file is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from conversion_engine.messages import Description, Request
from engine_tools.running import Arrays
from jax_engine.reading import Source, read


def load(request: Request, _description: Description) -> Original:
    """Return the function of ``request.source``, ready to run.

    Raises:
        EngineError: as :func:`jax_engine.reading.read`: what is refused is refused here too.

    """
    return Original(read(Path(request.source)))


class Original:
    """A function that JAX compiles for the processor."""

    def __init__(self, source: Source) -> None:
        self._edges, self._outputs = source.edges, source.outputs
        self._types = [aval.dtype for aval in source.exported.in_avals]
        self._call = jax.jit(source.exported.call)

    def run(self, sample: Arrays) -> Arrays:
        """Return the outputs for inputs in the function's own shapes; what is missing is zeros.

        Raises:
            Exception: JAX's own, where it stops.

        """
        given: list[Any] = []
        for edge, dtype in zip(self._edges, self._types, strict=True):
            values = sample.get(edge.name)
            if values is None:
                values = np.zeros([max(1, size) for size in edge.sizes])
            shaped = np.reshape(values, ()) if edge.sizes == () else values
            given.append(np.asarray(shaped, dtype=dtype, order="C"))
        return dict(zip(self._outputs, map(np.asarray, self._call(*given)), strict=True))
