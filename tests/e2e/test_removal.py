"""Uninstalling leaves nothing stuck, and keeps what people made. Runs last: the operator is gone after it."""

from __future__ import annotations

from devcluster.cache import REPOSITORY
from support.cluster.chart_release import CRDS, Release
from support.cluster.e2e_cluster import Conversions

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"


def test_uninstall_leaves_nothing_stuck_and_keeps_the_artifacts(
    release: Release, conversions: Conversions
) -> None:
    name = conversions.apply(EXAMPLE)
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    made = conversions.keys("converted/gesture-classifier/")
    running = conversions.apply(EXAMPLE, name="left-alone")
    conversions.until(running, lambda s: s.get("phase") == "Running", "running")
    release.helm("uninstall", "--wait", "--timeout", "2m")
    assert release.left() == {f"customresourcedefinition.apiextensions.k8s.io/{crd}" for crd in CRDS}
    assert conversions.status(name)["phase"] == "Succeeded"
    # Nobody is there to let anything go, and nothing needs to be.
    conversions.kubectl("delete", "mconv", running, "-n", conversions.namespace, "--timeout=30s")
    conversions.kubectl("delete", "crd", *CRDS, "--timeout=60s")
    release.until_gone("jobs", conversions.namespace, seconds=60)
    conversions.kubectl("delete", "namespace", conversions.namespace, "--timeout=120s")
    assert conversions.keys("converted/gesture-classifier/") == made
