"""The chart in a real API server, by real Helm: install, upgrade, uninstall; the operator under its rules."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from devcluster.control_plane.control_plane import ControlPlane
from devcluster.tools.binaries import ensure_control_plane_binaries
from support.chart.charts import (
    CHART,
    EVERYTHING,
    NAME,
    NAMESPACED,
    RELEASE,
    Json,
    Rendered,
    helm_homes,
    later_chart,
    render_text,
    run_helm,
)
from support.cluster.conversions import Operator, manifest, until

pytestmark = pytest.mark.cluster

CRD = "modelconversions.edgeml.dev"
CRDS = sorted(path.stem for path in (CHART / "files" / "crds").glob("*.yaml"))
KEPT = {f"customresourcedefinition.apiextensions.k8s.io/{name}" for name in CRDS}
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
SPEC = {
    "source": {"uri": "s3://models/m.h5"},
    "output": {"uri": "s3://models/out/"},
    "methods": ["Float16"],
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own: in the other one, kubectl installs the resource."""
    with ControlPlane(ensure_control_plane_binaries(Console(stderr=True))) as running:
        yield running


class Release:
    """The chart in a namespace whose pods have to fit Pod Security's strictest level."""

    def __init__(self, cluster: ControlPlane, home: Path) -> None:
        self.cluster = cluster
        self.namespace = self.new_namespace()
        self._environment = {"KUBECONFIG": str(cluster.kubeconfig)} | helm_homes(home)

    def new_namespace(self) -> str:
        name = f"test-{secrets.token_hex(4)}"
        self.cluster.create_namespace(name)
        labels = [f"{key}={value}" for key, value in RESTRICTED.items()]
        self.cluster.kubectl("label", "namespace", name, *labels)
        return name

    def helm(self, verb: str, *args: str, values: Json | None = None) -> subprocess.CompletedProcess[str]:
        where = ("--namespace", self.namespace, *args)
        return run_helm(verb, RELEASE, *where, values=values, environment=self._environment)

    def install(self, values: Json | None = None, *args: str, chart: Path = CHART) -> None:
        """Install or upgrade; nothing waits for pods, for nobody runs them here."""
        done = self.helm("upgrade", str(chart), "--install", *args, values=values or {})
        assert done.returncode == 0, done.stderr
        assert "Warning" not in done.stderr

    def uninstall(self) -> None:
        done = self.helm("uninstall")
        assert done.returncode == 0, done.stderr

    def get(self, *what: str) -> Any:
        return json.loads(self.cluster.kubectl("-n", self.namespace, "get", *what, "-o", "json").stdout)

    def left(self) -> set[str]:
        """What of the release is in the cluster."""
        kinds = "crd,clusterrole,clusterrolebinding,role,rolebinding,sa,cm,deploy,svc,netpol,pdb,secret"
        kinds += ",validatingadmissionpolicy,validatingadmissionpolicybinding"
        command = ("get", kinds, "-A", "-o", "name", "-l", f"app.kubernetes.io/instance={RELEASE}")
        return set(self.cluster.kubectl(*command).stdout.split())


@pytest.fixture
def release(cluster: ControlPlane, tmp_path: Path) -> Iterator[Release]:
    made = Release(cluster, tmp_path / "helm")
    yield made
    made.helm("uninstall")
    cluster.kubectl("delete", "crd", *CRDS, "--ignore-not-found", "--timeout=30s")
    cluster.kubectl("delete", "namespace", made.namespace, "--wait=false")


def columns(release: Release) -> list[str]:
    version = release.get("crd", CRD)["spec"]["versions"][0]
    return [column["name"] for column in version["additionalPrinterColumns"]]


def test_install_upgrade_and_uninstall_keep_conversions(release: Release, tmp_path: Path):
    release.install()
    assert release.get("deployment", NAME)["spec"]["replicas"] == 1
    release.cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", CRD)
    release.cluster.apply([manifest("kept", release.namespace, SPEC)])
    assert columns(release)[0] == "Phase"

    later = later_chart(tmp_path)
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    more = {**kind, "metadata": {"name": "more"}, "data": {"of": "{{ .Release.Name }}"}}
    values = {"replicas": 2, "podDisruptionBudget": {"enabled": True}}
    release.install({**values, "extraObjects": [more]}, chart=later)
    assert release.get("configmap", "more")["data"] == {"of": RELEASE}
    release.install(values, chart=later)
    assert "more" not in release.cluster.kubectl("-n", release.namespace, "get", "configmap").stdout
    assert release.get("deployment", NAME)["spec"]["replicas"] == 2
    assert release.get("pdb", NAME)["spec"]["maxUnavailable"] == 1
    assert columns(release)[0] == "Stage"

    release.uninstall()
    assert release.left() == KEPT
    assert release.get("mconv", "kept")["spec"]["methods"] == ["Float16"]

    # The same release takes the resource over again, and brings it up to date.
    release.install()
    assert columns(release)[0] == "Phase"
    assert release.get("mconv", "kept")


