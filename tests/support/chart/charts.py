"""The Helm chart as the tests see it: rendered by real Helm, as objects."""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from devcluster.cache import REPOSITORY
from devcluster.tools.helm import ensure_helm

CHART = REPOSITORY / "helm" / "model-conversion-operator"
RELEASE, NAMESPACE = "mco", "conversion-system"
NAME = f"{RELEASE}-model-conversion-operator"

BESIDE = ("-webhooks", "-viewer")
"""What the names of other Deployments than the operator's end in, and of what belongs to them."""

Json = dict[str, Any]

EVERYTHING: Json = {
    "replicas": 2,
    "image": {"pullSecrets": [{"name": "registry"}]},
    "converter": {
        "image": {"pullSecrets": [{"name": "registry"}]},
        "env": [
            {"name": "PROXY_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "proxy", "key": "password"}}}
        ],
        "proxy": {"httpsProxy": "http://edge:$(PROXY_PASSWORD)@proxy.example:3128", "noProxy": ".svc"},
    },
    "defaults": {
        "storage": {"endpoint": "https://minio.storage.svc:9000", "secretRef": {"name": "s3-credentials"}},
        "job": {"podAnnotations": {"sidecar.istio.io/inject": "false"}, "priorityClassName": "batch"},
    },
    "tenantPolicy": {
        "enabled": True,
        "allowedEndpoints": ["https://minio.storage.svc:9000"],
        "allowedOutputs": ["s3://models/{namespace}/"],
        "allowedServiceAccounts": ["converter"],
    },
    "channelPolicy": {"enabled": True},
    "webhooks": {"enabled": True},
    "viewer": {"enabled": True, "tlsSecretName": "viewer-tls"},
    "notifications": {
        "cloudEvents": {
            "sink": "https://events.example:8443/in",
            "secretRef": {"name": "sink"},
            "caRef": {"name": "sink-ca"},
        }
    },
    "tracing": {
        "otlpEndpoint": "https://otel.example:4318",
        "secretRef": {"name": "otel"},
        "caRef": {"name": "otel-ca"},
    },
    "podDisruptionBudget": {"enabled": True},
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "extraEnvFrom": [{"configMapRef": {"name": "proxy"}}],
    "networkPolicy": {"operator": {"enabled": True}, "jobs": {"enabled": True, "namespaces": ["team-a"]}},
    "metrics": {"mode": "ServiceMonitor"},
    "prometheusRule": {"enabled": True},
    "dashboards": {"enabled": True},
}
"""Values that turn every part of the chart on, for an operator of the whole cluster."""

NAMESPACED: Json = {
    **EVERYTHING,
    "watchNamespaces": ["team-a", "team-b"],
    "networkPolicy": {"operator": {"enabled": True}, "jobs": {"enabled": True}},
    "metrics": {"mode": "PodMonitor"},
    "tenantPolicy": {"enabled": False},
}
"""The same for an operator of two namespaces, which gets nothing of the cluster's."""


_LONG = 50_000
"""Characters of a document that defines a resource: nine tenths of a rendering, and always the same."""


def _read(document: str) -> Json | None:
    return (
        copy.deepcopy(_read_once(document))
        if len(document) > _LONG
        else yaml.load(document, yaml.CSafeLoader)
    )


@functools.cache
def _read_once(document: str) -> Json:
    found: Json = yaml.load(document, yaml.CSafeLoader)
    return found


class Rendered:
    """The objects of a rendering."""

    def __init__(self, text: str) -> None:
        found = (_read(document) for document in re.split(r"^---$", text, flags=re.MULTILINE))
        self.objects: list[Json] = [each for each in found if each]

    def __iter__(self) -> Iterator[Json]:
        return iter(self.objects)

    def all(self, kind: str) -> list[Json]:
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Json:
        """The object of this name; without one, that which is the operator's."""
        if name is not None:
            (found,) = [o for o in self.all(kind) if o["metadata"]["name"] == name]
        else:
            (found,) = [o for o in self.all(kind) if not o["metadata"]["name"].endswith(BESIDE)]
        return found

    @property
    def pod(self) -> Json:
        """The pod's spec."""
        spec: Json = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Json:
        (container,) = self.pod["containers"]
        return dict(container)

    @property
    def env(self) -> dict[str, str]:
        """The environment variables that have a value."""
        return {e["name"]: e["value"] for e in self.container["env"] if "value" in e}

    @property
    def defaults(self) -> Json:
        """What conversions get that say nothing."""
        content: Json = yaml.safe_load(self.one("ConfigMap", f"{NAME}-defaults")["data"]["defaults.yaml"])
        return content


def changed(values: Mapping[str, Any], path: str, value: object) -> Json:
    """``values`` with another one at ``path`` (``a.b``)."""
    name, _, rest = path.partition(".")
    inner = values.get(name)
    return {**values, name: changed(inner if isinstance(inner, dict) else {}, rest, value) if rest else value}


def later_chart(folder: Path) -> Path:
    """The chart of a later version, whose resource has another column."""
    chart = folder / "later"
    shutil.copytree(CHART, chart)
    description = chart / "Chart.yaml"
    description.write_text(re.sub(r"(?m)^(version|appVersion): .*", r"\1: 99.0.0", description.read_text()))
    crd = chart / "files" / "crds" / "modelconversions.edgeml.dev.yaml"
    crd.write_text(crd.read_text().replace("- name: Phase\n", "- name: Stage\n"))
    return chart


def run_helm(
    *args: str, values: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [_program(), *args, *([] if values is None else ["--values", "-"])]
    text = None if values is None else json.dumps(values)
    env = os.environ | (environment or {})
    return subprocess.run(command, input=text, env=env, capture_output=True, text=True, check=False)


def helm_homes(home: Path) -> dict[str, str]:
    """Variables that keep what Helm remembers in a folder of the test's own."""
    return {f"HELM_{what}_HOME": str(home / what.lower()) for what in ("CACHE", "CONFIG", "DATA")}


def render_text(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, chart: Path = CHART
) -> str:
    result = run_helm("template", release, str(chart), "--namespace", NAMESPACE, values=values or {})
    assert result.returncode == 0, result.stderr
    return result.stdout


def render(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, chart: Path = CHART
) -> Rendered:
    return Rendered(render_text(values, release=release, chart=chart))


def refusal(values: Mapping[str, Any]) -> str:
    """What Helm says to values that do not fit."""
    result = run_helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, values=values)
    assert result.returncode != 0, "these values were taken"
    return result.stderr


def notes(values: Mapping[str, Any] | None = None) -> str:
    """What Helm tells who has installed it."""
    args = ("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client")
    result = run_helm(*args, values=values or {})
    assert result.returncode == 0, result.stderr
    return result.stdout.partition("\nNOTES:\n")[2]


@functools.cache
def _program() -> str:
    return str(ensure_helm(Console(stderr=True)))
