"""Prometheus metrics of running models: how long, how sure, which classes, how far from validation.

Counts are kept in plain numbers and become Prometheus's families when somebody scrapes, so that a prediction
pays for an addition and not for a client library. Labels are bounded: the models that the process has, and at
most :data:`MOST_CLASSES` classes of each.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .baseline import Baseline
from .confidence import EDGES
from .drift import Drift, DriftMonitor, levels
from .inference import Observation

MOST_CLASSES: Final = 32
"""Classes that have a series of their own; the others share ``other``."""
OTHER: Final = "other"

SECONDS: Final = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
"""Bounds of the time's histogram: from a small model on a desk's CPU to a large one on a board."""


Exported: TypeAlias = tuple[list[tuple[str, float]], float]
"""Cumulative counts by the text of their upper bound, and the sum of all values."""


class Histogram:
    """Counts by bin, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count ``value``, several times where so many samples share it."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count every one of ``values``, shape ``(n,)``."""
        places = np.searchsorted(self._bounds, values, side="left")
        for place, count in enumerate(np.bincount(places, minlength=len(self._counts)).tolist()):
            self._counts[place] += count
        self._sum += float(values.sum())

    def exported(self) -> Exported:
        """Prometheus's cumulative buckets, and the sum."""
        total, buckets = 0, []
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if math.isinf(bound) else repr(float(bound)), float(total)))
        return buckets, self._sum


class ModelMetrics:
    """What is counted of one model: the observer of a :class:`edge_inference.TFLiteInference`.

    Made by :meth:`InferenceMetrics.model`.
    """

    def __init__(
        self,
        name: str,
        *,
        classes: Sequence[str] = (),
        baseline: Baseline | None = None,
        budget_seconds: float | None = None,
        monitor: DriftMonitor | None = None,
    ) -> None:
        self.name = name
        self.baseline = baseline
        self.budget_seconds = budget_seconds
        self.seconds = Histogram(SECONDS)
        self.confidence = Histogram(EDGES[1:])
        self.failures = 0
        self._classes = tuple(str(c) for c in classes[:MOST_CLASSES])
        self._predictions: dict[str, int] = dict.fromkeys(self._classes, 0)
        self._monitor = monitor
        self._lock = threading.Lock()

    def observed(self, observation: Observation) -> None:
        """Count one call; a batch's time is shared by its samples."""
        count = observation.samples
        with self._lock:
            self.seconds.add(observation.seconds / count, count)
            if observation.labels is not None and observation.confidences is not None:
                self._decided(observation.labels, observation.confidences)
            elif self._monitor is not None and (level := self._monitor.baseline.level) is not None:
                output = observation.outputs.get(level.output)
                if output is not None:
                    self._monitor.add(levels(output))

    def histograms(self) -> tuple[Exported, Exported]:
        """Buckets and sums of the time and of the confidence."""
        with self._lock:
            return self.seconds.exported(), self.confidence.exported()

    def failed(self) -> None:
        """Count a call that the interpreter did not carry out."""
        with self._lock:
            self.failures += 1

    def drift(self) -> Drift | None:
        """Compare the last samples with the baseline; None without a baseline."""
        with self._lock:
            return None if self._monitor is None else self._monitor.drift()

    def predictions(self) -> dict[str, int]:
        """Return samples by class."""
        with self._lock:
            return dict(self._predictions)

    def _decided(
        self,
        labels: Sequence[int] | NDArray[np.int64],
        confidences: Sequence[float] | NDArray[np.float64],
    ) -> None:
        monitor = self._monitor
        if monitor is not None and monitor.baseline.confidence is None:
            monitor = None  # what is compared is no confidence
        if len(labels) == 1:
            confidence = float(confidences[0])
            self._count(int(labels[0]), 1)
            self.confidence.add(confidence)
            if monitor is not None:
                monitor.add_one(confidence)
            return
        every = np.asarray(confidences, dtype=np.float64)
        self.confidence.add_all(every)
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            self._count(int(label), int(count))
        if monitor is not None:
            monitor.add(every)

    def _count(self, label: int, times: int) -> None:
        if label < len(self._classes):
            name = self._classes[label]
        else:
            name = OTHER if self._classes or label >= MOST_CLASSES else str(label)
        self._predictions[name] = self._predictions.get(name, 0) + times


