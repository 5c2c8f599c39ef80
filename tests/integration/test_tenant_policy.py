"""The chart's policy for tenants at a real API server: what it refuses, what it takes, and what it says."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.control_plane.control_plane import ControlPlane
from support.chart.charts import Json, render
from support.cluster.asking import refusal_of_new
from support.cluster.conversions import manifest, until

pytestmark = pytest.mark.cluster

PLATFORM = {"endpoint": "https://minio.storage.svc:9000", "secretRef": {"name": "s3"}}
PIN = f"#sha256={'0' * 64}"
CALIBRATION = {"uri": "s3://models/val.npy"}
ELSE = {"uri": f"https://else.example/x.npy{PIN}"}
LIMITS: Json = {
    "allowedEndpoints": [
        "https://minio.storage.svc:9000",
        "https://{namespace}.example",
        "https://ours.blob.core.windows.net",
        "https://ours.p.googleapis.com",
    ],
    "allowedOutputs": ["s3://models/{namespace}/", "s3://{namespace}/", "az://out/", "gs://out/"],
    "allowedServiceAccounts": ["converter", "{namespace}-runner", "elsewhere/special"],
    "allowedMetricImages": ["registry.example:5000/{namespace}/metrics", "registry.example/common"],
}


def signed(uri: str) -> Json:
    """What a source has whose signature lies there."""
    return {
        "verify": {
            "publicKey": "-----BEGIN PUBLIC KEY-----\nMFkw...\n-----END PUBLIC KEY-----\n",
            "signatureUri": uri,
        }
    }


def judged(*images: str) -> Json:
    """A spec with metrics of these images."""
    digest = f"sha256:{'0a' * 32}"
    metrics = [
        {"name": f"m{n}", "image": f"{image}@{digest}", "command": ["/m"]} for n, image in enumerate(images)
    ]
    return {"validation": {"uri": "s3://anywhere/val.npy", "metrics": metrics}}


class Fence:
    """A policy of the chart around one namespace of its own."""

    def __init__(self, cluster: ControlPlane, values: Json, **limits: Any) -> None:
        self.cluster = cluster
        self.namespace = f"tenant-{secrets.token_hex(3)}"
        self.cluster.create_namespace(self.namespace)
        self._release = f"fence-{secrets.token_hex(3)}"
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
        policy = {"enabled": True, "namespaceSelector": selector, **limits}
        rendered = render(values | {"tenantPolicy": policy}, release=self._release)
        kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
        self.objects = [o for o in rendered if o["kind"] in kinds]
        self.names = [body["metadata"]["name"] for body in self.objects if body["kind"] == kinds[0]]
        self.cluster.apply(self.objects)

    def write(self, name: str = "tested", **changes: Any) -> str:
        """What the API server says to a conversion that is written; nothing where it takes it."""
        text = self._text(name, changes)
        return self.cluster.kubectl("apply", "-f", "-", input=text, check=False).stderr

    def would_say(self, **changes: Any) -> str:
        """What it would say to a new one."""
        return refusal_of_new(self.cluster, json.loads(self._text("probe", changes)))

    def warns(self, **changes: Any) -> str:
        """What kubectl would show of a new one, warnings with it."""
        text = self._text("probe", changes)
        return self.cluster.kubectl("create", "--dry-run=server", "-f", "-", input=text, check=False).stderr

    def _text(self, name: str, changes: Json) -> str:
        spec = {
            "source": {"uri": "s3://anywhere/gesture.h5"},
            "output": {"uri": f"s3://models/{self.namespace}/gesture/"},
            "methods": ["DynamicRange"],
        } | changes
        text = json.dumps(manifest(name, self.namespace, spec))
        return text.replace("NAMESPACE", self.namespace)

    def in_force(self) -> Fence:
        outside = {"output": {"uri": "s3://outside/x/"}, "storage": {"endpoint": "https://outside.example"}}
        until(lambda: "denied request" in self.would_say(**outside), "the policy is in force", 30)
        return self

    def remove(self) -> None:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            self.cluster.kubectl("delete", kind, *self.names, "--wait=false")
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")


@pytest.fixture(scope="module")
def fence(crd: ControlPlane) -> Iterator[Fence]:
    made = Fence(crd, {"defaults": {"storage": PLATFORM}}, **LIMITS)
    yield made.in_force()
    made.remove()


@pytest.fixture(scope="module")
def without_store(crd: ControlPlane) -> Iterator[Fence]:
    """One of a platform that has no store of its own, so that those who name none go to AWS."""
    made = Fence(crd, {}, **{**LIMITS, "allowedEndpoints": ["AWS"], "allowedServiceAccounts": []})
    yield made.in_force()
    made.remove()


AZ, GS = {"uri": "az://any/a.h5"}, {"uri": "gs://any/a.h5"}
AZ_OUT = {"uri": "az://out/x/"}
SERVER = "denied request: spec: "
NOT_ELSE = f"{SERVER}https://else.example is none of the servers that conversions of"
OUTPUT, STORE, ACCOUNT = "spec.output: ", "spec.storage: ", "spec.job.serviceAccountName: "
METRICS = "denied request: spec.validation.metrics: "
ELSEWHERE = {"endpoint": "https://attacker.example"}


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, ""),
        (judged(), ""),
        (judged("registry.example:5000/NAMESPACE/metrics", "registry.example/common"), ""),
        (
            judged("registry.example/common", "registry.example/other"),
            f"{METRICS}registry.example/other is none",
        ),
        (judged("registry.example:5000/team/metrics"), METRICS),
        (judged("registry.example/common:1"), METRICS),
        (judged("evil.example/registry.example/common"), METRICS),
        ({"output": {"uri": "s3://models/NAMESPACE"}}, ""),
        ({"output": {"uri": "s3://NAMESPACE/any/where"}}, ""),
        ({"output": {"uri": "s3://models/NAMESPACE-not/x/"}}, OUTPUT),
        ({"output": {"uri": "s3://models/other/"}}, OUTPUT),
        ({"output": {"uri": "s3://models/NAMESPACE/", "cache": {"uri": "s3://models/NAMESPACE/cache/"}}}, ""),
        (
            {"output": {"uri": "s3://models/NAMESPACE/", "cache": {"uri": "s3://models/cache/"}}},
            f"{OUTPUT}s3://models/cache/ is below none",
        ),
        ({"output": {"uri": "s3://models/x/NAMESPACE/"}}, OUTPUT),
        ({"output": {"uri": "s3://models//NAMESPACE/"}}, OUTPUT),
        ({"output": {"uri": "s3://models-too/NAMESPACE/"}}, OUTPUT),
        ({"output": {"uri": "s3://models/NAMESPACE/../other/"}}, "must not contain '.' or '..'"),
        ({"output": {"uri": "s3://models/other/"}, "className": "of-another-operator"}, ""),
        (
            {
                "output": {
                    "uri": "s3://models/NAMESPACE/",
                    "oci": {"repository": "NAMESPACE.example:443/edge"},
                }
            },
            "",
        ),
        (
            {"output": {"uri": "s3://models/NAMESPACE/", "oci": {"repository": "other.example/edge"}}},
            f"{SERVER}https://other.example is none",
        ),
        (
            {
                "output": {
                    "uri": "s3://models/NAMESPACE/",
                    "oci": {"repository": "NAMESPACE.example/edge", "insecure": True},
                }
            },
            f"{SERVER}http://",
        ),
        ({"storage": {}}, ""),
        ({"storage": {"checksums": "WhenRequired"}}, ""),
        ({"storage": PLATFORM}, ""),
        ({"storage": {"endpoint": "https://minio.storage.svc:9000/"}}, ""),
        ({"storage": {"endpoint": "https://NAMESPACE.example"}}, ""),
        ({"storage": {"endpoint": "http://minio.storage.svc:9000"}}, STORE),
        ({"storage": {"endpoint": "https://minio.storage.svc:9001"}}, STORE),
        ({"storage": {"endpoint": "https://other.example"}}, STORE),
        ({"storage": {"region": "eu-west-1"}}, f"{STORE}AWS is none"),
        ({"storage": {"secretRef": {"name": "own"}}}, f"{STORE}AWS is none"),
        ({"storage": {"addressingStyle": "Virtual"}}, f"{STORE}AWS is none"),
        ({"source": {"uri": f"https://NAMESPACE.Example:443/a.h5{PIN}"}}, ""),
        ({"source": {"uri": f"https://other.example/a.h5{PIN}"}}, f"{SERVER}https://other.example is none"),
        ({"source": {"uri": f"hf://org/repo@{'0' * 40}/a.h5"}}, f"{SERVER}https://huggingface.co is none"),
        ({"source": {"uri": f"oci://NAMESPACE.example:443/a@sha256:{'0' * 64}"}}, ""),
        ({"source": {"uri": f"oci://r.example/a@sha256:{'0' * 64}"}}, f"{SERVER}https://r.example is none"),
        (
            {"source": {"uri": f"oci://NAMESPACE.example/a@sha256:{'0' * 64}"}}
            | {"storage": PLATFORM | {"oci": {"insecure": True}}},
            f"{SERVER}http://",
        ),
        ({"storage": {"oci": {"insecure": False}}}, f"{STORE}AWS is none"),
        (
            {"source": {"uri": "s3://anywhere/a.h5"} | signed("gs://elsewhere/a.sig")},
            f"{SERVER}https://storage.googleapis.com is none",
        ),
        (
            {"source": {"uri": "s3://anywhere/a.h5"} | signed("s3://anywhere/a.sig")},
            "",
        ),
        ({"calibration": ELSE}, NOT_ELSE),
        ({"calibration": CALIBRATION | {"labelsUri": ELSE["uri"]}}, NOT_ELSE),
        ({"validation": ELSE}, NOT_ELSE),
        ({"validation": CALIBRATION | {"labelsUri": ELSE["uri"]}}, NOT_ELSE),
        ({"optimize": {"training": ELSE, "pruning": {"targetSparsity": "0.5"}}}, NOT_ELSE),
        (
            {"optimize": {"training": CALIBRATION, "distillation": {"studentUri": ELSE["uri"]}}},
            NOT_ELSE,
        ),
        ({"recipes": [{"name": "x", "base": "DynamicRange", "rules": ELSE}]}, NOT_ELSE),
        ({"calibration": CALIBRATION, "validation": CALIBRATION}, ""),
        ({"source": AZ, "storage": {"azure": {"account": "ours"}} | PLATFORM}, ""),
        ({"source": AZ, "output": AZ_OUT, "storage": {"azure": {"account": "ours"}}}, ""),
        (
            {"source": AZ, "output": AZ_OUT, "storage": {"azure": {"account": "theirs"}}},
            f"{SERVER}https://theirs.blob.core.windows.net is none of the servers",
        ),
        (
            {
                "source": AZ,
                "output": AZ_OUT,
                "storage": {"azure": {"account": "ours", "endpoint": "https://x.example/"}},
            },
            f"{SERVER}https://x.example is none",
        ),
        ({"source": AZ, "storage": {"azure": {"account": "ours"}}}, f"{STORE}AWS is none"),
        ({"source": GS}, f"{SERVER}https://storage.googleapis.com is none"),
        ({"output": {"uri": "gs://out/x/"}}, f"{SERVER}https://storage.googleapis.com is none"),
        (
            {
                "source": GS,
                "output": {"uri": "gs://out/x/"},
                "storage": {"googleCloud": {"endpoint": "https://ours.p.googleapis.com/"}},
            },
            "",
        ),
        (
            {
                "source": GS,
                "output": {"uri": "gs://outside/x/"},
                "storage": {"googleCloud": {"endpoint": "https://ours.p.googleapis.com/"}},
            },
            OUTPUT,
        ),
        ({"job": {"backoffLimit": 1}}, ""),
        ({"job": {"serviceAccountName": "default"}}, ""),
        ({"job": {"serviceAccountName": "converter"}}, ""),
        ({"job": {"serviceAccountName": "NAMESPACE-runner"}}, ""),
        ({"job": {"serviceAccountName": "special"}}, ACCOUNT),
        ({"job": {"serviceAccountName": "admin"}}, ACCOUNT),
    ],
)
def test_what_tenants_may_write(fence: Fence, changes: Json, refused: str):
    said = fence.write(f"c-{secrets.token_hex(4)}", **changes)
    assert (refused in said) if refused else (said == ""), said


def test_the_words_say_what_would_be_right(fence: Fence):
    name = fence.namespace
    said = fence.write(output={"uri": "s3://models/x/"})
    assert (
        f"may write to: s3://models/{name}/, s3://{name}/, az://out/, gs://out/ (tenantPolicy.allow" in said
    )
    said = fence.write(storage=ELSEWHERE)
    assert (
        f"https://attacker.example is none of the stores that conversions of {name} may use: https://m"
        in said
    )
    said = fence.write(job={"serviceAccountName": "admin"})
    assert f"beside default: converter, {name}-runner, elsewhere/special (tenantPolicy.allowedServ" in said


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, ""),
        ({"storage": {"region": "eu-west-1", "secretRef": {"name": "own"}}}, ""),
        ({"storage": PLATFORM}, f"{STORE}https://minio.storage.svc:9000 is none"),
        ({"job": {"serviceAccountName": "converter"}}, "may use beside default: none"),
    ],
)
def test_where_there_is_no_store_of_the_platform(without_store: Fence, changes: Json, refused: str):
    said = without_store.write(f"c-{secrets.token_hex(4)}", **changes)
    assert (refused in said) if refused else (said == ""), said


def test_the_clouds_of_the_platform_are_free_to_those_who_name_none(crd: ControlPlane):
    clouds = {"googleCloud": {}, "azure": {"account": "platforms"}}
    fence = Fence(crd, {"defaults": {"storage": clouds}}, **LIMITS).in_force()
    try:
        for changes in ({"source": GS, "output": AZ_OUT}, {"output": {"uri": "gs://out/x/"}}):
            assert fence.write(f"c-{secrets.token_hex(4)}", **changes) == ""
        said = fence.write(source=GS, output=AZ_OUT, storage={"azure": {"account": "platforms"}})
        assert f"{SERVER}https://storage.googleapis.com is none of the servers" in said
    finally:
        fence.remove()


def test_other_namespaces_are_none_of_its_business(fence: Fence, namespace: str):
    text = json.dumps(
        manifest(
            "free",
            namespace,
            {
                "source": {"uri": "s3://anywhere/m.h5"},
                "output": {"uri": "s3://else/where/"},
                "methods": ["Float16"],
                "storage": ELSEWHERE,
            },
        )
    )
    assert fence.cluster.kubectl("apply", "-f", "-", input=text).stderr == ""


def test_what_was_there_before_can_be_labelled_and_deleted_but_not_written_anew(crd: ControlPlane):
    """A policy that comes later must not get in the way of an operator, a collector, or a clean-up."""
    fence = Fence(crd, {}, validationActions=["Warn"], **LIMITS)
    try:
        outside = {"output": {"uri": "s3://models/other/"}, "storage": PLATFORM}
        until(lambda: "Warning: Validation failed" in fence.warns(**outside), "the policy warns", 30)
        assert OUTPUT in fence.write("old", **outside)
        bindings = [o for o in fence.objects if o["kind"].endswith("Binding")]
        crd.apply([{**b, "spec": {**b["spec"], "validationActions": ["Deny"]}} for b in bindings])
        until(lambda: "denied request" in fence.would_say(**outside), "the policy denies", 30)
        where = ("-n", fence.namespace)
        crd.kubectl(*where, "label", "mconv", "old", "team=edge")
        as_status = ("--subresource=status", "--type=merge", "-p")
        crd.kubectl(*where, "patch", "mconv", "old", *as_status, '{"status": {"phase": "Running"}}')
        assert fence.write("old", **outside, suspend=True) == ""
        assert OUTPUT in fence.write("old", **outside, suspend=False)
        crd.kubectl(*where, "patch", "mconv", "old", *as_status, '{"status": {"phase": "Failed"}}')
        assert OUTPUT in fence.write("old", **outside, methods=["Float16"])
        assert fence.write("old", storage=PLATFORM) == ""
        crd.kubectl(*where, "delete", "mconv", "old")
    finally:
        fence.remove()


def test_the_api_server_finds_no_mistake_in_the_expressions(fence: Fence):
    def status(name: str) -> Json:
        command = ("get", "validatingadmissionpolicy", name, "-o", "json")
        found: Json = json.loads(fence.cluster.kubectl(*command).stdout).get("status", {})
        return found

    for name in fence.names:
        until(lambda name=name: "observedGeneration" in status(name), "the expressions are checked", 30)
        assert status(name).get("typeChecking", {}).get("expressionWarnings", []) == []


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, ""),
        ({"output": {"uri": "s3://models/other/x/"}}, OUTPUT),
        ({"storage": ELSEWHERE}, "is none of the stores"),
        ({"output": {"uri": "gs://out/x/"}}, "is none of the servers"),
        ({"job": {"serviceAccountName": "admin"}}, "is none of the accounts"),
    ],
)
def test_channels_are_held_against_it_too(fence: Fence, changes: Json, refused: str) -> None:
    """What a tenant's conversions may not write to, a channel may not either."""
    spec: Json = {
        "from": {"name": "gesture"},
        "output": {"uri": f"s3://models/{fence.namespace}/stable/"},
        "signing": {"secretRef": {"name": "channel-key"}},
    }
    meta = {"name": "stable", "namespace": fence.namespace}
    body = {"apiVersion": "edgeml.dev/v1beta1", "kind": "ModelChannel", "metadata": meta}
    text = json.dumps(body | {"spec": spec | changes})

    def said() -> str:
        command = ("create", "--dry-run=server", "-f", "-")
        return fence.cluster.kubectl(*command, input=text, check=False).stderr

    if refused:
        until(lambda: refused in said(), "it is refused", 30)
    else:
        assert said() == ""
