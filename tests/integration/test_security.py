"""What the operator must not be able to do, asked of a real API server, and what never reaches a log."""

from __future__ import annotations

import json
import secrets
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster.control_plane.api import KubeApi
from devcluster.control_plane.control_plane import ControlPlane
from devcluster.control_plane.install import OPERATOR, OPERATOR_RULES
from devcluster.errors import ApiError
from support.cluster.conversions import Conversions, Operator, until

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]

ACCOUNT = f"system:serviceaccount:default:{OPERATOR}"


@pytest.fixture
def operators_api(operator: Operator) -> Iterator[KubeApi]:
    """The API server as the operator sees it, with its own token."""
    with KubeApi(Path(operator.kubeconfig)) as api:
        yield api


def forbidden(api: KubeApi, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    with pytest.raises(ApiError) as refused:
        {"get": api.get, "delete": api.delete}[method](path) if body is None else api.create(path, body)
    assert refused.value.status == 403, refused.value


def test_the_operator_reads_nothing_that_is_not_its_own(operators_api, conversions: Conversions):
    own = f"/api/v1/namespaces/{conversions.namespace}"
    for path in (
        f"{own}/secrets",
        f"{own}/secrets/s3-credentials",
        f"{own}/configmaps",
        f"{own}/serviceaccounts",
        f"{own}/pods/any/log",
        f"{own}/persistentvolumeclaims",
        "/api/v1/secrets",
        "/api/v1/nodes",
        "/api/v1/namespaces",
        "/apis/apps/v1/deployments",
        "/apis/batch/v1/cronjobs",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ):
        forbidden(operators_api, "get", path)


def test_the_operator_cannot_act_beyond_its_jobs(operators_api, conversions: Conversions):
    own, rbac = f"/api/v1/namespaces/{conversions.namespace}", "/apis/rbac.authorization.k8s.io/v1"
    pod = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    forbidden(operators_api, "create", f"{own}/pods", pod)
    forbidden(operators_api, "create", f"{own}/secrets", {"metadata": {"name": "x"}})
    forbidden(operators_api, "create", f"{own}/pods/any/exec", {})
    forbidden(operators_api, "create", f"{own}/serviceaccounts/default/token", {"spec": {}})
    forbidden(operators_api, "create", f"{own}/pods/any/eviction", {"metadata": {"name": "any"}})
    forbidden(operators_api, "delete", f"{own}/pods/any")
    forbidden(operators_api, "delete", f"/api/v1/namespaces/{conversions.namespace}")
    forbidden(
        operators_api,
        "delete",
        f"/apis/edgeml.dev/v1alpha1/namespaces/{conversions.namespace}/modelconversiontriggers/x",
    )
    channel = f"/apis/edgeml.dev/v1alpha1/namespaces/{conversions.namespace}/modelchannels/x"
    forbidden(operators_api, "patch", channel, {"spec": {"release": {"sha256": "a" * 64}}})
    role = {
        "metadata": {"name": "more"},
        "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}],
    }
    forbidden(operators_api, "create", f"{rbac}/clusterroles", role)
    binding = {
        "metadata": {"name": "more"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": ACCOUNT}],
    }
    forbidden(operators_api, "create", f"{rbac}/clusterrolebindings", binding)


def reviewed(cluster: ControlPlane, verb: str, group: str, resource: str, sub: str = "") -> bool:
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": sub,
        "namespace": "kube-system",
    }
    body = {"spec": {"user": ACCOUNT, "groups": ["system:authenticated"], "resourceAttributes": attributes}}
    answer = cluster.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
    return bool(answer["status"]["allowed"])


def test_the_operator_may_do_exactly_what_its_rules_say(control_plane: ControlPlane):
    """Every verb on everything that the API server serves, held against the chart's file."""
    rules = yaml.safe_load(OPERATOR_RULES.read_text())["rules"]
    wanted = {
        (g, r, v)
        for rule in rules
        for g in rule["apiGroups"]
        for r in rule["resources"]
        for v in rule["verbs"]
    }
    verbs = (
        "get",
        "list",
        "watch",
        "create",
        "update",
        "patch",
        "delete",
        "deletecollection",
        "escalate",
        "bind",
    )
    found = set()
    for group, resource in served(control_plane):
        name, _, sub = resource.partition("/")
        for verb in verbs:
            if reviewed(control_plane, verb, group, name, sub):
                found.add((group, resource, verb))
    # What every authenticated user may do: ask about itself.
    found = {(g, r, v) for g, r, v in found if not (v == "create" and r.startswith("selfsubject"))}
    assert found == wanted
    assert not reviewed(control_plane, "impersonate", "", "users")


def served(cluster: ControlPlane) -> set[tuple[str, str]]:
    """Group and name of each resource and subresource of the API server."""
    versions = ["/api/v1"] + [
        f"/apis/{group['preferredVersion']['groupVersion']}" for group in cluster.api.get("/apis")["groups"]
    ]
    return {
        (path.split("/")[2] if path.startswith("/apis/") else "", resource["name"])
        for path in versions
        for resource in cluster.api.get(path)["resources"]
    }


def test_no_secret_reaches_a_status_an_event_a_log_or_a_metric(conversions: Conversions, operator: Operator):
    """Credentials that are wrong, a signing key that is none, and one pasted where it does not belong."""
    canaries = {name: f"canary-{secrets.token_hex(12)}" for name in ("id", "key", "signing", "pasted")}
    conversions.secret("canaries", canaries["id"], canaries["key"])
    meta = {"name": "signing", "namespace": conversions.namespace}
    key = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": meta,
        "stringData": {"private.pem": canaries["signing"]},
    }
    conversions.cluster.apply([key])
    conversions.release("signing")
    storage = {"endpoint": conversions.store.endpoint, "secretRef": {"name": "canaries"}}
    signing = {"secretRef": {"name": "signing"}}
    output = {"uri": conversions.uri("out/"), "signing": signing}
    conversions.apply("canary", methods=["Float16"], storage=storage, output=output)
    status = conversions.finished("canary")
    assert status["failure"]["reason"] == "StorageAccessDenied"
    until(lambda: "StorageAccessDenied" in conversions.events("canary"), "the event")

    pasted = conversions.cluster.kubectl(
        "-n",
        conversions.namespace,
        "apply",
        "-f",
        "-",
        input=json.dumps(
            {
                "apiVersion": "edgeml.dev/v1alpha1",
                "kind": "ModelConversion",
                "metadata": {"name": "pasted"},
                "spec": {
                    "source": {"uri": conversions.uri("x.h5")},
                    "output": {"uri": conversions.uri("out/")},
                    "methods": ["Float16"],
                    "storage": {"endpoint": f"http://user:{canaries['pasted']}@store:9000"},
                },
            }
        ),
        check=False,
    )
    assert "must be a URL without path or user" in pasted.stderr

    everything = conversions.kubectl("get", "mconv,jobs,pods,events", "-o", "json") + operator.log.read_text()
    metrics = operator.metrics()
    for name, canary in canaries.items():
        assert canary not in everything, name
        assert canary not in metrics, name


