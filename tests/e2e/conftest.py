"""One cluster for all end-to-end tests: a real node of this machine, or the cluster that KUBECONFIG names."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from devcluster.control_plane.kubectl import Kubectl
from devcluster.images.build import object_store_image
from devcluster.real_node.node import RealNode
from devcluster.services.deploy import S3Keys
from devcluster.services.registry import LocalRegistry
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions, ImageNames, Store
from support.cluster.example import object_store, trained_gesture
from support.cluster.published import ONNX, RUNTIME, Published

STORE_NAMESPACE = "e2e-storage"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """End-to-end tests wait for real containers."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(900))


def _existing_cluster() -> Path | None:
    named = os.environ.get("KUBECONFIG")
    return Path(named) if named else None


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster that KUBECONFIG names, else a real node of this machine."""
    if existing := _existing_cluster():
        yield Cluster(Kubectl(existing, tmp_path_factory.mktemp("kubectl")), None)
        return
    with RealNode(Console(stderr=True)) as node:
        yield Cluster(node.kubectl, node)


@pytest.fixture(scope="session")
def registry(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRegistry]:
    """A registry on this machine that the node pulls from."""
    node = cluster.real_node()
    with LocalRegistry(tmp_path_factory.mktemp("registry")) as running:
        node.trust_plain_registry(running.host)
        yield running


@pytest.fixture(scope="session")
def published(registry: LocalRegistry, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """This tree's release in that registry: the images that `make e2e` builds anyway."""
    return Published.make(registry.host, tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="session")
def images(cluster: Cluster, request: pytest.FixtureRequest) -> ImageNames:
    """Those of this tree's release; an existing cluster pulls those that variables name."""
    if cluster.node is None:
        missing = [n for n in ("E2E_OPERATOR_IMAGE", "E2E_CONVERTER_IMAGE") if n not in os.environ]
        if missing:
            pytest.fail(f"the cluster of KUBECONFIG pulls its images: set {' and '.join(missing)}")
        return ImageNames(
            os.environ["E2E_OPERATOR_IMAGE"],
            os.environ["E2E_CONVERTER_IMAGE"],
            os.environ.get("E2E_RUNTIME_IMAGE", ""),
            os.environ.get("E2E_ONNX_IMAGE"),
            os.environ.get("E2E_OBJECT_STORE_IMAGE", "chrislusf/seaweedfs"),
        )
    made: Published = request.getfixturevalue("published")
    store = object_store_image()
    cluster.node.load_image(store)
    names = (made.reference(value) for value in ("image", "converter.image", RUNTIME, ONNX))
    return ImageNames(*names, store.reference)


@pytest.fixture(scope="session")
def release(
    cluster: Cluster,
    images: ImageNames,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Release]:
    """The operator, by Helm: the released chart as it comes, or this tree's in a cluster of somebody else."""
    published: Published | None = cluster.node and request.getfixturevalue("published")
    chart = published.helm_arguments() if published else ()
    made = Release(cluster.kubectl, images, tmp_path_factory.mktemp("helm"), chart)
    made.install()
    yield made
    if made.left():
        made.helm("uninstall", "--ignore-not-found")
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


@pytest.fixture(scope="session")
def store(cluster: Cluster, images: ImageNames, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """SeaweedFS as a pod under the Restricted policy."""
    # "canary" is what a model that steals looks for.
    keys = S3Keys(f"CANARY{secrets.token_hex(7).upper()}", f"canary-{secrets.token_urlsafe(24)}")
    log = tmp_path_factory.mktemp("store") / "port-forward.log"
    with object_store(cluster.kubectl, STORE_NAMESPACE, images.object_store, keys, log) as running:
        yield running
    cluster.kubectl("delete", "namespace", STORE_NAMESPACE, "--wait=false")


@pytest.fixture(scope="session")
def gesture(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The gesture model and its data, trained by the project's own script: files by their keys."""
    return trained_gesture(tmp_path_factory.mktemp("gesture"))


@pytest.fixture
def conversions(cluster: Cluster, store: Store, gesture: dict[str, Path]) -> Iterator[Conversions]:
    """A namespace with the gesture model in its bucket."""
    made = Conversions(cluster.kubectl, store)
    made.upload(gesture)
    yield made
    made.remove()
