"""What one artifact is worth: its outputs against the original's and the labels, and how it runs."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.detection import DEFAULT_IGNORE_LABEL
from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.reports.measurements import (
    AgreementMetric,
    Latency,
    OutputFidelity,
    Performance,
    Scores,
    TargetCheck,
)
from modelconversion_api.spec import Benchmark
from tflite_converter.arrays import Array, FloatArray, NamedArrays
from tflite_converter.errors import ConverterError
from tflite_converter.measuring.average_precision import detection_scores, detections_agreement
from tflite_converter.measuring.boxes import Reading
from tflite_converter.measuring.breakdown import confusion, worst_class
from tflite_converter.measuring.drift_record import output_record
from tflite_converter.measuring.gates import Gates
from tflite_converter.measuring.metric_data import write_outputs
from tflite_converter.measuring.metrics import fidelity, scores
from tflite_converter.measuring.outputs import (
    MOST_OUTPUTS,
    cautions,
    incomparable,
    judge,
    judged_whole,
    under_floor,
    worst,
)
from tflite_converter.measuring.quality import Quality
from tflite_converter.measuring.segmentation import masks_agreement, masks_of, segmentation_scores
from tflite_converter.targets.check import check_target
from tflite_converter.targets.operators import INTEGER_ONLY
from tflite_converter.tflite.file import inventory, read_file
from tflite_converter.tflite.runtime import StopsError, TFLiteModel, why
from tflite_converter.tflite.types import TFLiteFile
from tflite_converter.tflite.versions import oldest_runtime


@dataclass(frozen=True)
class Reference:
    """What artifacts are compared with."""

    samples: NamedArrays
    """``{input: (n, ...)}``"""
    outputs: NamedArrays
    """The original's: ``{output: (n, ...)}``."""
    labels: Array | None
    task: Task
    metric: AgreementMetric
    original: Scores | None
    """The original's own figures; None without labels that fit the task."""
    source_bytes: int
    class_names: tuple[str, ...] = ()
    is_real: bool = True
    """Whether the samples are data, and not random numbers."""
    not_finite: int = 0
    """How many samples are not among these because the original gives NaN or infinity on them."""
    reading: Reading | None = None
    """How a detector's outputs become boxes; None for what is no detector."""
    boxes: FloatArray | None = None
    """What the original finds, where it is a detector: ``(n, K, 6)``."""
    ignore_label: int = DEFAULT_IGNORE_LABEL
    """Value of pixels in masks that count for nothing."""

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(next(iter(self.samples.values())))

    @cached_property
    def masks(self) -> Array:
        """The original's masks, where it segments."""
        return masks_of(self.outputs, self._mask_size)

    @property
    def _mask_size(self) -> tuple[int, ...] | None:
        return None if self.labels is None else self.labels.shape[1:]

    def with_scores(self) -> Reference:
        """Return it with the original's own figures."""
        return replace(self, original=self._scores(self.outputs, self.boxes))

    def compared(self, outputs: NamedArrays) -> tuple[tuple[OutputFidelity, ...], Scores | None]:
        """Compare ``outputs``, of the original's names and shapes, with the original's and the labels."""
        boxes = None if self.reading is None else self.reading.boxes(outputs)
        return self._judged(outputs, boxes), self._scores(outputs, boxes)

    def _scores(self, outputs: NamedArrays, boxes: FloatArray | None) -> Scores | None:
        if self.labels is None:
            return None
        if self.reading is not None and boxes is not None:
            most = self.reading.detection.max_detections
            return detection_scores(self.labels, boxes, most, self.class_names)
        if self.task is Task.SEGMENTATION:
            return segmentation_scores(outputs, self.labels, self.ignore_label, self.class_names)
        return scores(self.task, self.samples, outputs, self.labels)

    def _judged(self, outputs: NamedArrays, boxes: FloatArray | None) -> tuple[OutputFidelity, ...]:
        finds = self.metric is AgreementMetric.DETECTIONS
        if finds and self.reading is not None and self.boxes is not None and boxes is not None:
            share = detections_agreement(self.boxes, boxes, self.reading.detection.max_detections)
            return judged_whole(self.metric, share, self.reading.outputs[0], self.outputs, outputs)
        if self.metric is AgreementMetric.MEAN_IOU:
            share = masks_agreement(self.masks, masks_of(outputs, self._mask_size))
            return judged_whole(self.metric, share, next(iter(self.outputs)), self.outputs, outputs)
        return judge(self.task, self.metric, self.outputs, outputs)

    def head(self, count: int) -> Reference:
        """Return the first ``count`` samples, without labels."""
        return replace(self.first(count), labels=None, original=None)

    def first(self, count: int) -> Reference:
        """Return the first ``count`` samples, and the original's own figures on these."""
        if count >= self.count:
            return self
        samples = {name: array[:count] for name, array in self.samples.items()}
        outputs = {name: array[:count] for name, array in self.outputs.items()}
        labels = None if self.labels is None else self.labels[:count]
        boxes = None if self.boxes is None else self.boxes[:count]
        fewer = replace(self, samples=samples, outputs=outputs, labels=labels, boxes=boxes)
        return fewer.with_scores()


