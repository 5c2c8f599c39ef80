"""Training in a conversion: the data before it, and the choice between plain and optimised files after it."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from modelconversion_api.fields.data import Task
from modelconversion_api.fields.optimization import (
    Comparison,
    Measured,
    OptimizationReport,
    TrainingData,
)
from modelconversion_api.limits import MAX_TFLITE_BYTES
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ArtifactReport
from modelconversion_api.spec import SourceFormat
from modelconversion_api.text import human_size
from tflite_converter.conversion.data import ConversionData
from tflite_converter.conversion.options import Options
from tflite_converter.data.binding import SavedSamples
from tflite_converter.data.dataset import Dataset
from tflite_converter.data.loading import load_dataset
from tflite_converter.data.overlap import disjoint
from tflite_converter.errors import ConverterError
from tflite_converter.files.digests import file_sha256
from tflite_converter.files.formats import detect_format
from tflite_converter.files.untrusted import open_regular
from tflite_converter.progress import Event, Listener
from tflite_converter.tflite.file import read_file
from tflite_converter.training.plan import TrainingOptions
from tflite_converter.workers.front import TrainingOutcome
from tflite_converter.workers.jobs import (
    LABELS_FILE,
    TRAINING_LABELS_FILE,
    MethodResult,
    TrainingJob,
)

MOST_LOST: Final = 0.05
"""Accuracy (agreement, without labels) that an optimised file may lose against the plain one, whatever it
gains in size. Gates can ask for more."""
_CLEARLY_SMALLER: Final = 0.02
"""Compressed sizes within two per cent of each other are equal: any change of the weights does that much."""
_PRICE: Final = 10.0
"""Share of compressed size that a share of accuracy must save: ten per cent for each point."""
_EQUAL: Final = 1e-6


@dataclass(frozen=True)
class TrainingSamples:
    """Training data that is written down for the child, and what the report says of it."""

    options: TrainingOptions
    saved: SavedSamples
    name: str
    sha256: str
    labels_sha256: str | None
    overlap: int

    def job(self, task: Task, source_sha256: str) -> TrainingJob:
        """Return the job of the child that trains."""
        options, checkpoint = self.options, self.options.checkpoint
        student = options.student
        digests = [source_sha256, self.sha256, self.labels_sha256 or "", str(self.overlap), task.value]
        if student is not None:
            digests.append(file_sha256(student))
        return TrainingJob(
            plan=options.plan,
            samples=self.saved,
            task=task,
            student=None if student is None else student.absolute(),
            checkpoint=checkpoint.absolute() if checkpoint is not None and checkpoint.is_file() else None,
            fingerprint=options.plan.fingerprint(*digests),
        )

    def told(self, outcome: TrainingOutcome, task: Task) -> TrainingData:
        """Return the report's description of the training data."""
        return TrainingData(
            name=self.name,
            sha256=self.sha256,
            labels_sha256=self.labels_sha256,
            samples=outcome.samples,
            held_out=outcome.held_out,
            overlap=self.overlap,
            labelled=outcome.labelled,
            task=task,
            seed=self.options.plan.seed,
        )


def prepare(
    options: Options, source_format: SourceFormat, data: ConversionData, folder: Path, tell: Listener
) -> TrainingSamples | None:
    """Read the training data and write it into ``folder``, without samples that measure the files.

    To be called before any child has run, and before :func:`~tflite_converter.conversion.data.hand_over` lets
    go of what the files are measured on.

    Raises:
        ConverterError: InvalidRequest for a source without layers; the reasons of
            :func:`~tflite_converter.data.loading.load_dataset`; DataTooFew where only what is measured on is
            left.

    """
    training = options.training
    if training is None:
        return None
    if not source_format.is_keras:
        raise ConverterError(
            FailureReason.INVALID_REQUEST,
            Stage.LOAD,
            f"a {source_format.value} source cannot be trained: it has no Keras layers left",
            hint="give the Keras .h5 or .keras file that it was made from, or leave out the optimisation",
        )
    if training.student is not None:
        student_format = detect_format(training.student)
        if not student_format.is_keras:
            cause = f"the student {training.student.name} is a {student_format.value} file, not a Keras one"
            raise ConverterError(FailureReason.TRAINING_FAILED, Stage.LOAD, cause)
    folder.mkdir()
    tell(Event(Stage.LOAD, "reading the training data"))
    whole = load_dataset(training.data, Stage.TRAIN, folder / "training-data", tell)
    for note in whole.notes:
        tell(Event(Stage.LOAD, note, warning=True))
    indices = _without_measured(whole, data.evaluation)
    if indices.labels is not None:
        np.save(folder / TRAINING_LABELS_FILE, indices.labels, allow_pickle=False)
    return TrainingSamples(
        training,
        indices.save(folder, "training-samples"),
        whole.name,
        whole.sha256,
        whole.labels_sha256,
        whole.count - indices.count,
    )


