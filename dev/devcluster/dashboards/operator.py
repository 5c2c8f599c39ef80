"""Operator health: whether it keeps up, hears everything and is well."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from devcluster.dashboards.parts import (
    ENDED,
    PanelBuilder,
    Text,
    board,
    heat,
    increase,
    lines,
    number,
    of_leader,
    of_operator,
    quantile,
    rate,
    series,
    timeline,
)

_API: Final = "modelconversion_api_requests_total"
_API_TROUBLE: Final = 'code=~"0|429|5.."'
_LEADER, _AGE = series("modelconversion_leader"), series("modelconversion_watch_age_seconds")
_TOLD: Final = "modelconversion_notifications_total"
_FAILING: Final = series("modelconversion_watches_failing")
_LOOKS, _ERRORS = "modelconversion_reconcile_duration_seconds", "modelconversion_reconcile_errors_total"
_STARTED = series("process_start_time_seconds")


def operator_health() -> Dashboard:
    """Whether the operator keeps up, hears everything and is well."""
    return board(
        "operator",
        "Model conversion / Operator health",
        "Whether the operator keeps up, hears what happens, and is well.",
        {"Now": _now(), "Work": _work(), "API server": _api(), "Events": _events(), "Process": _process()},
        since="now-6h",
    )


def _now() -> list[PanelBuilder]:
    """Build the row *Now*."""
    return [
        number(
            Text(
                "Leaders",
                "Replicas that work. One for each operator; none means that nothing happens.",
                "ModelConversionOperatorNoLeader",
            ),
            "none",
            f"sum({_LEADER})",
            steps=((None, "red"), (1, "green")),
            width=3,
        ),
        number(
            Text("Replicas", "Operator processes that answer, those that stand by included."),
            "none",
            f"count({_LEADER})",
            steps=((None, "red"), (1, "green")),
            none="0",
            width=3,
        ),
        number(
            Text(
                "Queue depth",
                "Conversions that the leader has yet to look at. It rises with a burst and must fall again.",
                "ModelConversionQueueBacklog",
            ),
            "none",
            f"sum({of_leader('modelconversion_queue_depth')})",
            steps=((None, "green"), (100, "yellow")),
            width=3,
        ),
        number(
            Text(
                "Oldest watch",
                "Time since the most silent watch was heard from or opened. It is opened anew after five "
                "minutes.",
                "ModelConversionWatchStale",
            ),
            "s",
            f"max({_AGE})",
            decimals=0,
            steps=((None, "green"), (360, "red")),
            width=3,
        ),
        number(
            Text(
                "Looks that fail",
                "Share of the looks at a conversion that ended in an error and are repeated, conflicts "
                "left out: those are usual.",
                "ModelConversionReconcileErrors",
            ),
            "percentunit",
            f"({_errors(_ERRORS, '$__range')} or vector(0)) / {increase(f'{_LOOKS}_count')}",
            decimals=1,
            steps=((None, "green"), (0.02, "yellow"), (0.1, "red")),
            width=4,
        ),
        number(
            Text(
                "API trouble",
                "Share of the requests that the API server refused for its load (429), failed (5xx) or did "
                "not answer (0).",
                "ModelConversionApiThrottled",
            ),
            "percentunit",
            f"({increase(_API, _API_TROUBLE)} or vector(0)) / {increase(_API)}",
            decimals=1,
            steps=((None, "green"), (0.01, "yellow"), (0.05, "red")),
            width=4,
        ),
        number(
            Text(
                "Restarts",
                "Starts of operator processes in the time shown, those of pods that were replaced left out.",
                "ModelConversionOperatorRestarting",
            ),
            "none",
            f"sum({of_operator(f'changes({_STARTED}[$__range])')})",
            steps=((None, "green"), (1, "yellow"), (3, "red")),
            width=4,
        ),
    ]


def _work() -> list[PanelBuilder]:
    """Build the row *Work*."""
    return [
        lines(
            Text(
                "Duration of a look",
                "Time of one look at a conversion, its writes to the API server included. Estimated from "
                "buckets.",
            ),
            "s",
            {
                f"p{share * 100:.0f}": quantile(share, _LOOKS, window="$__rate_interval")
                for share in (0.5, 0.9, 0.99)
            },
            width=8,
        ),
        heat(Text("Looks by duration", "How many looks took how long."), "s", _LOOKS, width=8, decimals=3),
        lines(
            Text(
                "Looks and errors",
                "Looks per second, and those of them that ended in an error, by its kind. ConflictError is "
                "usual.",
                "ModelConversionReconcileErrors",
            ),
            "ops",
            {
                "all looks": rate(f"{_LOOKS}_count"),
                "{{error}}": rate(_ERRORS, labels=["error"]),
            },
            width=8,
        ),
        lines(
            Text(
                "Queue depth",
                "Conversions that wait for a look, by replica. A standby's grows: it looks at nothing, and "
                "starts with everything when it leads.",
                "ModelConversionQueueBacklog",
            ),
            "none",
            {"{{instance}}": series("modelconversion_queue_depth")},
            width=8,
        ),
        timeline(
            Text(
                "Leadership",
                "Which replica worked when. A gap between two is a takeover: a few seconds when a leader "
                "stops, up to the lease's duration when it dies.",
                "ModelConversionOperatorNoLeader",
            ),
            "none",
            _LEADER,
            "{{instance}}",
            {"0": ("stands by", "text"), "1": ("leads", "green")},
            width=8,
        ),
        lines(
            Text(
                "Watch age",
                "Age of the most silent watch, by replica. Above the line, events are being missed.",
                "ModelConversionWatchStale",
            ),
            "s",
            {"{{instance}}": _AGE},
            width=8,
            steps=((None, "green"), (360, "red")),
        ),
    ]


def _api() -> list[PanelBuilder]:
    """Build the row *API server*."""
    return [
        lines(
            Text(
                "API requests",
                "Requests to the API server, by verb and resource. Watches are not in it. Leases are the "
                "election's.",
            ),
            "reqps",
            {"{{verb}} {{resource}}": rate(_API, labels=["verb", "resource"])},
            width=6,
        ),
        lines(
            Text(
                "API answers",
                "The same by HTTP status. 409 is a conflict, 429 a server that protects itself, 0 no answer.",
                "ModelConversionApiThrottled",
            ),
            "reqps",
            {"{{code}}": rate(_API, labels=["code"])},
            width=6,
        ),
        lines(
            Text(
                "Writes per conversion",
                "Writes to the API server for each conversion that ended, the election's left out: what "
                "the operator costs the server.",
            ),
            "none",
            {
                "writes": increase(_API, 'verb!="get"', 'resource!="leases"', window="$interval")
                + " / "
                + increase(ENDED, window="$interval")
            },
            width=6,
        ),
        lines(
            Text(
                "Watches that fail",
                "What cannot be listed or watched, by resource: a Role, a namespace or the CRD is missing, "
                "or the server is away. /readyz says where, and why.",
            ),
            "none",
            {"{{resource}}": f"max by (resource) ({_FAILING})"},
            width=6,
            steps=((None, "green"), (1, "red")),
        ),
    ]


def _events() -> list[PanelBuilder]:
    """Build the row *Events and traces*."""
    return [
        lines(
            Text(
                "Events and traces sent",
                "What came of events for the sink, and of traces. What failed or was deferred is tried "
                "again; refused and expired are lost, and the log says which.",
            ),
            "none",
            {"{{signal}} {{outcome}}": increase(_TOLD, labels=["signal", "outcome"], window="$interval")},
            width=12,
        ),
        lines(
            Text(
                "Events and traces that wait",
                "What the sink, or the receiver of traces, has yet to take. It stays up while that is down.",
            ),
            "none",
            {"{{signal}}": f"sum by (signal) ({of_leader('modelconversion_notifications_pending')})"},
            width=12,
        ),
    ]


def _process() -> list[PanelBuilder]:
    """Build the row *Process*."""
    return [
        lines(
            Text(
                "CPU",
                "Processor cores that each operator process uses. It has one thread of Python: 1 is all.",
            ),
            "none",
            {"{{instance}}": of_operator(f"rate({series('process_cpu_seconds_total')}[$__rate_interval])")},
            width=8,
            steps=((None, "green"), (0.9, "red")),
        ),
        lines(
            Text(
                "Memory", "Resident memory of each operator process. Compare it with the container's limit."
            ),
            "bytes",
            {"{{instance}}": of_operator(series("process_resident_memory_bytes"))},
            width=8,
        ),
        lines(
            Text(
                "Time since start",
                "Age of each operator process. A drop is a restart.",
                "ModelConversionOperatorRestarting",
            ),
            "s",
            {"{{instance}}": of_operator(f"(time() - {_STARTED})")},
            width=8,
        ),
    ]


def _errors(metric: str, window: str) -> str:
    return increase(metric, 'error!="ConflictError"', window=window)