class Runner(Protocol):
    """A file that is loaded by some runtime."""

    load_millis: float
    """From bytes to allocated tensors."""

    def run_each(
        self, samples: NamedArrays, after_each: Callable[[int], None] | None = None
    ) -> dict[str, Array]:
        """Return ``{output: (n, ...)}`` for ``{input: (n, ...)}``, run one by one."""

    def benchmark(self, sample: NamedArrays, runs: int) -> Latency:
        """Return how long one batch takes."""


Load: TypeAlias = Callable[[bytes, int], Runner]
"""Loads a file, to be run with so many threads.

Raises ``RuntimeError`` or ``ValueError`` where that fails."""


def on_litert(content: bytes, threads: int) -> Runner:
    """Load a file as most programs do: on the processor."""
    return TFLiteModel(content, threads=threads)


@dataclass(frozen=True)
class Request:
    """How one artifact is measured."""

    method: Method
    file_name: str
    gates: Gates
    benchmark: Benchmark
    target: Target | None
    compiled: bool = False
    """Whether a compiler for the target has the last word on where it runs, and not the analysis."""
    keep: Path | None = None
    """Folder for the outputs, in a file named after the artifact's digest; None where nobody wants them."""
    keep_samples: int = 0
    """How many samples are kept."""


def quality(content: bytes, reference: Reference, gates: Gates, *, threads: int, file_name: str) -> Quality:
    """How a file does on the samples, and which gates on quality it misses.

    Raises:
        ConverterError: EvaluationFailed when it stops on a sample, or its outputs are others.

    """
    outputs = _outputs(TFLiteModel(content, threads=threads), reference, file_name, lambda _done: None)
    return quality_of(outputs, reference, gates)


def evaluate(
    content: bytes,
    reference: Reference,
    request: Request,
    after_each: Callable[[int], None],
    *,
    performance: Performance | None = None,
    load: Load = on_litert,
) -> ArtifactReport:
    """Run the artifact on every sample and measure it, in a fresh process so that memory is its own.

    ``performance`` is what :func:`measure_performance` has found; None to find it here. ``load`` is not
    LiteRT's processor where another runtime is asked for; batches are then not measured.

    Raises:
        ConverterError: EvaluationFailed when LiteRT cannot load or run it, or its outputs are others.

    """
    file = read_file(content, request.file_name)
    if operations := inventory(file).flex_operators:
        return _not_measured(content, file, operations, reference, request)
    before = _peak_bytes()
    try:
        model = load(content, request.benchmark.threads)
        outputs = _outputs(model, reference, request.file_name, after_each)
        if request.keep is not None:
            path = request.keep / f"{hashlib.sha256(content).hexdigest()}.npz"
            write_outputs(path, outputs, request.keep_samples)
        if performance is None:
            performance = _performance(model, content, reference.samples, request.benchmark)
            grown = max(0, _peak_bytes() - before)
            performance = performance.model_copy(update={"peak_memory_bytes": grown})
    except (RuntimeError, ValueError, KeyError) as error:
        cause = f"{request.file_name} does not run: {why(error)}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause) from error
    return _report(content, file, outputs, reference, request, performance)


