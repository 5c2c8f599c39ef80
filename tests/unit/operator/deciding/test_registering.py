"""A model registry after a conversion: what the operator decides, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from modelconversion_api.fields.registration import MLflow, Registered, RegisteredVersion, RegisterRequest
from modelconversion_api.profiles import ConversionProfileSpec
from modelconversion_api.reasons import FailureReason, Stage
from modelconversion_api.reports.conversion import StageFailure, StageResult
from modelconversion_api.sets import ModelConversionSetSpec
from modelconversion_api.spec import ModelConversionSpec
from modelconversion_api.status import Phase, Reason
from modelconversion_operator.deciding.conditions import summary_condition
from modelconversion_operator.deciding.decisions import CreateJob
from modelconversion_operator.deciding.manifest import Part, job_manifest, job_name
from modelconversion_operator.deciding.policy import Policy, grants_of
from modelconversion_operator.deciding.views import JobView, PodView
from modelconversion_operator.sets.deciding import member_spec
from support.operator.board_story import BOTH, GATED, NONE, Story, of_board, on_board
from support.operator.objects import (
    DEFAULTS,
    KEY,
    ended,
    job,
    pod,
    running,
    spec,
)

MLFLOW = {"uri": "https://mlflow.example", "model": "person-edge", "alias": "candidate"}
REGISTER = {"register": {"mlflow": MLFLOW}}
NAME = job_name(KEY, "1", Part(registers=True))
DONE = Registered(
    model="person-edge", versions=[RegisteredVersion(name="FullInteger", version="7")], run="r1"
)
TOLD = StageResult(registered=DONE).encode()


def its_job(**changes: Any) -> JobView:
    return replace(job(**changes), name=NAME, uid="job-register")


def its_pod(*states: dict[str, Any], **changes: Any) -> PodView:
    view = pod(*states, **changes)
    return replace(view, containers=tuple(replace(c, name="publish") for c in view.containers))


class Told(Story):
    """A conversion that registers, up to the end of the Job that converts, and of its boards."""

    def __init__(self, *boards: dict[str, Any]) -> None:
        super().__init__(*boards, **REGISTER)
        self.made = self.to_board()

    @property
    def reason(self) -> str:
        condition = summary_condition(self.status)
        return condition.reason if condition is not None else ""


def test_the_run_ends_when_its_files_are_registered() -> None:
    told = Told()
    assert isinstance(told.made.job_action, CreateJob)
    assert told.made.job_action.part == Part(registers=True)
    assert (told.status.phase, told.status.job_name) == (Phase.PENDING, NAME)
    assert told.status.report_uri is not None
    told.see(its_job(), its_pod(running()))
    assert told.status.phase is Phase.RUNNING
    decision = told.see(its_job(), its_pod(ended(message=TOLD)), seconds=9)
    assert (told.status.phase, told.reason) == (Phase.SUCCEEDED, Reason.CONVERTED)
    assert told.status.registration is not None
    assert told.status.registration.model_dump(exclude={"time"}) == DONE.model_dump()
    assert [event.reason for event in decision.events] == [Reason.CONVERTED]
    assert told.see(its_job(complete=True)).status == told.status


def test_the_job_that_has_published_may_end_first() -> None:
    told = Story(**REGISTER)
    decision = told.decisions[-1]
    assert decision.job_action is None
    assert decision.recheck_seconds
    assert told.status.phase is not Phase.SUCCEEDED


def test_one_that_cannot_be_registered_has_failed_with_its_files() -> None:
    told = Told()
    words = "MLflow at mlflow.example answers 403 Forbidden"
    why = StageFailure(stage=Stage.PUBLISH, reason=FailureReason.REGISTRATION_REFUSED, message=words)
    message = StageResult(failure=why).encode()
    told.see(its_job(failed="PodFailurePolicy"), its_pod(ended(56, message=message), phase="Failed"))
    assert (told.status.phase, told.reason) == (Phase.FAILED, "RegistrationRefused")
    assert told.status.artifacts
    assert told.status.registration is None


@pytest.mark.parametrize("pods", [[], [its_pod(ended(message="{"), phase="Succeeded")]], ids=["gone", "cut"])
def test_a_result_that_nobody_saw_is_told(pods: list[PodView]) -> None:
    told = Told()
    told.see(its_job(), its_pod(running()))
    told.see(its_job(complete=True), *pods)
    assert (told.status.phase, told.reason) == (Phase.FAILED, "ReportLost")


def test_a_job_of_its_name_that_is_not_its_own_is_told() -> None:
    told = Told()
    told.see(replace(its_job(), owner_uid="stranger"))
    assert (told.status.phase, told.reason) == (Phase.FAILED, "JobRejected")


def test_a_job_that_is_deleted_is_told_and_one_that_was_never_made_is_made() -> None:
    told = Told()
    assert told.see(None).status.phase is Phase.PENDING
    told.see(its_job(), its_pod(running()))
    told.see(None)
    assert told.reason == "JobDeleted"


def test_boards_come_first_for_they_may_change_what_is_recommended() -> None:
    one = Told(GATED)
    one.see(of_board("pi5"), on_board(running()))
    one.ends("pi5")
    one.see(of_board("pi5", complete=True))
    assert one.status.job_name == NAME
    assert one.status.phase is Phase.PENDING
    one.see(None)
    one.see(its_job(), its_pod(ended(message=TOLD)))
    assert one.status.phase is Phase.SUCCEEDED
    assert len(one.status.measurements) == 1


def test_what_no_board_lets_pass_is_not_registered() -> None:
    one = Told(GATED)
    one.see(of_board("pi5"), on_board(running()))
    one.ends("pi5", NONE)
    assert BOTH != NONE
    assert (one.status.phase, one.status.job_name != NAME) == (Phase.FAILED, True)


def test_only_its_container_has_the_login() -> None:
    secret = {"secretRef": {"name": "mlflow-login", "tokenKey": "token"}}
    signing = {"uri": "s3://models/out/", "signing": {"secretRef": {"name": "signing-key"}}}
    text = spec(output=signing, register={"mlflow": MLFLOW | secret | {"model": "a$b".replace("$", "-")}})
    wanted = ModelConversionSpec.model_validate(text)
    for part in (Part(), Part(reads_report=True)):
        assert "MLFLOW" not in str(job_manifest(KEY, "1", wanted, DEFAULTS, part=part))
    manifest = job_manifest(KEY, "1", wanted, DEFAULTS, part=Part(registers=True), recommended="Float32")
    assert manifest["metadata"]["name"] == NAME
    pod_spec = manifest["spec"]["template"]["spec"]
    assert "initContainers" not in pod_spec
    (container,) = pod_spec["containers"]
    assert container["command"] == ["tflite-converter", "job-register"]
    env = {each["name"]: each for each in container["env"]}
    assert env["MLFLOW_TRACKING_TOKEN"]["valueFrom"]["secretKeyRef"] == {
        "name": "mlflow-login", "key": "token", "optional": True,
    }  # fmt: skip
    assert "CONVERSION_SIGNING_KEY" not in env
    assert "AWS_ACCESS_KEY_ID" in env, "it reads the report"
    request = RegisterRequest.model_validate_json(env["CONVERSION_REGISTER"]["value"])
    assert (request.recommended, request.mlflow.model) == ("Float32", "a-b")
    assert "mlflow-login" in {grant.name for grant in grants_of(wanted)}


def test_the_platform_says_which_servers_and_keys() -> None:
    def violation(**mlflow: Any) -> str:
        wanted = ModelConversionSpec.model_validate(spec(register={"mlflow": MLFLOW | mlflow}))
        policy = Policy(endpoints=("http://s3:8333", "https://mlflow.example"))
        return policy.violation("ml", wanted) or ""

    assert violation() == ""
    assert violation(uri="https://mlflow.example/base") == ""
    assert "spec.register.mlflow.uri is at https://evil.example" in violation(uri="https://evil.example")
    secret = {"name": "theirs", "passwordKey": "root-password"}
    assert "root-password" in violation(secretRef=secret)


def test_a_set_fills_in_its_members_names() -> None:
    names = {"uri": "https://mlflow.example", "model": "{model}-edge", "alias": "{profile}-candidate"}
    several = ModelConversionSetSpec.model_validate(
        {
            "models": [{"name": "person", "source": {"uri": "s3://models/p.h5"}}],
            "profiles": [{"name": "pi"}],
            "output": {"uri": "s3://models/out/"},
            "register": {"mlflow": names},
        }
    )
    member = member_spec(several, several.models[0], several.profiles[0])
    assert member.registration is not None
    assert member.registration.mlflow.model == "person-edge"
    assert member.registration.mlflow.alias == "pi-candidate"
    assert "registration" not in ConversionProfileSpec.model_fields


@pytest.mark.parametrize("changes", [
    {"uri": "mlflow.example"}, {"uri": "https://user:word@mlflow.example"}, {"uri": "https://m.example?x=1"},
    {"uri": "ftp://m.example"}, {"model": "a/b"}, {"model": "a:b"}, {"model": "a'b"}, {"alias": "a b"},
    {"model": "{version}"},
])  # fmt: skip
def test_what_cannot_be_an_address_or_a_name_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        MLflow.model_validate(MLFLOW | changes)