def test_a_resource_that_is_not_kept_goes_with_its_conversions(release: Release):
    release.install({"crds": {"keep": False}})
    release.uninstall()
    until(lambda: not release.left(), "nothing is left", 20, lambda: str(release.left()))


def test_a_resource_that_kubectl_installed_is_taken_over_when_asked_to(release: Release, tmp_path: Path):
    for older in (later_chart(tmp_path) / "files" / "crds").glob("*.yaml"):
        release.cluster.apply(older)
    refused = release.helm("install", str(CHART), values={})
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    release.install(None, "--take-ownership", "--force-conflicts")
    assert release.get("crd", CRD)["metadata"]["annotations"]["meta.helm.sh/release-name"] == RELEASE
    assert columns(release)[0] == "Phase"


def older_chart(folder: Path) -> Path:
    """The chart of a version that did not have a part of today's."""
    chart = folder / "older"
    shutil.copytree(CHART, chart)
    values = yaml.safe_load((chart / "values.yaml").read_text())
    schema = json.loads((chart / "values.schema.json").read_text())
    del values["tenantPolicy"], schema["properties"]["tenantPolicy"]
    schema["required"].remove("tenantPolicy")
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    (chart / "values.schema.json").write_text(json.dumps(schema))
    (chart / "templates" / "tenant-policy.yaml").unlink()
    checks = chart / "templates" / "_checks.tpl"
    checks.write_text(re.sub(r"\{\{- with \$values\.tenantPolicy -\}\}(.*\n){5}", "", checks.read_text()))
    return chart


def test_values_are_taken_over_from_a_version_that_had_fewer(release: Release, tmp_path: Path):
    release.install({"log": {"format": "json"}}, chart=older_chart(tmp_path))
    refused = release.helm("upgrade", str(CHART), "--reuse-values")
    assert refused.returncode != 0
    assert "tenantPolicy" in refused.stderr
    taken = release.helm("upgrade", str(CHART), "--reset-then-reuse-values")
    assert taken.returncode == 0, taken.stderr
    (container,) = release.get("deployment", NAME)["spec"]["template"]["spec"]["containers"]
    assert {"name": "MODELCONVERSION_LOG_FORMAT", "value": "json"} in container["env"]


def test_an_upgrade_sets_right_what_was_scaled_by_hand(release: Release):
    release.install()
    release.cluster.kubectl("-n", release.namespace, "scale", "deployment", NAME, "--replicas=0")
    release.install({"log": {"level": "debug"}})
    assert release.get("deployment", NAME)["spec"]["replicas"] == 1


