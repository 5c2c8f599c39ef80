"""Running models: how far they have drifted, and how long they take."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from devcluster.dashboards.parts import (
    PanelBuilder,
    Scraped,
    Text,
    bars,
    board,
    by,
    heat,
    increase,
    lines,
    number,
    quantile,
    rate,
    series,
)

_SECONDS = "edge_inference_duration_seconds"
_CONFIDENCE = "edge_inference_confidence"
_MODEL = ("model",)
_MODELS = Scraped(
    f"{_SECONDS}_count", "model", "Where models run. All their replicas are counted together, by model."
)


def inference() -> Dashboard:
    """How models do in production, by model: the monitor example's dashboard."""
    return board(
        "inference",
        "Model conversion / Inference",
        "How converted models do where they run: drift against the validation data, and time.",
        {"Now": _summary(), "Drift": _drift(), "Time": _speed()},
        since="now-6h",
        of=_MODELS,
    )


def _summary() -> list[PanelBuilder]:
    """Build the row *Now*."""
    return [
        number(
            Text("Samples a second", "Predictions of all models, over the window that is chosen above."),
            "reqps",
            f"sum(rate({series(f'{_SECONDS}_count')}[$interval]))",
            width=6,
        ),
        number(
            Text("Largest drift", "The largest population stability index of a model.", "InferenceDrift"),
            "none",
            f"max({series('edge_inference_drift_psi')})",
            width=6,
            decimals=3,
            steps=((None, "green"), (0.1, "yellow"), (0.2, "red")),
        ),
        number(
            Text(
                "p99 of a sample",
                "Ninety-nine in a hundred samples are faster, all models together.",
                "InferenceSlow",
            ),
            "s",
            quantile(0.99, _SECONDS),
            width=6,
        ),
        number(
            Text("Failed calls", "Calls that an interpreter did not carry out, in the time shown."),
            "none",
            f"round({increase('edge_inference_failures_total')})",
            width=6,
            decimals=0,
            steps=((None, "green"), (1, "red")),
        ),
    ]


def _drift() -> list[PanelBuilder]:
    """Build the row *Drift*."""
    return [
        lines(
            Text(
                "Population stability index",
                "Distance between the confidences now and on the validation data, by model. Above 0.2 the "
                "data has shifted. Empty until the window has samples enough, and for what is no classifier.",
                "InferenceDrift",
            ),
            "none",
            {"{{model}}": _largest("edge_inference_drift_psi")},
            steps=((None, "transparent"), (0.2, "red")),
        ),
        lines(
            Text(
                "Mean confidence",
                "Mean probability of the class that was put first, over the window that is chosen above, and "
                "the same on the validation data.",
                "InferenceDrift",
            ),
            "percentunit",
            {
                "{{model}}": f"{rate(f'{_CONFIDENCE}_sum', labels=_MODEL, window='$interval')}"
                f" / {rate(f'{_CONFIDENCE}_count', labels=_MODEL, window='$interval')}",
                "{{model}}, validation": _largest("edge_inference_validation_confidence"),
            },
            top=1,
            bottom=None,
        ),
        heat(
            Text("Confidences", "How many predictions were how sure, all models together."),
            "percentunit",
            _CONFIDENCE,
            width=12,
        ),
        bars(
            Text("Classes", "Predictions by the class that was put first, in the time shown."),
            "none",
            f"round({increase('edge_inference_predictions_total', labels=('model', 'class'))})",
            "{{model}}: {{class}}",
            width=12,
            height=8,
            decimals=0,
        ),
    ]


def _speed() -> list[PanelBuilder]:
    """Build the row *Time*."""
    return [
        lines(
            Text(
                "Time of a sample",
                "Median and 99th percentile, quantizing included, and the budget, by model.",
                "InferenceSlow",
            ),
            "s",
            {
                "{{model}}, p50": quantile(0.5, _SECONDS, _MODEL),
                "{{model}}, p99": quantile(0.99, _SECONDS, _MODEL),
                "{{model}}, budget": _largest("edge_inference_budget_seconds"),
            },
        ),
        lines(
            Text("Samples a second, by model", "Predictions, over the window that is chosen above."),
            "reqps",
            {"{{model}}": rate(f"{_SECONDS}_count", labels=_MODEL, window="$interval")},
            stacked=True,
        ),
        lines(
            Text(
                "Samples in the window of drift",
                "How many predictions the drift is computed from; a new process begins with none.",
            ),
            "none",
            {"{{model}}": _largest("edge_inference_drift_samples")},
        ),
        bars(
            Text("Files", "Processes that run each file, by digest and method."),
            "none",
            f"count{by('model', 'method', 'sha256')}({series('edge_inference_model_info')})",
            "{{model}}, {{method}}: {{sha256}}",
            width=12,
            height=8,
            decimals=0,
        ),
    ]


def _largest(metric: str) -> str:
    """Return an expression for the largest value over the replicas, by model."""
    return f"max{by(*_MODEL)}({series(metric)})"