def _report(
    content: bytes,
    file: TFLiteFile,
    outputs: NamedArrays,
    reference: Reference,
    request: Request,
    performance: Performance,
) -> ArtifactReport:
    result = quality_of(outputs, reference, request.gates)
    latency = performance.single
    targets = tuple(check_target(file, target) for target in Target)
    missed = [*result.missed, *request.gates.missed_cost(len(content), latency.median_millis)]
    missed += _unsuitable(targets, request)
    labels = reference.labels
    is_classes = reference.task is Task.CLASSIFICATION and len(outputs) == 1
    original, judged = next(iter(reference.outputs.values())), next(iter(outputs.values()))
    is_classes = is_classes and judged.ndim == 2
    empty = [f"output {name!r} has no elements" for name, values in outputs.items() if not values.size]
    notes = missed or [*empty, *cautions(result.outputs), *_notes(request.method, file)]
    return ArtifactReport(
        method=request.method,
        file_name=request.file_name,
        size_bytes=len(content),
        size_fraction=round(len(content) / reference.source_bytes, 4),
        sha256=hashlib.sha256(content).hexdigest(),
        agreement=round(result.agreement, 6),
        accuracy=None if result.accuracy is None else round(result.accuracy, 6),
        snr_db=None if result.snr_db is None else round(result.snr_db, 2),
        latency=latency,
        passed=not missed,
        usable=result.usable,
        min_runtime_version=oldest_runtime(file),
        message="; ".join(notes) or None,
        outputs=result.outputs[:MOST_OUTPUTS],
        fidelity=fidelity(reference.task, reference.outputs, outputs),
        scores=result.scores,
        worst_class=worst_class(original, judged, labels, reference.class_names) if is_classes else None,
        confusion=confusion(original, judged, labels, reference.class_names) if is_classes else None,
        performance=performance,
        baseline=output_record(reference.task, outputs) if reference.is_real else None,
        inventory=inventory(file),
        targets=targets,
        **_operators(targets, request.target),
    )


def _not_measured(
    content: bytes, file: TFLiteFile, operations: tuple[str, ...], reference: Reference, request: Request
) -> ArtifactReport:
    """Report on a file with TensorFlow's own operations, which no packaged interpreter can run."""
    latency = request.gates.max_latency_millis
    missed = request.gates.missed(
        agreement=None, accuracy=None, original_accuracy=None, size_bytes=len(content), latency_millis=None
    ) + (["latency could not be measured"] if latency is not None else [])
    targets = tuple(check_target(file, target) for target in Target)
    missed += _unsuitable(targets, request)
    names = ", ".join(operations)
    note = f"needs the Flex delegate for {names}; not run here, where LiteRT has none"
    return ArtifactReport(
        method=request.method,
        file_name=request.file_name,
        size_bytes=len(content),
        size_fraction=round(len(content) / reference.source_bytes, 4),
        sha256=hashlib.sha256(content).hexdigest(),
        passed=not missed,
        message="; ".join([*missed, note]),
        inventory=inventory(file),
        targets=targets,
        **_operators(targets, request.target),
    )


def _operators(targets: Sequence[TargetCheck], target: Target | None) -> dict[str, int]:
    """How many operators there are, and how many of them the target has no kernel for."""
    if target is None:
        return {}
    check = _of(targets, target)
    return {"operators": check.operators, "fallback_operators": check.fallback_operators}


def _of(targets: Sequence[TargetCheck], target: Target) -> TargetCheck:
    return next(check for check in targets if check.target is target)


