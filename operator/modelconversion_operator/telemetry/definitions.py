"""The operator's metrics as data: name, words, labels and buckets of each.

Labels are bounded: never an object's name, never a namespace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

PREFIX: Final = "modelconversion"

_SECONDS: Final = (1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600)
"""As far as the longest deadline that a conversion may have."""
_LOOK_SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
_SHARES: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_AGREEMENTS: Final = (0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
_DROPS: Final = (-0.01, 0, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_MILLIS: Final = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_COMPILED_BYTES: Final = tuple(1 << power for power in (14, 16, 18, 20, 21, 22, 23, 24, 26))
_PARTS: Final = (0, 1, 2, 3, 5, 10)
_OPERATORS: Final = (0, 1, 2, 5, 10, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    """Without the prefix, and without the ``_total`` that the library gives to counters."""
    words: str
    labels: tuple[str, ...] = ()
    buckets: Sequence[float] = ()


DEFINITIONS: Final = (
    Definition(
        "counter",
        "conversions",
        "Conversions that ended, by outcome; retries inside a conversion do not count.",
        ("outcome", "reason"),
    ),
    Definition(
        "histogram",
        "duration_seconds",
        "Time from the first sight of a conversion to its end, without the time for which it was suspended.",
        ("outcome",),
        _SECONDS,
    ),
    Definition(
        "histogram",
        "queue_duration_seconds",
        "Time from the first sight of a conversion to its Job, without that for which it was suspended.",
        buckets=_SECONDS,
    ),
    Definition(
        "histogram",
        "start_duration_seconds",
        "Time from a Job's creation to its first running container: queues, scheduling, image pulls.",
        buckets=_SECONDS,
    ),
    Definition(
        "histogram",
        "stage_duration_seconds",
        "Time in each stage of a successful conversion, as the Job measured it.",
        ("stage",),
        _SECONDS,
    ),
    Definition(
        "counter",
        "cache_lookups",
        "Looks into the caches of conversions, by outcome; all but Hit loaded the model.",
        ("outcome",),
    ),
    Definition(
        "histogram",
        "artifact_size_fraction",
        "Artifact size as a share of the source model's size.",
        ("method",),
        _SHARES,
    ),
    Definition("counter", "artifact_bytes", "Bytes of artifacts written.", ("method",)),
    Definition(
        "histogram",
        "artifact_agreement",
        "Agreement of an artifact's outputs with the original model's.",
        ("method",),
        _AGREEMENTS,
    ),
    Definition(
        "histogram",
        "artifact_accuracy_drop",
        "Accuracy that an artifact lost against the original on the same labelled data.",
        ("method",),
        _DROPS,
    ),
    Definition(
        "histogram",
        "artifact_latency_milliseconds",
        "Median time of one inference in the Job's pod.",
        ("method",),
        _MILLIS,
    ),
    Definition(
        "histogram",
        "artifact_fallback_operators",
        "Operators of an artifact that its target has no kernel for, where a target was named.",
        ("method",),
        _OPERATORS,
    ),
    Definition(
        "histogram",
        "board_latency_milliseconds",
        "Median time of one inference on a board; where there are more than 32, the last are called other.",
        ("board", "accelerator", "method"),
        _MILLIS,
    ),
    Definition(
        "histogram",
        "board_agreement",
        "Agreement of a file's outputs on a board with the original model's.",
        ("board", "method"),
        _AGREEMENTS,
    ),
    Definition(
        "counter", "board_failures", "Boards on which nothing could be measured.", ("board", "reason")
    ),
    Definition(
        "counter",
        "method_failures",
        "Methods that gave no file while others of the same conversion did.",
        ("method", "reason"),
    ),
    Definition(
        "counter",
        "compilations",
        "Compilations of files that ended, by outcome; a prediction compiles nothing.",
        ("compiler", "outcome"),
    ),
    Definition(
        "counter",
        "compiled_operators",
        "Operators of compiled or predicted files, by where they run.",
        ("compiler", "placement"),
    ),
    Definition(
        "histogram",
        "compiled_memory_bytes",
        "Memory that a compiled file takes of its accelerator, by kind.",
        ("compiler", "memory"),
        _COMPILED_BYTES,
    ),
    Definition(
        "histogram",
        "compiled_subgraphs",
        "Parts of a compiled graph that run on an Edge TPU or NPU; more than one costs transfers.",
        ("compiler",),
        _PARTS,
    ),
    Definition(
        "histogram",
        "reconcile_duration_seconds",
        "Time of one look at a conversion, writes included.",
        buckets=_LOOK_SECONDS,
    ),
    Definition(
        "counter",
        "reconcile_errors",
        "Looks at a conversion that ended in an error and are tried again.",
        ("error",),
    ),
    Definition("gauge", "queue_depth", "Conversions that wait for a look."),
    Definition(
        "counter",
        "api_requests",
        "Requests to the API server by HTTP verb, resource and status; 0 is no answer. Without watches.",
        ("verb", "resource", "code"),
    ),
    Definition("gauge", "queued", "Conversions in the operator's line, because as many run as may."),
    Definition(
        "gauge",
        "active_jobs",
        "Jobs that take one of the limited places: neither ended, nor suspended, nor in Kueue's hands.",
    ),
    Definition(
        "gauge",
        "concurrency_limit",
        "Jobs that may run at a time in all namespaces together; 0 is without limit.",
    ),
    Definition(
        "gauge",
        "watch_age_seconds",
        "Time since something was asked of, or heard from, the watch that has been silent longest.",
    ),
    Definition(
        "gauge",
        "watches_failing",
        "Watches whose last try to list or watch did not succeed; /readyz and the log say which, and why.",
        ("resource",),
    ),
    Definition(
        "counter",
        "notifications",
        "Events and traces by what came of them; what failed or was deferred is tried again.",
        ("signal", "outcome"),
    ),
    Definition("gauge", "notifications_pending", "Events and traces that wait for their sink.", ("signal",)),
    Definition("gauge", "leader", "1 in the replica that works, 0 in one that stands by."),
)


class Registered:
    """Metrics by the names of their definitions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in DEFINITIONS:
            name = f"{PREFIX}_{metric.name}"
            match metric.kind:
                case "counter":
                    counter = Counter(name, metric.words, metric.labels, registry=registry)
                    self._counters[metric.name] = counter
                case "gauge":
                    self._gauges[metric.name] = Gauge(name, metric.words, metric.labels, registry=registry)
                case "histogram":
                    self._histograms[metric.name] = Histogram(
                        name, metric.words, metric.labels, registry=registry, buckets=metric.buckets
                    )

    def counter(self, name: str) -> Counter:
        """Return the counter of this name."""
        return self._counters[name]

    def gauge(self, name: str) -> Gauge:
        """Return the gauge of this name."""
        return self._gauges[name]

    def histogram(self, name: str) -> Histogram:
        """Return the histogram of this name."""
        return self._histograms[name]