class InferenceMetrics(Collector):
    """The metrics of all models of a process; one for a registry.

    ::

        metrics = InferenceMetrics()
        watch = metrics.model("gesture", baseline=read_baseline("report.json", path), budget_seconds=0.005)
        model = TFLiteInference(path, observer=watch)
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._models: dict[str, ModelMetrics] = {}
        registry.register(self)

    def model(
        self,
        name: str,
        *,
        classes: Sequence[str] = (),
        baseline: Baseline | None = None,
        budget_seconds: float | None = None,
        window: int = 1000,
        least: int = 200,
    ) -> ModelMetrics:
        """Begins to count a model.

        Args:
            name: Its label; the name of the file or of its job, not of an object that comes and goes.
            classes: Names of its classes, in the order of its scores; numbers stand for them otherwise.
            baseline: What drift is measured against; without one, no drift is exported.
            budget_seconds: The time that one sample may take, for the alert InferenceSlow.
            window: Samples that drift looks back.
            least: Samples below which it says nothing.

        Raises:
            ValueError: the name is taken.

        """
        if name in self._models:
            raise ValueError(f"there is a model named {name} already")
        monitor = None if baseline is None else DriftMonitor(baseline, window=window, least=least)
        model = ModelMetrics(
            name, classes=classes, baseline=baseline, budget_seconds=budget_seconds, monitor=monitor
        )
        self._models[name] = model
        return model

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples, so that a registry finds names that are taken."""
        return _families(())

    def collect(self) -> Iterator[Metric]:
        """Yield the families as they are now."""
        yield from _families(tuple(self._models.values()))


def _families(models: Sequence[ModelMetrics]) -> Iterator[Metric]:
    seconds = HistogramMetricFamily(
        "edge_inference_duration_seconds", "Time of one sample, quantizing included.", labels=["model"]
    )
    confidence = HistogramMetricFamily(
        "edge_inference_confidence", "Probability of the class that was put first.", labels=["model"]
    )
    predictions = CounterMetricFamily(
        "edge_inference_predictions", "Samples by the class that was put first.", labels=["model", "class"]
    )
    failures = CounterMetricFamily(
        "edge_inference_failures", "Calls that the interpreter did not carry out.", labels=["model"]
    )
    for each in models:
        times, confidences = each.histograms()
        seconds.add_metric([each.name], *times)
        confidence.add_metric([each.name], *confidences)
        failures.add_metric([each.name], each.failures)
        for label, count in each.predictions().items():
            predictions.add_metric([each.name, label], count)
    yield from (seconds, confidence, predictions, failures)
    yield _gauge(
        "budget_seconds",
        "Time that one sample may take.",
        ((m.name, m.budget_seconds) for m in models),
    )
    yield _gauge(
        "validation_confidence",
        "Mean confidence on the validation data.",
        ((m.name, m.baseline.confidence.mean) for m in models if m.baseline and m.baseline.confidence),
    )
    drifts = [(m.name, drift) for m in models if (drift := m.drift()) is not None]
    yield _gauge("drift_samples", "Samples in the window of drift.", ((n, d.samples) for n, d in drifts))
    yield _gauge(
        "drift_psi", "Population stability index of the confidence.", ((n, d.psi) for n, d in drifts)
    )
    yield _gauge(
        "drift_confidence_drop",
        "Mean confidence on validation data less the mean in the window.",
        ((n, d.confidence_drop) for n, d in drifts),
    )
    yield _gauge(
        "drift_output_shift",
        "Distance of the output's mean from validation's, in standard deviations.",
        ((n, d.output_shift) for n, d in drifts),
    )
    info = GaugeMetricFamily(
        "edge_inference_model_info", "Which file runs.", labels=["model", "method", "sha256"]
    )
    for each in models:
        if each.baseline is not None:
            info.add_metric([each.name, each.baseline.method, each.baseline.sha256], 1)
    yield info


def _gauge(name: str, text: str, values: Iterable[tuple[str, float | None]]) -> GaugeMetricFamily:
    """Return a gauge by model; what is not known is left out instead of being 0 or NaN."""
    family = GaugeMetricFamily(f"edge_inference_{name}", text, labels=["model"])
    for model, value in values:
        if value is not None and math.isfinite(value):
            family.add_metric([model], value)
    return family
