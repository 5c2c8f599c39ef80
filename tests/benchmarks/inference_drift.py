"""What the drift figures are on data like the validation data, and on data that has changed.

``python tests/benchmarks/inference_drift.py FILE.tflite REPORT.json SAMPLES.npy LABELS.npy [--windows N]``

SAMPLES are other samples than those of the report's validation. Each row changes them in one way and draws
windows of 1,000 at random. Shown are the median and the greatest of what the drift monitor says, and the
accuracy on what was changed, which production could not see.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_inference import TFLiteInference, read_baseline
from edge_inference.confidence import decided
from edge_inference.drift import DriftMonitor

WINDOW = 1000


def changes(samples: Any, labels: Any) -> dict[str, tuple[Any, Any]]:
    """Samples and labels by what was done to them."""
    rng = np.random.default_rng(0)
    spread = samples.std()

    def noise(share: float) -> Any:
        return (samples + rng.normal(scale=share * spread, size=samples.shape)).astype(np.float32)

    dead = samples.copy()
    dead[:, ::4] = 0.0
    few = labels == np.bincount(labels).argmax()
    return {
        "as they are": (samples, labels),
        "noise, a quarter of the spread": (noise(0.25), labels),
        "noise, half of the spread": (noise(0.5), labels),
        "noise, the whole spread": (noise(1.0), labels),
        "scaled by 0.8": (samples * np.float32(0.8), labels),
        "scaled by 0.5": (samples * np.float32(0.5), labels),
        "every fourth feature dead": (dead, labels),
        "one class only": (samples[few], labels[few]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("file", "report", "samples", "labels"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--windows", type=int, default=50)
    options = parser.parse_args()
    baseline = read_baseline(options.report, options.file)
    if baseline.confidence is None:
        parser.error("the file is no classifier")
    model = TFLiteInference(options.file)
    samples, labels = np.load(options.samples), np.load(options.labels)
    rng = np.random.default_rng(1)
    table = Table("Samples", title=f"Windows of {WINDOW:,}", title_justify="left")
    for column in ("PSI", "greatest", "Confidence lost", "Accuracy"):
        table.add_column(column, justify="right")
    for name, (changed, truth) in changes(samples, labels).items():
        found, sure = decided(model.scores(changed), logits=baseline.confidence.logits)
        seen = []
        for _ in range(options.windows):
            monitor = DriftMonitor(baseline, window=WINDOW)
            monitor.add(rng.choice(sure, WINDOW))
            seen.append(monitor.drift())
        psi = [each.psi for each in seen]
        drop = np.median([each.confidence_drop for each in seen])
        table.add_row(
            name, f"{np.median(psi):.3f}", f"{max(psi):.3f}", f"{drop:.3f}", f"{np.mean(found == truth):.1%}"
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
