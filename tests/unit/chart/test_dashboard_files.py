"""The dashboards of chart and examples: written by their script, whole, and asking for what is exported."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from devcluster import programs
from devcluster.cache import REPOSITORY
from devcluster.dashboards import files as dashboards
from devcluster.dashboards.parts import REPOSITORY_URL
from devcluster.errors import PackageUnavailableError
from devcluster.services.prometheus import ensure_prometheus
from modelconversion_api.reasons import FailureReason
from support.chart.dashboard_queries import (
    METRIC,
    documents,
    example_documents,
    exported_metrics,
    panels,
    targets,
)

DOCUMENTS = documents() | example_documents()
PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, document in DOCUMENTS.items()
    for panel in panels(document)
]
NAMES = list(DOCUMENTS)
ALERTED = {"edge_inference_drift_confidence_drop", "edge_inference_drift_output_shift"}
"""Metrics of which only an alert asks; the panel of the mean confidence shows the first in another form."""
UNITS = {value for value in vars(units).values() if isinstance(value, str)}


@pytest.mark.parametrize("name", NAMES)
def test_files_are_what_the_script_writes(name: str) -> None:
    assert dashboards.file(name).read_text() == dashboards.document(name), "run `make generated`"


def test_there_are_no_other_files() -> None:
    assert {file.stem for file in dashboards.FOLDER.iterdir()} == set(documents())


def test_check_finds_a_file_that_was_changed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "dashboards"
    monkeypatch.setattr(dashboards, "FOLDER", folder)
    monkeypatch.setattr(dashboards, "REPOSITORY", tmp_path)
    monkeypatch.setattr(programs, "REPOSITORY", tmp_path)
    monkeypatch.setattr("sys.argv", ["dashboards"])
    assert dashboards.main() == 0
    monkeypatch.setattr("sys.argv", ["dashboards", "--check"])
    assert dashboards.main() == 0
    (folder / "overview.json").write_text("{}")
    assert dashboards.main() == 1
    assert "overview.json: out of date" in capsys.readouterr().err
    assert (folder / "overview.json").read_text() == "{}"


@pytest.mark.parametrize("name", NAMES)
def test_the_library_reads_back_what_it_wrote(name: str) -> None:
    read = Dashboard.from_json(DOCUMENTS[name])
    assert json.loads(json.dumps(read.to_json(), cls=dashboards.JSONEncoder)) == DOCUMENTS[name]


@pytest.mark.parametrize("name", NAMES)
def test_dashboards_can_be_found_and_lead_to_each_other(name: str) -> None:
    document = DOCUMENTS[name]
    assert re.fullmatch(r"[a-z-]{1,40}", document["uid"])
    assert len({d["uid"] for d in DOCUMENTS.values()}) == len(DOCUMENTS)
    assert document["schemaVersion"] >= 36
    assert "id" not in document  # Grafana gives it
    assert document["description"]
    (others,) = [link for link in document["links"] if link["type"] == "dashboards"]
    assert others["keepTime"]
    assert others["includeVars"]
    assert all(set(others["tags"]) <= set(d["tags"]) for d in DOCUMENTS.values())


@pytest.mark.parametrize("name", NAMES)
def test_variables_are_those_that_queries_use(name: str) -> None:
    document = DOCUMENTS[name]
    variables = {v["name"]: v for v in document["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "job", "interval"]
    used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", json.dumps(document["panels"])))
    assert used - set(variables) == used & {"__range", "__rate_interval", "__value"}
    assert variables["datasource"]["type"] == "datasource"
    for each in ("namespace", "job"):
        assert variables[each]["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    # Everybody has a process: all jobs are all the operator's, never all that Prometheus scrapes.
    assert "allValue" not in variables["job"]


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_numbers_of_their_own_and_lie_beside_each_other(name: str) -> None:
    every = DOCUMENTS[name]["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for panel in every:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24, panel["title"]
    for one, other in itertools.combinations(every, 2):
        a, b = one["gridPos"], other["gridPos"]
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one["title"], other["title"])


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_full(name: str) -> None:
    widths: dict[int, int] = {}
    for panel in panels(DOCUMENTS[name]):
        widths[panel["gridPos"]["y"]] = widths.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(widths.values()) == {24}


@pytest.mark.parametrize("panel", PANELS)
def test_panels_say_what_they_show_in_which_unit(panel: dict[str, Any]) -> None:
    assert panel["description"].endswith(".")
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    if panel["type"] == "heatmap":
        assert panel["options"]["yAxis"]["unit"] in UNITS
    assert panel["targets"]
    references = [target["refId"] for target in panel["targets"]]
    assert references == sorted(set(references))
    assert all(references)
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["instant"] is not target["range"]


@pytest.mark.parametrize("panel", PANELS)
def test_thresholds_begin_below_everything_and_rise(panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])
    values = [step["value"] for step in steps]
    assert values[:1] in ([], [None])
    assert values[1:] == sorted(set(values[1:]))


def test_links_lead_to_pages_of_this_repository() -> None:
    text = json.dumps(DOCUMENTS)
    pages = set(re.findall(re.escape(f"{REPOSITORY_URL}/blob/main/") + r"([^\"#?]+)", text))
    assert "docs/TROUBLESHOOTING.md" in pages
    assert any(page.startswith("docs/runbooks/") for page in pages)
    for page in pages:
        assert (REPOSITORY / page).is_file(), page
    assert "## Every reason" in (REPOSITORY / "docs" / "TROUBLESHOOTING.md").read_text()


def test_every_reason_has_its_advice_in_the_table() -> None:
    (table,) = [p for p in panels(DOCUMENTS["overview"]) if p["type"] == "table"]
    (advice,) = [o for o in table["fieldConfig"]["overrides"] if o["matcher"]["options"] == "advice"]
    (mapping,) = advice["properties"][0]["value"]
    assert set(mapping["options"]) == set(FailureReason)


def test_tables_order_the_columns_that_they_get() -> None:
    tables = [p.values[0] for p in PANELS if p.values[0]["type"] == "table"]
    assert tables
    for table in tables:
        (target,) = table["targets"]
        (labels,) = re.findall(r"by \(([^)]+)\)", target["expr"])
        columns = {*labels.split(", "), "advice", "Value"}
        (organize,) = table["transformations"]
        assert set(organize["options"]["indexByName"]) == columns
        assert set(organize["options"]["renameByName"]) <= columns
        shown = columns - {"Value"} | {"count"}
        assert {o["matcher"]["options"] for o in table["fieldConfig"]["overrides"]} <= shown


def test_every_query_asks_for_metrics_that_are_exported() -> None:
    exported = exported_metrics()
    used: set[str] = set()
    for target in targets(DOCUMENTS):
        found = set(METRIC.findall(target.expression))
        assert found, target
        assert found <= exported, target
        used |= found
    # What somebody goes to the trouble of measuring is to be seen somewhere.
    measured = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported - ALERTED}
    measured = {name for name in measured if not name.startswith("process_")}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
    assert measured <= shown


def test_documented_metrics_are_those_that_are_exported() -> None:
    text = (REPOSITORY / "docs" / "metrics.md").read_text()
    documented = set(re.findall(r"^\| `(modelconversion_\w+)`", text, flags=re.MULTILINE))
    exported = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in exported_metrics()
        if name.startswith("modelconversion_")
    }
    assert documented == exported


def test_promtool_can_parse_every_query(tmp_path: Path) -> None:
    try:
        promtool = ensure_prometheus()["promtool"]
    except PackageUnavailableError as error:
        pytest.skip(str(error))
    filled = [
        target.filled(namespace=".*", job="a|b", interval="1h", __range="6h", __rate_interval="1m")
        for target in targets(DOCUMENTS)
    ]
    rules = [{"record": f"panel:query{n}", "expr": text} for n, text in enumerate(filled)]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    result = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
