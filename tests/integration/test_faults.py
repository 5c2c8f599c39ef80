"""The fault matrix, case by case: whatever happens, a conversion has one Job and the right end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from rich.console import Console

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_crd, install_operator_rbac
from devcluster.tools.binaries import ensure_control_plane_binaries
from support.faults.cases import Stage
from support.faults.matrix import CASES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]  # tens of conversions, one fault each


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A control plane of its own: other tests' operator and node would take part."""
    with ControlPlane(ensure_control_plane_binaries(Console(stderr=True))) as cluster:
        install_crd(cluster)
        kubeconfig = install_operator_rbac(cluster, "default")
        yield Stage(cluster, kubeconfig, tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", CASES)
def test_a_conversion_ends_right(stage: Stage, name: str):
    rows = asyncio.run(CASES[name](stage))
    assert rows
    for row in rows:
        print(f"{row.fault} | {row.where} | {row.end}")  # noqa: T201 - shown when it fails, or with -s