@pytest.fixture
def monitoring(cluster: ControlPlane) -> None:
    """The Prometheus Operator's resources, as far as being there goes."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    for kind in ("ServiceMonitor", "PodMonitor", "PrometheusRule"):
        plural = f"{kind.lower()}s"
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
        spec = {
            "group": "monitoring.coreos.com",
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [version],
        }
        meta = {"name": f"{plural}.monitoring.coreos.com"}
        crd = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
        cluster.apply([{**crd, "metadata": meta, "spec": spec}])
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", meta["name"])


@pytest.mark.usefixtures("monitoring")
@pytest.mark.parametrize("values", [EVERYTHING, NAMESPACED], ids=["everything", "namespaced"])
def test_the_api_server_takes_everything(release: Release, values: Json):
    first, second = release.new_namespace(), release.new_namespace()
    text = json.dumps(values).replace("team-a", first).replace("team-b", second)
    release.install(json.loads(text))
    policies = json.loads(release.cluster.kubectl("get", "netpol", "-A", "-o", "json").stdout)["items"]
    wanted = {release.namespace, first} | ({second} if values is NAMESPACED else set())
    assert {p["metadata"]["namespace"] for p in policies} == wanted
    release.uninstall()
    assert release.left() == KEPT


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_pod_security_lets_both_pods_in(release: Release, values: Json):
    rendered = Rendered(render_text(values))
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": NAME}}
    release.cluster.kubectl("-n", release.namespace, "apply", "-f", "-", input=json.dumps(account))
    if values:  # there is no controller that would make it
        rendered.pod.pop("priorityClassName", None)

    def create(spec: Json) -> str:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "pod-"}, "spec": spec}
        command = ("-n", release.namespace, "create", "--dry-run=server", "-f", "-")
        return release.cluster.kubectl(*command, input=json.dumps(pod), check=False).stderr

    assert create(rendered.pod) == ""
    assert create(rendered.one("Pod")["spec"]) == ""
    rendered.pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    assert "violates PodSecurity" in create(rendered.pod)


class ChartsOperator(Operator):
    """The operator with what the chart gives it: its account, its environment, its file."""

    def __init__(self, release: Release, folder: Path) -> None:
        cluster, namespace = release.cluster, release.namespace
        super().__init__(cluster.service_account_kubeconfig(namespace, NAME), folder / "operator.log")
        (container,) = release.get("deployment", NAME)["spec"]["template"]["spec"]["containers"]
        env = {e["name"]: e.get("value", "") for e in container["env"]}
        file = folder / "defaults.yaml"
        file.write_text(release.get("configmap", f"{NAME}-defaults")["data"]["defaults.yaml"])
        env |= {"MODELCONVERSION_DEFAULTS_FILE": str(file), "MODELCONVERSION_LEADER_IDENTITY": "a-uid"}
        self._environment |= env


@pytest.fixture
def defaults() -> Json:
    storage = {"endpoint": "https://minio.storage.svc:9000"}
    return {
        "defaults": {"storage": storage, "job": {"nodeSelector": {"pool": "ml"}, "podLabels": {"a": "b"}}},
        "converter": {"hostUsers": False},
    }


@pytest.fixture
def walled(cluster: ControlPlane) -> Iterator[str]:
    """A runtime class, which brings along what its pods cost and where they may run."""
    name = f"walled-{secrets.token_hex(4)}"
    described = {
        "overhead": {"podFixed": {"memory": "64Mi"}},
        "scheduling": {"nodeSelector": {"walled": "yes"}},
    }
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runsc"}
    cluster.apply([{**kind, "metadata": {"name": name}, **described}])
    yield name
    cluster.kubectl("delete", "runtimeclass", name)


@pytest.mark.parametrize("only_one_namespace", [False, True])
def test_the_operator_works_under_the_charts_rules(
    release: Release, tmp_path: Path, defaults: Json, walled: str, *, only_one_namespace: bool
):
    watched, other = release.new_namespace(), release.new_namespace()
    defaults["converter"]["runtimeClassName"] = walled
    release.install(defaults | ({"watchNamespaces": [watched]} if only_one_namespace else {}))
    for namespace in (watched, other):
        release.cluster.apply([manifest("model", namespace, SPEC)])
    operator = ChartsOperator(release, tmp_path)
    operator.start()
    try:
        # `helm test` as its pod would run it.
        *command, script, _ = Rendered(render_text()).one("Pod")["spec"]["containers"][0]["command"]
        assert command == ["python3", "-c"]
        said = subprocess.run(
            [sys.executable, "-c", script, f"http://127.0.0.1:{operator.port}"],
            capture_output=True,
            text=True,
        )
        assert said.returncode == 0, said.stderr

        def jobs(namespace: str) -> list[Json]:
            found: list[Json] = json.loads(
                release.cluster.kubectl("-n", namespace, "get", "jobs", "-o", "json").stdout
            )["items"]
            return found

        until(lambda: len(jobs(watched)) == 1, "a Job of the watched namespace", 30, operator.tail)
        if only_one_namespace:
            assert jobs(other) == []
        else:
            until(lambda: len(jobs(other)) == 1, "a Job of the other", 30, operator.tail)
        (job,) = jobs(watched)
        # Pod Security lets the Job's own pod in as well.
        pods = ("-n", watched, "get", "pods", "-o", "json")

        def made() -> list[Json]:
            found: list[Json] = json.loads(release.cluster.kubectl(*pods).stdout)["items"]
            return found

        until(lambda: made() != [], "its pod", 30, lambda: json.dumps(job))
        (admitted,) = (p["spec"] for p in made())
        assert (admitted["runtimeClassName"], admitted["hostUsers"]) == (walled, False)
        assert admitted["overhead"] == {"memory": "64Mi"}
        assert admitted["nodeSelector"] == {"pool": "ml", "walled": "yes"}
        pod = job["spec"]["template"]
        assert pod["spec"]["nodeSelector"] == {"pool": "ml"}
        assert pod["metadata"]["labels"]["a"] == "b"
        assert pod["spec"]["containers"][0]["resources"]["limits"] == {
            "memory": "4Gi",
            "ephemeral-storage": "20Gi",
        }
        assert "https://minio.storage.svc:9000" in json.dumps(pod)
        assert release.get("lease", NAME)["spec"]["holderIdentity"].startswith("a-uid")
    finally:
        assert operator.stop() == 0, operator.tail()
    assert "orbidden" not in operator.tail()


def test_the_clusters_own_roles_come_to_know_conversions(release: Release):
    release.install()
    group = "rbac.authorization.k8s.io"
    for role in ("view", "edit", "admin"):
        binding = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": release.namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": f"the-{role}er", "apiGroup": group}],
        }
        release.cluster.apply([binding])

    def may(role: str, verb: str, *more: str) -> bool:
        command = ("auth", "can-i", verb, "modelconversions.edgeml.dev", "--as", f"the-{role}er", *more)
        return release.cluster.kubectl("-n", release.namespace, *command, check=False).stdout.strip() == "yes"

    until(lambda: may("admin", "delete"), "the roles are aggregated", 20)
    verbs = ("list", "create", "delete")
    assert [v for v in verbs if may("view", v)] == ["list"]
    assert [v for v in verbs if may("edit", v)] == ["list", "create", "delete"]
    assert not may("admin", "patch", "--subresource=status")
