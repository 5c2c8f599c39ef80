"""The chart's values: each does something, each is described, each mistake is named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from devcluster.generated.chart_readme import README, Section, Value, readme, sections, table
from modelconversion_api.fields.oci import RegistryKeyRef
from modelconversion_api.fields.storage import (
    Azure,
    AzureSecretRef,
    GoogleCloud,
    GoogleSecretRef,
    Registries,
    SecretRef,
    Storage,
)
from modelconversion_operator.deciding.defaults import Defaults, JobTemplate
from modelconversion_operator.job_environment import Proxy
from modelconversion_operator.settings import ENV_PREFIX, Settings, load
from support.chart.charts import (
    CHART,
    EVERYTHING,
    NAMESPACED,
    Json,
    changed,
    notes,
    refusal,
    render,
    render_text,
    run_helm,
)

pytestmark = pytest.mark.slow

VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else name)
    elif "/" not in path:  # a label's key is not a value's name
        yield path, value


LEAVES = dict(leaves(VALUES))

RULES = [{"ports": [{"port": 1234}]}]
PEERS = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
TOLERATIONS = [{"key": "a", "operator": "Exists"}]
AFFINITY = {"nodeAffinity": {}}
RELABELINGS = [{"action": "drop", "regex": "x", "sourceLabels": ["y"]}]
OTHER: Json = {
    "imageRegistry": "mirror.example:5000/edge",
    "imagePullSecrets": [{"name": "mirror"}],
    "image.digest": "sha256:" + "0" * 64,
    "converter.image.digest": "sha256:" + "0" * 64,
    "image.pullPolicy": "Always",
    "converter.image.pullPolicy": "Always",
    "image.pullSecrets": [{"name": "other"}],
    "converter.image.pullSecrets": [{"name": "other"}],
    "converter.env": [{"name": "A", "value": "b"}],
    "converter.proxy.httpProxy": "http://other.example:3128",
    "converter.proxy.httpsProxy": "http://other.example:3128",
    "converter.runtimeImage": "registry.example/runtime:1",
    "converter.engineArchitectures": {"StableHLO": "amd64"},
    "converter.engines": {"ONNX": "registry.example/onnx:1", "PyTorch": "registry.example/pytorch:1"},
    "watchNamespaces": ["elsewhere"],
    "defaults.storage": {"region": "eu-west-1"},
    "defaults.job.tolerations": TOLERATIONS,
    "defaults.job.affinity": AFFINITY,
    "policy.allowedServiceAccounts": ["converter"],
    "policy.allowedPriorityClasses": ["batch"],
    "policy.allowedTolerations": ["gpu"],
    "policy.allowedNodeLabels": ["pool"],
    "policy.allowedEndpoints": ["https://minio:9000"],
    "policy.allowedSecretKeys": ["key"],
    "policy.credentialsRelease": "warn",
    "sharedOutput": "refuse",
    "className": "edge",
    "tenantPolicy.validationActions": ["Warn", "Audit"],
    "channelPolicy.validationActions": ["Warn"],
    "tenantPolicy.namespaceSelector": {"matchLabels": {"tenant": "yes"}},
    "tenantPolicy.allowedEndpoints": ["AWS"],
    "tenantPolicy.allowedOutputs": ["s3://other/"],
    "tenantPolicy.allowedServiceAccounts": ["team-a/converter"],
    "tenantPolicy.allowedMetricImages": ["registry.example:5000/{namespace}/metrics"],
    "policy.allowedMetricImages": ["registry.example/metrics@*"],
    "policy.allowedResources": ["cpu", "memory", "nvidia.com/gpu"],
    "log.level": "debug",
    "log.format": "json",
    "notifications.cloudEvents.sink": "http://other.example/",
    "notifications.cloudEvents.types": ["failed"],
    "notifications.cloudEvents.caRef.kind": "Secret",
    "notifications.cloudEvents.ports": [8444],
    "viewer.tlsSecretName": "other-tls",
    "viewer.allowedFrom": PEERS,
    "tracing.otlpEndpoint": "http://other.example:4318",
    "tracing.header": "api-key",
    "tracing.caRef.kind": "Secret",
    "tracing.ports": [8445],
    "strategy": {"type": "Recreate"},
    "podDisruptionBudget.minAvailable": "50%",
    "tolerations": TOLERATIONS,
    "affinity": AFFINITY,
    "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule"}],
    "securityContext.capabilities.drop": ["NET_RAW"],
    "extraArgs": ["--http-host=::"],
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraEnvFrom": [{"secretRef": {"name": "other"}}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}],
    "networkPolicy.dnsPorts": [5353],
    "networkPolicy.operator.scrapeNamespaces": ["elsewhere"],
    "networkPolicy.operator.apiServerPorts": [16443],
    "networkPolicy.operator.apiServerCIDRs": ["10.0.0.1/32"],
    "networkPolicy.operator.extraIngress": RULES,
    "networkPolicy.operator.extraEgress": RULES,
    "networkPolicy.jobs.namespaces": ["team-c"],
    "networkPolicy.jobs.storePorts": [9001],
    "networkPolicy.jobs.storePeers": PEERS,
    "networkPolicy.jobs.extraEgress": RULES,
    "metrics.mode": "None",
    "metrics.monitor.interval": "7s",
    "metrics.monitor.scrapeTimeout": "7s",
    "metrics.monitor.relabelings": RELABELINGS,
    "metrics.monitor.metricRelabelings": RELABELINGS,
    "podSecurityContext.seccompProfile.type": "Unconfined",
}
"""Another value for each that cannot be made up from its type."""
ALONE = {  # what else has to be said when one of these is changed
    "leaderElection.enabled": {"replicas": 1},
    "serviceAccount.create": {"serviceAccount": {"name": "given"}},
    "watchNamespaces": {"networkPolicy": {"operator": {"enabled": True}}},
}


def another(path: str) -> Any:
    value = LEAVES[path]
    if path in OTHER:
        return OTHER[path]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, dict):
        return {"a": "b"}
    assert isinstance(value, str), f"OTHER lacks {path}"
    return "7" if value[:1].isdigit() else "other"


@pytest.fixture(scope="session")
def everything() -> str:
    return render_text(EVERYTHING)


@pytest.mark.parametrize("path", LEAVES)
def test_every_value_changes_something(path: str, everything: str):
    base = EVERYTHING | ALONE.get(path, {})
    before = render_text(base) if path in ALONE else everything
    # Where it is switched on already, a value is changed to what the chart comes with.
    value = another(path)
    current: Any = base
    for part in path.split("."):
        current = current.get(part, {}) if isinstance(current, dict) else {}
    values = changed(base, path, LEAVES[path] if current == value else value)
    assert render_text(values) != before


def test_every_value_is_described_in_the_readme():
    assert readme(README.read_text()) == README.read_text(), "run `make generated`"


def test_a_value_without_a_comment_is_an_error():
    with pytest.raises(ValueError, match=r"a\.c in values\.yaml has no comment"):
        sections("# @section S\n\na:\n  # B.\n  b: 1\n  c: 2\n")


def test_tables_of_values():
    text = "# @section First\n# About these.\n\n# One\n# thing.\na: {x: 1}\nb:\n  # A|b.\n  c: ''\n"
    first, following = sections(f"{text}# @section Next\n# D.\nd: 1")
    assert first == Section(
        "First", "About these.", [Value("a", "One thing.", {"x": 1}), Value("b.c", "A|b.", "")]
    )
    assert following.title == "Next"
    assert '| `b.c` | A\\|b. | `""` |' in table(first)


# The schema.


def properties(node: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Each object of the schema that knows its properties."""
    node = SCHEMA["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    if "properties" in node:
        yield path, node
        for name, inner in node["properties"].items():
            yield from properties(inner, f"{path}.{name}" if path else name)


OBJECTS = dict(properties(SCHEMA))
WITHOUT_DEFAULT = (
    "defaults.storage",
    "defaults.storage.secretRef",
    "defaults.storage.googleCloud",
    "defaults.storage.googleCloud.secretRef",
    "defaults.storage.azure",
    "defaults.storage.azure.secretRef",
    "defaults.storage.oci",
    "defaults.storage.oci.secretRef",
    "strategy",
    "tenantPolicy.namespaceSelector",
)


def at(path: str) -> Any:
    value: Any = VALUES
    for part in filter(None, path.split(".")):
        value = value[part]
    return value


@pytest.mark.parametrize("path", [p for p in OBJECTS if p not in WITHOUT_DEFAULT])
def test_schema_and_values_have_the_same_names(path: str):
    known = OBJECTS[path]["properties"].keys() - {"global", "claims"}
    assert known == at(path).keys()


@pytest.mark.parametrize("path", OBJECTS)
def test_an_unknown_value_is_refused_by_name(path: str):
    place = "/" + path.replace(".", "/") if path else ""
    message = refusal(changed({}, f"{path}.tpyo".lstrip("."), 1))
    assert f"at '{place}': additional properties 'tpyo' not allowed" in message


def test_storage_and_job_defaults_are_those_of_the_contract():
    def names(model: Any) -> set[str]:
        return {info.alias or name for name, info in model.model_fields.items()}

    assert OBJECTS["defaults.storage"]["properties"].keys() == names(Storage)
    assert OBJECTS["defaults.storage.secretRef"]["properties"].keys() == names(SecretRef)
    for path, model in {
        "googleCloud": GoogleCloud,
        "googleCloud.secretRef": GoogleSecretRef,
        "azure": Azure,
        "azure.secretRef": AzureSecretRef,
        "oci": Registries,
        "oci.secretRef": RegistryKeyRef,
    }.items():
        fields = OBJECTS[f"defaults.storage.{path}"]["properties"]
        assert fields.keys() == {to_camel(name) for name in model.model_fields}
    # These go with the image.
    with_image = {"imagePullSecrets", "env", "proxy", "runtimeClassName", "hostUsers"}
    assert OBJECTS["defaults.job"]["properties"].keys() | with_image == names(JobTemplate)
    assert OBJECTS["converter.proxy"]["properties"].keys() == names(Proxy)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("replicas", "two", "at '/replicas': got string, want integer"),
        ("replicas", -1, "minimum: got -1, want 0"),
        ("image.tag", 1.1, "at '/image/tag': got number, want string"),
        ("image.digest", "latest", "'latest' does not match pattern '^(sha256:[0-9a-f]{64})?$'"),
        ("imageRegistry", "https://mirror.example", "'https://mirror.example' does not match pattern"),
        ("imageRegistry", "mirror.example/", "'mirror.example/' does not match pattern"),
        ("extraObjects", [{"kind": "ConfigMap"}], "missing properties 'apiVersion', 'metadata'"),
        ("extraObjects", {"a": "b"}, "at '/extraObjects': got object, want array"),
        ("tenantPolicy.allowedOutputs", ["s3://models/a"], "'s3://models/a' does not match pattern"),
        ("tenantPolicy.allowedOutputs", ["models/"], "'models/' does not match pattern"),
        ("tenantPolicy.allowedEndpoints", ["https://minio:9000/"], "does not match pattern"),
        ("tenantPolicy.allowedOutputs", ["s3://models/{tenant}/"], "does not match pattern"),
        ("tenantPolicy.enabled", True, "everything is allowed: name what is in tenantPolicy"),
        ("tenantPolicy.allowedServiceAccounts", ["conv*"], "'conv*' does not match pattern"),
        ("tenantPolicy.allowedMetricImages", ["a/b@*"], "'a/b@*' does not match pattern"),
        ("channelPolicy.validationActions", [], "minItems: got 0, want 1"),
        ("tenantPolicy.validationActions", ["Allow"], "must be one of 'Deny', 'Warn', 'Audit'"),
        ("imagePullSecrets", ["registry"], "at '/imagePullSecrets/0': got string, want object"),
        ("image", None, "missing property 'image'"),
        ("image.pullSecrets", ["registry"], "at '/image/pullSecrets/0': got string, want object"),
        ("watchNamespaces", "ml", "at '/watchNamespaces': got string, want array"),
        ("watchNamespaces", ["ML"], "'ML' does not match pattern"),
        ("watchNamespaces", ["ml", "ml"], "at '/watchNamespaces': items at 0 and 1 are equal"),
        ("log.level", "INFO", "value must be one of 'debug', 'info', 'warning', 'error'"),
        ("metrics.mode", "Service", "must be one of 'None', 'Annotations', 'ServiceMonitor', 'PodMonitor'"),
        ("crds.keep", "yes", "at '/crds/keep': got string, want boolean"),
        ("podLabels", {"a": True}, "at '/podLabels/a': got boolean, want string"),
        ("policy.allowedServiceAccounts", ["a b"], "'a b' does not match pattern"),
        ("notifications.cloudEvents.types", ["ended"], "value must be one of 'started', 'succeeded'"),
        ("notifications.cloudEvents.types", [], "minItems: got 0, want 1"),
        ("notifications.cloudEvents.sink", "events.example", "'events.example' does not match pattern"),
        (
            "notifications.cloudEvents.sink",
            "https://a:b@events.example/",
            "notifications.cloudEvents.sink has a user in its URL, which all can read",
        ),
        ("tracing.otlpEndpoint", "otel:4317", "'otel:4317' does not match pattern"),
        ("tracing.header", "a b", "'a b' does not match pattern"),
        (
            "tracing.otlpEndpoint",
            "https://a:b@otel.example:4318",
            "tracing.otlpEndpoint has a user in its URL, which all can read",
        ),
        ("progressSeconds", 601, "maximum: got 601, want 600"),
        ("networkPolicy.jobs.storePorts", ["https"], "got string, want integer"),
        ("podDisruptionBudget.maxUnavailable", 0, "minimum: got 0, want 1"),
        ("defaults.job.resources.limits.memory", "4 GB", "'4 GB' does not match pattern"),
        ("defaults.job.activeDeadlineSeconds", 60, "properties 'activeDeadlineSeconds' not allowed"),
        ("defaults.storage.caBundle", "/etc/ca.pem", "does not match pattern '-----BEGIN CERTIFICATE-----'"),
        # Between two values, or in words that a pattern has not:
        ("defaults.storage.endpoint", "minio:9000", "must be a URL without path or user, e.g. https://minio"),
        (
            "defaults.storage.googleCloud",
            {"endpoint": "https://h/path"},
            "defaults.storage.googleCloud.endpoint is https://h/path: it must be a URL without path or user",
        ),
        (
            "defaults.storage.azure",
            {"account": "models", "endpoint": "https://u@h"},
            "defaults.storage.azure.endpoint is https://u@h: it must be a URL without path or user",
        ),
        ("defaults.storage.azure", {"account": "My-Models"}, "'My-Models' does not match pattern"),
        ("defaults.storage.azure", {}, "missing property 'account'"),
        ("tenantPolicy.allowedOutputs", ["az://models/a"], "'az://models/a' does not match pattern"),
        ("tenantPolicy.allowedOutputs", ["https://models/a/"], "does not match pattern"),
        ("image.repository", "localhost:5000/x:v1", "a tag or a digest: put those into image.tag and image."),
        ("converter.image.repository", "x@sha256:00", "into converter.image.tag and converter.image.digest"),
        ("serviceAccount.create", False, "name the service account that the operator is to use"),
        ("extraEnv", [{"name": "MODELCONVERSION_WORKERS", "value": "1"}], "extraEnv has MODELCONVERSION"),
        ("networkPolicy.jobs.enabled", True, "networkPolicy.jobs.enabled needs namespaces"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_what_is_wrong(path: str, value: Any, words: str):
    assert words in refusal(changed({}, path, value))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"replicas": 2, "leaderElection": {"enabled": False}}, "replicas is 2 without leader election"),
        ({"watchNamespaces": ["a"], "networkPolicy": {"jobs": {"namespaces": ["a"]}}}, "with watchName"),
        ({"podDisruptionBudget": {"enabled": True, "minAvailable": 1}}, "could ever be drained"),
        ({"replicas": 2, "podDisruptionBudget": {"enabled": True, "minAvailable": "51%"}}, "ever be drained"),
    ],
)  # fmt: skip
def test_values_that_contradict_each_other_are_refused(values: Json, words: str):
    assert words in refusal(values)


