"""The overview: how many conversions run, wait and end, how long that takes, and why they fail."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models.dashboard import Dashboard

from devcluster.dashboards.parts import (
    ENDED,
    PanelBuilder,
    Text,
    board,
    increase,
    lines,
    number,
    of_leader,
    quantile,
    reasons,
    series,
)
from modelconversion_api.status import Phase

_FAILED: Final = 'outcome="failed"'
_SUCCEEDED: Final = 'outcome="succeeded"'
_GOOD_ABOVE_90: Final = ((None, "red"), (0.8, "yellow"), (0.9, "green"))
_COLORS: Final = {"Succeeded": "green", "Failed": "red", "Running": "blue", "Pending": "yellow"}
_CACHE: Final = "modelconversion_cache_lookups_total"
_OUTCOME_COLORS: Final = {"succeeded": "green", "failed": "red"}


def overview() -> Dashboard:
    """How many conversions run, wait and end, how long that takes, and why they fail."""
    return board(
        "overview",
        "Model conversion / Overview",
        "How many conversions run, wait and end, how long that takes, and why they fail.",
        {
            "Now": _now(),
            "Conversions": _conversions(),
            "Where the time goes": _stages(),
            "Waiting": _waiting(),
            "Failures": _failures(),
        },
        since="now-24h",
    )


def _now() -> list[PanelBuilder]:
    """Build the row *Now*."""
    return [
        number(
            Text("Running", "Conversions whose Job runs now."),
            "none",
            _in_phase(Phase.RUNNING),
        ),
        number(
            Text(
                "Pending",
                "Conversions that have not begun: in the operator's line, or with a Job that does not run "
                "yet.",
                "ModelConversionStartSlow",
            ),
            "none",
            _in_phase(Phase.PENDING),
        ),
        number(
            Text(
                "In line",
                "Conversions that wait for a place, because as many run as --max-concurrent or "
                "--max-concurrent-per-namespace allow.",
                "ModelConversionQueueWaitLong",
            ),
            "none",
            f"sum({of_leader('modelconversion_queued')})",
        ),
        number(
            Text(
                "Places used",
                "Share of the places of --max-concurrent that are taken. More are of use only while some "
                "wait.",
                "ModelConversionPlacesExhausted",
            ),
            "percentunit",
            f"max({_places_used()})",
            decimals=0,
            steps=((None, "green"), (0.9, "yellow")),
            none="no limit",
        ),
        number(
            Text("Ended", "Conversions that ended in the time shown, with either outcome."),
            "none",
            f"round({increase(ENDED)})",
        ),
        number(
            Text(
                "Success rate",
                "Share of the conversions that ended in the time shown and succeeded. Retries inside a "
                "conversion do not count.",
                "ModelConversionFailureRateHigh",
            ),
            "percentunit",
            f"{increase(ENDED, _SUCCEEDED)} / {increase(ENDED)}",
            decimals=1,
            steps=_GOOD_ABOVE_90,
        ),
    ]


def _conversions() -> list[PanelBuilder]:
    """Build the row *Conversions*."""
    return [
        lines(
            Text(
                "Conversions by phase",
                "ModelConversion resources as they are. Those that ended stay until somebody deletes them.",
            ),
            "none",
            {
                "{{phase}}": "sum by (phase) "
                f"(max by (namespace, job, phase) ({series('modelconversion_resources')}))"
            },
            colors=_COLORS,
            width=6,
        ),
        lines(
            Text("Sets by phase", "ModelConversionSets as they are; their members count as conversions."),
            "none",
            {
                "{{phase}}": "sum by (phase) "
                f"(max by (namespace, job, phase) ({series('modelconversion_sets')}))"
            },
            colors=_COLORS,
            width=6,
        ),
        lines(
            Text(
                "Triggers and channels by readiness",
                "Whether the last look of each ModelConversionTrigger found its source, and whether the "
                "pointer of each ModelChannel names what it is to name.",
            ),
            "none",
            {
                "triggers: {{ready}}": "sum by (ready) "
                f"(max by (namespace, job, ready) ({series('modelconversion_triggers')}))",
                "channels: {{ready}}": "sum by (ready) "
                f"(max by (namespace, job, ready) ({series('modelconversion_channels')}))",
            },
            colors={
                f"{what}: {ready}": color
                for what in ("triggers", "channels")
                for ready, color in (("True", "green"), ("Waiting", "yellow"), ("False", "red"))
            },
            width=6,
        ),
        lines(
            Text("Conversions ended", "Conversions that ended in the window before each point, by outcome."),
            "none",
            {"{{outcome}}": increase(ENDED, labels=["outcome"], window="$interval")},
            colors=_OUTCOME_COLORS,
            width=6,
        ),
        lines(
            Text(
                "Success rate",
                "Share of the conversions that ended in the window and succeeded. Below the line, one in ten "
                "fails. Nothing is shown where none ended.",
                "ModelConversionFailureRateHigh",
            ),
            "percentunit",
            {
                "success rate": f"{increase(ENDED, _SUCCEEDED, window='$interval')} / "
                f"{increase(ENDED, window='$interval')}"
            },
            top=1,
            steps=((None, "red"), (0.9, "green")),
        ),
        lines(
            Text(
                "Duration",
                "From the first sight of a conversion to its end: the line, the start and the Job, by "
                "outcome. Estimated from buckets.",
            ),
            "s",
            {
                f"{{{{outcome}}}} p{share * 100:.0f}": quantile(
                    share, "modelconversion_duration_seconds", ["outcome"]
                )
                for share in (0.5, 0.9)
            },
        ),
    ]


def _stages() -> list[PanelBuilder]:
    """Build the row *Where the time goes*."""
    return [
        lines(
            Text(
                f"Stages, {word}",
                f"{meaning} of each stage of successful Jobs, as they measured it. Fetch and Publish are "
                "the object store's time, Load is mostly TensorFlow's start.",
            ),
            "s",
            {"{{stage}}": quantile(share, "modelconversion_stage_duration_seconds", ["stage"])},
            width=8,
        )
        for share, word, meaning in (
            (0.5, "median", "The median duration"),
            (0.9, "p90", "What nine of ten stay below"),
        )
    ] + [
        lines(
            Text(
                "Looks into the cache",
                "Conversions with output.cache that ended in the window before each point, by what they "
                "found. All but Hit loaded the model.",
            ),
            "none",
            {"{{outcome}}": increase(_CACHE, labels=["outcome"], window="$interval")},
            width=8,
        )
    ]


def _waiting() -> list[PanelBuilder]:
    """Build the row *Waiting*."""
    return [
        lines(
            Text(
                "Time in line",
                "From the first sight of a conversion to its Job. Those that still wait are not in it.",
                "ModelConversionQueueWaitLong",
            ),
            "s",
            {
                f"p{share * 100:.0f}": quantile(share, "modelconversion_queue_duration_seconds")
                for share in (0.5, 0.95)
            },
            width=8,
            steps=((None, "green"), (300, "red")),
        ),
        lines(
            Text(
                "Line and places",
                "Conversions in line, Jobs that take a place, and how many places there are (0 is no limit).",
                "ModelConversionPlacesExhausted",
            ),
            "none",
            {
                "in line": f"sum({of_leader('modelconversion_queued')})",
                "places taken": f"sum({of_leader('modelconversion_active_jobs')})",
                "places": f"sum({of_leader('modelconversion_concurrency_limit')})",
            },
            width=8,
        ),
        lines(
            Text(
                "Start time",
                "From a Job's creation to its first running container: Kueue, the scheduler, image pulls. "
                "Those that have not started are not in it.",
                "ModelConversionStartSlow",
            ),
            "s",
            {
                f"p{share * 100:.0f}": quantile(share, "modelconversion_start_duration_seconds")
                for share in (0.5, 0.95)
            },
            width=8,
            steps=((None, "green"), (300, "red")),
        ),
    ]


def _failures() -> list[PanelBuilder]:
    """Build the row *Failures*."""
    return [
        reasons(
            Text(
                "Failures by reason",
                "Conversions that failed in the time shown, and what to do. Each reason links to the "
                "documentation.",
                "ModelConversionFailureRateHigh",
            ),
            f"round({increase(ENDED, _FAILED, labels=['reason'])}) > 0",
            columns=["reason"],
            width=14,
        ),
        lines(
            Text("Failures over time", "Conversions that failed in the window before each point, by reason."),
            "none",
            {"{{reason}}": f"{increase(ENDED, _FAILED, labels=['reason'], window='$interval')} > 0"},
            width=10,
            height=9,
        ),
    ]


def _in_phase(phase: Phase) -> str:
    # Every replica counts all conversions: of those of one operator, one is enough.
    selected = series("modelconversion_resources", f'phase="{phase}"')
    return f"sum(max by (namespace, job) ({selected}))"


def _places_used() -> str:
    return (
        f"{of_leader('modelconversion_active_jobs')} / ({of_leader('modelconversion_concurrency_limit')} > 0)"
    )
