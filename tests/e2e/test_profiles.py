"""The examples of profiles and sets in real containers: two profiles, one set, one page."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml

from devcluster.cache import REPOSITORY
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Conversions

EXAMPLES = REPOSITORY / "examples"
SECONDS = 240


def test_a_set_of_the_two_profiles(release: Release, conversions: Conversions) -> None:
    documents = list(yaml.safe_load_all((EXAMPLES / "profiles.yaml").read_text()))
    conversions.kubectl.apply([each for each in documents if each["kind"] == "ClusterConversionProfile"])
    name = conversions.apply(EXAMPLES / "gesture-set.yaml")
    deadline = time.monotonic() + SECONDS
    status: dict[str, Any] = {}
    while status.get("phase") not in ("Succeeded", "Failed"):
        if time.monotonic() > deadline:
            pytest.fail(f"the set has not ended after {SECONDS} s\n{conversions.describe(status)}")
        time.sleep(1)
        found = conversions.kubectl.get("modelconversionset", name, conversions.namespace)
        status = (found or {}).get("status", {})
    assert status["phase"] == "Succeeded", conversions.describe(status)
    rows = {row["profile"]: row for row in status["members"]}
    assert {profile: row["recommended"] for profile, row in rows.items()} == {
        "doorbell-v2": "FullInteger",
        "phone": "DynamicRange",
    }
    written = conversions.keys("converted/gesture-set/")
    assert {"compare.html", "gesture/doorbell-v2/report.json", "gesture/phone/report.html"} < written
    assert {f"gesture/doorbell-v2/gesture_classifier_int8.{end}" for end in ("tflite", "cc", "h")} < written
    report = json.loads(conversions.read("converted/gesture-set/gesture/doorbell-v2/report.json"))
    assert report["request"]["validation"]["maxSizeBytes"] == 65536, "the profile's gate"
    conversions.kubectl("delete", "clusterconversionprofile", "doorbell-v2", "phone")
