"""The operator's Prometheus metrics. Labels are bounded: never an object's name, never a namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from modelconversion_api.fields.boards import Accelerator
from modelconversion_api.fields.cache import CacheOutcome
from modelconversion_api.fields.recipes import OfMethod
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import ConversionSummary
from modelconversion_api.status import Measurement, ModelConversionStatus, Phase, Reason
from modelconversion_operator.telemetry.compiler_metrics import CompilerMetrics
from modelconversion_operator.telemetry.definitions import PREFIX, Registered

# They double the number of series, and nobody asks for them.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it

_READY: Final = ("True", "False", "Unknown", "Waiting")
"""What :func:`modelconversion_operator.deciding.conditions.readiness` may say."""
_RECIPE: Final = "Recipe"
"""The method of what a recipe of a user's own gave."""
_USUAL_METHOD_FAILURES: Final = (
    FailureReason.CONVERSION_FAILED,
    FailureReason.CONVERTER_CRASHED,
    FailureReason.CONVERTER_TIMED_OUT,
    FailureReason.EVALUATION_FAILED,
    FailureReason.NOTHING_QUANTIZED,
    FailureReason.NOT_SMALLER,
    FailureReason.OUTPUT_NOT_FINITE,
    FailureReason.OUT_OF_MEMORY,
    FailureReason.QUANTIZATION_FAILED,
)
"""Those whose series start at zero; the others appear with their first event."""
_USUAL_BOARD_FAILURES: Final = (
    FailureReason.ACCELERATOR_NOT_FOUND,
    FailureReason.ACTIVE_DEADLINE_EXCEEDED,
    FailureReason.IMAGE_PULL_FAILED,
    FailureReason.NODE_LOST,
    FailureReason.OUT_OF_MEMORY,
    FailureReason.PENDING_DEADLINE_EXCEEDED,
    FailureReason.UNSCHEDULABLE,
)
_OF_ARTIFACTS: Final = (
    "artifact_size_fraction",
    "artifact_agreement",
    "artifact_accuracy_drop",
    "artifact_latency_milliseconds",
    "artifact_fallback_operators",
)


_MOST_NAMES: Final = 32
_OTHER: Final = "other"


