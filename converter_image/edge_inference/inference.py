"""Predicting with a TFLite file: names instead of indices, floats instead of stored integers."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .confidence import are_logits, decided, decided_one
from .delegates import Delegate
from .runtime import Model
from .tensors import Array, Tensor, joined


class Prediction(NamedTuple):
    """What a classifier says of one sample."""

    label: int
    """The class with the greatest score."""
    confidence: float
    """Its probability, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One call of a model, for whoever watches it."""

    seconds: float
    """For all samples together: quantizing, running and dequantizing."""
    outputs: Mapping[str, Array]
    """``{output: (n, ...)}``, as values."""
    samples: int
    labels: Sequence[int] | NDArray[np.int64] | None = None
    """Class of each sample, where the model was asked as a classifier."""
    confidences: Sequence[float] | NDArray[np.float64] | None = None


class Observer(Protocol):
    """Is told of every call, in the thread that made it."""

    def observed(self, observation: Observation) -> None:
        """Take note of a call that gave outputs."""

    def failed(self) -> None:
        """Take note of a call that the interpreter did not carry out."""


class TFLiteInference:
    """A TFLite file that takes and gives plain numbers, float or quantized, without TensorFlow.

    Quantized inputs and outputs are quantized and dequantized by the file's own scale and zero point. May be
    shared by threads: calls wait for each other.

    Args:
        path: The file.
        threads: Threads of the CPU's kernels (XNNPACK). The fastest number depends on the board; measure it.
        delegates: Accelerators, e.g. ``[edge_tpu()]`` for a file that the Edge TPU compiler has made.
        observer: Is told of every call, e.g. a :class:`edge_inference.metrics.ModelMetrics`.
        logits: Whether a classifier's scores are logits; its baseline knows. None takes them for logits from
            the first value on that no probability has.

    Raises:
        FileNotFoundError: there is no file at ``path``.
        DelegateError: a delegate cannot be had or does not take the file.
        ValueError: the file is no TFLite model.

    """

    def __init__(
        self,
        path: str | Path,
        *,
        threads: int = 1,
        delegates: Sequence[Delegate] = (),
        observer: Observer | None = None,
        logits: bool | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"File not found: {path}")
        self._delegates = tuple(delegates)
        self._model = Model(self.path, threads=threads, delegates=self._delegates)
        self.inputs: Mapping[str, Tensor] = {t.name: t for t in self._model.inputs}
        self.outputs: Mapping[str, Tensor] = {t.name: t for t in self._model.outputs}
        self.threads = threads
        self.observer = observer
        self._logits = logits
        self._batch_is_free = True
        self._lock = threading.Lock()

    @cached_property
    def sha256(self) -> str:
        """The file's digest, as in ``report.json`` and in the resource's status."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample, for a model with one input."""
        return self._only(self.inputs, "inputs").shape[1:]

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """What the file stores its one input as."""
        return self._only(self.inputs, "inputs").dtype

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """What the file stores its one output as."""
        return self._only(self.outputs, "outputs").dtype

    def predict(self, sample: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
        """Return ``{output: (...)}`` for one sample ``{input: (...)}``, without the axis of the batch.

        A model with one input takes the bare array as well.

        Raises:
            ValueError: a name, a shape or a number (NaN for a quantized input) that the file cannot take.

        """
        named = {name: np.expand_dims(np.asarray(v), 0) for name, v in self._named(sample).items()}
        outputs = self._observed(self._checked(named))
        return {name: joined([values])[0] for name, values in outputs.items()}

    def predict_many(self, samples: Mapping[str, ArrayLike] | ArrayLike) -> dict[str, Array]:
        """Return outputs ``{output: (n, ...)}`` for ``{input: (n, ...)}``, in the same order; n may be 0."""
        named = {name: np.asarray(v) for name, v in self._named(samples).items()}
        return self._observed(self._checked(named))

    def predict_single(self, features: ArrayLike) -> Prediction:
        """Class and confidence of one sample of shape :attr:`input_shape`, for a classifier.

        The confidence lies in [0, 1]: the greatest score, or the greatest of the softmax where the file gives
        logits. An int8 output has steps of 1/256, and so has its confidence.

        Raises:
            ValueError: another shape, or a model with several inputs or outputs.

        """
        takes, gives = self._classifier
        sample = np.asarray(features)
        if not _fits(takes, sample.shape):
            raise ValueError(f"a sample has the shape {self.input_shape}, got {sample.shape}")
        outputs, seconds = self._timed({takes.name: _real(takes, sample[np.newaxis])})
        (scores,) = self._rows(outputs[gives.name])
        label, confidence = decided_one(scores, logits=bool(self._logits))
        if self.observer is not None:
            self.observer.observed(Observation(seconds, outputs, 1, (label,), (confidence,)))
        return Prediction(label, confidence)

    def predict_batch(self, batch: ArrayLike) -> list[Prediction]:
        """Class and confidence of each sample of ``batch``, shape ``(n, *input_shape)``, in its order."""
        takes, gives = self._classifier
        samples = np.asarray(batch)
        outputs, seconds = self._timed(self._checked({takes.name: samples}))
        scores = self._rows(outputs[gives.name])
        labels, confidences = decided(scores, logits=bool(self._logits))
        self._tell(Observation(seconds, outputs, len(samples), labels, confidences))
        return [Prediction(*pair) for pair in zip(labels.tolist(), confidences.tolist(), strict=True)]

    def scores(self, batch: ArrayLike) -> Array:
        """Scores of shape ``(n, classes)`` for ``(n, *input_shape)``, as the file gives them."""
        only = self._only(self.outputs, "outputs").name
        return self.predict_many({self._only(self.inputs, "inputs").name: batch})[only]

    def _observed(self, samples: dict[str, Array]) -> dict[str, Array]:
        outputs, seconds = self._timed(samples)
        self._tell(Observation(seconds, outputs, len(next(iter(samples.values())))))
        return outputs

    def _timed(self, samples: dict[str, Array]) -> tuple[dict[str, Array], float]:
        try:
            with self._lock:
                started = time.perf_counter()  # whoever waits for the lock is not slow
                outputs = self._run(samples)
                return outputs, time.perf_counter() - started
        except (RuntimeError, ValueError):
            if self.observer is not None:
                self.observer.failed()
            raise

    def _tell(self, observation: Observation) -> None:
        if self.observer is not None and observation.samples:
            self.observer.observed(observation)

    def _rows(self, scores: Array) -> Array:
        """Return the scores, shape ``(n, classes)``, once it is clear whether they are logits."""
        if scores.ndim != 2:
            raise ValueError(f"{self.path.name} gives {scores.shape[1:]} for a sample, which are no classes")
        if self._logits is None and are_logits(scores):
            self._logits = True
        return scores

    def _run(self, samples: dict[str, Array]) -> dict[str, Array]:
        """Run the whole batch at once where the graph allows it, else sample by sample."""
        count = len(next(iter(samples.values())))
        if count == 0:
            return self._nothing()
        if count == 1:
            return self._model.run(samples)
        if self._batch_is_free:
            try:
                outputs = self._model.run(samples)
            except (RuntimeError, ValueError):
                outputs = {}
            if outputs and all(values.ndim and len(values) == count for values in outputs.values()):
                return outputs
            self._batch_is_free = False
            # A graph that could not be resized is of no use any more.
            self._model = Model(self.path, threads=self.threads, delegates=self._delegates)
        return self._model.run_each(samples)

    def _nothing(self) -> dict[str, Array]:
        """Return the outputs of no sample."""
        return {
            name: np.empty(
                (0, *(abs(size) for size in t.shape[1:])), np.float32 if t.is_quantized else t.dtype
            )
            for name, t in self.outputs.items()
        }

    def _named(self, inputs: Mapping[str, ArrayLike] | ArrayLike) -> Mapping[str, ArrayLike]:
        if isinstance(inputs, Mapping):
            return inputs
        return {self._only(self.inputs, "inputs").name: inputs}

    def _checked(self, samples: Mapping[str, Array]) -> dict[str, Array]:
        """Return ``samples`` as floats where the file takes or stands for floats, the batch in front."""
        if samples.keys() != self.inputs.keys():
            raise ValueError(f"the inputs are {', '.join(self.inputs)}; got {', '.join(samples) or 'none'}")
        checked = {}
        for name, tensor in self.inputs.items():
            values = samples[name]
            if not values.ndim or not _fits(tensor, values.shape[1:]):
                sizes = ", ".join(["n", *("?" if size < 0 else str(size) for size in tensor.shape[1:])])
                raise ValueError(f"a batch of {name} has the shape ({sizes}), got {values.shape}")
            checked[name] = _real(tensor, values)
        if len({len(values) for values in checked.values()}) > 1:
            raise ValueError("the inputs have batches of different sizes")
        return checked

    @cached_property
    def _classifier(self) -> tuple[Tensor, Tensor]:
        return self._only(self.inputs, "inputs"), self._only(self.outputs, "outputs")

    def _only(self, tensors: Mapping[str, Tensor], kind: str) -> Tensor:
        if len(tensors) != 1:
            raise ValueError(
                f"{self.path.name} has {len(tensors)} {kind}, so it is no plain classifier: use predict with"
                f" {', '.join(tensors)}"
            )
        return next(iter(tensors.values()))


def _fits(tensor: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether one sample may have ``shape``."""
    expected = tensor.shape[1:]
    return shape == expected or (
        len(shape) == len(expected) and all(w in (-1, s) for w, s in zip(expected, shape, strict=True))
    )


def _real(tensor: Tensor, values: Array) -> Array:
    """``values`` as float32 where the file has or stands for real numbers; finite where it is quantized."""
    if tensor.is_quantized or tensor.dtype.kind == "f":
        values = values.astype(np.float32, copy=False)
    if tensor.is_quantized and not np.isfinite(values).all():
        raise ValueError(f"{tensor.name} has NaN or infinite values, which no integer stands for")
    return values