def hand_over_labels(first: Path, second: Path) -> None:
    """Copy the evaluation's labels to where optimised files are measured, before any child has run."""
    if (first / LABELS_FILE).is_file():
        shutil.copyfile(first / LABELS_FILE, second / LABELS_FILE)


def _without_measured(whole: Dataset, measured: Dataset | None) -> Dataset:
    if measured is None:
        return whole
    fresh = disjoint(whole, measured)
    if len(fresh) == 0:
        raise ConverterError(
            FailureReason.DATA_TOO_FEW,
            Stage.TRAIN,
            f"every sample of {whole.name} is one that the files are measured on",
            hint="give training data of its own, or validation data that is not in it",
        )
    return whole.take(fresh) if len(fresh) < whole.count else whole


def compare(
    method: Method,
    plain: MethodResult | None,
    optimized: MethodResult | None,
    measure: Callable[[MethodResult, bool], Measured | None],
) -> Comparison:
    """Which file of a method is published, and why.

    The optimised one, unless it is not there, misses a gate that the plain one meets, loses more than
    :data:`MOST_LOST` or more than its compressed size is worth (:data:`_PRICE`), or is better in neither
    accuracy (agreement, without labels) nor compressed size.
    ``measure`` gives the figures of a result; the flag says whether it is the optimised one.
    """
    before = None if plain is None else measure(plain, False)
    after = None if optimized is None else measure(optimized, True)
    published, message = _verdict(before, after, optimized)
    return Comparison(method=method, plain=before, optimized=after, published=published, message=message)


def _verdict(
    before: Measured | None, after: Measured | None, optimized: MethodResult | None
) -> tuple[bool, str]:
    if after is None:
        cause = optimized.failure.cause if optimized is not None and optimized.failure else "it was not made"
        return False, f"no optimised file: {cause}"
    if before is None:
        return True, "only the optimised model gave a file"
    if before.passed and not after.passed:
        return False, "it did not help: the optimised file misses a gate that the plain one meets"
    word, mine, its = _quality(before, after)
    saved = 1.0 - after.compressed_bytes / before.compressed_bytes
    sizes = f"{human_size(before.compressed_bytes)} to {human_size(after.compressed_bytes)} compressed"
    figures = sizes if mine is None or its is None else f"{word} {mine:.2%} to {its:.2%}, {sizes}"
    better, lost = False, 0.0
    if mine is not None and its is not None:
        better, lost = its > mine + _EQUAL, mine - its
    if after.passed and not before.passed:
        return True, f"it helped: only the optimised file passes; {figures}"
    if lost > MOST_LOST + _EQUAL:
        return False, f"it did not help: it costs more than {MOST_LOST:.0%} of {word}; {figures}"
    if better or saved > max(_CLEARLY_SMALLER, _PRICE * lost):
        return True, f"it helped: {figures}"
    if saved > _CLEARLY_SMALLER:
        return False, f"it did not help: it loses more {word} than its size is worth; {figures}"
    return False, f"it did not help: neither {word} nor compressed size is better; {figures}"


def _quality(before: Measured, after: Measured) -> tuple[str, float | None, float | None]:
    if before.accuracy is not None and after.accuracy is not None:
        return "accuracy", before.accuracy, after.accuracy
    return "agreement", before.agreement, after.agreement


def measured(artifact: ArtifactReport, folder: Path) -> Measured:
    """Read the figures of a file in a child's ``folder``, which is not trusted yet.

    Raises:
        ConverterError: ArtifactInvalid.

    """
    with open_regular(folder / artifact.file_name, MAX_TFLITE_BYTES, Stage.EVALUATE) as stream:
        content = stream.read(MAX_TFLITE_BYTES)
    return Measured(
        size_bytes=len(content),
        compressed_bytes=len(zlib.compress(content, 9)),
        sparsity=share_of_zeros(content, artifact.file_name),
        accuracy=artifact.accuracy,
        agreement=artifact.agreement,
        latency_millis=None if artifact.latency is None else artifact.latency.median_millis,
        passed=artifact.passed,
    )


def share_of_zeros(content: bytes, name: str) -> float | None:
    """Return the share of zeros among a file's weights: constants of two dimensions and more."""
    # Tensors may share a buffer.
    weights = {
        tensor.buffer: (tensor.data, _NUMBERS[tensor.dtype])
        for tensor in read_file(content, name).tensors()
        if tensor.data is not None and len(tensor.shape) > 1 and tensor.dtype in _NUMBERS
    }
    total = zeros = 0
    for data, dtype in weights.values():
        values = np.frombuffer(data, dtype=dtype)
        total += values.size
        zeros += values.size - int(np.count_nonzero(values))
    return zeros / total if total else None


_NUMBERS: Final = {"float32": "<f4", "float16": "<f2", "int8": "i1"}


def report_of(
    data: TrainingData, outcome: TrainingOutcome, comparisons: Mapping[Method, Comparison]
) -> OptimizationReport:
    """Return the report on training."""
    return OptimizationReport(data=data, steps=outcome.steps, comparisons=tuple(comparisons.values()))
