"""The task ``convert``: from a file to the float file and its description, one step after another."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from conversion_engine.files import FLOAT_FILE
from conversion_engine.messages import Description, EngineError, Reason, Request, Stage, Tensor
from conversion_engine.process import Process
from engine_tools.float_file import FloatFile
from engine_tools.sizes import OPEN, Edge, chosen_sizes
from jax_engine.converting import ANOTHER_WAY, WRITER, float_file
from jax_engine.loops import unroll
from jax_engine.lowering import lowered
from jax_engine.modules import check
from jax_engine.places import write_known_places
from jax_engine.precision import in_float32
from jax_engine.reading import Source, read
from jax_engine.rewriting import rewrite


def convert(request: Request, process: Process, versions: dict[str, str]) -> Description:
    """Write the float file of ``request.source`` into the folder of ``process``.

    Raises:
        EngineError: for each reason of the contract.

    """
    seconds: dict[str, float] = {}
    started = time.monotonic()
    process.say(Stage.LOAD, "reading the exported function")
    source = read(Path(request.source))
    sizes = _sizes(source, request)
    seconds[Stage.LOAD] = time.monotonic() - started

    started = time.monotonic()
    process.say(Stage.CONVERT, "giving the function its sizes")
    module = lowered(source.exported, [sizes[edge.name] for edge in source.edges])
    check(module)
    warnings = []
    if precisions := in_float32(module):
        warnings.append(f"the model computes in {' and '.join(precisions)}: its files do so in float32")
    unroll(module)
    write_known_places(module)
    rewrite(module)
    process.say(Stage.CONVERT, "writing the float file")
    content = float_file(module, [edge.name for edge in source.edges], source.outputs)
    process.say(Stage.CONVERT, "running the float file")
    file = FloatFile(content, WRITER, ANOTHER_WAY)
    given = file.run({name: np.zeros(sizes[name]) for name in file.inputs})
    (process.folder / FLOAT_FILE).write_bytes(content)
    seconds[Stage.CONVERT] = time.monotonic() - started
    return Description(
        inputs=tuple(_input(edge, file) for edge in source.edges if edge.name in file.inputs),
        outputs=tuple(_output(name, file, given[name]) for name in source.outputs),
        writer=source.writer,
        versions=versions | ({"stablehlo": source.version} if source.version else {}),
        group=_group(source.edges, sizes),
        warnings=tuple(warnings),
        seconds={str(stage): value for stage, value in seconds.items()},
        isolation=process.isolation,
    )


def _sizes(source: Source, request: Request) -> dict[str, tuple[int, ...]]:
    """Return the sizes of each input, all of them fixed.

    Raises:
        EngineError: UnsupportedShape.

    """
    given = {source.places.get(name, name): shape for name, shape in request.input_shapes.items()}
    sizes = chosen_sizes(source.edges, source.output_symbols, given)
    for edge in source.edges:
        if OPEN in sizes[edge.name]:
            example = ",".join("SIZE" if size == OPEN else str(size) for size in sizes[edge.name])
            named = ", ".join(symbol for symbol in edge.symbols if symbol)
            cause = f"input {edge.name!r} leaves sizes open, {list(sizes[edge.name])} ({named})"
            hint = f"set them: --input-shape {edge.name}={example} (spec.source.inputs), or give fitting data"
            raise EngineError(Reason.UNSUPPORTED_SHAPE, Stage.LOAD, cause, hint=hint)
    return sizes


def _group(edges: list[Edge], sizes: dict[str, tuple[int, ...]]) -> int:
    """Return how many samples the function takes at once: the first size, where it fixes the same for all."""
    firsts = {shape[0] if shape else 1 for shape in sizes.values()}
    is_fixed = all(len(edge.sizes) > 1 and edge.sizes[0] != OPEN for edge in edges)
    return firsts.pop() if is_fixed and len(firsts) == 1 else 1


def _input(edge: Edge, file: FloatFile) -> Tensor:
    detail = file.inputs[edge.name]
    shape = tuple(map(int, detail["shape_signature"]))
    return Tensor(edge.name, np.dtype(detail["dtype"]).name, edge.sizes, shape, tuple(range(len(shape))))


def _output(name: str, file: FloatFile, values: np.ndarray) -> Tensor:
    detail = file.outputs[name]
    return Tensor(name, np.dtype(detail["dtype"]).name, values.shape, values.shape, tuple(range(values.ndim)))