def test_the_job_of_a_tenant_is_admitted_where_pods_must_be_restricted(conversions: Conversions):
    """Pod Security's own check, in the namespace that enforces it."""
    label = "pod-security.kubernetes.io/enforce=restricted"
    conversions.cluster.kubectl("label", "namespace", conversions.namespace, label)
    conversions.apply("restricted", methods=["Float16"], source={"uri": conversions.uri("none.h5")})
    assert conversions.finished("restricted")["failure"]["reason"] == "SourceNotFound"


def test_a_secret_of_another_namespace_is_out_of_reach(conversions: Conversions):
    for name in ("default/s3", "../s3", "default.s3/x"):
        with pytest.raises(Exception, match="should match"):
            conversions.apply("thief", methods=["Float16"], storage={"secretRef": {"name": name}})


class Listener:
    """A server of a tenant's own, which only notes that somebody came."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.5)
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def heard(self) -> bytes:
        """What the first visitor said; nothing where nobody came."""
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return b""
        with connection:
            connection.settimeout(2)
            return connection.recv(65536)


def _secret(conversions: Conversions, name: str, **more: str) -> None:
    """A Secret that is there, and that nobody has released."""
    data = {"AWS_ACCESS_KEY_ID": "canary-id", "AWS_SECRET_ACCESS_KEY": "canary-key", **more}
    meta = {"name": name, "namespace": conversions.namespace}
    conversions.cluster.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}])


def test_a_secret_that_nobody_released_reaches_no_endpoint_until_somebody_does(conversions: Conversions):
    _secret(conversions, "database")
    theirs = Listener()
    storage = {"endpoint": theirs.endpoint, "secretRef": {"name": "database"}}
    conversions.apply("thief", methods=["Float16"], storage=storage)
    until(lambda: "SecretNotReleased" in conversions.events("thief"), "it says so")
    condition = conversions.status("thief")["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("Unknown", "SecretNotReleased")
    assert conversions.jobs() == []
    assert theirs.heard() == b""
    # The message's own commands are what releases it.
    commands = [c for c in condition["message"].split("; ") if "kubectl" in c]
    for command in commands:
        conversions.cluster.kubectl(*shlex.split(command[command.index("kubectl") :])[1:])
    until(lambda: conversions.jobs() != [], "the Job is made", 60)
    until(lambda: b"canary-id" in theirs.heard(), "what was released is sent", 60)


def test_a_secret_that_names_its_endpoint_is_sent_to_no_other(conversions: Conversions):
    _secret(conversions, "bound", AWS_ENDPOINT_URL="https://minio.storage.svc:9000")
    conversions.release("bound")
    theirs = Listener()
    storage = {"endpoint": theirs.endpoint, "secretRef": {"name": "bound"}}
    conversions.apply("elsewhere", methods=["Float16"], storage=storage)
    failure = conversions.finished("elsewhere")["failure"]
    assert failure["reason"] == "StorageAccessDenied"
    assert "credentials are for another endpoint" in failure["message"]
    assert "minio.storage" not in failure["message"]
    assert theirs.heard() == b""


@pytest.mark.parametrize(
    ("scheme", "cloud", "keys"),
    [
        ("gs", "googleCloud", {"credentials.json": '{"type": "service_account"}'}),
        ("az", "azure", {"AZURE_STORAGE_SAS_TOKEN": "sv=2021-12-02&sig=canary"}),
    ],
)
def test_credentials_of_a_cloud_stay_in_it_whatever_a_conversion_says(
    conversions: Conversions, scheme: str, cloud: str, keys: dict[str, str]
):
    _secret(conversions, "cloud", **keys)
    conversions.release("cloud")
    theirs = Listener()
    fields = {"endpoint": theirs.endpoint, "secretRef": {"name": "cloud"}}
    conversions.apply(
        scheme,
        methods=["Float16"],
        source={"uri": f"{scheme}://models/gesture.h5"},
        output={"uri": f"{scheme}://models/out/"},
        storage={cloud: fields | ({"account": "models"} if cloud == "azure" else {})},
    )
    failure = conversions.finished(scheme)["failure"]
    assert (failure["reason"], failure["stage"]) == ("StorageAccessDenied", "Fetch")
    assert f"the credentials are for another endpoint than {theirs.endpoint}" in failure["message"]
    assert "canary" not in failure["message"]
    assert theirs.heard() == b""


def test_nobody_releases_what_they_may_not_read_themselves(conversions: Conversions, tmp_path: Path):
    """An account that may write roles, and reads every Secret but this one."""
    name, admin = conversions.namespace, conversions.cluster
    rbac = "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [rbac], "resources": ["roles", "rolebindings"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["get"]},
    ]
    meta = {"name": "manager", "namespace": name}
    subject = {"kind": "ServiceAccount", "name": "manager", "namespace": name}
    admin.apply(
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": rules},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": "manager"},
                "subjects": [subject],
            },
        ]
    )
    who = ("--as", f"system:serviceaccount:{name}:manager", "-n", name)
    get = ("--verb=get", "--resource=secrets")
    made = admin.kubectl(*who, "create", "role", "good", *get, "--resource-name=mine", check=False)
    assert "created" in made.stdout, made.stderr
    for resource in ("--resource-name=database", "--resource-name=s3-credentials"):
        refused = admin.kubectl(*who, "create", "role", "bad", *get, resource, check=False)
        assert "attempting to grant RBAC permissions not currently held" in refused.stderr


def test_what_the_policy_keeps_from_tenants_makes_no_job(conversions: Conversions):
    asked: dict[str, dict[str, Any]] = {
        "everywhere": {"tolerations": [{"operator": "Exists"}]},
        "masters": {"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]},
        "selected": {"nodeSelector": {"node-role.kubernetes.io/control-plane": ""}},
        "gpus": {"resources": {"limits": {"nvidia.com/gpu": 8}}},
    }
    for name, job in asked.items():
        conversions.apply(name, methods=["Float16"], job=job)
    for name in asked:
        assert conversions.finished(name)["failure"]["reason"] == "PolicyViolation"
    assert conversions.jobs() == []
