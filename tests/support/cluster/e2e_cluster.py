"""What end-to-end tests work with: a cluster, an S3 server in it, and conversions in a namespace."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from devcluster.control_plane.kubectl import Kubectl
from devcluster.control_plane.port_forward import PortForward
from devcluster.real_node.node import RealNode
from devcluster.services.deploy import OBJECT_STORE, RESTRICTED, S3_PORT, S3Keys
from devcluster.services.release import release_manifests
from devcluster.services.s3 import s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Json = dict[str, Any]

SECRET = "s3-credentials"
WAIT_SECONDS = 300


@dataclass(frozen=True)
class ImageNames:
    """The images that the cluster runs."""

    operator: str
    converter: str
    runtime: str
    """What boards run; empty for the converter's."""
    onnx: str | None
    """The converter with the ONNX engine; None where a cluster has been given none."""
    object_store: str


@dataclass(frozen=True)
class Cluster:
    """A cluster, and the node of it that this run started, if it did."""

    kubectl: Kubectl
    node: RealNode | None

    def real_node(self) -> RealNode:
        """The node, for tests that do something to it; they are skipped where it is somebody else's."""
        if self.node is None:
            pytest.skip("needs the node that the tests start themselves: unset KUBECONFIG")
        return self.node


@dataclass(frozen=True)
class Store:
    """SeaweedFS in the cluster."""

    namespace: str
    keys: S3Keys
    forward: PortForward

    @property
    def endpoint(self) -> str:
        """Where pods reach it."""
        return f"http://{OBJECT_STORE}.{self.namespace}.svc:{S3_PORT}"

    def client(self) -> S3Client:
        """A client on this machine."""
        endpoint = f"http://127.0.0.1:{self.forward.port}"
        return s3_client(endpoint, self.keys.access_key, self.keys.secret_key)


class Conversions:
    """A namespace under the Restricted policy, with credentials for a bucket of its own."""

    def __init__(self, kubectl: Kubectl, store: Store) -> None:
        self.kubectl = kubectl
        self.store = store
        self.namespace = self.bucket = f"e2e-{secrets.token_hex(4)}"
        kubectl.create_namespace(self.namespace, RESTRICTED)
        store.client().create_bucket(Bucket=self.bucket)
        data = {"AWS_ACCESS_KEY_ID": store.keys.access_key, "AWS_SECRET_ACCESS_KEY": store.keys.secret_key}
        metadata = {"name": SECRET, "namespace": self.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}
        kubectl.apply([secret, *release_manifests(self.namespace, SECRET)])

    def upload(self, files: Mapping[str, Path]) -> None:
        """Put files into the bucket."""
        client = self.store.client()
        for key, file in files.items():
            client.upload_file(str(file), self.bucket, key)

    def keys(self, prefix: str) -> set[str]:
        """The bucket's objects below a prefix, without it."""
        listed = self.store.client().list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        return {entry["Key"].removeprefix(prefix) for entry in listed.get("Contents", [])}

    def read(self, key: str) -> bytes:
        """An object of the bucket."""
        return self.store.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def found(self, key: str) -> bytes | None:
        """An object of the bucket; None where there is none."""
        return self.read(key) if "" in self.keys(key) else None

    def apply(self, file: Path, *, name: str = "", **spec: Any) -> str:
        """Apply an example with this bucket and this store in it; gives its name.

        ``spec`` takes the place of what is in its spec; None takes a field away.
        """
        document = yaml.safe_load(file.read_text().replace("s3://models/", f"s3://{self.bucket}/"))
        document["spec"]["storage"]["endpoint"] = self.store.endpoint
        document["spec"] = {k: v for k, v in (document["spec"] | spec).items() if v is not None}
        document["metadata"]["namespace"] = self.namespace
        document["metadata"]["name"] = name = name or document["metadata"]["name"]
        self.kubectl.apply([document])
        return name

    def status(self, name: str) -> Json:
        """The conversion's status, empty where there is none."""
        found = self.kubectl.get("modelconversion", name, self.namespace)
        status: Json = (found or {}).get("status", {})
        return status

    def until(
        self, name: str, wanted: Callable[[Json], bool], what: str, seconds: float = WAIT_SECONDS
    ) -> Json:
        """Wait until the conversion's status is as ``wanted``; fails with everything there is to know."""
        deadline = time.monotonic() + seconds
        while not wanted(status := self.status(name)):
            if time.monotonic() > deadline:
                pytest.fail(f"{name} is not {what} after {seconds:.0f} s\n{self.describe(status)}")
            if status.get("phase") in ("Succeeded", "Failed"):
                pytest.fail(f"{name} has ended and was never {what}\n{self.describe(status)}")
            time.sleep(0.5)
        return status

    def ended(self, name: str, seconds: float = WAIT_SECONDS) -> Json:
        """The status of the conversion once it has ended, whichever way."""
        return self.until(name, lambda s: s.get("phase") in ("Succeeded", "Failed"), "at its end", seconds)

    def pods(self) -> list[Json]:
        """The pods of the namespace."""
        return self.kubectl.list("pods", self.namespace)

    def describe(self, status: Json) -> str:
        """What the namespace looks like, for messages."""
        asked = (("get", "jobs,pods", "-o", "wide"), ("get", "events"), ("describe", "pods"))
        answers = [self.kubectl(*question, "-n", self.namespace, check=False).stdout for question in asked]
        # What is long and repeats itself comes last, and is cut: the other parts say what happened.
        return "\n".join([json.dumps(status, indent=1), *answers])[:16000]

    def remove(self) -> None:
        """Delete the namespace, without waiting for it."""
        self.kubectl("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")