def _unsuitable(targets: Sequence[TargetCheck], request: Request) -> list[str]:
    """Say why a target without fallback cannot run the file, where no compiler decides that."""
    target = request.target
    if request.compiled or target not in INTEGER_ONLY:
        return []
    check = _of(targets, target)
    return [] if check.suitable else [f"it cannot run on {target.value}: {'; '.join(check.problems)}"]


def quality_of(outputs: NamedArrays, reference: Reference, gates: Gates) -> Quality:
    """How outputs ``{output: (n, ...)}``, of the original's names and shapes, do; and the gates they miss."""
    judged, labelled = reference.compared(outputs)
    unusable = under_floor(judged, reference.outputs, outputs, gates.floor, is_real=reference.is_real)
    agrees = worst(judged).agreement
    right = None if labelled is None else labelled.accuracy
    original = None if reference.original is None else reference.original.accuracy
    missed = [*unusable, *gates.missed_quality(agrees, right, original)]
    ratios = [output.snr_db for output in judged if output.snr_db is not None]
    return Quality(agrees, right, min(ratios, default=None), tuple(missed), judged, not unusable, labelled)


def _outputs(
    model: Runner, reference: Reference, file_name: str, after_each: Callable[[int], None]
) -> dict[str, Array]:
    """Run the artifact; check that its outputs are the original's by name, shape and finiteness."""
    try:
        outputs = model.run_each(reference.samples, after_each)
    except StopsError as error:
        cause = f"{file_name} is unusable: {error}, where the original goes on"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause) from error
    if (fault := incomparable(reference.outputs, outputs)) is not None:
        reason, words = fault
        raise ConverterError(reason, Stage.EVALUATE, f"{file_name} {words}")
    return {name: outputs[name] for name in reference.outputs}


def measure_performance(
    content: bytes, samples: NamedArrays, benchmark: Benchmark, load: Load = on_litert
) -> Performance:
    """How a file runs, in a fresh process.

    Raises ``ValueError`` or ``RuntimeError`` where it does not.
    """
    before = _peak_bytes()
    model = load(content, benchmark.threads)
    performance = _performance(model, content, samples, benchmark)
    return performance.model_copy(update={"peak_memory_bytes": max(0, _peak_bytes() - before)})


def _performance(model: Runner, content: bytes, samples: NamedArrays, benchmark: Benchmark) -> Performance:
    first = {name: array[:1] for name, array in samples.items()}
    single = model.benchmark(first, benchmark.runs)
    size, batch = benchmark.batch_size, None
    # What a file keeps from one call to the next has the size of its own batch: LiteRT aborts in another.
    if size > 1 and isinstance(model, TFLiteModel) and not read_file(content, "the file").keeps_state:
        many = {name: np.resize(array, (size, *array.shape[1:])) for name, array in samples.items()}
        try:
            # A model of its own: a graph that cannot be resized is of no use afterwards.
            resized = TFLiteModel(content, threads=benchmark.threads)
            if all(np.shape(value)[:1] == (size,) for value in resized.run(many).values()):
                batch = resized.benchmark(many, max(1, benchmark.runs // size))
        except (RuntimeError, ValueError):
            batch = None  # the batch of 1 is baked in
    return Performance(single=single, batch=batch, load_millis=round(model.load_millis, 3))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _notes(method: Method, file: TFLiteFile) -> list[str]:
    """Note what the method's name hides: tensors that stayed in float."""
    # Those that operators read and write: an LSTM lists some that it only takes scales from.
    tensors = [
        graph.tensors[index]
        for graph in file.subgraphs
        for index in sorted({i for o in graph.operators for i in (*o.inputs, *o.outputs)} - {-1})
    ]
    if method.needs_calibration:
        edges = [t.name for t in (*file.inputs, *file.outputs) if t.tensor.is_float]
        if edges:
            return [f"float stays at {', '.join(edges)}"]
        if floats := sum(tensor.is_float for tensor in tensors):
            return [f"{floats} tensor{'s' if floats > 1 else ''} stayed in float"]
    return []
