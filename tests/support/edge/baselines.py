"""Confidences, baselines and reports for the tests of drift."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_inference import Baseline, TFLiteInference
from edge_inference.baseline import ConfidenceBaseline
from edge_inference.confidence import histogram
from modelconversion_api.fields.data import Task
from tflite_converter.measuring.drift_record import output_record


def confidences(size: int, seed: int, *, sure: float = 12.0) -> np.ndarray:
    """Of a classifier that is mostly sure; the less ``sure``, the more they spread."""
    return np.random.default_rng(seed).beta(sure, 1.0, size)


def baseline(values: np.ndarray) -> Baseline:
    record = ConfidenceBaseline(tuple(histogram(values).tolist()), float(values.mean()), logits=False)
    return Baseline("0" * 64, "FullInteger", len(values), confidence=record)


def report(folder: Path, content: bytes, **changed: Any) -> tuple[Path, Path]:
    """A model, and a report that has a record of it."""
    model = folder / "net.tflite"
    model.write_bytes(content)
    digest = TFLiteInference(model).sha256
    scores = np.random.default_rng(0).dirichlet((1, 1, 1), 400)
    record = output_record(Task.CLASSIFICATION, {"scores": scores})
    assert record is not None
    artifact = {"method": "FullInteger", "fileName": "net_int8.tflite", "sha256": digest}
    document = {
        "artifacts": [{"sha256": "0" * 64}, artifact | {"baseline": record.to_wire()}],
        "evaluation": {"data": {"role": "Validation"}},
    }
    for path, value in changed.items():
        *parents, last = path.split("__")
        at: Any = document
        for parent in parents:
            at = at[int(parent)] if parent.isdigit() else at[parent]
        at[last] = value
    file = folder / "report.json"
    file.write_text(json.dumps(document))
    return file, model
