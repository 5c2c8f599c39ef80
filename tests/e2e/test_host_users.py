"""Jobs in a user namespace of their own (``converter.hostUsers: false``): root there is nobody on the node.

It takes containerd 2 and runc 1.2 or later, which Debian 12 has not. With newer ones on PATH in front of its
own, ``make e2e ARGS=tests/e2e/test_host_users.py`` runs this. Everybody must be able to enter the cache
folder (``XDG_CACHE_HOME``) and those above it, for the node's files lie there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster.cache import REPOSITORY
from devcluster.real_node.node import RealNode
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions

Json = dict[str, Any]

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"


@pytest.fixture
def in_user_namespaces(cluster: Cluster, release: Release) -> Iterator[None]:
    """The release with Jobs in namespaces of their own."""
    cluster.real_node()
    (status,) = (node["status"] for node in cluster.kubectl.list("nodes", "default"))
    handlers = status.get("runtimeHandlers", [])
    if not any(handler.get("features", {}).get("userNamespaces") for handler in handlers):
        runtime = status["nodeInfo"]["containerRuntimeVersion"]
        pytest.skip(f"{runtime} and its runc make no user namespaces: put later ones on PATH")
    release.install({"converter": {"hostUsers": False}})
    yield
    release.install()


def _roots(node: RealNode) -> set[str]:
    """Which users of this machine are root in the converters that run in pods."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_in_pod = f"/{node.layout.name}/" in (process / "cgroup").read_text()
            if is_in_pod and b"tflite-converter" in (process / "cmdline").read_bytes():
                found.add((process / "uid_map").read_text().split()[1])
    return found


def test_a_conversion_in_a_user_namespace(
    in_user_namespaces: None, cluster: Cluster, conversions: Conversions
) -> None:
    node = cluster.real_node()
    name = conversions.apply(EXAMPLE, methods=["DynamicRange"])
    seen: set[str] = set()

    def is_over(status: Json) -> bool:
        seen.update(_roots(node))
        return status.get("phase") in ("Succeeded", "Failed")

    status = conversions.until(name, is_over, "at its end")
    assert status["phase"] == "Succeeded", conversions.describe(status)
    assert seen
    assert "0" not in seen
