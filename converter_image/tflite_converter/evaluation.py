"""What one artifact is worth: its outputs against the original's, its accuracy, its latency."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import AgreementMetric, ArtifactReport, Latency

from .arrays import Array, IntArray, NamedArrays
from .errors import ConverterError
from .gates import Gates
from .metrics import accuracy, agreement, agreement_metric, snr_db
from .runtime import TFLiteModel


@dataclass(frozen=True)
class Reference:
    """What artifacts are compared with."""

    samples: NamedArrays
    """``{input: (n, ...)}``"""
    outputs: NamedArrays
    """The original's: ``{output: (n, ...)}``."""
    labels: IntArray | None
    source_bytes: int

    @property
    def metric(self) -> AgreementMetric:
        """How outputs are compared."""
        return agreement_metric(self.samples, self.outputs)

    @property
    def accuracy(self) -> float | None:
        """The original's own accuracy; None without labels."""
        return None if self.labels is None else accuracy(self.outputs, self.labels)


@dataclass(frozen=True)
class Benchmark:
    """How latency is measured."""

    threads: int = 1
    runs: int = 50


def evaluate(
    method: Method,
    file_name: str,
    content: bytes,
    reference: Reference,
    gates: Gates,
    benchmark: Benchmark,
    after_each: Callable[[int], None],
) -> ArtifactReport:
    """Runs the artifact on every sample and measures it.

    Raises:
        ConverterError: EvaluationFailed when LiteRT cannot load or run it, or its outputs are others.

    """
    try:
        model = TFLiteModel(content, threads=benchmark.threads)
        found = model.run_each(reference.samples, after_each)
        first = {name: array[:1] for name, array in reference.samples.items()}
        latency: Latency | None = model.benchmark(first, benchmark.runs) if benchmark.runs else None
    except (RuntimeError, ValueError, KeyError) as error:
        cause = f"{file_name} does not run: {str(error).strip().splitlines()[0] if str(error) else error!r}"
        raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause) from error
    outputs = _like(found, reference.outputs, file_name)
    agrees = agreement(reference.metric, reference.outputs, outputs)
    right = None if reference.labels is None else accuracy(outputs, reference.labels)
    missed = gates.missed(agreement=agrees, accuracy=right, original_accuracy=reference.accuracy)
    notes = missed or _notes(method, model)
    return ArtifactReport(
        method=method,
        file_name=file_name,
        size_bytes=len(content),
        size_fraction=round(len(content) / reference.source_bytes, 4),
        sha256=hashlib.sha256(content).hexdigest(),
        agreement=round(agrees, 6),
        accuracy=None if right is None else round(right, 6),
        snr_db=None if (ratio := snr_db(reference.outputs, outputs)) is None else round(ratio, 2),
        latency=latency,
        passed=not missed,
        message="; ".join(notes)[:512] or None,
    )


def _like(found: NamedArrays, reference: NamedArrays, file_name: str) -> dict[str, Array]:
    """The artifact's outputs, checked to be the original's by name, shape and finiteness."""
    for name, expected in reference.items():
        got = found.get(name)
        shape = None if got is None else got.shape
        if got is None or shape != expected.shape:
            cause = f"{file_name} gives {name!r} with shape {shape}, the original {expected.shape}"
            raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause)
        if not np.isfinite(got.astype(np.float64)).all() and np.isfinite(expected.astype(np.float64)).all():
            cause = f"{file_name} gives NaN or infinite values in {name!r} where the original does not"
            raise ConverterError(FailureReason.EVALUATION_FAILED, Stage.EVALUATE, cause)
    return {name: found[name] for name in reference}


def _notes(method: Method, model: TFLiteModel) -> list[str]:
    """What the method's name does not say: tensors that stayed in float, weights that were not touched."""
    dtypes = model.tensor_dtypes()
    if method is Method.DYNAMIC_RANGE and np.dtype(np.int8) not in dtypes:
        return ["nothing was quantized: no weight of this model has an int8 kernel"]
    if method is Method.FLOAT16 and np.dtype(np.float16) not in dtypes:
        return ["nothing was halved: no weight of this model can be stored as float16"]
    if method is Method.FULL_INTEGER:
        edges = [t for t in (*model.inputs, *model.outputs) if t.dtype.kind == "f"]
        if edges:
            return [f"float stays at {', '.join(t.name for t in edges)}"]
        if floats := sum(dtype.kind == "f" for dtype in dtypes):
            return [f"{floats} tensor{'s' if floats > 1 else ''} stayed in float"]
    return []
