"""What the runtime library costs over a bare interpreter, sample by sample.

``python tests/benchmarks/inference_overhead.py FILE.tflite [FILE.tflite ...] [--calls N] [--rounds N]``

Four ways to the same classes, in turn and in one process: LiteRT's interpreter with the quantization written
out by hand, as a snippet has it; ``TFLiteInference`` alone; the same with metrics; the same with metrics and
drift. A round is ``--calls`` predictions of random samples each way. Shown are the medians over the rounds of
the mean processor time of a call, which a busy machine distorts less than a clock, and of its ratio to the
bare interpreter in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.table import Table

from edge_inference import Baseline, TFLiteInference
from edge_inference.baseline import ConfidenceBaseline
from edge_inference.confidence import EDGES
from edge_inference.metrics import InferenceMetrics

Predict = Callable[[Any], Any]


def bare(path: Path) -> Predict:
    """The interpreter, and the arithmetic that its user has to write."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale, zero), (out_scale, out_zero) = takes["quantization"], gives["quantization"]

    def predict(sample: Any) -> tuple[int, float]:
        if scale:
            limits = np.iinfo(takes["dtype"])
            stored = np.rint(sample.astype(np.float64) / scale) + zero
            sample = np.clip(stored, limits.min, limits.max).astype(takes["dtype"])
        interpreter.set_tensor(takes["index"], sample[np.newaxis])
        interpreter.invoke()
        scores = interpreter.get_tensor(gives["index"])[0]
        if out_scale:
            scores = (scores.astype(np.float32) - out_zero) * out_scale
        best = int(np.argmax(scores))
        return best, float(scores[best])

    return predict


def ways(path: Path) -> dict[str, Predict]:
    """A loaded model for each way."""
    counts = (*[1] * (len(EDGES) - 2), 100)
    record = ConfidenceBaseline(counts, 0.9, logits=False)
    baseline = Baseline("0" * 64, "FullInteger", sum(counts), confidence=record)
    metrics = InferenceMetrics(CollectorRegistry())
    return {
        "bare interpreter": bare(path),
        "TFLiteInference": TFLiteInference(path, logits=False).predict_single,
        "with metrics": TFLiteInference(path, logits=False, observer=metrics.model("m")).predict_single,
        "with metrics and drift": TFLiteInference(
            path, logits=False, observer=metrics.model("d", baseline=baseline)
        ).predict_single,
    }


def measured(path: Path, calls: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of a call by way, one for each round."""
    found = ways(path)
    shape = TFLiteInference(path).input_shape
    samples = np.random.default_rng(0).normal(size=(calls, *shape)).astype(np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(rounds + 1):
        for name, predict in found.items():
            started = time.thread_time()
            for sample in samples:
                predict(sample)
            if turn:  # the first round warms up
                seconds[name].append((time.thread_time() - started) / calls)
    return seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    title = "Processor time of one sample, 1 thread, medians"
    table = Table("File", "Way", title=title, title_justify="left")
    for column in ("Time", "More", "Ratio"):
        table.add_column(column, justify="right")
    for path in options.files:
        seconds = measured(path, options.calls, options.rounds)
        base = seconds["bare interpreter"]
        for name, found in seconds.items():
            more = statistics.median(f - b for f, b in zip(found, base, strict=True))
            ratio = statistics.median(f / b for f, b in zip(found, base, strict=True))
            figures = (f"{statistics.median(found) * 1e6:.1f} µs", f"{more * 1e6:.1f} µs", f"{ratio:.2f}")
            table.add_row(path.name, name, *figures)
        table.add_section()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
