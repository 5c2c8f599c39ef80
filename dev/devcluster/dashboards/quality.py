"""Model quality: how small, how faithful and how fast the converted files are."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from devcluster.dashboards.parts import (
    PanelBuilder,
    Text,
    bars,
    board,
    heat,
    increase,
    lines,
    mean,
    quantile,
    reasons,
)

_SIZE, _AGREEMENT = "modelconversion_artifact_size_fraction", "modelconversion_artifact_agreement"
_DROP, _LATENCY = (
    "modelconversion_artifact_accuracy_drop",
    "modelconversion_artifact_latency_milliseconds",
)
_BOARD_LATENCY, _BOARD_AGREEMENT = (
    "modelconversion_board_latency_milliseconds",
    "modelconversion_board_agreement",
)
_FALLBACK, _METHOD = "modelconversion_artifact_fallback_operators", ["method"]


def model_quality() -> Dashboard:
    """Build the dashboard of the converted files, by method."""
    return board(
        "quality",
        "Model conversion / Model quality",
        "How small, how faithful and how fast the converted files are, by method.",
        {
            "In the time shown": _summary(),
            "Size": _sizes(),
            "Fidelity": _fidelity(),
            "Speed": _speed(),
            "On boards": _boards(),
            "On the target": _targets(),
            "Compiled": _compiled(),
            "Output": _output(),
        },
        since="now-7d",
    )


def _summary() -> list[PanelBuilder]:
    """Build the row *In the time shown*."""
    return [
        bars(
            Text("Files made", "TFLite files written in the time shown, by method."),
            "none",
            f"round({increase(f'{_SIZE}_count', labels=_METHOD)}) > 0",  # most methods are asked for by few
            "{{method}}",
            width=6,
            decimals=0,
        ),
        bars(
            Text(
                "Mean size", "Mean size of the files as a share of their source model's, in the time shown."
            ),
            "percentunit",
            mean(_SIZE, _METHOD),
            "{{method}}",
            width=6,
            decimals=0,
            top=1,
        ),
        bars(
            Text(
                "Mean agreement",
                "How far the files do what the originals do, on average: for classifiers, the share of "
                "samples for which both put the same class first.",
            ),
            "percentunit",
            mean(_AGREEMENT, _METHOD),
            "{{method}}",
            width=6,
            decimals=1,
            top=1,
            steps=((None, "red"), (0.95, "yellow"), (0.99, "green")),
        ),
        bars(
            Text(
                "Files that lost more than 1 % accuracy",
                "Share of the files whose accuracy is more than one percentage point below the original's, "
                "where the data has labels.",
            ),
            "percentunit",
            f"clamp_min(1 - {_share_within(_DROP, '0.01')}, 0)",
            "{{method}}",
            width=6,
            decimals=0,
            top=1,
            steps=((None, "green"), (0.1, "yellow"), (0.3, "red")),
        ),
    ]


def _sizes() -> list[PanelBuilder]:
    """Build the row *Size*."""
    return [
        lines(
            Text(
                "Size by method",
                "Median size of the files as a share of their source model's. Estimated from buckets.",
            ),
            "percentunit",
            {"{{method}}": quantile(0.5, _SIZE, _METHOD)},
        ),
        heat(
            Text(
                "Size of all files",
                "How many files had which share of their source model's size. Buckets end at 100 %.",
            ),
            "percentunit",
            _SIZE,
        ),
    ]


def _fidelity() -> list[PanelBuilder]:
    """Build the row *Fidelity*."""
    return [
        lines(
            Text(
                "Agreement by method",
                "Median, and what the worst tenth of the files stays below. Estimated from buckets.",
            ),
            "percentunit",
            {
                "{{method}}": quantile(0.5, _AGREEMENT, _METHOD),
                "{{method}}, worst tenth": quantile(0.1, _AGREEMENT, _METHOD),
            },
            top=1,
            bottom=None,
        ),
        heat(
            Text(
                "Agreement of all files",
                "How many files agreed with their originals on which share of samples.",
            ),
            "percentunit",
            _AGREEMENT,
            decimals=1,
        ),
        lines(
            Text(
                "Accuracy drop by method",
                "Median, and what nine of ten files stay below, where the data has labels. Below zero, "
                "accuracy was won; estimated from buckets, of which the lowest is one percentage point.",
            ),
            "percentunit",
            {
                "{{method}}": quantile(0.5, _DROP, _METHOD),
                "{{method}}, p90": quantile(0.9, _DROP, _METHOD),
            },
            bottom=None,
            steps=((None, "green"), (0.02, "red")),
        ),
        heat(
            Text(
                "Accuracy drop of all files",
                "How many files lost how much accuracy against their originals.",
            ),
            "percentunit",
            _DROP,
            decimals=2,
        ),
    ]


def _speed() -> list[PanelBuilder]:
    """Build the row *Speed*."""
    return [
        lines(
            Text(
                "Latency by method",
                "Median time of one inference in the Job's pod: good for comparing methods, not for saying "
                "how fast a device will be.",
            ),
            "ms",
            {
                "{{method}}": quantile(0.5, _LATENCY, _METHOD),
                "{{method}}, p90": quantile(0.9, _LATENCY, _METHOD),
            },
        ),
        heat(
            Text("Latency of all files", "How many files took how long for one inference in the Job's pod."),
            "ms",
            _LATENCY,
            decimals=2,
        ),
    ]


def _boards() -> list[PanelBuilder]:
    """Build the row *On boards*."""
    return [
        lines(
            Text(
                "Latency on boards",
                "Median time of one inference on each board that conversions name, by what ran it. Estimated"
                " from buckets.",
            ),
            "ms",
            {
                "{{board}}, {{accelerator}}, {{method}}": quantile(
                    0.5, _BOARD_LATENCY, ["board", "accelerator", "method"]
                )
            },
        ),
        bars(
            Text(
                "Mean agreement on boards",
                "How far the files do on each board what the originals do, on average, in the time shown.",
            ),
            "percentunit",
            mean(_BOARD_AGREEMENT, ["board", "method"]),
            "{{board}}, {{method}}",
            width=6,
            decimals=1,
            top=1,
            steps=((None, "red"), (0.95, "yellow"), (0.99, "green")),
        ),
        bars(
            Text("Boards that gave nothing", "How often nothing could be measured on a board, and why."),
            "none",
            f"round({increase('modelconversion_board_failures_total', labels=['board', 'reason'])}) > 0",
            "{{board}}, {{reason}}",
            width=6,
            decimals=0,
        ),
    ]


def _targets() -> list[PanelBuilder]:
    """Build the row *On the target*."""
    return [
        bars(
            Text(
                "Files that run whole on their target",
                "Share of the files, in the time shown, of which the target that the conversion named runs "
                "every operator. The others fall back to its CPU, or do not run there.",
            ),
            "percentunit",
            _share_within(_FALLBACK, "0.0"),
            "{{method}}",
            height=8,
            decimals=0,
            top=1,
            steps=((None, "red"), (0.5, "yellow"), (0.9, "green")),
        ),
        lines(
            Text(
                "Operators without a kernel by method",
                "Operators of a file that its target has no kernel for: the median, and what nine of ten "
                "files stay below. Estimated from buckets.",
            ),
            "none",
            {
                "{{method}}": quantile(0.5, _FALLBACK, _METHOD),
                "{{method}}, p90": quantile(0.9, _FALLBACK, _METHOD),
            },
            width=8,
        ),
        heat(
            Text(
                "Operators without a kernel of all files",
                "How many files had how many operators that their target has no kernel for.",
            ),
            "none",
            _FALLBACK,
            width=8,
            decimals=0,
        ),
    ]


def _output() -> list[PanelBuilder]:
    """Build the row *Output*."""
    return [
        lines(
            Text("Files over time", "Files written in the window before each point, by method."),
            "none",
            {"{{method}}": increase(f"{_SIZE}_count", labels=_METHOD, window="$interval")},
            width=8,
            height=9,
        ),
        lines(
            Text("Bytes written", "Bytes of files written in the window before each point, by method."),
            "bytes",
            {
                "{{method}}": increase(
                    "modelconversion_artifact_bytes_total", labels=_METHOD, window="$interval"
                )
            },
            width=6,
            height=9,
            stacked=True,
        ),
        reasons(
            Text(
                "Methods without a file",
                "Methods that gave no file while others of the same conversion did, in the time shown, and "
                "what to do.",
            ),
            f"round({increase('modelconversion_method_failures_total', labels=['method', 'reason'])}) > 0",
            columns=["method", "reason"],
            width=10,
        ),
    ]


def _compiled() -> list[PanelBuilder]:
    """Build the panels about compilers; empty where nobody has files compiled."""
    operators = "modelconversion_compiled_operators_total"
    on_it = increase(operators, 'placement="accelerator"', labels=["compiler"])
    return [
        bars(
            Text(
                "Operators on the accelerator",
                "Share of the operators of compiled and predicted files, in the time shown, that runs on the "
                "accelerator. The others fell back to the CPU.",
            ),
            "percentunit",
            f"{on_it} / {increase(operators, labels=['compiler'])}",
            "{{compiler}}",
            width=6,
            height=8,
            decimals=0,
            top=1,
            steps=((None, "red"), (0.5, "yellow"), (0.9, "green")),
        ),
        lines(
            Text(
                "Compilations",
                "Files that were compiled in the window before each point, by compiler and outcome. What is "
                "predicted is analysed, and not compiled.",
            ),
            "none",
            {
                "{{compiler}}: {{outcome}}": increase(
                    "modelconversion_compilations_total",
                    labels=["compiler", "outcome"],
                    window="$interval",
                )
            },
            width=6,
        ),
        lines(
            Text(
                "Memory of compiled files",
                "Median memory that a compiled file takes, by compiler and kind. Estimated from buckets.",
            ),
            "bytes",
            {
                "{{compiler}}, {{memory}}": quantile(
                    0.5, "modelconversion_compiled_memory_bytes", ["compiler", "memory"]
                )
            },
            width=6,
        ),
        lines(
            Text(
                "Parts of compiled graphs",
                "Mean number of parts into which compilers for the Edge TPU and NPUs have cut a graph; "
                "between them data goes to the CPU and back.",
            ),
            "none",
            {"{{compiler}}": mean("modelconversion_compiled_subgraphs", ["compiler"])},
            width=6,
        ),
    ]


def _share_within(histogram: str, bucket: str) -> str:
    """Share of what a histogram saw that is in a bucket or below, by method."""
    within = increase(f"{histogram}_bucket", f'le="{bucket}"', labels=["method"])
    return f"{within} / {increase(f'{histogram}_count', labels=['method'])}"
