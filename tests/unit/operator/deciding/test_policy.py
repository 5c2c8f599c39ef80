"""What a tenant may ask for through the operator."""

from __future__ import annotations

from typing import Any

import pytest

from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.decisions import CreateJob
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.errors import SettingsError
from modelconversion_operator.settings import load
from support.operator.objects import NOW, conversion, decide, spec


def allowed(policy: Policy, namespace: str = "ml", **job: Any) -> bool:
    return policy.violation(namespace, ModelConversionSpec.model_validate(spec(job=job))) is None


def of_storage(policy: Policy, **fields: Any) -> str | None:
    return policy.violation("ml", ModelConversionSpec.model_validate(spec(**fields)))


@pytest.mark.parametrize(
    ("patterns", "account", "namespace", "answer"),
    [
        ("", "default", "ml", True),
        ("", "converter", "ml", False),
        ("converter", "converter", "ml", True),
        ("converter", "converter-admin", "ml", False),
        ("converter-*", "converter-admin", "ml", True),
        ("a,converter", "converter", "ml", True),
        ("ml/converter", "converter", "ml", True),
        ("ml/converter", "converter", "other", False),
        ("team-*/converter", "converter", "team-a", True),
        ("*", "anything", "ml", True),
    ],
)
def test_service_accounts(patterns, account, namespace, answer):
    settings = load(["--converter-image", "x", "--allowed-service-accounts", patterns])
    assert allowed(settings.rules(Defaults()).policy, namespace, serviceAccountName=account) is answer


@pytest.mark.parametrize(
    ("patterns", "name", "answer"),
    [
        ("*", "batch-low", True),
        ("*", "system-cluster-critical", False),
        ("system-node-critical", "system-node-critical", False),
        ("batch-*", "batch-low", True),
        ("batch-*", "interactive", False),
        ("", "batch-low", False),
    ],
)
def test_priority_classes(patterns, name, answer):
    settings = load(["--converter-image", "x", "--allowed-priority-classes", patterns])
    assert allowed(settings.rules(Defaults()).policy, priorityClassName=name) is answer


CONTROL_PLANE = "node-role.kubernetes.io/control-plane"


@pytest.mark.parametrize(
    ("patterns", "key", "answer"),
    [
        ("*", "gpu", True),
        ("*", "team.example/only", True),
        ("*", CONTROL_PLANE, False),
        ("*/*", CONTROL_PLANE, False),
        ("node-role.*/*", CONTROL_PLANE, False),
        ("node-role.kubernetes.io/*", CONTROL_PLANE, True),
        (CONTROL_PLANE, CONTROL_PLANE, True),
        ("*", "node.kubernetes.io/not-ready", False),
        ("*", "node.cloudprovider.kubernetes.io/uninitialized", False),
        ("gpu,*,node.kubernetes.io/memory-pressure", "node.kubernetes.io/memory-pressure", True),
        ("gpu,*,node.kubernetes.io/memory-pressure", "node.kubernetes.io/unreachable", False),
        ("*", None, False),
        ("*", "", False),
        ("gpu", "gpu", True),
        ("gpu", "gpu2", False),
        ("gpu-*", "gpu-a100", True),
        ("", "gpu", False),
    ],
)
def test_tolerations(patterns, key, answer):
    policy = load(["--converter-image", "x", "--allowed-tolerations", patterns]).rules(Defaults()).policy
    toleration = {"operator": "Exists"} | ({} if key is None else {"key": key})
    assert allowed(policy, tolerations=[toleration]) is answer
    assert not allowed(policy, tolerations=[toleration, {"key": CONTROL_PLANE + "-other"}, {}])


def _affinity(key: str, field: str, *, required: bool) -> dict[str, Any]:
    term = {field: [{"key": key, "operator": "Exists"}]}
    if required:
        rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}, term]}}
    else:
        rule = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": term}]}
    return {"affinity": {"nodeAffinity": rule}}


