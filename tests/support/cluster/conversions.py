"""What integration tests work with: an operator process, the gesture model, conversions in a namespace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.processes import free_ports
from devcluster.services.release import release_manifests
from devcluster.services.s3 import ObjectStore

WAIT_SECONDS = 150

Json = dict[str, Any]


class Operator:
    """An operator process that can be killed and started again."""

    def __init__(self, kubeconfig: Path, log: Path, **settings: str) -> None:
        self.log = log
        self.kubeconfig = str(kubeconfig)
        (self.port,) = free_ports(1)
        self._environment = os.environ | {
            "KUBECONFIG": str(kubeconfig),
            "MODELCONVERSION_CONVERTER_IMAGE": "converter:test",
            "MODELCONVERSION_HTTP_HOST": "127.0.0.1",
            "MODELCONVERSION_HTTP_PORT": str(self.port),
            "MODELCONVERSION_ALLOWED_SERVICE_ACCOUNTS": "ghost-*",
            "MODELCONVERSION_ALLOWED_METRIC_IMAGES": "registry.acme/metrics@*",
            **{f"MODELCONVERSION_{name.upper()}": value for name, value in settings.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = Path(sys.executable).parent / "modelconversion-operator"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([program], env=self._environment, stdout=log, stderr=log)
        until(self._ready, "the operator is ready", 60, self.tail)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(20)

    def metric(self, sample: str) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text
        for line in text.splitlines():
            if line.startswith(sample + " "):
                return float(line.split()[-1])
        return 0.0

    def metrics(self) -> str:
        return httpx.get(f"http://127.0.0.1:{self.port}/metrics", trust_env=False).text

    def tail(self) -> str:
        return self.log.read_text()[-3000:]

    def _ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.tail()
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/readyz", trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200


@dataclass(frozen=True)
class Gesture:
    """What train_gesture_model.py writes."""

    folder: Path

    @property
    def model(self) -> Path:
        return self.folder / "models" / "gesture_classifier.h5"

    @property
    def saved_model(self) -> Path:
        return self.folder / "models" / "gesture_classifier_savedmodel"

    def data(self, name: str) -> Path:
        return self.folder / "datasets" / name


class Conversions:
    """ModelConversions of one test: in a namespace of its own, with a bucket and credentials."""

    def __init__(self, cluster: ControlPlane, store: ObjectStore, namespace: str, bucket: str) -> None:
        self.cluster, self.store, self.namespace, self.bucket = cluster, store, namespace, bucket

    def upload(self, files: dict[str, Path | bytes]) -> None:
        for key, content in files.items():
            body = content if isinstance(content, bytes) else content.read_bytes()
            self.store.client().put_object(Bucket=self.bucket, Key=key, Body=body)

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        client = self.store.client()
        listing = client.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", [])
        return {o["Key"]: client.get_object(Bucket=self.bucket, Key=o["Key"])["Body"].read() for o in listing}

    def secret(self, name: str, access_key: str, secret_key: str) -> None:
        data = {"AWS_ACCESS_KEY_ID": access_key, "AWS_SECRET_ACCESS_KEY": secret_key}
        meta = {"name": name, "namespace": self.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}
        self.cluster.apply([secret])
        self.release(name)

    def release(self, name: str) -> None:
        """Release a Secret for conversions, whether it is there or not."""
        self.cluster.apply(release_manifests(self.namespace, name))

    def apply(self, name: str, **spec: Any) -> None:
        defaults: Json = {
            "source": {"uri": self.uri("gesture_classifier.h5")},
            "output": {"uri": self.uri(f"out/{name}/")},
            "storage": {"endpoint": self.store.endpoint, "secretRef": {"name": "s3-credentials"}},
        }
        self.cluster.apply([manifest(name, self.namespace, defaults | spec)])

    def patch(self, name: str, spec: Json) -> None:
        self.kubectl("patch", "mconv", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def kubectl(self, *args: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *args).stdout

    def get(self, name: str) -> Json:
        found: Json = json.loads(self.kubectl("get", "mconv", name, "-o", "json"))
        return found

    def jobs(self) -> list[Json]:
        found: list[Json] = json.loads(self.kubectl("get", "jobs", "-o", "json"))["items"]
        return found

    def status(self, name: str) -> Json:
        found: Json = self.get(name).get("status", {})
        return found

    def wait_for_phase(self, name: str, *phases: str) -> Json:
        until(
            lambda: self.status(name).get("phase") in phases,
            f"{name} is {' or '.join(phases)}",
            WAIT_SECONDS,
            lambda: json.dumps(self.status(name), indent=1),
        )
        return self.status(name)

    def finished(self, name: str) -> Json:
        return self.wait_for_phase(name, "Succeeded", "Failed")

    def events(self, name: str) -> list[str]:
        """The reasons of a conversion's events, in the order in which they were written."""
        listing = json.loads(self.kubectl("get", "events", "-o", "json"))["items"]
        return [
            e["reason"]
            for e in sorted(listing, key=lambda e: str(e["metadata"]["name"]))
            if e["involvedObject"].get("kind") == "ModelConversion" and e["involvedObject"]["name"] == name
        ]


def manifest(name: str, namespace: str, spec: Json) -> Json:
    return {
        "apiVersion": "edgeml.dev/v1alpha1",
        "kind": "ModelConversion",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def until(
    done: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS, words: Callable[[], str] = str
) -> None:
    """Wait until ``done`` says so; fail with ``words`` when it takes too long."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not in {seconds} s: {what}\n{words()}"
        time.sleep(0.2)