class Metrics:
    """All metrics of one operator process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # The library's own registry would have it: memory, CPU, open files, and when the process started.
        ProcessCollector(registry=self.registry)
        self._of = Registered(self.registry)
        self._compilers = CompilerMetrics(self._of)
        self._boards = _Names()
        self.reconcile_seconds = self._of.histogram("reconcile_duration_seconds")
        self._start_at_zero()

    def _start_at_zero(self) -> None:
        """Create the series whose first event increase() must see."""
        of = self._of
        for reason in (Reason.CONVERTED, *FailureReason):
            of.counter("conversions").labels(_outcome(reason is Reason.CONVERTED), reason)
        for method in (*map(str, Method), _RECIPE):
            for usual in _USUAL_METHOD_FAILURES:
                of.counter("method_failures").labels(method, usual)
            of.counter("artifact_bytes").labels(method)
            for name in _OF_ARTIFACTS:
                of.histogram(name).labels(method)
        for stage in Stage:
            if stage is not Stage.SCHEDULE:
                of.histogram("stage_duration_seconds").labels(stage)
        for error in ("ConflictError", "RejectedError", "UnavailableError"):
            of.counter("reconcile_errors").labels(error)
        for signal in ("events", "traces"):
            of.gauge("notifications_pending").labels(signal)
            for told in ("delivered", "refused", "failed", "expired", "deferred"):
                of.counter("notifications").labels(signal, told)
        for found in CacheOutcome:
            of.counter("cache_lookups").labels(str(found))
        for outcome in (True, False):
            of.histogram("duration_seconds").labels(_outcome(outcome))

    def observe(self, phases: Callable[[], dict[str, int]], queue_depth: Callable[[], int]) -> None:
        """Take the gauges from where their values live, at each scrape."""
        self.registry.register(
            _Counted("resources", "ModelConversion resources by phase.", "phase", tuple(Phase), phases)
        )
        self._of.gauge("queue_depth").set_function(queue_depth)

    def observe_sets(self, phases: Callable[[], dict[str, int]]) -> None:
        """Count sets by phase at each scrape."""
        self.registry.register(
            _Counted("sets", "ModelConversionSets by phase.", "phase", tuple(Phase), phases)
        )

    def observe_triggers(self, ready: Callable[[], dict[str, int]]) -> None:
        """Count triggers by their condition Ready at each scrape."""
        words = "ModelConversionTriggers by whether their last look found the source."
        self.registry.register(_Counted("triggers", words, "ready", _READY, ready))

    def observe_channels(self, ready: Callable[[], dict[str, int]]) -> None:
        """Count channels by their condition Ready at each scrape."""
        words = "ModelChannels by whether their pointer names what it is to name."
        self.registry.register(_Counted("channels", words, "ready", _READY, ready))

    def observe_line(self, waiting: Callable[[], int], active: Callable[[], int], limit: int) -> None:
        """Take the length of the line and what fills the places, at each scrape."""
        self._of.gauge("queued").set_function(waiting)
        self._of.gauge("active_jobs").set_function(active)
        self._of.gauge("concurrency_limit").set(limit)

    def observe_watches(
        self, age_seconds: Callable[[], float], failing: Callable[[str], int], resources: Sequence[str]
    ) -> None:
        """Ask for the age of the oldest watch, and how many of each resource fail, at each scrape."""
        self._of.gauge("watch_age_seconds").set_function(age_seconds)
        for resource in resources:
            self._of.gauge("watches_failing").labels(resource).set_function(partial(failing, resource))

    def observe_leadership(self, leads: Callable[[], bool]) -> None:
        """Ask whether this replica leads at each scrape."""
        self._of.gauge("leader").set_function(lambda: float(leads()))

    def observe_waiting(self, signal: str, waiting: Callable[[], int]) -> None:
        """Ask for the number of events or traces that wait for their sink, at each scrape."""
        self._of.gauge("notifications_pending").labels(signal).set_function(waiting)

    def told(self, signal: str, outcome: str) -> None:
        """Count what came of an event or a trace: delivered, refused, failed, expired or deferred."""
        self._of.counter("notifications").labels(signal, outcome).inc()

    def api_answered(self, verb: str, resource: str, code: int) -> None:
        """Count a request to the API server."""
        self._of.counter("api_requests").labels(verb.lower(), resource, code).inc()

    def job_created(self, status: ModelConversionStatus, now: datetime) -> None:
        """Note how long a conversion waited for its Job."""
        if status.start_time is not None:
            self._of.histogram("queue_duration_seconds").observe(status.worked_seconds(now))

    def job_started(self, created: datetime, now: datetime) -> None:
        """Note how long a Job took until something of it ran."""
        self._of.histogram("start_duration_seconds").observe(max(0.0, (now - created).total_seconds()))

    def conversion_ended(self, status: ModelConversionStatus, summary: ConversionSummary | None) -> None:
        """Count a conversion whose final status has just been written."""
        succeeded = status.phase is Phase.SUCCEEDED
        reason = status.failure.reason.bounded if status.failure else str(Reason.CONVERTED)
        self._of.counter("conversions").labels(_outcome(succeeded), reason).inc()
        if status.start_time and status.completion_time:
            seconds = status.worked_seconds(status.completion_time)
            self._of.histogram("duration_seconds").labels(_outcome(succeeded)).observe(seconds)
        self.converted(summary)

    def boards_ahead(self, boards: Mapping[str, str], files: Sequence[OfMethod]) -> None:
        """Create the series of boards that are to follow: increase() must see their first event.

        ``boards`` are their accelerators by name.
        """
        for name, accelerator in boards.items():
            board = self._boards.label(name)
            for reason in _USUAL_BOARD_FAILURES:
                self._of.counter("board_failures").labels(board, reason)
            for method in map(_label, files):
                self._of.histogram("board_latency_milliseconds").labels(board, accelerator, method)
                self._of.histogram("board_agreement").labels(board, method)

    def measured(self, measurement: Measurement) -> None:
        """Note what a board gave, or why it gave nothing."""
        board = self._boards.label(measurement.board)
        if measurement.reason is not None:
            self._of.counter("board_failures").labels(board, measurement.reason.bounded).inc()
        accelerator = measurement.accelerator or Accelerator.CPU
        for file in measurement.files:
            method = _label(file)
            if file.latency_millis is not None:
                latency = self._of.histogram("board_latency_milliseconds")
                latency.labels(board, accelerator.value, method).observe(float(file.latency_millis))
            if file.agreement is not None:
                self._of.histogram("board_agreement").labels(board, method).observe(float(file.agreement))

    def converted(self, summary: ConversionSummary | None) -> None:
        """Note what a conversion made; None where nobody saw it."""
        if summary is None:
            return
        for stage, seconds in summary.stage_seconds.items():
            self._of.histogram("stage_duration_seconds").labels(stage).observe(seconds)
        if summary.cache is not None:
            self._of.counter("cache_lookups").labels(str(summary.cache)).inc()
        for artifact in summary.artifacts:
            method = _label(artifact)
            self._of.counter("artifact_bytes").labels(method).inc(artifact.size_bytes)
            self._of.histogram("artifact_size_fraction").labels(method).observe(artifact.size_fraction)
            if artifact.agreement is not None:
                self._of.histogram("artifact_agreement").labels(method).observe(artifact.agreement)
            if artifact.accuracy is not None and summary.original_accuracy is not None:
                drop = round(summary.original_accuracy - artifact.accuracy, 6)
                self._of.histogram("artifact_accuracy_drop").labels(method).observe(drop)
            if artifact.latency is not None:
                self._of.histogram("artifact_latency_milliseconds").labels(method).observe(
                    artifact.latency.median_millis
                )
            if artifact.fallback_operators is not None:
                self._of.histogram("artifact_fallback_operators").labels(method).observe(
                    artifact.fallback_operators
                )
            self._compilers.artifact_ended(artifact)
        for failed in summary.failed_methods:
            self._of.counter("method_failures").labels(_label(failed), failed.reason.bounded).inc()

    def reconcile_failed(self, error: BaseException) -> None:
        """Count a look that ended in an error."""
        self._of.counter("reconcile_errors").labels(type(error).__name__).inc()


class _Names:
    """Labels for names that users choose: the first ones as they are, and one word for all that follow."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, name: str) -> str:
        """Return the label of a name."""
        if len(self._known) < _MOST_NAMES:
            self._known.add(name)
        return name if name in self._known else _OTHER


def _label(made: OfMethod) -> str:
    """Return the label ``method``: users name their recipes, and there is no end of names."""
    return str(made.method) if made.recipe_name is None else _RECIPE


def _outcome(succeeded: bool) -> str:
    return "succeeded" if succeeded else "failed"


class _Counted(Collector):
    """Objects by one of a few words, counted when asked: a gauge that cannot go stale."""

    def __init__(
        self,
        name: str,
        words: str,
        label: str,
        values: Sequence[str],
        counts: Callable[[], dict[str, int]],
    ) -> None:
        self._name, self._words, self._label = name, words, label
        self._values, self._counts = values, counts

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(f"{PREFIX}_{self._name}", self._words, labels=[self._label])
        counts = self._counts()
        for value in self._values:
            family.add_metric([value], counts.get(value, 0))
        yield family
