"""Servers that the tests share: one of each in a session, started when a test first asks for it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from rich.console import Console
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_node_rbac
from devcluster.process_node.node import ProcessNode
from devcluster.services.s3 import ObjectStore
from devcluster.tools.binaries import ensure_control_plane_binaries

# No test depends on the clock; what a machine of a busy CI finds must be found again on the next one.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

# API servers of tests are young and small: collecting their garbage took a quarter of their processor time.
os.environ.setdefault("GOGC", "400")
os.environ.setdefault("GOMEMLIMIT", "1GiB")  # beyond which it is collected as usual

_LANES: Final = {
    "tests/integration/test_faults.py": "faults",
    "tests/integration/test_chart_install.py": "api",
    "tests/integration/test_chart_policies.py": "api",
    "tests/integration/test_crd_rules.py": "api",
    "tests/integration/test_devcluster.py": "api",
    "tests/integration/test_publish_s3.py": "api",
    "tests/integration/test_stages_clouds.py": "api",
    "tests/integration/test_stages_s3.py": "api",
    "tests/integration/test_training_job.py": "api",
    "tests/integration/test_versions.py": "api",
    "tests/integration/test_viewer.py": "api",
    "tests/integration/test_viewer_browser.py": "api",
    "tests/integration/test_cache_s3.py": "stages",
    "tests/integration/test_move_s3.py": "stages",
    "tests/integration/test_publish_oci.py": "stages",
    "tests/integration/test_pull_oci.py": "stages",
    "tests/integration/test_register_s3.py": "stages",
    "tests/integration": "operator",
    "tests/converter/test_compilers.py": "training",
    "tests/converter/test_training.py": "training",
    "tests/converter/test_writers.py": "training",
    "tests/converter": "converter",
}
"""Tests of a lane run one after another in one worker, and share servers; the first match counts."""
_FIRST: Final = ("api", "operator", "converter", "faults", "stages", "training")
"""The longest lanes in front; before them the one that needs a control plane without an operator, which a
worker that has had the lane "operator" has not."""


def _lane(name: str) -> str:
    """Return the lane of a test by its node id; the tests of any other file are a lane of their own."""
    path = name.partition("::")[0]
    return next((lane for start, lane in _LANES.items() if path.startswith(start)), path)


class _Lanes(LoadScopeScheduling):
    """Gives each worker a lane at a time. xdist's own groups are lost on pytest 9.2 (xdist 3.8)."""

    def _split_scope(self, nodeid: str) -> str:
        return _lane(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Run lanes beside each other (``pytest -n 3 --dist loadscope``)."""
    return _Lanes(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with the lanes that must not wait, where several workers run them."""
    if hasattr(config, "workerinput"):  # set by xdist in its workers
        order = {lane: place for place, lane in enumerate(_FIRST)}
        items.sort(key=lambda item: order.get(_lane(item.nodeid), len(order)))


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """A real etcd, kube-apiserver and kube-controller-manager."""
    with ControlPlane(ensure_control_plane_binaries(Console(stderr=True))) as running:
        yield running


@pytest.fixture(scope="session")
def object_store() -> Iterator[ObjectStore]:
    """A real S3 server; make a bucket of your own."""
    with ObjectStore() as running:
        yield running


@pytest.fixture(scope="session")
def process_node(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessNode]:
    """The one node of the control plane: runs Pods' containers as processes."""
    state: Path = tmp_path_factory.mktemp("node")
    with ProcessNode(install_node_rbac(control_plane), state) as running:
        yield running


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A new namespace; what is in it is deleted after the test."""
    name = f"test-{secrets.token_hex(4)}"
    control_plane.create_namespace(name)
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    """A new, empty bucket."""
    name = f"test-{secrets.token_hex(4)}"
    object_store.create_bucket(name)
    return name
