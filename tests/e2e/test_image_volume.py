"""A converted model as an image volume: a pod reads the file that a conversion has pushed to a registry.

Debian 12's containerd is too old for it. With a newer one on PATH (2.1 or later: ``containerd``, its shim and
``ctr``) in front of it, ``make e2e ARGS=tests/e2e/test_image_volume.py`` runs this.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.cache import REPOSITORY
from devcluster.services.registry import LocalRegistry
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions, ImageNames

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
_SINCE = (2, 1)


@pytest.fixture
def reachable_registry(cluster: Cluster, tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry that pods reach as the node does."""
    node = cluster.real_node()
    (info,) = (each["status"]["nodeInfo"] for each in cluster.kubectl.list("nodes", "default"))
    version = info["containerRuntimeVersion"].removeprefix("containerd://").lstrip("v")
    if tuple(map(int, version.split(".")[:2])) < _SINCE:
        pytest.skip(f"containerd {version} mounts no images: put a later one on PATH")
    with LocalRegistry(tmp_path / "registry", address=node.address) as running:
        node.trust_plain_registry(running.host)
        yield running


def _reader(image: str, runs: str, namespace: str) -> dict[str, Any]:
    """A pod that prints the digest of each file of the image, and then tries to write there."""
    command = "cd /artifact/models && sha256sum *.tflite && touch more 2>&1; id -u"
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "device", "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "device",
                    "image": runs,
                    "command": ["sh", "-c", command],
                    "securityContext": restricted,
                    "volumeMounts": [{"name": "model", "mountPath": "/artifact"}],
                }
            ],
            "volumes": [{"name": "model", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}],
        },
    }


def test_a_pod_reads_the_file_that_was_pushed(
    reachable_registry: LocalRegistry, release: Release, conversions: Conversions, images: ImageNames
) -> None:
    repository = f"{reachable_registry.host}/edge/gesture"
    oci = {"repository": repository, "tag": "{version}", "insecure": True}
    output = {"uri": f"s3://{conversions.bucket}/converted/", "oci": oci}
    status = conversions.ended(conversions.apply(EXAMPLE, methods=["DynamicRange"], output=output))
    assert status["phase"] == "Succeeded", conversions.describe(status)
    (image,) = (each["uri"] for each in status["oci"] if each["format"] == "Image")
    (artifact,) = status["artifacts"]

    pod = _reader(image.removeprefix("oci://"), images.converter, conversions.namespace)
    conversions.kubectl.apply([pod])
    where = ("-n", conversions.namespace)
    phase = "--for=jsonpath={.status.phase}=Succeeded"
    waited = conversions.kubectl("wait", *where, phase, "pod/device", "--timeout=120s", check=False)
    assert waited.returncode == 0, conversions.describe(status)
    digest, refusal, user = conversions.kubectl("logs", *where, "device").stdout.splitlines()
    assert digest.split() == [artifact["sha256"], "gesture_classifier_dynamic_range.tflite"]
    assert "Read-only file system" in refusal
    assert user != "0"
