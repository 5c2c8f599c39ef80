"""One conversion from the source model to measured artifacts: the stages in their order."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from modelconversion_api.methods import Method, Target
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import ArtifactReport, ConversionReport, DataInfo, DataRole, Evaluation
from modelconversion_api.request import ConversionRequest
from modelconversion_api.spec import DEFAULT_CALIBRATION_SAMPLES, SourceFormat
from modelconversion_api.status import SourceInfo

from . import quantization
from .arrays import Array, NamedArrays
from .datasets import Dataset, bind, check_labels_range, load_dataset, random_inputs
from .digests import source_digest
from .errors import ConverterError
from .evaluation import Benchmark, Reference, evaluate
from .formats import detect_format
from .gates import Gates, recommend
from .metrics import is_classifier
from .progress import Event, Listener, ignore
from .sampling import draw
from .worker import run_worker
from .worker_protocol import FLOAT_FILE, INT8_FILE, REFERENCE_FILE, RESULT_FILE, WorkerJob, WorkerResult
from .workspace import Workspace

RANDOM_SAMPLES = 32
TOOLS = ("ai-edge-litert", "litert-quantizer", "numpy")


@dataclass(frozen=True)
class Options:
    """What to convert, and how."""

    source: Path
    base_name: str
    methods: Sequence[Method]
    source_format: SourceFormat = SourceFormat.AUTO
    expected_sha256: str | None = None
    target: Target | None = None
    calibration: Path | None = None
    calibration_labels: Path | None = None
    validation: Path | None = None
    validation_labels: Path | None = None
    samples: int = DEFAULT_CALIBRATION_SAMPLES
    """Calibration samples to draw."""
    evaluation_samples: int = 1000
    """Most samples that artifacts are compared on."""
    seed: int = 0
    gates: Gates = field(default_factory=Gates)
    benchmark: Benchmark = field(default_factory=Benchmark)
    memory_limit_bytes: int | None = None
    """Limit of the TensorFlow child's data."""
    request: ConversionRequest | None = None
    """What the report says was asked for, where a Job asks."""


@dataclass
class _Data:
    """The samples of one conversion."""

    calibration: Dataset | None
    calibration_info: DataInfo | None
    evaluation: Dataset | None
    evaluation_info: DataInfo
    warnings: list[str] = field(default_factory=list)


def convert(options: Options, workspace: Workspace, listener: Listener = ignore) -> ConversionReport:
    """Makes and measures the artifacts of ``options``; they lie in ``workspace``, not yet published.

    Raises:
        ConverterError: for each of the contract's reasons from loading to evaluation. An artifact that
            misses a gate is no error here: the report says ``passed: false``.

    """
    return _Conversion(options, workspace, listener).run()