@pytest.mark.parametrize(
    "values",
    [
        {"replicas": 2, "podDisruptionBudget": {"enabled": True, "minAvailable": "50%"}},
        {"replicas": 0, "podDisruptionBudget": {"enabled": True, "minAvailable": 1}},
        {"image": {"repository": "localhost:5000/operator"}},
        {"global": {"any": "thing"}},
        # What has a default is taken away with null.
        {"nodeSelector": None, "podSecurityContext": None, "resources": None, "commonLabels": None},
        {"podSecurityContext": {"runAsUser": None, "runAsGroup": None}},
        {"dashboards": {"enabled": True, "labels": None, "annotations": None}},
    ],
)
def test_values_that_are_right_are_taken(values: Json):
    assert render(values).one("Deployment")


def test_the_readmes_example_is_taken():
    (example,) = re.findall(r"```yaml\n(.+?)```", README.read_text(), re.DOTALL)
    rendered = render(yaml.safe_load(example))
    assert {r["metadata"]["namespace"] for r in rendered.all("RoleBinding")} > {"team-a", "team-b"}


@pytest.mark.parametrize("values", [{}, EVERYTHING, NAMESPACED], ids=["defaults", "everything", "namespaced"])
def test_helm_lint_has_nothing_to_say(values: Json):
    result = run_helm("lint", str(CHART), "--strict", values=values)
    assert result.returncode == 0, result.stdout
    assert [line for line in result.stdout.splitlines() if line.startswith("[")] == []


