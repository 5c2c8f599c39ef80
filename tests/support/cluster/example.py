"""What the example `gesture-classifier.yaml` needs in a cluster: an S3 server, and the trained model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from devcluster.cache import REPOSITORY
from devcluster.control_plane.kubectl import Kubectl
from devcluster.control_plane.port_forward import PortForward
from devcluster.services.deploy import (
    OBJECT_STORE,
    RESTRICTED,
    S3_PORT,
    S3Keys,
    object_store_manifests,
    wait_for_deployment,
)
from support.cluster.e2e_cluster import Store

EXAMPLE: Final = REPOSITORY / "examples" / "gesture-classifier.yaml"
_SCRIPT: Final = REPOSITORY / "converter_image" / "train_gesture_model.py"


def trained_gesture(folder: Path) -> dict[str, Path]:
    """Train the model by the project's own script; gives it and its data, by their keys in a bucket."""
    subprocess.run([sys.executable, _SCRIPT], cwd=folder, check=True, capture_output=True)
    data = {f"datasets/{file.name}": file for file in (folder / "datasets").glob("*.npy")}
    return {"gesture_classifier.h5": folder / "models" / "gesture_classifier.h5"} | data


@contextmanager
def object_store(kubectl: Kubectl, namespace: str, image: str, keys: S3Keys, log: Path) -> Iterator[Store]:
    """SeaweedFS as a pod under the Restricted policy, in a namespace that it makes."""
    kubectl.create_namespace(namespace, RESTRICTED)
    kubectl.apply(object_store_manifests(namespace, image, keys))
    wait_for_deployment(kubectl, OBJECT_STORE, namespace)
    with PortForward(kubectl, namespace, f"service/{OBJECT_STORE}", S3_PORT, log) as forward:
        yield Store(namespace, keys, forward)
