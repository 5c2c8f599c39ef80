"""The operator under its real permissions, and the gesture model that conversions start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import install_crd, install_operator_rbac
from devcluster.services.s3 import ObjectStore
from support.cluster.conversions import Conversions, Gesture, Operator
from support.cluster.example import trained_gesture


@pytest.fixture(scope="session")
def crd(control_plane: ControlPlane) -> ControlPlane:
    """The control plane with the ModelConversion resource."""
    install_crd(control_plane)
    return control_plane


@pytest.fixture(scope="session")
def operator(crd: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator with the permissions of its chart, not an administrator's."""
    kubeconfig = install_operator_rbac(crd, "default")
    running = Operator(kubeconfig, tmp_path_factory.mktemp("operator") / "operator.log")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def gesture(tmp_path_factory: pytest.TempPathFactory) -> Gesture:
    """The gesture model, trained by the project's own script."""
    folder = tmp_path_factory.mktemp("gesture")
    trained_gesture(folder)
    return Gesture(folder)


@pytest.fixture
def conversions(
    control_plane: ControlPlane, object_store: ObjectStore, namespace: str, bucket: str
) -> Conversions:
    """An empty namespace with credentials for an empty bucket."""
    made = Conversions(control_plane, object_store, namespace, bucket)
    made.secret("s3-credentials", object_store.access_key, object_store.secret_key)
    return made


@pytest.fixture
def uploaded(conversions: Conversions, gesture: Gesture) -> Conversions:
    """The gesture model and its data in the bucket."""
    conversions.upload(
        {
            "gesture_classifier.h5": gesture.model,
            "val.npy": gesture.data("val_features.npy"),
            "val_labels.npy": gesture.data("val_labels.npy"),
            "test.npy": gesture.data("test_features.npy"),
            "test_labels.npy": gesture.data("test_labels.npy"),
        }
    )
    return conversions
