"""Write the jobs of a run's children from its options and inputs; nothing is run here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from modelconversion_api.fields.verification import Verifier, resolved_verifiers
from modelconversion_api.methods import Method
from modelconversion_api.spec import SourceFormat
from modelconversion_api.status import TensorInfo
from tflite_converter.conversion.data import RANDOM_SAMPLES, SYNTHETIC_SAMPLES
from tflite_converter.conversion.options import Options
from tflite_converter.conversion.report import Inputs, artifact_record
from tflite_converter.files.sources import SourceModel
from tflite_converter.isolation import machine
from tflite_converter.isolation.protocol import ChildLimits, Preparation
from tflite_converter.verifying.drivers import driver
from tflite_converter.verifying.guests import GUESTS
from tflite_converter.workers.jobs import (
    FROZEN_FOLDER,
    OWN_RANGES_FOLDER,
    BindingJob,
    LiteRTJob,
    RecipeJob,
    TensorFlowJob,
)


def _limits(options: Options, source: SourceModel, work: Path) -> ChildLimits:
    """Return the limits of every child: the files it may read, and its memory.

    ``work`` is the first children's folder, from which those that train read the samples.
    """
    data = (options.calibration, options.validation)
    files = [each.path.absolute() for each in data if each is not None and each.holds_files]
    readable = [source.path.absolute(), *files]
    if (training := options.training) is not None:
        more = (training.student, training.checkpoint, training.data.path)
        readable += [work, *(path.absolute() for path in more if path is not None)]
    readable += [path.absolute() for path in source.belonging]
    return ChildLimits(readable=tuple(readable), memory_limit_bytes=options.memory_limit_bytes)


def _litert_limits(options: Options, source: SourceModel, work: Path) -> ChildLimits:
    """Return the limits of the LiteRT child, which may load a GPU's driver as well."""
    limits = _limits(options, source, work)
    if Verifier.GPU in _verifiers(options) and (manifest := driver(os.environ)) is not None:
        return limits.model_copy(update={"readable": (*limits.readable, manifest.absolute().parent)})
    return limits


def _verifiers(options: Options) -> tuple[Verifier, ...]:
    return resolved_verifiers(tuple(options.verify_on), options.target)


def tensorflow_job(
    options: Options, inputs: Inputs, work: Path, task: Literal["float", "optimize"]
) -> TensorFlowJob:
    """Return the job that makes the float file, of the original or of a model that is trained first."""
    source, samples = inputs.source, inputs.samples
    return TensorFlowJob(
        task=task,
        limits=_limits(options, source, work),
        source=source.path.absolute(),
        format=source.format,
        input_shapes=dict(options.input_shapes),
        signature=options.signature,
        select_tensorflow_ops=options.select_tensorflow_ops,
        unroll=bool(options.calibrated),
        calibration=samples.calibration,
        evaluation=samples.evaluation,
        random_samples=RANDOM_SAMPLES,
        seed=options.seed,
    )


def tensorflow_preparation(options: Options, source: SourceModel, work: Path) -> Preparation:
    """Return what TensorFlow's child can do before it has its job."""
    limits = _limits(options, source, work)
    return Preparation(limits=limits, source=source.path.absolute(), format=source.format)


def litert_preparation(options: Options, source: SourceModel, work: Path) -> Preparation:
    """Return what the LiteRT child can do before it has its job."""
    return Preparation(limits=_litert_limits(options, source, work))


def binding_job(options: Options, inputs: Inputs, infos: Sequence[TensorInfo], group: int) -> BindingJob:
    """Return the job that writes the samples for a float file with these inputs."""
    data = (options.calibration, options.validation)
    files = [each.path.absolute() for each in data if each is not None and each.holds_files]
    limits = ChildLimits(readable=tuple(files), memory_limit_bytes=options.memory_limit_bytes)
    return BindingJob(
        limits=limits,
        inputs=tuple(infos),
        group=group,
        calibration=inputs.samples.calibration,
        evaluation=inputs.samples.evaluation,
        random_samples=RANDOM_SAMPLES,
        seed=options.seed,
    )


def tensorflow_int8_job(
    options: Options,
    source: SourceModel,
    work: Path,
    *,
    frozen: str = FROZEN_FOLDER,
) -> TensorFlowJob:
    """Return the job that quantizes with TensorFlow's own converter what lies in the folder ``frozen``."""
    return TensorFlowJob(
        task="int8",
        limits=_limits(options, source, work),
        source=source.path.absolute(),
        format=source.format,
        own_ranges=frozen == OWN_RANGES_FOLDER,
        frozen=frozen,
    )


