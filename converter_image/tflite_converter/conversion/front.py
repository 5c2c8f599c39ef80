"""The front half of a conversion: the process that makes the float file, chosen by the source's format."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conversion_engine.messages import Request
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import TensorInfo
from tflite_converter.conversion.jobs import binding_job, tensorflow_job
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.own_quantizer import Measure, OwnQuantizer, Warn
from tflite_converter.conversion.report import Inputs
from tflite_converter.data.binding import array_shapes
from tflite_converter.engines import asking
from tflite_converter.engines.finding import Engine, engine_for, found, refuse_without_tensorflow
from tflite_converter.errors import ConverterError
from tflite_converter.files.onnx_file import read_onnx
from tflite_converter.files.pytorch_file import read_exported_program
from tflite_converter.files.sources import SourceModel
from tflite_converter.files.stablehlo_file import read_stablehlo
from tflite_converter.isolation.parent import Watch, run_worker
from tflite_converter.isolation.starting import Started
from tflite_converter.progress import Event, Listener
from tflite_converter.training.checkpoint import CheckpointKeeper
from tflite_converter.workers.front import FrontResult, TensorFlowResult, TrainingOutcome
from tflite_converter.workers.jobs import (
    BindingResult,
    TrainingJob,
)
from tflite_converter.workers.programs import BINDING, TENSORFLOW

_RANDOM: Final = (
    "the original draws random numbers: on the same samples it gives other values each time in {outputs};"
    " export it in inference mode"
)


@dataclass(frozen=True, slots=True)
class Front:
    """What the front half has left in the folder for everything after it, whichever engine it was."""

    result: FrontResult | None
    """None for a TFLite file, of which the LiteRT child does the same."""
    own_quantizer: Callable[[Measure, Warn], OwnQuantizer | None]
    """Gives the engine's own quantizer, if it has one: a second way to full integer."""


def front_half(
    options: Options,
    inputs: Inputs,
    work: Path,
    watch: Watch,
    tell: Listener,
    begun: Started | None = None,
) -> Front:
    """Make the float file, the bound samples and the original's outputs on them, in the folder ``work``.

    ``begun`` is TensorFlow's child, where it was started for this source already.

    Raises:
        ConverterError: for each of the contract's reasons up to the original's evaluation.

    """
    source = inputs.source
    if source.format is SourceFormat.TFLITE:
        return Front(None, lambda _measure, _warn: None)
    engine = engine_for(source.format)
    if engine is not None:
        result = _by_engine(engine, options, inputs, work, watch, tell)
        return Front(result, lambda _measure, _warn: None)
    tell(Event(Stage.LOAD, "starting TensorFlow"))
    job = tensorflow_job(options, inputs, work, "float")
    loaded = run_worker(TENSORFLOW, job, TensorFlowResult, work, watch, tell, begun)
    return gone_on_from(loaded, options, inputs, work, watch, tell)


def gone_on_from(
    result: TensorFlowResult, options: Options, inputs: Inputs, work: Path, watch: Watch, tell: Listener
) -> Front:
    """Return the front half whose files lie in ``work`` already, for the source that it was made of."""
    source = inputs.source
    if engine_for(source.format) is not None:
        return Front(result, lambda _measure, _warn: None)
    return Front(
        result, lambda measure, warn: OwnQuantizer(options, source, result, work, watch, tell, measure, warn)
    )


@dataclass(frozen=True, slots=True)
class Trained:
    """What training has left, beside a float file."""

    outcome: TrainingOutcome
    seconds: Mapping[Stage, float]


def train(
    options: Options,
    inputs: Inputs,
    training: TrainingJob,
    work: Path,
    folder: Path,
    watch: Watch,
    keeper: CheckpointKeeper,
) -> Trained:
    """Train a Keras model, and make its float file in ``folder``; ``work`` is that of the front half.

    Raises:
        ConverterError: TrainingFailed, and the other reasons of the child.

    """
    job = tensorflow_job(options, inputs, work, "optimize").model_copy(update={"training": training})
    try:
        found = run_worker(TENSORFLOW, job, TensorFlowResult, folder, watch, keeper)
    finally:
        keeper.take()
    if found.training is None:
        cause = f"{TENSORFLOW.words} does not say what it trained"
        raise ConverterError(FailureReason.CONVERTER_CRASHED, Stage.TRAIN, cause)
    return Trained(found.training, found.seconds)


def refuse_contradictions(options: Options, source: SourceModel) -> None:
    """Refuse options that the source's format cannot have, and a format that nothing here reads.

    Raises:
        ConverterError: InvalidRequest, EngineNotFound.

    """
    for is_wrong, cause, hint in _contradictions(options, source):
        if is_wrong:
            raise ConverterError(FailureReason.INVALID_REQUEST, Stage.LOAD, cause, hint=hint)
    engine = engine_for(source.format)
    # Before data are read, which may take long.
    if engine is not None:
        found(engine, os.environ)
    elif source.format is not SourceFormat.TFLITE:
        refuse_without_tensorflow(source.format)