# The operator takes what the chart gives.


@pytest.mark.parametrize("values", [{}, EVERYTHING, NAMESPACED], ids=["defaults", "everything", "namespaced"])
def test_the_operator_takes_the_environment(values: Json, monkeypatch: pytest.MonkeyPatch):
    for name, value in (env := render(values).env).items():
        monkeypatch.setenv(name, value)
    settings = load([])
    assert settings.leader_elect
    assert settings.namespace_list == values.get("watchNamespaces", [])
    ours = {name.removeprefix(ENV_PREFIX).lower() for name in env} | {"leader_identity"}
    # The Service, the probes and the policies know the port; extraArgs can still set the address.
    assert Settings.model_fields.keys() - ours == {"http_host", "http_port"}
    assert ours <= Settings.model_fields.keys()


def test_without_values_the_operator_has_its_own_defaults(monkeypatch: pytest.MonkeyPatch):
    for name, value in render().env.items():
        monkeypatch.setenv(name, value)
    chosen = {"converter_image", "defaults_file", "leader_elect", "lease_name", "lease_namespace"}
    assert load([]).model_dump(exclude=chosen) == load(["--converter-image", "x"]).model_dump(exclude=chosen)
    assert Defaults.model_validate(render().defaults) == Defaults()


def test_the_operator_takes_the_defaults_file():
    job = {
        "resources": {"limits": {"memory": 1073741824}},
        "nodeSelector": {"pool": "ml"},
        "tolerations": [{"key": "ml", "effect": "NoExecute", "tolerationSeconds": 1000000}],
        "serviceAccountName": "converter",
        "priorityClassName": "batch",
        "podLabels": {"team": "ml"},
        "fixedUser": False,
    }  # fmt: skip
    storage = {
        "endpoint": "https://minio:9000",
        "caBundle": "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
    }
    values = {
        "defaults": {"job": job, "storage": storage},
        "converter": {"image": {"pullSecrets": [{"name": "registry"}]}},
    }
    defaults = Defaults.model_validate(render(values).defaults)
    assert defaults.storage.ca_bundle == storage["caBundle"]
    assert defaults.job.tolerations is not None
    assert defaults.job.tolerations[0].toleration_seconds == 1000000
    assert defaults.job.image_pull_secrets is not None
    assert defaults.job.to_wire()["resources"]["limits"]["memory"] == 1073741824
    assert defaults.job.fixed_user is False
    assert (defaults.job.service_account_name, defaults.job.priority_class_name) == ("converter", "batch")


