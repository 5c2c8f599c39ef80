"""The operator's Prometheus metrics. Labels are bounded: never an object's name, never a namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.report import ConversionSummary
from modelconversion_api.status import ModelConversionStatus, Phase, Reason
from modelconversion_operator.telemetry.compiler_metrics import CompilerMetrics

# They double the number of series, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it

_PREFIX: Final = "modelconversion"
_SECONDS: Final = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_SHARES: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_AGREEMENTS: Final = (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
_DROPS: Final = (-0.01, 0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MILLIS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)

_OPERATORS: Final = (0, 1, 2, 5, 10, 20, 50, 100)

_USUAL_METHOD_FAILURES: Final = (
    FailureReason.CONVERSION_FAILED,
    FailureReason.CONVERTER_CRASHED,
    FailureReason.CONVERTER_TIMED_OUT,
    FailureReason.EVALUATION_FAILED,
    FailureReason.OUT_OF_MEMORY,
    FailureReason.QUANTIZATION_FAILED,
)
"""Those whose series start at zero; the others appear with their first event."""


class Metrics:
    """All metrics of one operator process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # The library's own registry would have it: memory, CPU, open files, and when the process started.
        ProcessCollector(registry=self.registry)
        self._conversions = Counter(
            f"{_PREFIX}_conversions",
            "Conversions that ended, by outcome; retries inside a conversion do not count.",
            ["outcome", "reason"],
            registry=self.registry,
        )
        self._duration = Histogram(
            f"{_PREFIX}_duration_seconds",
            "Time from the first sight of a conversion to its end.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queued_seconds = Histogram(
            f"{_PREFIX}_queue_duration_seconds",
            "Time from the first sight of a conversion to its Job: what it waited in the operator's line.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._start_seconds = Histogram(
            f"{_PREFIX}_start_duration_seconds",
            "Time from a Job's creation to its first running container: queues, scheduling, image pulls.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stage = Histogram(
            f"{_PREFIX}_stage_duration_seconds",
            "Time in each stage of a successful conversion, as the Job measured it.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._size = Histogram(
            f"{_PREFIX}_artifact_size_fraction",
            "Artifact size as a share of the source model's size.",
            ["method"],
            buckets=_SHARES,
            registry=self.registry,
        )
        self._bytes = Counter(
            f"{_PREFIX}_artifact_bytes",
            "Bytes of artifacts written.",
            ["method"],
            registry=self.registry,
        )
        self._agreement = Histogram(
            f"{_PREFIX}_artifact_agreement",
            "Agreement of an artifact's outputs with the original model's.",
            ["method"],
            buckets=_AGREEMENTS,
            registry=self.registry,
        )
        self._accuracy_drop = Histogram(
            f"{_PREFIX}_artifact_accuracy_drop",
            "Accuracy that an artifact lost against the original on the same labelled data.",
            ["method"],
            buckets=_DROPS,
            registry=self.registry,
        )
        self._latency = Histogram(
            f"{_PREFIX}_artifact_latency_milliseconds",
            "Median time of one inference in the Job's pod.",
            ["method"],
            buckets=_MILLIS,
            registry=self.registry,
        )
        self._fallback = Histogram(
            f"{_PREFIX}_artifact_fallback_operators",
            "Operators of an artifact that its target has no kernel for, where a target was named.",
            ["method"],
            buckets=_OPERATORS,
            registry=self.registry,
        )
        self._method_failures = Counter(
            f"{_PREFIX}_method_failures",
            "Methods that gave no file while others of the same conversion did.",
            ["method", "reason"],
            registry=self.registry,
        )
        self._compilers = CompilerMetrics(self.registry)
        self.reconcile_seconds = Histogram(
            f"{_PREFIX}_reconcile_duration_seconds",
            "Time of one look at a conversion, writes included.",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
            registry=self.registry,
        )
        self._reconcile_errors = Counter(
            f"{_PREFIX}_reconcile_errors",
            "Looks at a conversion that ended in an error and are tried again.",
            ["error"],
            registry=self.registry,
        )
        self._queue_depth = Gauge(
            f"{_PREFIX}_queue_depth", "Conversions that wait for a look.", registry=self.registry
        )
        self._api_requests = Counter(
            f"{_PREFIX}_api_requests",
            "Requests to the API server by HTTP verb, resource and status; 0 is no answer. Without watches.",
            ["verb", "resource", "code"],
            registry=self.registry,
        )
        self._queued = Gauge(
            f"{_PREFIX}_queued",
            "Conversions in the operator's line, because as many run as may.",
            registry=self.registry,
        )
        self._active_jobs = Gauge(
            f"{_PREFIX}_active_jobs",
            "Jobs that take one of the limited places: neither ended, nor suspended, nor in Kueue's hands.",
            registry=self.registry,
        )
        self._limit = Gauge(
            f"{_PREFIX}_concurrency_limit",
            "Jobs that may run at a time in all namespaces together; 0 is without limit.",
            registry=self.registry,
        )
        self._watch_age = Gauge(
            f"{_PREFIX}_watch_age_seconds",
            "Time since something was asked of, or heard from, the watch that has been silent longest.",
            registry=self.registry,
        )
        self._leader = Gauge(
            f"{_PREFIX}_leader",
            "1 in the replica that works, 0 in one that stands by.",
            registry=self.registry,
        )
        for reason in (Reason.CONVERTED, *FailureReason):
            # A series that starts at zero makes increase() see the first event.
            self._conversions.labels(_outcome(reason is Reason.CONVERTED), reason)
        for method in Method:
            for usual in _USUAL_METHOD_FAILURES:
                self._method_failures.labels(method, usual)
            for of_artifacts in (
                self._bytes,
                self._size,
                self._agreement,
                self._accuracy_drop,
                self._latency,
                self._fallback,
            ):
                of_artifacts.labels(method)
        for stage in Stage:
            if stage is not Stage.SCHEDULE:
                self._stage.labels(stage)
        for error in ("ConflictError", "RejectedError", "UnavailableError"):
            self._reconcile_errors.labels(error)
        for outcome in (True, False):
            self._duration.labels(_outcome(outcome))

    def observe(self, phases: Callable[[], dict[str, int]], queue_depth: Callable[[], int]) -> None:
        """Take the gauges from where their values live, at each scrape."""
        self.registry.register(_Phases(phases))
        self._queue_depth.set_function(queue_depth)

    def observe_line(self, waiting: Callable[[], int], active: Callable[[], int], limit: int) -> None:
        """Take the length of the line and what fills the places, at each scrape."""
        self._queued.set_function(waiting)
        self._active_jobs.set_function(active)
        self._limit.set(limit)

    def observe_watches(self, age_seconds: Callable[[], float]) -> None:
        """Ask for the age of the oldest watch at each scrape."""
        self._watch_age.set_function(age_seconds)

    def observe_leadership(self, leads: Callable[[], bool]) -> None:
        """Ask whether this replica leads at each scrape."""
        self._leader.set_function(lambda: float(leads()))

    def api_answered(self, verb: str, resource: str, code: int) -> None:
        """Count a request to the API server."""
        self._api_requests.labels(verb.lower(), resource, code).inc()

    def job_created(self, status: ModelConversionStatus, now: datetime) -> None:
        """Note how long a conversion waited for its Job."""
        if status.start_time is not None:
            self._queued_seconds.observe(max(0.0, (now - status.start_time).total_seconds()))

    def job_started(self, created: datetime, now: datetime) -> None:
        """Note how long a Job took until something of it ran."""
        self._start_seconds.observe(max(0.0, (now - created).total_seconds()))

    def conversion_ended(self, status: ModelConversionStatus, summary: ConversionSummary | None) -> None:
        """Count a conversion whose final status has just been written."""
        succeeded = status.phase is Phase.SUCCEEDED
        reason = str(status.failure.reason) if status.failure else str(Reason.CONVERTED)
        self._conversions.labels(_outcome(succeeded), reason).inc()
        if status.start_time and status.completion_time:
            seconds = (status.completion_time - status.start_time).total_seconds()
            self._duration.labels(_outcome(succeeded)).observe(seconds)
        if summary is None:
            return
        for stage, seconds in summary.stage_seconds.items():
            self._stage.labels(stage).observe(seconds)
        for artifact in summary.artifacts:
            method = str(artifact.method)
            self._bytes.labels(method).inc(artifact.size_bytes)
            self._size.labels(method).observe(artifact.size_fraction)
            if artifact.agreement is not None:
                self._agreement.labels(method).observe(artifact.agreement)
            if artifact.accuracy is not None and summary.original_accuracy is not None:
                drop = round(summary.original_accuracy - artifact.accuracy, 6)
                self._accuracy_drop.labels(method).observe(drop)
            if artifact.latency is not None:
                self._latency.labels(method).observe(artifact.latency.median_millis)
            if artifact.fallback_operators is not None:
                self._fallback.labels(method).observe(artifact.fallback_operators)
            self._compilers.artifact_ended(artifact)
        for failed in summary.failed_methods:
            self._method_failures.labels(failed.method, failed.reason).inc()

    def reconcile_failed(self, error: BaseException) -> None:
        """Count a look that ended in an error."""
        self._reconcile_errors.labels(type(error).__name__).inc()


def _outcome(succeeded: bool) -> str:
    return "succeeded" if succeeded else "failed"


class _Phases(Collector):
    """Conversions by phase, counted when asked: a gauge that cannot go stale."""

    def __init__(self, phases: Callable[[], dict[str, int]]) -> None:
        self._phases = phases

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            f"{_PREFIX}_resources", "ModelConversion resources by phase.", labels=["phase"]
        )
        counts = self._phases()
        for phase in Phase:
            family.add_metric([phase], counts.get(phase, 0))
        yield family
