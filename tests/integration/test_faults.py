"""The fault matrix, case by case: whatever happens, a conversion has one Job and the right end."""

from __future__ import annotations

import asyncio

import pytest
from fault_cases import Stage
from fault_matrix import CASES

from devcluster.controlplane import ControlPlane
from devcluster.install import install_operator_rbac

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]  # tens of conversions, one fault each


@pytest.fixture(scope="module")
def stage(crd: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(crd, install_operator_rbac(crd, "default"), tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name", CASES)
def test_a_conversion_ends_right(stage: Stage, name: str):
    rows = asyncio.run(CASES[name](stage))
    assert rows
    for row in rows:
        print(f"{row.fault} | {row.where} | {row.end}")  # noqa: T201 - shown when it fails, or with -s