@pytest.mark.parametrize(
    ("patterns", "key", "answer"),
    [
        ("*", "pool", True),
        ("*", "kubernetes.io/arch", True),
        ("*", CONTROL_PLANE, False),
        ("node-role.kubernetes.io/edge", "node-role.kubernetes.io/edge", True),
        ("node-role.kubernetes.io/edge", CONTROL_PLANE, False),
        ("kubernetes.io/arch", "kubernetes.io/hostname", False),
        ("", "pool", False),
    ],
)
def test_node_labels_in_whatever_form_they_choose_nodes(patterns, key, answer):
    policy = load(["--converter-image", "x", "--allowed-node-labels", patterns]).rules(Defaults()).policy
    assert allowed(policy, nodeSelector={key: "x"}) is answer
    for required in (True, False):
        for field in ("matchExpressions", "matchFields"):
            assert allowed(policy, **_affinity(key, field, required=required)) is answer


@pytest.mark.parametrize(
    ("patterns", "name", "answer"),
    [
        (None, "cpu", True),
        (None, "ephemeral-storage", True),
        (None, "nvidia.com/gpu", False),
        (None, "hugepages-2Mi", False),
        ("cpu,memory,nvidia.com/gpu", "nvidia.com/gpu", True),
        ("cpu,memory,nvidia.com/*", "nvidia.com/mig-1g.5gb", True),
        ("cpu,memory", "ephemeral-storage", False),
    ],
)
def test_resources(patterns, name, answer):
    arguments = [] if patterns is None else ["--allowed-resources", patterns]
    policy = load(["--converter-image", "x", *arguments]).rules(Defaults()).policy
    for kind in ("requests", "limits"):
        assert allowed(policy, resources={kind: {name: 1}}) is answer


@pytest.mark.parametrize(
    ("patterns", "endpoint", "answer"),
    [
        ("*", "https://anything.example", True),
        ("https://minio.storage.svc:9000", "https://minio.storage.svc:9000", True),
        ("https://minio.storage.svc:9000", "https://minio.storage.svc:9000/", True),
        ("https://minio.storage.svc:9000", "http://minio.storage.svc:9000", False),
        ("https://minio.storage.svc", "https://minio.storage.svc.evil.example", False),
        ("https://minio.storage.svc:900", "https://minio.storage.svc:9000", False),
        ("https://*.storage.svc:9000,http://s3:8333", "https://team.storage.svc:9000", True),
        ("https://*.storage.svc:9000", "https://attacker.example", False),
        ("", "https://minio.storage.svc:9000", False),
        ("", None, True),  # AWS itself
    ],
)
def test_endpoints(patterns, endpoint, answer):
    policy = load(["--converter-image", "x", "--allowed-endpoints", patterns]).rules(Defaults()).policy
    storage = {"secretRef": {"name": "s3"}} | ({} if endpoint is None else {"endpoint": endpoint})
    problem = of_storage(policy, storage=storage)
    assert (problem is None) is answer
    assert answer or "--allowed-endpoints" in (problem or "")


PIN = f"#sha256={'0' * 64}"


@pytest.mark.parametrize(
    ("patterns", "changes", "place"),
    [
        ("*", {"source": {"uri": f"https://any.example/a.h5{PIN}"}}, None),
        ("https://models.example", {"source": {"uri": f"https://Models.example:443/a.h5{PIN}"}}, None),
        ("https://*.example", {"source": {"uri": f"https://evil.test/x.example{PIN}"}}, "spec.source.uri"),
        (
            "https://models.example",
            {"source": {"uri": f"https://models.example:8/a{PIN}"}},
            "spec.source.uri",
        ),
        ("https://huggingface.co", {"source": {"uri": f"hf://org/repo@{'0' * 40}/a.h5"}}, None),
        ("", {"source": {"uri": f"hf://org/repo@{'0' * 40}/a.h5"}}, "spec.source.uri"),
        (
            "",
            {"calibration": {"uri": "s3://data/a.npy", "labelsUri": f"https://h/a.npy{PIN}"}},
            "spec.calibration.labelsUri",
        ),
    ],
)
def test_servers_that_are_read_from_are_endpoints_too(patterns, changes, place):
    policy = load(["--converter-image", "x", "--allowed-endpoints", patterns]).rules(Defaults()).policy
    problem = of_storage(policy, storage={"secretRef": {"name": "s3"}}, **changes)
    if place is None:
        assert problem is None
    else:
        assert problem is not None
        assert problem.startswith(f"{place} is at https://")


