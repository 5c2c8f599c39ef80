"""What the operator exports is what docs/metrics.md says, and is counted when it should be."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from prometheus_client import generate_latest

from modelconversion_api.fields.boards import Accelerator
from modelconversion_api.fields.compilation import EdgeTPUFigures, EthosUFigures, NPUFigures
from modelconversion_api.fields.compilers import NPUVendor
from modelconversion_api.methods import Method
from modelconversion_api.reasons import FailureReason
from modelconversion_api.reports.conversion import (
    TERMINATION_MESSAGE_LIMIT,
    ConversionSummary,
    MethodFailure,
    StageResult,
)
from modelconversion_api.reports.measurements import Latency
from modelconversion_api.status import MeasuredFile, Measurement, ModelConversionStatus, Phase
from modelconversion_operator.cluster.client import resource_of
from modelconversion_operator.cluster.watches import WATCHED
from modelconversion_operator.telemetry.metrics import Metrics
from support.operator.objects import NOW, summary
from support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(modelconversion_\w+)` \| (\w+) \| ([\w, ]*) ?\| (.+) \|$", re.MULTILINE)


def measured() -> ConversionSummary:
    """A summary with every figure that there can be."""
    whole = summary(without=(Method.FLOAT16,))
    latency = Latency.model_validate({"medianMillis": 0.4, "p90Millis": 0.5, "runs": 50, "threads": 1})
    counts = {"passed": True, "compiled": True, "operators": 9, "mapped_operators": 7}
    tpu = EdgeTPUFigures(**counts, subgraphs=1, on_chip_bytes=1 << 20, off_chip_bytes=0)
    npu = EthosUFigures(**counts, sram_bytes=1 << 16, dram_bytes=0, flash_bytes=1 << 18)
    chip = NPUFigures(**counts, vendor=NPUVendor.QUALCOMM, soc="SM8750", partitions=2)
    more = {
        "latency": latency,
        "operators": 9,
        "fallback_operators": 2,
        "edge_tpu": tpu,
        "ethos_u": npu,
        "npu": (chip, chip.model_copy(update={"soc": "SM8650"})),
    }
    artifacts = tuple(a.model_copy(update=more) for a in whole.artifacts)
    return whole.model_copy(update={"artifacts": artifacts, "original_accuracy": 0.95})


def fresh() -> Metrics:
    """The metrics of a process that has just begun, and sees something already."""
    made = Metrics()
    made.observe(lambda: {"Running": 2}, lambda: 3)
    made.observe_line(lambda: 4, lambda: 5, 6)
    made.observe_sets(lambda: {"Running": 7})
    made.observe_triggers(lambda: {"True": 7})
    made.observe_channels(lambda: {"True": 7})
    made.observe_watches(lambda: 7.0, lambda resource: int(resource == "jobs"), WATCHED)
    made.observe_leadership(lambda: True)
    made.observe_waiting("events", lambda: 8)
    return made


@pytest.fixture
def metrics() -> Metrics:
    """Every metric with a value."""
    made = fresh()
    status = ModelConversionStatus(phase=Phase.SUCCEEDED, start_time=NOW, completion_time=NOW)
    made.job_created(status, NOW + timedelta(seconds=9))
    made.job_started(NOW, NOW + timedelta(seconds=2))
    made.conversion_ended(status, measured())
    file = MeasuredFile(method=Method.FULL_INTEGER, latency_millis="12.5", agreement="0.9900", passed=True)
    made.measured(Measurement(board="pi5", accelerator=Accelerator.GPU, files=[file], time=NOW))
    made.measured(Measurement(board="nano", reason=FailureReason.UNSCHEDULABLE, time=NOW))
    made.api_answered("PATCH", "modelconversions/status", 200)
    made.reconcile_failed(ValueError())
    made.told("events", "delivered")
    with made.reconcile_seconds.time():
        pass
    return made


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(sample, labels)


def test_the_page_lists_what_is_exported(metrics):
    documented = {
        name: (kind, frozenset(filter(None, labels.replace(" ", "").split(","))))
        for name, kind, labels, _ in _ROW.findall(PAGE.read_text())
    }
    exported = {}
    for family in metrics.registry.collect():
        if family.name.startswith("process_"):  # the library's, and as everywhere
            continue
        labels = frozenset(name for sample in family.samples for name in sample.labels) - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exported[name] = (family.type, labels)
    assert documented == exported


def test_the_queries_of_the_page_name_metrics_that_there_are(metrics):
    exported = {sample.name for family in metrics.registry.collect() for sample in family.samples}
    used = set(re.findall(r"modelconversion_\w+", PAGE.read_text().partition("## Questions")[2]))
    assert used <= exported
    assert len(used) >= 5


def test_operators_that_fall_back_are_counted_where_a_target_was_named(metrics):
    name = "modelconversion_artifact_fallback_operators"
    assert value(metrics, f"{name}_sum", method="FullInteger") == 2
    without = Metrics()
    without.conversion_ended(ModelConversionStatus(phase=Phase.SUCCEEDED), summary())
    assert value(without, f"{name}_count", method="FullInteger") == 0


def test_what_was_lost_against_the_original_is_counted(metrics):
    name = "modelconversion_artifact_accuracy_drop"
    assert value(metrics, f"{name}_bucket", method="FullInteger", le="0.01") == 0
    assert value(metrics, f"{name}_bucket", method="FullInteger", le="0.02") == 1
    without = Metrics()
    status = ModelConversionStatus(phase=Phase.SUCCEEDED, start_time=NOW, completion_time=NOW)
    without.conversion_ended(status, summary())
    assert value(without, f"{name}_count", method="FullInteger") == 0


def test_all_recipes_share_one_label(metrics):
    own = summary().artifacts[0].model_copy(update={"recipe_name": "of-a-user", "size_bytes": 1000})
    failed = MethodFailure(
        method=Method.FULL_INTEGER, recipe_name="b", reason=FailureReason.INVALID_REQUEST, message="none"
    )
    ended = summary().model_copy(update={"artifacts": (own, own), "failed_methods": (failed,)})
    get = metrics.registry.get_sample_value
    plain = get("modelconversion_artifact_bytes_total", {"method": "FullInteger"})
    metrics.conversion_ended(ModelConversionStatus(phase=Phase.SUCCEEDED), ended)
    assert get("modelconversion_artifact_bytes_total", {"method": "Recipe"}) == 2000
    assert get("modelconversion_artifact_bytes_total", {"method": "FullInteger"}) == plain
    lost = {"method": "Recipe", "reason": "InvalidRequest"}
    assert get("modelconversion_method_failures_total", lost) == 1


def test_boards_are_told_apart_up_to_a_limit(metrics):
    """Users name their boards, and each label costs memory for ever."""
    for number in range(50):
        metrics.measured(Measurement(board=f"board-{number}", reason=FailureReason.NODE_LOST, time=NOW))
    name, reason = "modelconversion_board_failures_total", "NodeLost"
    assert value(metrics, name, board="board-29", reason=reason) == 1
    assert value(metrics, name, board="board-30", reason=reason) is None
    assert value(metrics, name, board="other", reason=reason) == 20
    assert (
        value(
            metrics,
            "modelconversion_board_latency_milliseconds_sum",
            board="pi5",
            accelerator="GPU",
            method="FullInteger",
        )
        == 12.5
    )


def test_watches_that_fail_are_counted_by_resource(metrics):
    assert value(metrics, "modelconversion_watches_failing", resource="jobs") == 1
    assert value(metrics, "modelconversion_watches_failing", resource="pods") == 0


def test_waiting_and_starting_are_told_apart(metrics):
    assert value(metrics, "modelconversion_queue_duration_seconds_sum") == 9
    assert value(metrics, "modelconversion_start_duration_seconds_sum") == 2


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/apis/edgeml.dev/v1alpha1/namespaces/a/modelconversions/b", "modelconversions"),
        ("/apis/edgeml.dev/v1alpha1/namespaces/a/modelconversions/b/status", "modelconversions/status"),
        ("/apis/batch/v1/namespaces/a/jobs", "jobs"),
        ("/apis/batch/v1/jobs?limit=500", "jobs"),
        ("/api/v1/namespaces/a/pods?labelSelector=b%3Dc", "pods"),
        ("/apis/batch/v1/namespaces/jobs/jobs/pods", "jobs"),
    ],
)
def test_requests_are_counted_by_resource_and_never_by_name(path, resource):
    assert resource_of(path) == resource


def test_the_original_s_accuracy_fits_into_the_termination_message():
    text = StageResult(summary=measured()).encode()
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    decoded = StageResult.decode(text)
    assert decoded is not None
    assert decoded.summary is not None
    assert decoded.summary.original_accuracy == 0.95


def test_operators_on_the_accelerator_and_on_the_cpu_are_counted_by_compiler(metrics):
    artifacts = len(measured().artifacts)
    for compiler in ("edge-tpu", "ethos-u"):
        counted = {
            placement: value(
                metrics, "modelconversion_compiled_operators_total", compiler=compiler, placement=placement
            )
            for placement in ("accelerator", "cpu")
        }
        assert counted == {"accelerator": 7 * artifacts, "cpu": 2 * artifacts}
        name = "modelconversion_compilations_total"
        assert value(metrics, name, compiler=compiler, outcome="Compiled") == artifacts
        assert value(metrics, name, compiler=compiler, outcome="NothingMapped") == 0
    qualcomm = {"compiler": "npu-qualcomm"}
    name = "modelconversion_compiled_operators_total"
    assert value(metrics, name, placement="accelerator", **qualcomm) == 2 * 7 * artifacts
    assert value(metrics, "modelconversion_compiled_subgraphs_sum", **qualcomm) == 2 * 2 * artifacts
    name = "modelconversion_compilations_total"
    assert value(metrics, name, outcome="Compiled", **qualcomm) == 2 * artifacts
    assert value(metrics, name, outcome="CompilerNotFound", compiler="npu-samsung") == 0
    name = "modelconversion_compiled_memory_bytes_sum"
    assert value(metrics, name, compiler="ethos-u", memory="flash") == artifacts << 18


def test_the_page_says_how_many_samples_there_are() -> None:
    lines = generate_latest(fresh().registry).decode().splitlines()
    count = sum(bool(line) and not line.startswith("#") for line in lines)
    assert f"{count:,} samples in a fresh process" in PAGE.read_text()