class _Conversion:
    def __init__(self, options: Options, workspace: Workspace, listener: Listener) -> None:
        self._options = options
        self._workspace = workspace
        self._tell = listener
        self._seconds: dict[Stage, float] = {}

    def run(self) -> ConversionReport:
        options = self._options
        started = time.monotonic()
        source_format = detect_format(options.source, options.source_format)
        sha256, size = source_digest(options.source)
        _check_digest(options, sha256)
        data = self._data()
        started = self._timed(Stage.LOAD, started)

        worker = self._run_tensorflow(source_format, data)
        for stage, seconds in worker.seconds.items():
            self._took(stage, seconds)
        started = time.monotonic()

        float_file = (self._workspace.folder / FLOAT_FILE).read_bytes()
        files = {method: self._make(method, float_file, data, worker) for method in options.methods}
        started = self._timed(Stage.QUANTIZE, started)

        reference = self._reference(data, worker, size)
        artifacts = [self._measure(method, content, reference) for method, content in files.items()]
        self._timed(Stage.EVALUATE, started)
        return ConversionReport(
            request=options.request,
            source=SourceInfo(
                sha256=sha256,
                size_bytes=size,
                format=source_format,
                inputs=worker.inputs,
                outputs=worker.outputs,
            ),
            artifacts=tuple(artifacts),
            recommended=recommend(artifacts, options.target),
            calibration=data.calibration_info,
            evaluation=Evaluation(
                data=data.evaluation_info,
                agreement_metric=reference.metric,
                original_accuracy=reference.accuracy,
            ),
            warnings=tuple(data.warnings),
            stage_seconds={stage: round(seconds, 3) for stage, seconds in self._seconds.items()},
            tool_versions=worker.tool_versions
            | {"source-writer": worker.writer}
            | {name: importlib.metadata.version(name) for name in TOOLS},
        )

    def _data(self) -> _Data:
        """Reads and draws the data before TensorFlow starts: bad data is known within a second."""
        options = self._options
        if Method.FULL_INTEGER in options.methods and options.calibration is None:
            raise ConverterError(
                FailureReason.CALIBRATION_MISSING, Stage.CALIBRATE, "there is no calibration data"
            )
        whole = drawn = info = None
        if options.calibration is not None:
            self._tell(Event(Stage.CALIBRATE, "reading the calibration data"))
            whole = load_dataset(options.calibration, options.calibration_labels, Stage.CALIBRATE)
            drawn, info = self._drawn(whole, DataRole.CALIBRATION, options.samples)
        if options.validation is not None:
            self._tell(Event(Stage.EVALUATE, "reading the validation data"))
            held_out = load_dataset(options.validation, options.validation_labels, Stage.EVALUATE)
            compared, compared_info = self._drawn(held_out, DataRole.VALIDATION, options.evaluation_samples)
        elif whole is not None:
            compared, compared_info = self._drawn(whole, DataRole.CALIBRATION, options.evaluation_samples)
        else:
            compared = None
            compared_info = DataInfo(role=DataRole.RANDOM, samples=RANDOM_SAMPLES, seed=options.seed)
        data = _Data(drawn, info if Method.FULL_INTEGER in options.methods else None, compared, compared_info)
        self._warn_of_data(data)
        return data

    def _warn_of_data(self, data: _Data) -> None:
        if data.evaluation is None:
            self._warn(data, "no data was given: artifacts are compared with the original on random inputs")
        elif data.evaluation_info.role is DataRole.CALIBRATION and data.calibration_info is not None:
            self._warn(data, "there is no validation data: artifacts are measured on the calibration data")
        if data.calibration_info is not None and data.calibration_info.samples < 100:
            count = data.calibration_info.samples
            self._warn(
                data, f"only {count} calibration sample{'s' if count > 1 else ''}: 100 or more is usual"
            )

    def _warn(self, data: _Data, text: str) -> None:
        data.warnings.append(text)
        self._tell(Event(Stage.EVALUATE, text, warning=True))

    def _drawn(self, dataset: Dataset, role: DataRole, most: int) -> tuple[Dataset, DataInfo]:
        seed = self._options.seed
        chosen = dataset.take(draw(dataset.count, most, seed, dataset.labels))
        stratified = dataset.labels is not None and chosen.count < dataset.count
        return chosen, DataInfo(
            role=role, sha256=dataset.sha256, samples=chosen.count, seed=seed, stratified=stratified
        )

    def _run_tensorflow(self, source_format: SourceFormat, data: _Data) -> WorkerResult:
        options, folder = self._options, self._workspace.folder
        self._tell(Event(Stage.LOAD, "starting TensorFlow"))
        job = WorkerJob(
            task="float",
            source=options.source.resolve(),
            format=source_format,
            folder=folder.resolve(),
            evaluation=self._saved("evaluation.npz", data.evaluation),
            calibration=self._saved("calibration.npz", data.calibration),
            evaluation_name=data.evaluation.name if data.evaluation else "",
            calibration_name=data.calibration.name if data.calibration else "",
            random_samples=RANDOM_SAMPLES,
            seed=options.seed,
            memory_limit_bytes=options.memory_limit_bytes,
        )
        run_worker(job, self._tell)
        return WorkerResult.model_validate_json((folder / RESULT_FILE).read_text())

    def _saved(self, name: str, dataset: Dataset | None) -> Path | None:
        return None if dataset is None else self._saved_arrays(name, dataset.arrays)

    def _saved_arrays(self, name: str, arrays: NamedArrays) -> Path:
        path = self._workspace.folder.resolve() / name
        with path.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        return path

    def _make(self, method: Method, float_file: bytes, data: _Data, worker: WorkerResult) -> bytes:
        self._tell(Event(Stage.QUANTIZE, f"making {method.cli_name}"))
        match method:
            case Method.FLOAT32:
                return float_file
            case Method.DYNAMIC_RANGE:
                return quantization.dynamic_range(float_file)
            case Method.FLOAT16:
                return quantization.float16(float_file)
            case Method.FULL_INTEGER:
                return self._make_int8(float_file, data, worker)

    def _make_int8(self, float_file: bytes, data: _Data, worker: WorkerResult) -> bytes:
        assert data.calibration is not None  # noqa: S101 - _data refuses full integer without
        samples = bind(data.calibration, worker.inputs, Stage.CALIBRATE)
        step = self._counter(Stage.CALIBRATE, "calibrating", data.calibration.count)
        try:
            return quantization.full_integer(
                float_file, samples, threads=self._options.benchmark.threads, after_each=step
            )
        except ConverterError as first:
            return self._make_int8_with_tensorflow(samples, first, data)

    def _make_int8_with_tensorflow(
        self, samples: dict[str, Array], first: ConverterError, data: _Data
    ) -> bytes:
        """The second way; what made it necessary is told either way."""
        folder = self._workspace.folder.resolve()
        job = WorkerJob(
            task="int8",
            source=self._options.source.resolve(),
            format=SourceFormat.AUTO,
            folder=folder,
            calibration=self._saved_arrays("bound.npz", samples),
            memory_limit_bytes=self._options.memory_limit_bytes,
        )
        try:
            run_worker(job, self._tell)
        except ConverterError as second:
            raise ConverterError(
                FailureReason.QUANTIZATION_FAILED,
                Stage.QUANTIZE,
                f"full integer failed in litert-quantizer ({first.cause}) and in TensorFlow ({second.cause})",
            ) from second
        self._warn(data, f"full integer was made by TensorFlow's quantizer: {first.cause}"[:1024])
        return (folder / INT8_FILE).read_bytes()

    def _reference(self, data: _Data, worker: WorkerResult, source_bytes: int) -> Reference:
        with np.load(self._workspace.folder / REFERENCE_FILE, allow_pickle=False) as archive:
            outputs = {name: archive[name] for name in archive.files}
        if data.evaluation is None:
            samples = random_inputs(worker.inputs, RANDOM_SAMPLES, self._options.seed)
            return Reference(samples, outputs, None, source_bytes)
        samples = bind(data.evaluation, worker.inputs, Stage.EVALUATE)
        labels = data.evaluation.labels
        if labels is not None and is_classifier(outputs):
            (scores,) = outputs.values()
            check_labels_range(data.evaluation, scores.shape[1], Stage.EVALUATE)
        return Reference(samples, outputs, labels, source_bytes)

    def _measure(self, method: Method, content: bytes, reference: Reference) -> ArtifactReport:
        options = self._options
        file_name = method.file_name(options.base_name)
        count = len(next(iter(reference.samples.values())))
        step = self._counter(Stage.EVALUATE, f"measuring {method.cli_name}", count)
        artifact = evaluate(method, file_name, content, reference, options.gates, options.benchmark, step)
        self._workspace.write(file_name, content)
        return artifact

    def _counter(self, stage: Stage, text: str, count: int) -> Callable[[int], None]:
        """Tells of every twentieth part that is done."""
        every = max(1, count // 20)

        def step(done: int) -> None:
            if done % every == 0 or done == count:
                self._tell(Event(stage, text, done / count))

        return step

    def _timed(self, stage: Stage, started: float) -> float:
        now = time.monotonic()
        self._took(stage, now - started)
        return now

    def _took(self, stage: Stage, seconds: float) -> None:
        self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds


def _check_digest(options: Options, sha256: str) -> None:
    if options.expected_sha256 not in (None, sha256):
        cause = f"{options.source.name} has the digest {sha256}, expected {options.expected_sha256}"
        raise ConverterError(FailureReason.DIGEST_MISMATCH, Stage.LOAD, cause)