def _contradictions(options: Options, source: SourceModel) -> list[tuple[bool, str, str]]:
    engine, is_tflite = engine_for(source.format), source.format is SourceFormat.TFLITE
    has_none = source.format.is_keras or engine is not None
    kind = "a Keras file" if engine is None else engine.kind
    return [
        (
            has_none and options.signature is not None,
            f"{kind} has no signatures, and so none that is called {options.signature!r}",
            "leave the signature out" + (", or give the SavedModel" if engine is None else ""),
        ),
        (
            is_tflite and bool(options.input_shapes or options.select_tensorflow_ops),
            "input shapes and TensorFlow's own operations cannot be chosen for a TFLite file",
            "convert the model that the file was made from",
        ),
        (
            engine is not None and options.select_tensorflow_ops,
            f"{kind} has no operations of TensorFlow's that could stay in the file",
            "leave --select-tf-ops (spec.source.selectTensorFlowOps) out",
        ),
    ]


def _by_engine(
    engine: Engine, options: Options, inputs: Inputs, work: Path, watch: Watch, tell: Listener
) -> FrontResult:
    tell(Event(Stage.LOAD, f"starting {engine.words}"))
    place = asking.Place(found(engine, os.environ), work, watch, tell)
    source = inputs.source
    request = Request(
        source=str(source.path.absolute()),
        readable=tuple(str(path.absolute()) for path in source.belonging),
        input_shapes=_sizes_of_data(inputs) | dict(options.input_shapes),
        memory_limit_bytes=options.memory_limit_bytes,
    )
    described = asking.convert(engine, request, place)
    infos = asking.tensor_infos(described.inputs)
    job = binding_job(options, inputs, infos, described.group)
    bound = run_worker(BINDING, job, BindingResult, work, watch, tell)
    asked = Request(
        source=request.source,
        readable=request.readable,
        memory_limit_bytes=options.memory_limit_bytes,
        description=described,
    )
    outputs = asking.run(engine, asked, place)
    known = {tensor.name for tensor in described.outputs}
    random = tuple(name for name in outputs.random_outputs if name in known)
    seconds = asking.stage_seconds(described.seconds)
    for stage, spent in asking.stage_seconds(outputs.seconds).items():
        seconds[stage] = seconds.get(stage, 0.0) + spent
    drawn = (_RANDOM.format(outputs=", ".join(map(repr, random))),) if random else ()
    return FrontResult(
        inputs=infos,
        outputs=asking.tensor_infos(described.outputs),
        writer=described.writer,
        seconds=seconds,
        tool_versions=dict(described.versions),
        isolation=tuple(set(described.isolation) & set(bound.isolation) & set(outputs.isolation)),
        warnings=(*described.warnings, *bound.warnings, *drawn),
        random_outputs=random,
    )


def _sizes_of_data(inputs: Inputs) -> dict[str, tuple[int, ...]]:
    """Return the sizes that samples have where a model leaves others than the batch open.

    An engine's file has fixed sizes, and data are there before it is made.
    """
    samples = inputs.samples.calibration_form or inputs.samples.evaluation_form
    if samples is None or samples.holds_files:
        return {}
    infos = _declared(inputs.source)
    if not infos:
        return {}
    shapes = array_shapes({**samples.arrays, **samples.extras}, infos, samples.name, Stage.LOAD)
    return {info.name: sizes for info in infos if (sizes := _sizes(info, shapes[info.name])) is not None}


def _declared(source: SourceModel) -> list[TensorInfo]:
    """Return the inputs whose sizes the data may decide, as the file says them without its engine.

    Only the module of an exported function of JAX says what its arguments are called, so of several nothing
    is known that data could be matched with.
    """
    if source.format is SourceFormat.STABLEHLO:
        exported = read_stablehlo(source.path)
        if exported is None or len(exported.inputs) != 1:
            return []
        return [TensorInfo(name=i.place, shape=i.sizes, dtype=i.dtype) for i in exported.inputs]
    read = read_onnx if source.format is SourceFormat.ONNX else read_exported_program
    edges = [edge for edge in read(source.path).inputs if edge.shape is not None]
    return [TensorInfo(name=edge.name, shape=edge.sizes, dtype=edge.dtype) for edge in edges]


def _sizes(info: TensorInfo, data: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return an input's sizes, with those of the samples ``data`` where it leaves them open; None else."""
    rank = len(info.shape)
    if len(data) == rank + 1 and -1 in info.shape:
        own: tuple[int, ...] = data[1:]
    elif len(data) == rank and -1 in info.shape[1:]:
        own = (1 if info.shape[0] < 0 else info.shape[0], *data[1:])
    else:
        return None
    fits = all(size in (-1, there) for size, there in zip(info.shape, own, strict=True))
    return own if fits else None
