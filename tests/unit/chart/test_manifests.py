"""What the chart makes of its values."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.cache import REPOSITORY
from modelconversion_api.request import PROGRESS_PORT
from modelconversion_client.viewer.settings import PREFIX, ViewerSettings
from modelconversion_operator.deciding.views import MANAGED_BY as OPERATOR
from modelconversion_operator.settings import load
from support.chart.charts import (
    CHART,
    EVERYTHING,
    NAME,
    NAMESPACE,
    NAMESPACED,
    RELEASE,
    Json,
    Rendered,
    changed,
    render,
)
from support.operator.objects import manifest

pytestmark = pytest.mark.slow

RULES: Json = yaml.safe_load((CHART / "files" / "operator-rules.yaml").read_text())
SELECTOR = {
    "app.kubernetes.io/name": "model-conversion-operator",
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/component": "operator",
}


def where(rendered: Rendered) -> set[tuple[str, str | None, str]]:
    return {(o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]) for o in rendered}


def test_by_default_there_is_nothing_but_what_every_cluster_has():
    assert where(render()) == {
        ("CustomResourceDefinition", None, "modelconversions.edgeml.dev"),
        ("CustomResourceDefinition", None, "modelconversionsets.edgeml.dev"),
        ("CustomResourceDefinition", None, "modelconversiontriggers.edgeml.dev"),
        ("CustomResourceDefinition", None, "modelchannels.edgeml.dev"),
        ("CustomResourceDefinition", None, "conversionprofiles.edgeml.dev"),
        ("CustomResourceDefinition", None, "clusterconversionprofiles.edgeml.dev"),
        ("ClusterRole", None, NAME),
        ("ClusterRoleBinding", None, NAME),
        ("ClusterRole", None, f"{NAME}-view"),
        ("ClusterRole", None, f"{NAME}-edit"),
        ("ClusterRole", None, f"{NAME}-release"),
        ("Role", NAMESPACE, f"{NAME}-lease"),
        ("RoleBinding", NAMESPACE, f"{NAME}-lease"),
        ("ServiceAccount", NAMESPACE, NAME),
        ("ConfigMap", NAMESPACE, f"{NAME}-defaults"),
        ("Deployment", NAMESPACE, NAME),
        ("Service", NAMESPACE, NAME),
        ("Pod", NAMESPACE, f"{NAME}-test"),
    }


@pytest.mark.parametrize(
    ("release", "values", "name"),
    [
        ("mco", {}, "mco-model-conversion-operator"),
        ("model-conversion-operator", {}, "model-conversion-operator"),
        ("mco", {"nameOverride": "converter"}, "mco-converter"),
        ("mco", {"fullnameOverride": "converter"}, "converter"),
        ("a" * 53, {}, "a" * 50),
    ],
)
def test_names(release: str, values: Json, name: str):
    rendered = render(values | {"dashboards": {"enabled": True}}, release=release)
    assert rendered.one("Deployment")["metadata"]["name"] == name
    assert rendered.pod["serviceAccountName"] == name
    names = [o["metadata"]["name"] for o in rendered if o["kind"] != "CustomResourceDefinition"]
    assert all(n == name or n.startswith(f"{name}-") for n in names)
    assert max(map(len, names)) <= 253
    assert len(name) <= 63


@pytest.mark.parametrize("values", [EVERYTHING, NAMESPACED], ids=["everything", "namespaced"])
def test_labels_and_annotations_for_all_are_on_all(values: Json):
    common = {
        "commonLabels": {"team": "ml", "app.kubernetes.io/name": "x"},
        "commonAnnotations": {"cost": "7"},
    }
    rendered = render(values | common)
    pod = rendered.one("Deployment")["spec"]["template"]
    for thing in [*rendered, pod]:
        metadata = thing["metadata"]
        assert metadata["labels"]["team"] == "ml", metadata
        # Ours are what selectors look for.
        assert metadata["labels"]["app.kubernetes.io/name"] == "model-conversion-operator"
        assert metadata["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert metadata["annotations"]["cost"] == "7", metadata


def test_selectors_hold_nothing_that_may_change_and_find_the_operator_only():
    values = NAMESPACED | {"podLabels": {"app.kubernetes.io/component": "x", "more": "y"}}
    rendered = render(values)
    deployment = rendered.one("Deployment")["spec"]
    assert deployment["selector"]["matchLabels"] == SELECTOR
    labels = deployment["template"]["metadata"]["labels"]
    assert labels | SELECTOR == labels
    assert labels["more"] == "y"
    assert rendered.one("Service")["spec"]["selector"] == SELECTOR
    assert rendered.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == SELECTOR
    assert rendered.one("PodMonitor")["spec"]["selector"]["matchLabels"] == SELECTOR
    assert rendered.one("NetworkPolicy", NAME)["spec"]["podSelector"]["matchLabels"] == SELECTOR
    test = rendered.one("Pod")["metadata"]["labels"]
    assert test | SELECTOR != test


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "{}:0.1.0"),
        ({"tag": "v2"}, "{}:v2"),
        ({"digest": "sha256:" + "a" * 64}, "{}@sha256:" + "a" * 64),
        ({"digest": "sha256:" + "a" * 64, "tag": "v2"}, "{}:v2@sha256:" + "a" * 64),
        ({"repository": "localhost:5000/x"}, "localhost:5000/x:0.1.0"),
    ],
)
def test_images(image: Json, reference: str):
    rendered = render({"image": image, "converter": {"image": image}})
    assert rendered.container["image"] == reference.format("model-conversion-operator")
    assert rendered.one("Pod")["spec"]["containers"][0]["image"] == rendered.container["image"]
    assert rendered.env["MODELCONVERSION_CONVERTER_IMAGE"] == reference.format("tflite-converter")


# Permissions.


def test_for_the_whole_cluster_the_rules_are_a_cluster_role():
    rendered = render()
    assert rendered.one("ClusterRole", NAME)["rules"] == RULES["rules"]
    binding = rendered.one("ClusterRoleBinding")
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": NAME,
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]


def test_for_namespaces_the_rules_are_a_role_in_each_and_nothing_is_the_clusters():
    rendered = render({"watchNamespaces": ["team-a", "team-b"]})
    assert not rendered.all("ClusterRoleBinding")
    roles = {f"{NAME}-{name}" for name in ("view", "edit", "release")}
    assert {r["metadata"]["name"] for r in rendered.all("ClusterRole")} == roles
    roles = {r["metadata"]["namespace"]: r["rules"] for r in rendered.all("Role")}
    assert roles.keys() == {"team-a", "team-b", NAMESPACE}
    assert roles["team-a"] == roles["team-b"] == RULES["rules"]
    for binding in rendered.all("RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]
        assert binding["roleRef"]["name"] == binding["metadata"]["name"]


def test_the_release_watches_its_own_namespace_too():
    names = [r["metadata"]["name"] for r in render({"watchNamespaces": [NAMESPACE]}).all("Role")]
    assert sorted(names) == [NAME, f"{NAME}-lease"]


def test_the_lease_is_the_releases_own_and_no_other_is_in_reach():
    rendered = render()
    named, create = rendered.one("Role", f"{NAME}-lease")["rules"]
    assert named == RULES["leaseRules"][0] | {"resourceNames": [NAME]}
    assert RULES["leaseRules"][0]["resourceNames"] == [OPERATOR, f"{OPERATOR}-told", f"{OPERATOR}-traced"]
    assert create == RULES["leaseRules"][1]
    assert rendered.env["MODELCONVERSION_LEASE_NAME"] == NAME
    assert rendered.env["MODELCONVERSION_LEASE_NAMESPACE"] == NAMESPACE


SINK: Json = {"sink": "http://broker.events.svc/in", "secretRef": {"name": "sink", "key": "key"}}


def test_a_sink_of_events_has_a_lease_a_token_from_a_secret_and_a_way_through_the_policy():
    values = {"notifications": {"cloudEvents": SINK}, "networkPolicy": {"operator": {"enabled": True}}}
    rendered = render(values)
    assert rendered.one("Role", f"{NAME}-lease")["rules"][0]["resourceNames"] == [NAME, f"{NAME}-told"]
    assert rendered.env["MODELCONVERSION_EVENTS_TOKEN_FILE"] == "/etc/notifications/token"
    assert rendered.env["MODELCONVERSION_EVENTS_CA_FILE"] == ""
    (volume,) = (v for v in rendered.pod["volumes"] if v["name"] == "notifications")
    items = [{"key": "key", "path": "token"}]
    assert volume["projected"]["sources"] == [{"secret": {"name": "sink", "items": items}}]
    egress = rendered.one("NetworkPolicy", NAME)["spec"]["egress"]
    assert {"ports": [{"port": 80, "protocol": "TCP"}]} in egress
    given = changed(values, "notifications.cloudEvents.ports", [8080, 8081])
    ports = [{"port": port, "protocol": "TCP"} for port in (8080, 8081)]
    assert {"ports": ports} in render(given).one("NetworkPolicy", NAME)["spec"]["egress"]


@pytest.mark.parametrize(("namespaces", "kind"), [([], "ClusterRole"), (["ml"], "Role")])
def test_the_receiver_of_webhooks_may_ask_for_looks_and_for_nothing_else(namespaces: list[str], kind: str):
    name = f"{NAME}-webhooks"
    assert not [o for o in render() if o["metadata"]["name"] == name]
    rendered = render({"webhooks": {"enabled": True}, "watchNamespaces": namespaces})
    rules = rendered.one(kind, name)["rules"]
    rights = {(r, verb) for rule in rules for r in rule["resources"] for verb in rule["verbs"]}
    assert rights == {("modelconversiontriggers", "get"), ("modelconversiontriggers/status", "patch")}
    account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    assert rendered.one(f"{kind}Binding", name)["subjects"] == [account]
    pod = rendered.one("Deployment", name)["spec"]["template"]
    assert pod["spec"]["serviceAccountName"] == name
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    selector = rendered.one("Service", name)["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    operators = rendered.one("Service", NAME)["spec"]["selector"]
    assert not operators.items() <= pod["metadata"]["labels"].items(), "it is no operator"


def test_the_page_has_no_rights_and_no_token_and_reaches_the_api_server_alone():
    name = f"{NAME}-viewer"
    assert not [o for o in render() if o["metadata"]["name"] == name]
    policy = {"operator": {"enabled": True, "apiServerPorts": [6443], "apiServerCIDRs": ["10.0.0.1/32"]}}
    proxy = [{"podSelector": {"matchLabels": {"app": "proxy"}}}]
    rendered = render({"viewer": {"enabled": True, "allowedFrom": proxy}, "networkPolicy": policy})
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        assert name not in [s["name"] for binding in rendered.all(kind) for s in binding["subjects"]]
    assert rendered.one("ServiceAccount", name)["automountServiceAccountToken"] is False
    pod = rendered.one("Deployment", name)["spec"]["template"]
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["serviceAccountName"] == name
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["modelconversion-viewer"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [v.keys() - {"name"} for v in pod["spec"]["volumes"]] == [{"configMap"}]
    spec = rendered.one("NetworkPolicy", name)["spec"]
    assert spec["ingress"] == [{"ports": [{"port": "web", "protocol": "TCP"}], "from": proxy}]
    server = {"ports": [{"port": 6443, "protocol": "TCP"}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}
    assert spec["egress"] == [server]
    selector = rendered.one("Service", name)["spec"]["selector"]
    assert selector.items() <= pod["metadata"]["labels"].items()
    operators = rendered.one("Service", NAME)["spec"]["selector"]
    assert not operators.items() <= pod["metadata"]["labels"].items(), "it is no operator"


@pytest.mark.parametrize(("secret", "scheme", "port"), [("", "HTTP", 8080), ("page-tls", "HTTPS", 8443)])
def test_the_page_is_served_by_https_where_there_is_a_certificate(secret: str, scheme: str, port: int):
    rendered = render({"viewer": {"enabled": True, "tlsSecretName": secret}})
    pod = rendered.one("Deployment", f"{NAME}-viewer")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["livenessProbe"]["httpGet"]["scheme"] == scheme
    assert container["readinessProbe"]["httpGet"]["scheme"] == scheme
    assert rendered.one("Service", f"{NAME}-viewer")["spec"]["ports"][0]["port"] == port
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    env = {e["name"]: e.get("value") for e in container["env"]}
    assert env.get("MODELCONVERSION_VIEWER_TLS_FOLDER") == mounts.get("tls")
    assert ("tls" in mounts) is bool(secret)
    assert env["MODELCONVERSION_VIEWER_API_SERVER_CA"] == f"{mounts['api-server']}/ca.crt"
    settings = {n.removeprefix(PREFIX).lower() for n in env if n.startswith(PREFIX)}
    assert settings <= set(ViewerSettings.model_fields)


def test_a_sink_alone_needs_a_lease_too():
    rendered = render({"notifications": {"cloudEvents": SINK}, "leaderElection": {"enabled": False}})
    assert rendered.one("Role", f"{NAME}-lease")["rules"][0]["resourceNames"] == [f"{NAME}-told"]
    assert rendered.env["MODELCONVERSION_LEASE_NAME"] == NAME
    assert rendered.env["MODELCONVERSION_LEASE_NAMESPACE"] == NAMESPACE
    assert "MODELCONVERSION_LEASE_SECONDS" not in rendered.env


TRACING: Json = {
    "otlpEndpoint": "http://otel-collector.observability:4318",
    "secretRef": {"name": "otel", "key": "key"},
    "header": "x-api-key",
}


def test_a_receiver_of_traces_has_a_lease_a_token_from_a_secret_and_a_way_through_the_policy():
    rendered = render({"tracing": TRACING, "networkPolicy": {"operator": {"enabled": True}}})
    assert rendered.one("Role", f"{NAME}-lease")["rules"][0]["resourceNames"] == [NAME, f"{NAME}-traced"]
    assert rendered.env["MODELCONVERSION_TRACES_ENDPOINT"] == TRACING["otlpEndpoint"]
    assert rendered.env["MODELCONVERSION_TRACES_HEADER"] == "x-api-key"
    assert rendered.env["MODELCONVERSION_TRACES_TOKEN_FILE"] == "/etc/tracing/token"
    assert rendered.env["MODELCONVERSION_TRACES_CA_FILE"] == ""
    (volume,) = (v for v in rendered.pod["volumes"] if v["name"] == "tracing")
    items = [{"key": "key", "path": "token"}]
    assert volume["projected"]["sources"] == [{"secret": {"name": "otel", "items": items}}]
    egress = rendered.one("NetworkPolicy", NAME)["spec"]["egress"]
    assert {"ports": [{"port": 4318, "protocol": "TCP"}]} in egress


def test_a_sink_and_a_receiver_on_one_port_open_it_once():
    both = {"notifications": {"cloudEvents": SINK}, "tracing": TRACING | {"ports": [80, 4318]}}
    egress = render(both | {"networkPolicy": {"operator": {"enabled": True}}}).one("NetworkPolicy", NAME)
    ports = [{"port": port, "protocol": "TCP"} for port in (80, 4318)]
    assert {"ports": ports} in egress["spec"]["egress"]


def test_a_receiver_of_traces_alone_needs_a_lease_too():
    rendered = render({"tracing": TRACING, "leaderElection": {"enabled": False}})
    assert rendered.one("Role", f"{NAME}-lease")["rules"][0]["resourceNames"] == [f"{NAME}-traced"]
    assert rendered.env["MODELCONVERSION_LEASE_NAMESPACE"] == NAMESPACE


def test_without_a_sink_nothing_of_it_is_there():
    rendered = render({"networkPolicy": {"operator": {"enabled": True}}})
    assert not {"notifications", "tracing"} & {volume["name"] for volume in rendered.pod["volumes"]}
    assert rendered.env["MODELCONVERSION_TRACES_ENDPOINT"] == ""
    assert rendered.env["MODELCONVERSION_EVENTS_SINK"] == ""
    assert len(rendered.one("NetworkPolicy", NAME)["spec"]["egress"]) == 3  # DNS, API server, pods


def test_who_may_edit_a_namespace_may_convert_there_and_not_write_the_status():
    rendered = render()
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    view, edit = (rendered.one("ClusterRole", f"{NAME}-{what}") for what in ("view", "edit"))
    assert {k for k in view["metadata"]["labels"] if k.startswith(prefix)} == {
        prefix + r for r in ("view", "edit", "admin")
    }
    assert {k for k in edit["metadata"]["labels"] if k.startswith(prefix)} == {
        prefix + r for r in ("edit", "admin")
    }
    writable = {r for rule in edit["rules"] for r in rule["resources"]}
    ours = {"modelconversions", "modelconversionsets", "modelconversiontriggers", "conversionprofiles"}
    assert writable == ours, "what counts everywhere is the platform's"


@pytest.mark.parametrize(
    ("values", "made", "used"),
    [
        ({}, [NAME], NAME),
        ({"serviceAccount": {"name": "given"}}, ["given"], "given"),
        ({"serviceAccount": {"create": False, "name": "given"}}, [], "given"),
        ({"rbac": {"create": False, "aggregate": False}}, [NAME], NAME),
    ],
)
def test_service_account(values: Json, made: list[str], used: str):
    rendered = render(values)
    assert [a["metadata"]["name"] for a in rendered.all("ServiceAccount")] == made
    assert rendered.pod["serviceAccountName"] == used
    bindings = [*rendered.all("ClusterRoleBinding"), *rendered.all("RoleBinding")]
    assert bool(bindings) == ("rbac" not in values)
    assert all(s["name"] == used for b in bindings for s in b["subjects"])


# Replicas.


@pytest.mark.parametrize(
    ("values", "strategy", "elects"),
    [
        ({}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}, True),
        ({"leaderElection": {"enabled": False}}, {"type": "Recreate"}, False),
        ({"replicas": 3, "strategy": {"type": "Recreate"}}, {"type": "Recreate"}, True),
    ],
)
def test_two_never_work_at_a_time(values: Json, strategy: Json, *, elects: bool):
    rendered = render(values)
    assert rendered.one("Deployment")["spec"]["strategy"] == strategy
    assert rendered.env["MODELCONVERSION_LEADER_ELECT"] == str(elects).lower()
    assert bool(rendered.all("Role")) == elects
    identity = [e for e in rendered.container["env"] if e["name"] == "MODELCONVERSION_LEADER_IDENTITY"]
    assert [e["valueFrom"] for e in identity] == [{"fieldRef": {"fieldPath": "metadata.uid"}}] * elects


def test_replicas_prefer_different_nodes():
    assert "affinity" not in render().pod
    (term,) = render({"replicas": 2}).pod["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"] == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": SELECTOR},
    }
    own: Json = {"nodeAffinity": {}}
    assert render({"replicas": 2, "affinity": own}).pod["affinity"] == own


def test_a_spread_constraint_means_the_operators_pods_unless_it_says_otherwise():
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    other = constraint | {"labelSelector": {"matchLabels": {"a": "b"}}}
    first, second = render({"topologySpreadConstraints": [constraint, other]}).pod[
        "topologySpreadConstraints"
    ]
    assert first == constraint | {"labelSelector": {"matchLabels": SELECTOR}}
    assert second["labelSelector"]["matchLabels"]["a"] == "b"


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "50%"}, {"maxUnavailable": "50%"}),
        ({"minAvailable": 2}, {"minAvailable": 2}),
        ({"minAvailable": "34%"}, {"minAvailable": "34%"}),
    ],
)
def test_disruption_budget(values: Json, spec: Json):
    made = render({"replicas": 3, "podDisruptionBudget": {"enabled": True} | values}).one(
        "PodDisruptionBudget"
    )
    assert {k: v for k, v in made["spec"].items() if k != "selector"} == spec


# The pod.


def test_a_change_of_the_defaults_file_rolls_the_pods_and_nothing_else_does():
    def checksum(values: Json) -> str:
        annotations = render(values).one("Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/defaults"])

    before = checksum({})
    assert checksum({"defaults": {"job": {"nodeSelector": {"pool": "ml"}}}}) != before
    assert checksum({"converter": {"image": {"pullSecrets": [{"name": "registry"}]}}}) != before
    assert checksum({"dashboards": {"enabled": True}}) == before


def test_the_file_is_where_the_operator_looks_for_it():
    rendered = render()
    mounts = {m["name"]: m for m in rendered.container["volumeMounts"]}
    volumes = {v["name"]: v for v in rendered.pod["volumes"]}
    assert mounts["defaults"]["readOnly"]
    assert rendered.env["MODELCONVERSION_DEFAULTS_FILE"] == f"{mounts['defaults']['mountPath']}/defaults.yaml"
    assert volumes["defaults"]["configMap"]["name"] == f"{NAME}-defaults"
    assert mounts.keys() == volumes.keys()


def test_ports_and_probes_fit_together():
    rendered = render()
    (port,) = rendered.container["ports"]
    assert port["containerPort"] == load(["--converter-image", "x"]).http_port
    assert rendered.container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}
    assert rendered.container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port["name"]}
    assert rendered.one("Service")["spec"]["ports"][0]["targetPort"] == port["name"]


def test_what_is_added_comes_after_what_is_there():
    more = {
        "extraArgs": ["--http-host=::"],
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "x"}}],
        "extraVolumes": [{"name": "more", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    }
    rendered = render(more)
    assert rendered.container["args"] == more["extraArgs"]
    assert rendered.container["env"][-1] == more["extraEnv"][0]
    assert rendered.container["envFrom"] == more["extraEnvFrom"]
    assert rendered.container["volumeMounts"][-1] == more["extraVolumeMounts"][0]
    assert rendered.pod["volumes"][-1] == more["extraVolumes"][0]


# The custom resource.


def test_the_resources_are_those_of_the_contract():
    ours = [yaml.safe_load(path.read_text()) for path in (REPOSITORY / "crds").glob("*.yaml")]
    crds = render({"commonAnnotations": {"a": "b"}}).all("CustomResourceDefinition")
    for crd in crds:
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep", "a": "b"}
        assert crd["metadata"].pop("labels")["app.kubernetes.io/managed-by"] == "Helm"
    by_name = {crd["metadata"]["name"]: crd for crd in ours}
    assert {crd["metadata"]["name"]: crd for crd in crds} == by_name


@pytest.mark.parametrize(
    ("crds", "annotations"),
    [({}, {"helm.sh/resource-policy": "keep"}), ({"keep": False}, None), ({"enabled": False}, "no resource")],
)
def test_whether_the_resource_is_installed_and_kept(crds: Json, annotations: Any):
    found = render({"crds": crds}).all("CustomResourceDefinition")
    count = len(list((REPOSITORY / "crds").glob("*.yaml")))
    assert [c["metadata"].get("annotations") for c in found] == (
        [] if crds.get("enabled") is False else [annotations] * count
    )


# Network policies.


def opens(policy: Json, direction: str) -> set[tuple[str, Any]]:
    """The ports that a policy opens, each with those that it is open to; "" for all."""
    peers = {"ingress": "from", "egress": "to"}[direction]
    return {
        (json.dumps(rule.get(peers, ""), sort_keys=True) if rule.get(peers) else "", port["port"])
        for rule in policy["spec"][direction]
        for port in rule["ports"]
    }


def test_the_operators_policy():
    policy = render(EVERYTHING).one("NetworkPolicy", NAME)
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    ((sources, port),) = opens(policy, "ingress")
    assert port == "http"
    monitoring, test = json.loads(sources)
    assert monitoring["namespaceSelector"]["matchExpressions"][0]["values"] == ["monitoring"]
    labels = render(EVERYTHING).one("Pod")["metadata"]["labels"]
    assert labels | test["podSelector"]["matchLabels"] == labels
    assert {(to != "", port) for to, port in opens(policy, "egress")} == {
        (False, 53),
        (False, 443),
        (False, 6443),
        (False, 8443),  # the sink of events
        (False, 4318),  # the receiver of traces
        (True, PROGRESS_PORT),
    }


def test_the_jobs_policy_lies_in_each_namespace_and_fits_their_pods():
    rendered = render(NAMESPACED)
    policies = [p for p in rendered.all("NetworkPolicy") if p["metadata"]["name"] == f"{NAME}-jobs"]
    assert [p["metadata"]["namespace"] for p in policies] == ["team-a", "team-b"]
    pod_labels = manifest()["spec"]["template"]["metadata"]["labels"]
    policy = policies[0]
    assert pod_labels | policy["spec"]["podSelector"]["matchLabels"] == pod_labels
    ((source, port),) = opens(policy, "ingress")
    assert port == PROGRESS_PORT
    (peer,) = json.loads(source)
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}
    assert peer["podSelector"]["matchLabels"] == SELECTOR
    assert opens(policy, "egress") == {("", 53), ("", 443), ("", 9000), ("", 3128)}
    # And the operator's leads to the same pods.
    to = [t for t, port in opens(rendered.one("NetworkPolicy", NAME), "egress") if port == PROGRESS_PORT]
    (peer,) = json.loads(to[0])
    assert pod_labels | peer["podSelector"]["matchLabels"] == pod_labels
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["team-a", "team-b"]


@pytest.mark.parametrize(
    ("endpoint", "ports"),
    [
        (None, {443}),
        ("https://minio.storage.svc", {443}),
        ("https://minio.storage.svc:9000", {443, 9000}),
        ("http://minio.storage.svc", {443, 80}),
        ("http://[fd00::1]:8333/", {443, 8333}),
        ("http://[fd00::1]", {443, 80}),
    ],
)
@pytest.mark.parametrize("cloud", [None, "googleCloud", "azure"])
def test_the_default_stores_port_is_open_to_jobs(endpoint: str | None, ports: set[int], cloud: str | None):
    storage: Json = {"endpoint": endpoint} if endpoint else {}
    if cloud is not None:
        storage = {cloud: storage | ({"account": "models"} if cloud == "azure" else {})}
    values = {
        "defaults": {"storage": storage},
        "networkPolicy": {"jobs": {"enabled": True, "namespaces": ["a"]}},
    }
    policy = render(values).one("NetworkPolicy")
    assert {port for _, port in opens(policy, "egress")} == {53} | ports


def test_where_nobody_asks_pods_for_their_progress_nothing_reaches_them():
    rendered = render(EVERYTHING | {"progressSeconds": 0})
    assert rendered.one("NetworkPolicy", f"{NAME}-jobs")["spec"]["ingress"] == []
    assert PROGRESS_PORT not in {p for _, p in opens(rendered.one("NetworkPolicy", NAME), "egress")}


# Monitoring.


@pytest.mark.parametrize(
    ("mode", "kinds", "annotated"),
    [
        ("None", [], False),
        ("Annotations", [], True),
        ("ServiceMonitor", ["ServiceMonitor"], False),
        ("PodMonitor", ["PodMonitor"], False),
    ],
)
def test_prometheus_finds_the_operator_in_one_way(mode: str, kinds: list[str], *, annotated: bool):
    rendered = render({"metrics": {"mode": mode}})
    assert [o["kind"] for o in rendered if o["kind"].endswith("Monitor")] == kinds
    annotations = rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert ("prometheus.io/scrape" in annotations) == annotated


@pytest.mark.parametrize(
    ("mode", "endpoints"), [("ServiceMonitor", "endpoints"), ("PodMonitor", "podMetricsEndpoints")]
)
def test_monitors(mode: str, endpoints: str):
    monitor = {"namespace": "monitoring", "labels": {"release": "prometheus"}, "interval": "15s"}
    rendered = render({"metrics": {"mode": mode, "monitor": monitor}})
    made = rendered.one(mode)
    assert made["metadata"]["namespace"] == "monitoring"
    assert made["metadata"]["labels"]["release"] == "prometheus"
    assert made["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    (endpoint,) = made["spec"][endpoints]
    assert endpoint == {"port": "http", "path": "/metrics", "interval": "15s", "scrapeTimeout": "10s"}
    labels = rendered.one("Service")["metadata"]["labels"]
    assert labels | made["spec"]["selector"]["matchLabels"] == labels
    assert made["spec"]["jobLabel"] in labels
    assert endpoint["port"] == rendered.one("Service")["spec"]["ports"][0]["name"]
    assert endpoint["port"] == rendered.container["ports"][0]["name"]


def test_who_wants_other_annotations_gets_them():
    rendered = render({"podAnnotations": {"prometheus.io/path": "/other", "a": "b"}})
    annotations = rendered.one("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert (annotations["prometheus.io/path"], annotations["prometheus.io/port"]) == ("/other", "8080")
    assert annotations["a"] == "b"


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    """A copy of the chart with files of its own to install."""
    copy = tmp_path / "chart"
    shutil.copytree(CHART, copy, ignore=shutil.ignore_patterns("dashboards", "alerts.yaml"))
    (copy / "files" / "dashboards").mkdir()
    return copy


ALERT = 'groups:\n  - name: a\n    rules:\n      - alert: B\n        expr: up{job="{{ x }}"}\n'


def test_alerts_are_installed_as_they_are(chart: Path):
    (chart / "files" / "alerts.yaml").write_text(ALERT)
    values = {
        "prometheusRule": {"enabled": True, "namespace": "monitoring", "labels": {"release": "prometheus"}}
    }
    rule = render(values, chart=chart).one("PrometheusRule")
    assert rule["spec"] == yaml.safe_load(ALERT)
    assert rule["metadata"]["namespace"] == "monitoring"
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    assert not render(chart=chart).all("PrometheusRule")


def test_dashboards_are_installed_as_they_are(chart: Path):
    content = '{"title": "{{ method }} $x", "panels": []}\n'
    for name in ("overview.json", "Model_quality.json"):
        (chart / "files" / "dashboards" / name).write_text(content)
    rendered = render({"dashboards": {"enabled": True, "namespace": "monitoring"}}, chart=chart)
    maps = {
        m["metadata"]["name"]: m for m in rendered.all("ConfigMap") if "defaults" not in m["metadata"]["name"]
    }
    assert maps.keys() == {f"{NAME}-dashboard-overview", f"{NAME}-dashboard-model-quality"}
    made = maps[f"{NAME}-dashboard-overview"]
    assert made["data"] == {"overview.json": content}
    assert made["metadata"]["namespace"] == "monitoring"
    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert made["metadata"]["annotations"] == {"grafana_folder": "Model conversion"}


def test_more_objects_come_as_they_are_with_their_templates_filled_in():
    """Braces of other languages, and numbers that are texts, are what templates get wrong."""
    texts = {"a": "{{ .Release.Namespace }}/{{ .Values.image.tag }}", "port": "8080", "rule": "{a: [b]}"}
    given = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": texts}
    text = (
        "{{- range list 2 3 }}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: 'no-{{ . }}'}\n{{- end }}"
    )
    rendered = render({"extraObjects": [given, text], "image": {"tag": "v1"}})
    assert rendered.one("ConfigMap", "one") == given | {"data": texts | {"a": f"{NAMESPACE}/v1"}}
    assert [o["metadata"]["name"] for o in rendered.all("Secret")] == ["no-2", "no-3"]
    others = [o for o in rendered if o["metadata"]["name"] not in ("one", "no-2", "no-3")]
    assert others == list(render({"image": {"tag": "v1"}}))


def test_the_charts_own_files_are_installed():
    rendered = render(EVERYTHING)
    rule = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    assert rendered.one("PrometheusRule")["spec"] == rule
    dashboards = {
        k: v for m in rendered.all("ConfigMap") for k, v in m["data"].items() if k.endswith(".json")
    }
    files = {f.name: f.read_text() for f in (CHART / "files" / "dashboards").glob("*.json")}
    assert {k: json.loads(v) for k, v in dashboards.items()} == {k: json.loads(v) for k, v in files.items()}


# The test, and the package.


def test_helm_test_is_a_pod_that_is_gone_when_it_succeeded():
    pod = render({"tolerations": [{"key": "a", "operator": "Exists"}]}).one("Pod")
    assert pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    assert pod["spec"]["tolerations"]
    assert pod["spec"]["automountServiceAccountToken"] is False


def test_helm_test_says_what_is_wrong():
    *_, script, url = render().one("Pod")["spec"]["containers"][0]["command"]
    assert url == f"http://{NAME}.{NAMESPACE}.svc:8080"
    impatient = script.replace("time.monotonic() + 60", "time.monotonic() - 1")
    assert impatient != script
    command = [sys.executable, "-c", impatient, "http://127.0.0.1:9"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(
        "The operator at http://127.0.0.1:9 is not well:\n/readyz cannot be reached"
    )


def test_the_chart_names_no_machine_and_has_its_files():
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = re.search(r'^version = "(.+)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    assert about["appVersion"] == version[1]
    crds = yaml.safe_load(about["annotations"]["artifacthub.io/crds"])
    assert {f"{crd['name']}.yaml" for crd in crds} == {path.name for path in (CHART / "files/crds").iterdir()}
    text = "".join(p.read_text() for p in CHART.rglob("*") if p.is_file())
    assert not re.search(r"/(root|work|home)/", text)
