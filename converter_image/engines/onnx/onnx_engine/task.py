"""The task ``convert``: from a file to the float file and its description, one step after another."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion_engine.files import FLOAT_FILE
from conversion_engine.messages import Description, EngineError, Reason, Request, Stage
from conversion_engine.process import Process
from engine_tools.batches import same_alone
from engine_tools.float_file import FloatFile
from engine_tools.sizes import Edge, chosen_sizes, open_size
from onnx_engine.converting import ANOTHER_WAY, float_file, renamed, simplified
from onnx_engine.images import image_inputs
from onnx_engine.layout import Boundary, boundary
from onnx_engine.original import Original
from onnx_engine.precision import in_float32
from onnx_engine.reading import nodes, opset_of, read
from onnx_engine.recurrent import doubts
from onnx_engine.rewriting import rewritten
from onnx_engine.shapes import with_known_shapes
from onnx_engine.shaping import inputs_of, with_sizes
from onnx_engine.tflite_file import with_names


def convert(request: Request, process: Process, versions: dict[str, str]) -> Description:
    """Write the float file of ``request.source`` into the folder of ``process``.

    Raises:
        EngineError: for each reason of the contract.

    """
    seconds: dict[str, float] = {}
    started = time.monotonic()
    process.say(Stage.LOAD, "reading the ONNX file")
    source = Path(request.source)
    model = read(source, [Path(path) for path in request.readable])
    edges = inputs_of(model)
    sizes = chosen_sizes(edges, _symbols(model), request.input_shapes)
    warnings = doubts(model)
    # The original as it is, before its numbers are changed.
    sized, original, group = _in_one_sample(model, edges, sizes, source, warnings)
    if precisions := in_float32(sized):
        warnings.append(f"the model computes in {' and '.join(precisions)}: its files do so in float32")
    seconds[Stage.LOAD] = time.monotonic() - started

    started = time.monotonic()
    process.say(Stage.CONVERT, "simplifying the graph")
    written = _written(process, sized, original, edges, sizes)
    found = written.boundary
    (process.folder / FLOAT_FILE).write_bytes(written.content)
    seconds[Stage.CONVERT] = time.monotonic() - started
    return Description(
        inputs=found.inputs,
        outputs=found.outputs,
        writer=_writer(model),
        versions=versions | {"onnx-opset": str(opset_of(model))},
        group=group,
        warnings=(*warnings, *found.warnings),
        seconds={str(stage): value for stage, value in seconds.items()},
        isolation=process.isolation,
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """A float file that runs."""

    content: bytes
    boundary: Boundary


def _written(
    process: Process, model: Any, original: Original, edges: list[Edge], sizes: dict[str, tuple[int, ...]]
) -> _Written:
    """Return the float file of the simplified model, or where there is none, of the model as it is.

    Raises:
        EngineError: what was wrong with the first one.

    """
    names = renamed(model)
    pictures = image_inputs(model)
    images = {name for place, name in enumerate(names.inputs) if f"input_{place}" in pictures}
    kept = [f"input_{place}" for place, name in enumerate(names.inputs) if name not in images]
    first: EngineError | None = None
    kinds = {node.op_type for node in nodes(model)}
    for simplify in (simplified, with_known_shapes):
        process.say(Stage.CONVERT, "writing the float file")
        try:
            content = float_file(rewritten(simplify(model)), process.folder / "onnx2tf", kept)
            content = with_names(content, names, kinds)
            process.say(Stage.CONVERT, "running the float file")
            return _Written(
                content, boundary(original, FloatFile(content, "onnx2tf", ANOTHER_WAY), edges, sizes, images)
            )
        except EngineError as error:
            first = first or error
    if first is None:
        raise RuntimeError("nothing was tried")
    raise _explained(first, sizes)


def _explained(error: EngineError, sizes: dict[str, tuple[int, ...]]) -> EngineError:
    """Return the error with the likeliest cause where a size is open."""
    if error.failure.reason is not Reason.CONVERSION_FAILED:
        return error
    return open_size(sizes) or error


def _in_one_sample(
    model: Any, edges: list[Edge], sizes: dict[str, tuple[int, ...]], source: Path, warnings: list[str]
) -> tuple[Any, Original, int]:
    """Return the model in the file's sizes, the session that has them too, and how many samples it takes.

    A batch that the model fixes becomes 1 where each sample gives by itself what it gives among the others;
    then ``sizes`` have it.
    """
    original = Original(source)
    batches = {shape[0] for shape in sizes.values() if shape}
    batch = batches.pop() if len(batches) == 1 and all(sizes.values()) else 1
    if batch <= 1 or any(len(edge.sizes) < 2 or edge.sizes[0] == -1 for edge in edges):
        return with_sizes(model, sizes, original.ranks), original, 1
    single = {name: (1, *shape[1:]) for name, shape in sizes.items()}
    candidate = with_sizes(model, single, original.ranks)
    try:
        alone = Original(candidate.SerializeToString())
        if same_alone(original, alone, edges, sizes):
            sizes.update(single)
            warnings.append(f"the model takes batches of {batch}: its files take one sample at a time")
            return candidate, alone, 1
    except Exception:  # its graph is written for the one batch; onnxruntime has a class for each error
        alone = None
    return with_sizes(model, sizes, original.ranks), original, batch


def _symbols(model: Any) -> list[tuple[str, ...]]:
    return [tuple(d.dim_param for d in value.type.tensor_type.shape.dim) for value in model.graph.output]


def _writer(model: Any) -> str:
    """Return the program that wrote the model, e.g. ``pytorch 2.11.0``."""
    return f"{model.producer_name or 'unknown'} {model.producer_version}".strip()[:120]