@pytest.mark.parametrize("pattern", ["https://minio:9000/", "https://a b", "/"])
def test_endpoints_that_could_never_match_are_refused(pattern):
    with pytest.raises(SettingsError, match="--allowed-endpoints"):
        load(["--converter-image", "x", "--allowed-endpoints", pattern])


@pytest.mark.parametrize(
    ("patterns", "field", "answer"),
    [
        (None, {"accessKeyIdKey": "AWS_ACCESS_KEY_ID"}, True),
        (None, {"accessKeyIdKey": "database-password"}, False),
        (None, {"secretAccessKeyKey": "tls.key"}, False),
        (None, {"sessionTokenKey": "token"}, False),
        ("AWS_*,token", {"sessionTokenKey": "token"}, True),
    ],
)
def test_keys_of_secrets(patterns, field, answer):
    arguments = [] if patterns is None else ["--allowed-secret-keys", patterns]
    policy = load(["--converter-image", "x", *arguments]).rules(Defaults()).policy
    assert (of_storage(policy, storage={"secretRef": {"name": "s3", **field}}) is None) is answer


def test_the_key_that_signs_is_a_key_as_well():
    policy = load(["--converter-image", "x"]).rules(Defaults()).policy
    signing = {"uri": "s3://models/out/", "signing": {"secretRef": {"name": "k", "key": "tls.key"}}}
    assert "tls.key" in (of_storage(policy, output=signing) or "")
    hub = {"secretRef": {"name": "h", "key": "tls.key"}}
    assert "tls.key" in (of_storage(policy, huggingFace=hub) or "")


def test_by_default_no_service_account_may_be_named():
    policy = load(["--converter-image", "x"]).rules(Defaults()).policy
    assert policy == Policy()
    assert not allowed(policy, serviceAccountName="converter")
    assert allowed(policy, priorityClassName="batch-low")


@pytest.mark.parametrize("text", ["a b", "A", "a/b/c", "a\nb", "$(x)"])
def test_a_pattern_that_can_match_no_name_is_a_mistake(text):
    with pytest.raises(SettingsError, match="--allowed-service-accounts"):
        load(["--converter-image", "x", "--allowed-service-accounts", text])


def test_a_violation_is_a_reason_at_once_and_makes_no_job():
    decision = decide(conversion(job={"serviceAccountName": "admin"}), None, [], NOW)
    assert decision.job_action is None
    assert decision.status.failure is not None
    assert decision.status.failure.reason == "PolicyViolation"
    assert "--allowed-service-accounts" in decision.status.failure.message
    assert [e.reason for e in decision.events] == ["PolicyViolation"]
    again = decide(conversion(decision.status, job={"serviceAccountName": "admin"}), None, [], NOW)
    assert (again.status, again.job_action, again.events) == (decision.status, None, ())


def test_a_policy_that_became_stricter_holds_before_the_job_is_made():
    asks = {"serviceAccountName": "converter"}
    begun = decide(conversion(job=asks), None, [], NOW, policy=Policy(("converter",))).status
    made = decide(conversion(begun, job=asks), None, [], NOW, policy=Policy(("converter",)))
    assert isinstance(made.job_action, CreateJob)
    stricter = decide(conversion(begun, job=asks), None, [], NOW)
    assert stricter.job_action is None
    assert stricter.status.conditions[0].reason == "PolicyViolation"


def test_any_change_of_the_spec_after_a_violation_is_a_new_try():
    failed = decide(conversion(job={"serviceAccountName": "admin"}), None, [], NOW).status
    decision = decide(conversion(failed, generation=2), None, [], NOW)
    assert (decision.status.phase, decision.status.run_generation) == ("Pending", 2)