# What Helm tells in the end.


@pytest.mark.parametrize(
    ("values", "told", "not_told"),
    [
        ({}, "watches the whole cluster", "NOTE"),
        ({}, "kubectl -n conversion-system rollout status deployment/mco-model-conversion-operator", "NOTE"),
        ({}, "helm test mco -n conversion-system --logs", "NOTE"),
        ({}, "kubectl -n default create secret generic s3-credentials", "NOTE"),
        ({"watchNamespaces": ["team-a", "team-b"]}, "watches the namespaces team-a, team-b", "-n default"),
        ({"watchNamespaces": ["team-a"]}, "kubectl -n team-a apply -f - <<EOF", "-n default"),
        ({"defaults": {"storage": {"region": "eu-west-1"}}}, "my-model", "create secret"),
        ({"defaults": {"storage": {"googleCloud": {}}}}, "source: {uri: gs://my-bucket/", "s3://"),
        ({"defaults": {"storage": {"azure": {"account": "abc"}}}}, "output: {uri: az://my-bucket/", "s3://"),
        (
            {"defaults": {"storage": {"azure": {"account": "abc"}, "endpoint": "https://minio"}}},
            "output: {uri: s3://my-bucket/",
            "az://",
        ),
        ({}, "no service account but default (policy.allowedServiceAccounts).", "NOTE"),
        ({"concurrency": {"max": 5}}, "- 5 conversions run at a time (concurrency).", "of one namespace"),
        ({"concurrency": {"maxPerNamespace": 2}}, "as there are, and 2 of one namespace (conc", "NOTE"),
        ({"policy": {"allowedPriorityClasses": ["batch"]}}, "priority classes batch (policy.", "identity"),
        ({"policy": {"allowedPriorityClasses": []}}, "may name no priority class", "NOTE"),
        ({}, "labels *, and ask for cpu, memory, ephemeral-storage (policy).", "NOTE"),
        ({}, "create role conversions-s3-credentials", "only an event"),
        ({"policy": {"credentialsRelease": "warn"}}, "until then there is only an event", "NOTE"),
        ({"policy": {"allowedTolerations": []}}, "may tolerate no taint, choose nodes by the lab", "NOTE"),
        ({"policy": {"allowedServiceAccounts": ["*"]}}, "can use every cloud identity", "keep"),
        ({"crds": {"keep": False}}, "deletes all ModelConversions", "identity"),
        ({"replicas": 0}, "replicas is 0", "keep"),
        ({"networkPolicy": {"jobs": {"enabled": True, "namespaces": ["a"]}}}, "is in a only", "keep"),
    ],
)  # fmt: skip
def test_notes(values: Json, told: str, not_told: str):
    text = notes(values)
    assert told in text
    assert not_told not in text