@dataclass(frozen=True, slots=True)
class Basis:
    """What the LiteRT child starts from, beside the float file."""

    methods: tuple[Method, ...] | None = None
    """The methods to make; None for all that were asked for."""
    ready: Mapping[Method, str] = field(default_factory=dict)
    """Files that are made already and only need measuring."""
    fused: bool = False
    """Whether the ready full-integer file has fused LSTM layers."""
    own_ranges: bool = False
    """Whether the ready full-integer file has the ranges of the graph's own fake quantization."""
    trained: tuple[str, ...] = ()
    """The steps of training, where the float file is that of a trained model."""
    random_outputs: tuple[str, ...] = ()
    """Outputs of the original that are others each time."""
    layouts: Mapping[str, str] = field(default_factory=dict)
    """Inputs and outputs that have another layout than in the source, and which."""


def _recipes(options: Options) -> tuple[RecipeJob, ...]:
    """Return the user's recipes, which are made once, of the model as it was given."""

    def rules(name: str) -> str | None:
        content = options.rules.get(name)
        return None if content is None else content.decode("utf-8", "replace")

    return tuple(RecipeJob(recipe=recipe, rules=rules(recipe.name)) for recipe in options.recipes)


_MOST_BESIDE: Final = 4
_MOST_THREADS: Final = 4
"""More share the operators of models for small devices badly."""
_CHILD_BYTES: Final = 150 << 20
"""What a child takes without a model."""
_COPIES: Final = 6
"""How often a float file may lie in memory while another one is made of it."""


def _beside(options: Options, work: Path) -> int:
    """Return how many files may be made beside each other: a processor for each, half the memory for all."""
    files = [path.lstat().st_size for path in work.rglob("*") if path.is_file()]
    each = _CHILD_BYTES + sum(files) + _COPIES * max(files, default=0)
    memory = options.memory_limit_bytes or machine.memory_limit_bytes() or 0
    return max(1, min(_MOST_BESIDE, machine.processors(), memory // 2 // each))


def litert_job(options: Options, inputs: Inputs, work: Path, basis: Basis) -> LiteRTJob:
    """Return the job that makes and measures files from the float file."""
    source, samples = inputs.source, inputs.samples
    from_tflite = source.format is SourceFormat.TFLITE
    verify_on = _verifiers(options)
    return LiteRTJob(
        limits=_litert_limits(options, source, work),
        base_name=options.base_name,
        methods=basis.methods or options.made,
        recipes=() if basis.methods or basis.trained else _recipes(options),
        ready=dict(basis.ready),
        own_ranges=basis.own_ranges,
        fused=basis.fused,
        random_outputs=basis.random_outputs,
        layouts=dict(basis.layouts),
        target=options.target,
        beside=_beside(options, work),
        threads=min(_MOST_THREADS, machine.processors()),
        verify_on=tuple(name for name in verify_on if name not in GUESTS),
        has_guests=bool(GUESTS.keys() & set(verify_on)),
        has_metrics=options.metric_data is not None,
        source=source.path.absolute() if from_tflite else None,
        signature=options.signature if from_tflite else None,
        source_bytes=source.size_bytes,
        calibration=samples.calibration if from_tflite else None,
        evaluation=samples.evaluation if from_tflite else None,
        has_evaluation_data=samples.evaluation is not None,
        evaluation_name=samples.evaluation.name if samples.evaluation else "the evaluation data",
        random_samples=RANDOM_SAMPLES,
        synthetic_samples=SYNTHETIC_SAMPLES if inputs.data.is_synthetic else 0,
        seed=options.seed,
        record=artifact_record(options, inputs, basis.trained, basis.layouts),
        task=options.task,
        detection=options.detection,
        ignore_label=options.ignore_label,
        gates=options.gates,
        benchmark=options.benchmark,
        tuning_seconds=options.tuning_seconds,
        tried=tuple(method for method in options.made if method not in options.methods),
        dense_per_tensor=options.compilers.want_dense_per_tensor,
        compiled=options.compilers.edge_tpu is not None,
        class_names=samples.class_names,
        label_array=samples.evaluation.label_array if samples.evaluation else None,
    )
