"""The alerts of chart and monitor: each fires when it should, only then, and has a page that says what to do.

The cases run in promtool, on the rule file as it is shipped. A case gives series in promtool's notation, one
sample a minute: ``0+2x30`` starts at 0 and grows by 2 thirty times.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.cache import REPOSITORY
from devcluster.dashboards.parts import runbook_url
from devcluster.errors import PackageUnavailableError
from devcluster.services.prometheus import ensure_prometheus
from modelconversion_api.reasons import FailureReason
from support.chart.dashboard_queries import METRIC, exported_metrics

pytestmark = pytest.mark.slow

RULES = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "alerts.yaml"
MONITOR_RULES = REPOSITORY / "examples" / "monitor" / "alerts.yaml"
PAGES = REPOSITORY / "docs" / "runbooks"
ALERTS: dict[str, Any] = {
    rule["alert"]: rule
    for file in (RULES, MONITOR_RULES)
    for group in yaml.safe_load(file.read_text())["groups"]
    for rule in group["rules"]
}
WHERE = {"namespace": "edgeml", "job": "operator"}
FIRST, SECOND = ({**WHERE, "instance": f"10.0.0.{n}:8080"} for n in (1, 2))


@dataclass(frozen=True)
class Case:
    """What Prometheus has scraped, and what an alert makes of it.

    Attributes:
        alert: The alert's name.
        name: What the case is.
        series: Samples by series.
        minute: When the alert is looked at.
        labels: Those of the alert that fires, its severity left out; None when it must not fire.
        says: The description that it then has.

    """

    alert: str
    name: str
    series: dict[str, str]
    minute: int
    labels: dict[str, str] | None = None
    says: str = ""

    @property
    def document(self) -> dict[str, Any]:
        expected = []
        if self.labels is not None:
            rule = ALERTS[self.alert]
            expected.append(
                {
                    "exp_labels": self.labels | rule["labels"],
                    "exp_annotations": rule["annotations"] | {"description": self.says},
                }
            )
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "alert_rule_test": [
                {"eval_time": f"{self.minute}m", "alertname": self.alert, "exp_alerts": expected}
            ],
        }


def of(metric: str, labels: dict[str, str] = FIRST, **more: str) -> str:
    """The text of a series."""
    inside = ",".join(f'{name}="{value}"' for name, value in (labels | more).items())
    return f"{metric}{{{inside}}}"


def waits(metric: str, fast: float, slow: float) -> dict[str, str]:
    """A histogram of which so many a minute stay below 60 s, and so many end between 300 and 600 s."""
    grows = {"60": fast, "300": fast, "600": fast + slow, "+Inf": fast + slow}
    return {of(f"{metric}_bucket", le=bound): f"0+{count}x60" for bound, count in grows.items()}


def model(metric: str, values: str) -> dict[str, str]:
    """A gauge of one running model."""
    return {of(f"edge_inference_{metric}", model="gesture"): values}


def runs(fast: int, slow: int) -> dict[str, str]:
    """A running model of which so many samples a minute take up to 5 ms, and so many 5 to 10 ms."""
    grows = {"0.0025": 0, "0.005": fast, "0.01": fast + slow, "+Inf": fast + slow}
    name = "edge_inference_duration_seconds_bucket"
    return {of(name, model="gesture", le=bound): f"0+{count}x60" for bound, count in grows.items()}


GESTURE = {**WHERE, "model": "gesture"}
OTHER_BUDGET = {of("edge_inference_budget_seconds", model="other"): "0.001x40"}
DRIFTED = (
    "What gesture gives has been unlike what it gave on its validation data for 10 minutes. Its accuracy is "
    "unknown until somebody looks at the data."
)
LEADER = {of("modelconversion_leader"): "1x60"}
STANDBY = {of("modelconversion_leader", SECOND): "0x60"}
ENDED = "modelconversion_conversions_total"
SUCCEEDED = of(ENDED, outcome="succeeded", reason="Converted")
UNREADABLE = of(ENDED, outcome="failed", reason="UnreadableModel")
UNAVAILABLE = of(ENDED, outcome="failed", reason="StorageUnavailable")
LOOKS = {of("modelconversion_reconcile_duration_seconds_count"): "0+100x60"}
REQUESTS = {of("modelconversion_api_requests_total", verb="get", resource="jobs", code="200"): "0+100x60"}
ACTIVE, LIMIT = of("modelconversion_active_jobs"), of("modelconversion_concurrency_limit")
QUEUED = of("modelconversion_queued")


def throttled(rate: str) -> dict[str, str]:
    return {of("modelconversion_api_requests_total", verb="patch", resource="jobs", code="429"): rate}


def errors(kind: str, values: str) -> dict[str, str]:
    return {of("modelconversion_reconcile_errors_total", error=kind): values}


TRIGGERS, CHANNELS = (of(f"modelconversion_{kind}", ready="False") for kind in ("triggers", "channels"))
PENDING = {
    signal: of("modelconversion_notifications_pending", signal=signal) for signal in ("events", "traces")
}

CASES = [
    Case(
        "ModelConversionTriggerFailing",
        "two find nothing",
        {TRIGGERS: "2x70"},
        61,
        WHERE,
        "2 triggers have not found their model for an hour, or could not make what they are for. New "
        "versions of it are not converted.",
    ),
    Case("ModelConversionTriggerFailing", "one found it again", {TRIGGERS: "1x30 0x40"}, 70),
    Case(
        "ModelConversionTriggerFailing",
        "those that are suspended wait",
        {of("modelconversion_triggers", ready="Waiting"): "3x70", TRIGGERS: "0x70"},
        70,
    ),
    Case(
        "ModelConversionChannelFailing",
        "one cannot be moved",
        {CHANNELS: "1x40"},
        31,
        WHERE,
        "1 channels could not be moved for 30 minutes, or were told to name a file that is not known. "
        "Devices run what they ran before.",
    ),
    Case("ModelConversionChannelFailing", "it was moved in time", {CHANNELS: "1x20 0x20"}, 40),
    Case(
        "ModelConversionChannelFailing",
        "one waits for an approval",
        {of("modelconversion_channels", ready="Waiting"): "1x40", CHANNELS: "0x40"},
        40,
    ),
    Case(
        "ModelConversionNotificationsWaiting",
        "the sink is away",
        LEADER | {PENDING["events"]: "0 5+1x50", PENDING["traces"]: "0x50"},
        40,
        WHERE | {"signal": "events"},
        "29 events or more have waited for their sink for half an hour. After 24 hours they are lost.",
    ),
    Case(
        "ModelConversionNotificationsWaiting",
        "they come and go",
        LEADER
        | {PENDING["events"]: "3 0 4 0 5 0 6 0 7 0 8 0 9 0 3 0 4 0 5 0 6 0 7 0 8 0 9 0 3 0 4 0 5 0 6 0"},
        31,
    ),
    Case(
        "ModelConversionNotificationsWaiting",
        "a standby's say nothing",
        STANDBY | {of("modelconversion_notifications_pending", SECOND, signal="events"): "9x50"},
        40,
    ),
    Case(
        "ModelConversionOperatorDown",
        "nobody answers",
        {of("up"): "0x20"},
        6,
        {},
        "Prometheus has had no metrics of the operator for 5 minutes. New conversions are not started, and "
        "of those under way nobody writes how they end.",
    ),
    Case(
        "ModelConversionOperatorDown",
        "it was there, and went",
        {of("modelconversion_leader"): "1x3 stale"},
        10,
        {},
        "Prometheus has had no metrics of the operator for 5 minutes. New conversions are not started, and "
        "of those under way nobody writes how they end.",
    ),
    Case("ModelConversionOperatorDown", "it answers, and stands by", STANDBY, 20),
    Case(
        "ModelConversionOperatorDown",
        "a rollout",
        {of("modelconversion_leader"): "1x5 stale", of("modelconversion_leader", SECOND): "_x7 1x20"},
        20,
    ),
    Case(
        "ModelConversionOperatorNoLeader",
        "two stand by",
        {of("modelconversion_leader"): "0x20", of("modelconversion_leader", SECOND): "0x20"},
        3,
        WHERE,
        "The replicas of operator answer, and all have stood by for 2 minutes. Nothing is converted. A "
        "takeover takes seconds.",
    ),
    Case("ModelConversionOperatorNoLeader", "one of two leads", LEADER | STANDBY, 20),
    Case("ModelConversionOperatorNoLeader", "a takeover", {of("modelconversion_leader"): "1 1 0 1x20"}, 3),
    Case(
        "ModelConversionOperatorRestarting",
        "three starts in half an hour",
        LEADER | {of("process_start_time_seconds"): "1 1 200 200 300 300 400 400x20"},
        10,
        FIRST,
        "10.0.0.1:8080 has started 3 times in 30 minutes. Conversions go on, later each time.",
    ),
    Case(
        "ModelConversionOperatorRestarting",
        "two starts",
        LEADER | {of("process_start_time_seconds"): "1 1 200 200 300 300x20"},
        10,
    ),
    Case(
        "ModelConversionOperatorRestarting",
        "another program",
        LEADER | {of("process_start_time_seconds", {"job": "db", "instance": "b"}): "1 2 3 4 5 6 7x20"},
        10,
    ),
    Case(
        "ModelConversionWatchStale",
        "silent until the liveness probe ended it",
        {of("modelconversion_watch_age_seconds"): "0+60x7 0x20"},
        12,
        FIRST,
        "A watch of 10.0.0.1:8080 was silent for 7m 0s. What happened meanwhile is noticed late.",
    ),
    Case(
        "ModelConversionWatchStale",
        "opened anew every five minutes",
        {of("modelconversion_watch_age_seconds"): "0+60x5 0+60x5 0+60x5 0+60x5"},
        20,
    ),
    Case(
        "ModelConversionWatchFailing",
        "a Role is missing in two namespaces",
        {of("modelconversion_watches_failing", resource="jobs"): "2x40"},
        16,
        FIRST | {"resource": "jobs"},
        "10.0.0.1:8080 cannot list or watch jobs in 2 places, for 15 minutes. Conversions there stand still;"
        " all others go on.",
    ),
    Case(
        "ModelConversionWatchFailing",
        "an API server that restarts",
        {of("modelconversion_watches_failing", resource="jobs"): "0x5 1x5 0x30"},
        20,
    ),
    Case(
        "ModelConversionReconcileErrors",
        "one in five",
        LOOKS | errors("UnavailableError", "0+20x60"),
        30,
        WHERE,
        "20% of the looks at conversions have failed, for 15 minutes. They are repeated, each time later; "
        "conversions may stand still.",
    ),
    Case(
        "ModelConversionReconcileErrors",
        "an idle operator and one conversion that trips a bug",
        {of("modelconversion_reconcile_duration_seconds_count"): "0+1x60"} | errors("KeyError", "0+1x60"),
        40,
        WHERE,
        "100% of the looks at conversions have failed, for 15 minutes. They are repeated, each time later; "
        "conversions may stand still.",
    ),
    Case("ModelConversionReconcileErrors", "conflicts", LOOKS | errors("ConflictError", "0+50x60"), 40),
    Case("ModelConversionReconcileErrors", "few", LOOKS | errors("UnavailableError", "0+5x60"), 40),
    Case(
        "ModelConversionReconcileErrors",
        "the API server was restarted",
        LOOKS | errors("UnavailableError", "0x10 0+40x3 120x40"),
        18,
    ),
    Case(
        "ModelConversionQueueBacklog",
        "it does not fall",
        LEADER | {of("modelconversion_queue_depth"): "150x60"},
        16,
        FIRST,
        "More than 100 conversions have waited for a look for 15 minutes, 150 now.",
    ),
    Case(
        "ModelConversionQueueBacklog",
        "a standby, which looks at nothing",
        LEADER | STANDBY | {of("modelconversion_queue_depth", SECOND): "5000x60"},
        40,
    ),
    Case(
        "ModelConversionQueueBacklog",
        "a burst",
        LEADER | {of("modelconversion_queue_depth"): "5000-500x10 0x30"},
        16,
    ),
    Case(
        "ModelConversionApiThrottled",
        "two in a hundred",
        REQUESTS | throttled("0+2x60"),
        30,
        WHERE,
        "1.961% of the operator's requests were answered with 429, for 10 minutes: the server protects "
        "itself, or the operator's share of it is used up.",
    ),
    Case("ModelConversionApiThrottled", "one in two hundred", REQUESTS | throttled("0+0.5x60"), 30),
    Case("ModelConversionApiThrottled", "a moment", REQUESTS | throttled("0x10 0+20x1 20x40"), 19),
    Case(
        "ModelConversionFailureRateHigh",
        "one in five",
        {SUCCEEDED: "0+4x60", UNREADABLE: "0+1x60"},
        15,
        WHERE,
        "20% of the conversions that ended in the last 30 minutes failed, three at least.",
    ),
    Case(
        "ModelConversionFailureRateHigh",
        "three of four, slowly",
        {SUCCEEDED: "0x5 1x60", UNREADABLE: "0x8 1x4 2x4 3x40"},
        30,
        WHERE,
        "75% of the conversions that ended in the last 30 minutes failed, three at least.",
    ),
    Case(
        "ModelConversionFailureRateHigh",
        "one in twenty",
        {SUCCEEDED: "0+19x60", UNREADABLE: "0+1x60"},
        50,
    ),
    Case(
        "ModelConversionFailureRateHigh",
        "two of three, and no more",
        {SUCCEEDED: "0x5 1x60", UNREADABLE: "0x8 1x4 2x40"},
        30,
    ),
    Case("ModelConversionFailureRateHigh", "nothing ends", {SUCCEEDED: "7x60", UNREADABLE: "3x60"}, 50),
    Case(
        "ModelConversionPlatformFailures",
        "the object store is gone",
        {SUCCEEDED: "0+9x60", UNAVAILABLE: "0x10 1x2 2x2 3x50"},
        25,
        WHERE | {"reason": "StorageUnavailable"},
        "3 conversions failed with StorageUnavailable in the last 30 minutes. Their owners cannot help it.",
    ),
    Case("ModelConversionPlatformFailures", "once", {SUCCEEDED: "0+9x60", UNAVAILABLE: "0x10 1x50"}, 25),
    Case("ModelConversionPlatformFailures", "bad models", {SUCCEEDED: "0+1x60", UNREADABLE: "0+5x60"}, 40),
    Case(
        "ModelConversionQueueWaitLong",
        "one in ten waits minutes",
        waits("modelconversion_queue_duration_seconds", 9, 1),
        40,
        WHERE,
        "One in twenty waits 7m 30s or more in the operator's line, for 15 minutes.",
    ),
    Case(
        "ModelConversionQueueWaitLong",
        "one in fifty does",
        waits("modelconversion_queue_duration_seconds", 49, 1),
        40,
    ),
    Case(
        "ModelConversionQueueWaitLong",
        "nobody came",
        waits("modelconversion_queue_duration_seconds", 0, 0),
        40,
    ),
    Case(
        "ModelConversionPlacesExhausted",
        "all taken, and some wait",
        LEADER | {ACTIVE: "4x60", LIMIT: "4x60", QUEUED: "3x60"},
        40,
        FIRST,
        "100% of the places of --max-concurrent have been taken for 30 minutes, while conversions stood in "
        "line.",
    ),
    Case(
        "ModelConversionPlacesExhausted",
        "all taken, and nobody waits",
        LEADER | {ACTIVE: "4x60", LIMIT: "4x60", QUEUED: "0x60"},
        40,
    ),
    Case(
        "ModelConversionPlacesExhausted",
        "some wait now and then",
        LEADER | {ACTIVE: "4x60", LIMIT: "4x60", QUEUED: "1x12 0 1x12 0 1x12 0 1x12"},
        40,
    ),
    Case(
        "ModelConversionPlacesExhausted",
        "no limit",
        LEADER | {ACTIVE: "4x60", LIMIT: "0x60", QUEUED: "0x60"},
        40,
    ),
    Case(
        "ModelConversionPlacesExhausted",
        "a former leader remembers its line",
        LEADER
        | {
            ACTIVE: "1x60",
            LIMIT: "4x60",
            QUEUED: "0x60",
            of("modelconversion_leader", SECOND): "0x60",
            of("modelconversion_active_jobs", SECOND): "4x60",
            of("modelconversion_concurrency_limit", SECOND): "4x60",
            of("modelconversion_queued", SECOND): "3x60",
        },
        40,
    ),
    Case(
        "ModelConversionStartSlow",
        "one in five starts late",
        waits("modelconversion_start_duration_seconds", 4, 1),
        40,
        WHERE,
        "One in ten Jobs takes 7m 30s or more until something of it runs, for 15 minutes.",
    ),
    Case(
        "ModelConversionStartSlow",
        "one in twenty",
        waits("modelconversion_start_duration_seconds", 19, 1),
        40,
    ),
    Case(
        "InferenceDrift",
        "other confidences on one of two replicas",
        model("drift_psi", "0.05x5 0.4x30")
        | {of("edge_inference_drift_psi", SECOND, model="gesture"): "0x60"},
        20,
        GESTURE,
        DRIFTED,
    ),
    Case(
        "InferenceDrift",
        "less sure, in the same shape",
        model("drift_psi", "0.15x40") | model("drift_confidence_drop", "0.12x40"),
        20,
        GESTURE,
        DRIFTED,
    ),
    Case("InferenceDrift", "no classifier", model("drift_output_shift", "1.5x40"), 20, GESTURE, DRIFTED),
    Case(
        "InferenceDrift",
        "as on the validation data",
        model("drift_psi", "0.06x40")
        | model("drift_confidence_drop", "-0.2x40")
        | model("drift_output_shift", "0.4x40"),
        30,
    ),
    Case("InferenceDrift", "an odd minute", model("drift_psi", "0.05x5 0.5x4 0.05x40"), 16),
    Case("InferenceDrift", "a window that has too few samples", model("drift_samples", "0+1x40"), 30),
    Case(
        "InferenceSlow",
        "one in twenty over the budget",
        runs(19, 1) | model("budget_seconds", "0.005x40"),
        25,
        GESTURE,
        "One in a hundred samples takes gesture 9ms or more, for 10 minutes, which is over its budget.",
    ),
    Case("InferenceSlow", "one in a thousand", runs(999, 1) | model("budget_seconds", "0.005x40"), 25),
    Case("InferenceSlow", "no budget", runs(1, 19), 25),
    Case("InferenceSlow", "another model's budget", runs(1, 19) | OTHER_BUDGET, 25),
]


@pytest.fixture(scope="session")
def promtool() -> Path:
    try:
        return ensure_prometheus()["promtool"]
    except PackageUnavailableError as error:
        pytest.skip(str(error))


def run(promtool: Path, *arguments: str | Path) -> None:
    result = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("rules", [RULES, MONITOR_RULES], ids=["chart", "monitor"])
def test_promtool_finds_no_fault_in_the_rules(promtool: Path, rules: Path) -> None:
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", rules)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}: {case.name}")
def test_alerts_fire_when_they_should_and_only_then(promtool: Path, tmp_path: Path, case: Case) -> None:
    file = tmp_path / "case.yaml"
    document = {
        "rule_files": [str(RULES), str(MONITOR_RULES)],
        "evaluation_interval": "1m",
        "tests": [case.document],
    }
    file.write_text(json.dumps(document))
    run(promtool, "test", "rules", file)


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_tested_both_ways(alert: str) -> None:
    assert {case.labels is None for case in CASES if case.alert == alert} == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert re.fullmatch(r"(ModelConversion|Inference)[A-Z][A-Za-z]+", alert)
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == runbook_url(alert)


@pytest.mark.parametrize("alert", ALERTS)
def test_alerts_ask_for_metrics_that_there_are(alert: str) -> None:
    expression = ALERTS[alert]["expr"]
    used = set(METRIC.findall(expression))
    assert used
    assert used <= exported_metrics()
    for reasons in re.findall(r'reason=~"([^"]+)"', expression):
        assert set(reasons.split("|")) <= set(FailureReason)


def test_each_alert_has_its_page_and_each_page_its_alert() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_pages_say_what_it_means_what_it_harms_what_to_look_at_and_what_to_do(alert: str) -> None:
    text = (PAGES / f"{alert}.md").read_text()
    lines = text.splitlines()
    assert lines[0] == f"# {alert}"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Meaning", "## Impact", "## Diagnosis", "## Mitigation"]
    for part in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert len(part.split()) > 10
    assert "```" in text.partition("## Diagnosis")[2].partition("## Mitigation")[0]


@pytest.mark.parametrize("alert", ALERTS)
def test_pages_link_and_ask_for_what_there_is(alert: str) -> None:
    text = (PAGES / f"{alert}.md").read_text()
    assert set(METRIC.findall(text)) <= exported_metrics()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (PAGES / target).exists(), target


@pytest.mark.parametrize("alert", ALERTS)
def test_queries_of_pages_are_queries(promtool: Path, tmp_path: Path, alert: str) -> None:
    text = (PAGES / f"{alert}.md").read_text()
    queries = re.findall(r"^```promql\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    rules = [{"record": f"page:query{n}", "expr": query} for n, query in enumerate(queries)]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "page", "rules": rules}]}))
    run(promtool, "check", "rules", file)
