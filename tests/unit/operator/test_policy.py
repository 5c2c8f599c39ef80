"""What a tenant may ask for through the operator."""

from __future__ import annotations

import pytest

from modelconversion_api.scheduling import JobSpec
from modelconversion_operator.deciding.decisions import CreateJob
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.errors import SettingsError
from modelconversion_operator.settings import load
from support.operator.objects import NOW, conversion, decide


def allowed(policy: Policy, namespace: str = "ml", **job: str) -> bool:
    return policy.violation(namespace, JobSpec.model_validate(job)) is None


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
