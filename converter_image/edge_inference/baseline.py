"""Reads from a conversion's report what a file gave on the validation data."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .confidence import EDGES
from .errors import BaselineError

_LARGEST_REPORT_BYTES = 256 << 20
"""No report comes near it: what is larger is something else."""


@dataclass(frozen=True)
class ConfidenceBaseline:
    """The confidence of a classifier on validation data."""

    counts: tuple[int, ...]
    """Samples in each bin of :data:`edge_inference.confidence.EDGES`."""
    mean: float
    logits: bool
    """Whether the scores are logits, whose softmax has the confidence."""


@dataclass(frozen=True)
class LevelBaseline:
    """The level of an output, which is the mean of a sample's values, on validation data."""

    output: str
    mean: float
    std: float


@dataclass(frozen=True)
class Baseline:
    """What a file gave on the data that it was validated on; one of the two is there."""

    sha256: str
    """The file's digest."""
    method: str
    samples: int
    confidence: ConfidenceBaseline | None = None
    level: LevelBaseline | None = None


def read_baseline(report: str | Path, model: str | Path) -> Baseline:
    """Return the record of the file ``model`` in ``report`` (``report.json`` of its conversion).

    The file is looked up by its digest: a report of another conversion has nothing to compare with.

    Raises:
        BaselineError: the report is none, has no such file, or that file was not validated on real data.
        OSError: one of the two cannot be read.

    """
    digest = hashlib.sha256(Path(model).read_bytes()).hexdigest()
    document = _document(Path(report))
    try:
        return _baseline(document, digest, Path(report).name)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BaselineError(f"{Path(report).name} is no report of a conversion: {error!r}") from error


def _document(report: Path) -> Any:
    if report.stat().st_size > _LARGEST_REPORT_BYTES:
        raise BaselineError(f"{report.name} is too large for a report")
    try:
        return json.loads(report.read_bytes())
    except (ValueError, RecursionError) as error:
        raise BaselineError(f"{report.name} is no JSON: {error}") from error


def _baseline(document: Any, digest: str, name: str) -> Baseline:
    artifact = next((a for a in document["artifacts"] if a["sha256"] == digest), None)
    if artifact is None:
        raise BaselineError(f"{name} has no file with the digest {digest[:12]}…: it is of another conversion")
    if document["evaluation"]["data"]["role"] == "Random":
        raise BaselineError(
            f"{name} was measured on random numbers, whose confidence says nothing: give the conversion"
            " validation data"
        )
    record = artifact.get("baseline")
    if record is None:
        raise BaselineError(f"{name} has no record of what {artifact['fileName']} gave: convert it anew")
    confidence, level = record.get("confidence"), record.get("level")
    return Baseline(
        sha256=digest,
        method=str(artifact["method"]),
        samples=int(record["samples"]),
        confidence=None if confidence is None else _confidence(confidence),
        level=None if level is None else _level(level),
    )


def _confidence(record: Any) -> ConfidenceBaseline:
    if tuple(record["edges"]) != EDGES:
        raise BaselineError(
            "the report's histogram has other bins than this version compares: convert it anew"
        )
    counts = tuple(int(count) for count in record["counts"])
    if len(counts) != len(EDGES) - 1 or min(counts) < 0 or not sum(counts):
        raise ValueError("counts of the confidence")
    return ConfidenceBaseline(counts, _finite(record["mean"]), bool(record["logits"]))


def _level(record: Any) -> LevelBaseline:
    return LevelBaseline(str(record["output"]), _finite(record["mean"]), _finite(record["std"]))


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not finite")
    return number
