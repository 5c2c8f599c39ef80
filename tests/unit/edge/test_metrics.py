"""What running models export: counted rightly, with bounded labels, and as docs/metrics.md says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge_inference import Baseline, Observation, TFLiteInference
from edge_inference.baseline import LevelBaseline
from edge_inference.metrics import MOST_CLASSES, OTHER, InferenceMetrics, ModelMetrics
from support.converter.tflite_files import dense
from support.edge.baselines import baseline, confidences
from support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(edge_inference_\w+)` \| (\w+) \| ([\w, ]*) ?\| (.+) \|$", re.MULTILINE)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def call(labels: list[int], sure: list[float], seconds: float = 0.004) -> Observation:
    return Observation(seconds, {}, len(labels), np.array(labels), np.array(sure, dtype=np.float64))


def everything(registry: CollectorRegistry) -> ModelMetrics:
    """Every metric with a value."""
    metrics = InferenceMetrics(registry)
    classifier = metrics.model("a", baseline=baseline(confidences(1000, 0)), budget_seconds=0.01, least=10)
    classifier.observed(call([0] * 20, [0.9] * 20))
    level = Baseline("0" * 64, "Float16", 9, level=LevelBaseline("y", 0.0, 1.0))
    other = metrics.model("b", baseline=level, least=1)
    other.observed(Observation(0.1, {"y": np.ones((3, 2))}, 3))
    other.failed()
    return classifier


def test_the_page_lists_what_is_exported(registry: CollectorRegistry) -> None:
    everything(registry)
    documented = {
        name: (kind, frozenset(filter(None, labels.replace(" ", "").split(","))))
        for name, kind, labels, _ in _ROW.findall(PAGE.read_text())
    }
    exported = {}
    for family in registry.collect():
        labels = frozenset(name for sample in family.samples for name in sample.labels) - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exported[name] = (family.type, labels)
    assert documented == exported


def test_the_text_is_prometheus_s(registry: CollectorRegistry) -> None:
    everything(registry)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert len({family.name for family in families}) == len(families)
    assert all(family.documentation for family in families)


def test_a_batch_shares_its_time(registry: CollectorRegistry) -> None:
    watch = InferenceMetrics(registry).model("m")
    watch.observed(call([0, 1, 1, 2], [0.5, 0.8, 0.9, 1.0], seconds=0.004))
    value = registry.get_sample_value
    assert value("edge_inference_duration_seconds_count", {"model": "m"}) == 4
    assert value("edge_inference_duration_seconds_sum", {"model": "m"}) == pytest.approx(0.004)
    assert value("edge_inference_duration_seconds_bucket", {"model": "m", "le": "0.001"}) == 4
    assert value("edge_inference_duration_seconds_bucket", {"model": "m", "le": "0.0005"}) == 0
    assert value("edge_inference_predictions_total", {"model": "m", "class": "1"}) == 2
    assert value("edge_inference_confidence_bucket", {"model": "m", "le": "0.8"}) == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=30))
def test_one_by_one_counts_like_a_batch(pairs: list[tuple[int, float]]) -> None:
    single, batch = (CollectorRegistry() for _ in range(2))
    one, many = (InferenceMetrics(r).model("m") for r in (single, batch))
    for label, sure in pairs:
        one.observed(call([label], [sure], seconds=0.5))
    many.observed(call([p[0] for p in pairs], [p[1] for p in pairs], seconds=0.5 * len(pairs)))
    for first, second in zip(single.collect(), batch.collect(), strict=True):
        assert {(s.name, *sorted(s.labels.items())): pytest.approx(s.value) for s in first.samples} == {
            (s.name, *sorted(s.labels.items())): s.value for s in second.samples
        }


@given(st.lists(st.integers(0, 100_000), max_size=80), st.integers(0, 3))
def test_labels_are_bounded_whatever_the_model_says(labels: list[int], names: int) -> None:
    watch = InferenceMetrics(CollectorRegistry()).model("m", classes=[f"c{i}" for i in range(names)])
    for label in labels:
        watch.observed(call([label], [0.5]))
    found = watch.predictions()
    assert sum(found.values()) == len(labels)
    assert len(found) <= MOST_CLASSES + 1
    if names:
        assert set(found) <= {"c0", "c1", "c2", OTHER}


def test_classes_that_were_named_are_there_before_their_first_sample(registry: CollectorRegistry) -> None:
    """A series that begins with its first event hides it from increase()."""
    InferenceMetrics(registry).model("m", classes=["cat", "dog"])
    labels = {"model": "m", "class": "dog"}
    assert registry.get_sample_value("edge_inference_predictions_total", labels) == 0


def test_drift_is_absent_until_there_are_samples_enough(registry: CollectorRegistry) -> None:
    watch = InferenceMetrics(registry).model(
        "m", baseline=baseline(confidences(1000, 0)), window=100, least=50
    )
    watch.observed(call([0] * 49, confidences(49, 1).tolist()))
    assert registry.get_sample_value("edge_inference_drift_psi", {"model": "m"}) is None
    assert registry.get_sample_value("edge_inference_drift_samples", {"model": "m"}) == 49
    watch.observed(call([0], [0.9]))
    assert registry.get_sample_value("edge_inference_drift_psi", {"model": "m"}) is not None
    assert registry.get_sample_value("edge_inference_drift_output_shift", {"model": "m"}) is None


def test_models_share_a_registry_and_not_a_name(registry: CollectorRegistry) -> None:
    metrics = InferenceMetrics(registry)
    metrics.model("m")
    metrics.model("n")
    with pytest.raises(ValueError, match="a model named m already"):
        metrics.model("m")
    with pytest.raises(ValueError, match="Duplicated"):
        InferenceMetrics(registry)


def test_the_library_tells_its_metrics(registry: CollectorRegistry, tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(dense())
    watch = InferenceMetrics(registry).model("net")
    model = TFLiteInference(tmp_path / "net.tflite", observer=watch)
    model.predict_single([1, 2, 3, 4])
    model.predict_batch(np.ones((4, 4)))
    model.predict([1, 2, 3, 4])
    assert registry.get_sample_value("edge_inference_duration_seconds_count", {"model": "net"}) == 6
    assert sum(watch.predictions().values()) == 5
