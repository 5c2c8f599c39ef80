"""The operator as people install it: by Helm, with the chart's defaults."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from devcluster.control_plane.kubectl import Kubectl
from devcluster.services.deploy import RESTRICTED, wait_for_deployment
from support.chart.charts import CHART, NAME, RELEASE, helm_homes, run_helm
from support.cluster.e2e_cluster import ImageNames

Json = dict[str, Any]

NAMESPACE = "model-conversion"
CRD = "modelconversions.edgeml.dev"
CRDS = sorted(path.stem for path in (CHART / "files" / "crds").glob("*.yaml"))


class Release:
    """The chart in a namespace where the Restricted policy is enforced."""

    name = NAME
    namespace = NAMESPACE

    def __init__(
        self, kubectl: Kubectl, images: ImageNames, home: Path, published: Sequence[str] = ()
    ) -> None:
        """Take the images, or with ``published`` (Helm's arguments for a released chart) those of that."""
        self.kubectl = kubectl
        self._chart = tuple(published) or (str(CHART),)
        self._values: Json = (
            {}
            if published
            else {
                "image": _image(images.operator),
                "converter": {
                    "image": _image(images.converter),
                    "engines": {"ONNX": images.onnx} if images.onnx else {},
                    "runtimeImage": images.runtime,
                },
            }
        )
        self._environment = kubectl.environment() | helm_homes(home)

    def helm(self, verb: str, *args: str, values: Json | None = None) -> subprocess.CompletedProcess[str]:
        """Run Helm on the release; fails with what it said."""
        done = run_helm(
            verb, RELEASE, *args, "--namespace", NAMESPACE, values=values, environment=self._environment
        )
        if done.returncode:
            state = self.kubectl("get", "pods,events", "-n", NAMESPACE, check=False).stdout
            pytest.fail(f"helm {verb} failed: {done.stderr}\n{done.stdout}\n{state}")
        return done

    def install(self, values: Mapping[str, Any] | None = None, chart: Sequence[str] = ()) -> None:
        """Install or upgrade, by another chart if one is given, and wait for the operator."""
        self.kubectl.create_namespace(NAMESPACE, RESTRICTED)
        # An upgrade without values would take those of the release before.
        options = ("--install", "--reset-values", "--wait", "--timeout", "3m")
        self.helm("upgrade", *(chart or self._chart), *options, values=self._with(values))
        wait_for_deployment(self.kubectl, NAME, NAMESPACE)

    def values(self) -> Json:
        """What was set beside the chart's defaults."""
        where = ("--namespace", NAMESPACE, "--output", "json")
        done = run_helm("get", "values", RELEASE, *where, environment=self._environment)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) or {}

    def render(self, values: Mapping[str, Any] | None = None) -> str:
        """What the chart would install."""
        return self.helm("template", *self._chart, values=self._with(values)).stdout

    def operator_pods(self) -> list[Json]:
        """The operator's pods that are not on their way out."""
        found = self.kubectl.list("pods", NAMESPACE, "app.kubernetes.io/component=operator")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def left(self) -> set[str]:
        """What of the release is in the cluster."""
        kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,sa,cm,deploy,svc,netpol,pdb,secret,lease"
        return set(
            self.kubectl(
                "get", kinds, "-A", "-o", "name", "-l", f"app.kubernetes.io/instance={RELEASE}"
            ).stdout.split()
        )

    def logs(self) -> str:
        """What the operator's pods say."""
        selector = "app.kubernetes.io/component=operator"
        return self.kubectl("logs", "-n", NAMESPACE, "-l", selector, "--tail=-1", check=False).stdout

    def until_gone(self, what: str, namespace: str, seconds: float = 120) -> None:
        """Wait until no object of a kind is left in a namespace."""
        deadline = time.monotonic() + seconds
        while found := self.kubectl.list(what, namespace):
            if time.monotonic() > deadline:
                pytest.fail(f"still there: {json.dumps([o['metadata']['name'] for o in found])}")
            time.sleep(0.5)

    def _with(self, values: Mapping[str, Any] | None) -> Json:
        return {**self._values, **(values or {})}


def _image(reference: str) -> Json:
    repository, _, tag = reference.rpartition(":")
    return {"repository": repository, "tag": tag}
