"""A claim on the real node: written by one conversion, read by the next, under the Restricted policy."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.cache import REPOSITORY
from modelconversion_api.fields.storage import CONVERSIONS_USER
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
CLAIM = "models"


@pytest.fixture
def claim(cluster: Cluster, conversions: Conversions) -> Iterator[str]:
    """A released claim over a folder of this machine, which the Job's user may write."""
    cluster.real_node()
    folder = Path(tempfile.mkdtemp(prefix="claim-"))
    folder.chmod(0o777)
    volume = f"{CLAIM}-{conversions.namespace}"
    size = {"storage": "1Gi"}
    rules = [{"apiGroups": [""], "resources": ["persistentvolumeclaims"], "resourceNames": [CLAIM]}]
    where = {"namespace": conversions.namespace}
    objects: list[dict[str, Any]] = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                "capacity": size,
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "",
                "hostPath": {"path": str(folder), "type": "Directory"},
                "claimRef": {"namespace": conversions.namespace, "name": CLAIM},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM} | where,
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "",
                "volumeName": volume,
                "resources": {"requests": size},
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "conversions-claim"} | where,
            "rules": [rules[0] | {"verbs": ["get", "update"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "conversions-claim"} | where,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "conversions-claim"},
            "subjects": [{"kind": "User", "name": CONVERSIONS_USER, "apiGroup": "rbac.authorization.k8s.io"}],
        },
    ]
    conversions.kubectl.apply(objects)
    yield CLAIM
    conversions.kubectl("delete", "pvc", CLAIM, "-n", conversions.namespace, "--wait=false")
    conversions.kubectl("delete", "pv", volume, "--wait=false")
    shutil.rmtree(folder, ignore_errors=True)


def test_what_one_conversion_writes_to_a_claim_the_next_one_reads(
    release: Release, conversions: Conversions, claim: str
) -> None:
    first = conversions.apply(
        EXAMPLE, name="onto-the-claim", methods=["Float32"], output={"uri": f"pvc://{claim}/out/"}
    )
    status = conversions.ended(first)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    (artifact,) = status["artifacts"]
    assert artifact["uri"] == f"pvc://{claim}/out/gesture_classifier_float32.tflite"
    second = conversions.apply(
        EXAMPLE,
        name="from-the-claim",
        source={"uri": artifact["uri"], "sha256": artifact["sha256"]},
        methods=["DynamicRange"],
    )
    status = conversions.ended(second)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    assert "gesture_classifier_float32_dynamic_range.tflite" in conversions.keys(
        "converted/gesture-classifier/"
    )
