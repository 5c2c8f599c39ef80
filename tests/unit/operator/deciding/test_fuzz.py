"""Whatever is in a resource, the operator decides, and every Job it makes keeps within its bounds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelconversion_api.methods import Method
from modelconversion_api.request import StageProgress
from modelconversion_api.status import ModelConversionStatus, Phase
from modelconversion_operator.deciding import outcome
from modelconversion_operator.deciding.decisions import CreateJob, Decision, PatchJob
from modelconversion_operator.deciding.manifest import Part, job_manifest, job_name
from modelconversion_operator.deciding.policy import Policy
from modelconversion_operator.deciding.repairs import job_changes
from modelconversion_operator.deciding.views import ConversionView, EventView, JobView, PodView
from modelconversion_operator.errors import MalformedError
from support.operator.board_story import FAST
from support.operator.crd_strategies import anything, boards, mutated, specs, statuses
from support.operator.objects import DEFAULTS, KEY, NOW, conversion, decide, job, pod, spec, wire

CANARY = "hunter2-canary"
fuzzy = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

META = {
    "namespace": KEY.namespace,
    "name": KEY.name,
    "uid": KEY.uid,
    "generation": 3,
    "resourceVersion": "10",
    "creationTimestamp": wire(NOW),
}


def view(its_spec: Any, its_status: Any = None) -> ConversionView:
    return ConversionView.from_body({"metadata": META, "spec": its_spec, "status": its_status})


def life(seen: ConversionView, policy: Policy) -> list[Decision]:
    """The decisions from a resource's first sight until its Job would be made."""
    first = decide(seen, None, [], NOW, policy=policy)
    begun = view(seen.spec, first.status.to_wire())
    return [first, decide(begun, None, [], NOW, policy=policy)]


def containers(pod_spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod_spec["initContainers"], *pod_spec["containers"]]


def assert_within_bounds(manifest: dict[str, Any], board: str = "") -> None:
    """Pod Security "restricted", no host, no secrets where the model's code runs, no other namespace."""
    works, command = ("measure", "job-board-") if board else ("convert", "job-")
    assert manifest["metadata"]["namespace"] == KEY.namespace
    assert "namespace" not in manifest["spec"]["template"]["metadata"]
    template = manifest["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers", "nodeName", "ephemeralContainers"} & set(
        template
    )
    assert template["automountServiceAccountToken"] is False
    assert template["restartPolicy"] == "Never"
    assert template["securityContext"]["runAsNonRoot"] is True
    assert template["securityContext"]["runAsUser"] > 0
    assert template["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (volume,) = template["volumes"]
    assert volume == {"name": "work", "emptyDir": {"sizeLimit": volume["emptyDir"]["sizeLimit"]}}
    assert [c["name"] for c in containers(template)] == ["fetch", works, "publish"]
    for container in containers(template):
        assert container["image"] == DEFAULTS.image
        assert container["command"] == ["tflite-converter", f"{command}{container['name']}"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert not {"envFrom", "lifecycle", "volumeDevices", "args"} & set(container)
        assert not [p for p in container.get("ports", ()) if "hostPort" in p]
        sources = {kind for e in container["env"] for kind in e.get("valueFrom", {})}
        if container["name"] == works:
            assert sources <= {"fieldRef"}
        elif not board:
            assert sources <= {"secretKeyRef"}
        for mount in container["volumeMounts"]:
            assert mount["name"] == "work"
            assert ".." not in mount["subPath"]
    assert template.get("serviceAccountName", "default") == "default"
    assert not template.get("priorityClassName", "").startswith("system-")


@fuzzy
@given(mutated(specs), st.none() | mutated(statuses))
def test_any_spec_ends_in_a_decision_and_any_job_keeps_within_its_bounds(its_spec, its_status):
    if not isinstance(its_spec, dict):
        its_spec = {"source": its_spec}  # an API server lets nothing else through
    try:
        seen = view(its_spec, its_status)
    except MalformedError:
        assert not isinstance(its_status, dict)
        return
    for decision in life(seen, Policy()):
        status = decision.status
        assert ModelConversionStatus.model_validate(status.to_wire()) == status
        assert all(len(c.message) < 32768 for c in status.conditions)
        assert status.failure is None or len(status.failure.message) <= 2048
        if isinstance(decision.job_action, CreateJob):
            manifest = job_manifest(KEY, decision.job_action.run, decision.job_action.spec, DEFAULTS)
            assert_within_bounds(manifest)
            json.dumps(manifest)


@fuzzy
@given(st.just(spec()) | specs, statuses, boards)
def test_a_board_s_job_keeps_within_the_same_bounds(its_spec, its_status, its_boards):
    """From where the files are published, with the Job that converted as the last one."""
    its_spec = its_spec | {"benchmark": (its_spec.get("benchmark") or {}) | {"boards": its_boards}}
    under_way = {"phase": "Pending", "runGeneration": 3, "observedGeneration": 3, "jobUid": None}
    where = {"reportUri": "s3://models/out/report.json", "jobName": job_name(KEY, "3"), "measurements": []}
    seen = view(its_spec, its_status | under_way | where)
    for _ in range(2):
        decision = decide(seen, None, [], NOW)
        assert ModelConversionStatus.model_validate(decision.status.to_wire()) == decision.status
        seen = view(its_spec, decision.status.to_wire())
    if isinstance(action := decision.job_action, CreateJob):
        assert action.part.board == its_boards[0]["name"]
        manifest = job_manifest(KEY, "3", action.spec, DEFAULTS, part=action.part)
        assert_within_bounds(manifest, action.part.board)
        json.dumps(manifest)


@fuzzy
@given(specs)
def test_a_spec_of_the_crd_s_types_is_refused_with_a_reason_or_runs(its_spec):
    """What misses only rules of the CRD is InvalidSpec at most, or a policy's business."""
    decision = life(view(its_spec), Policy())[0]
    reason = decision.status.conditions[0].reason
    assert reason in ("Created", "Suspended", "InvalidSpec", "PolicyViolation")


times = st.sampled_from(
    [wire(NOW), wire(NOW - timedelta(days=1)), "2026-01-02T03:04:05.123456Z", "2026-01-02"]
)
reasons = st.text(max_size=8) | st.sampled_from(
    ["Evicted", "OutOfcpu", "ImagePullBackOff", "CreateContainerConfigError"]
)
codes = st.integers(0, 255)
states = st.fixed_dictionaries(
    {},
    optional={
        "waiting": st.fixed_dictionaries({}, optional={"reason": reasons, "message": st.text(max_size=40)}),
        "running": st.fixed_dictionaries({}, optional={"startedAt": times}),
        "terminated": st.fixed_dictionaries(
            {"exitCode": codes},
            optional={"reason": reasons, "message": st.text(max_size=40), "finishedAt": times},
        ),
    },
)
container_statuses = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(["fetch", "convert", "measure", "publish", "istio"])},
        optional={"state": states},
    ),
    max_size=3,
)
conditions = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["PodScheduled", "DisruptionTarget", "Ready", "Failed", "Complete"])},
        optional={
            "status": st.sampled_from(["True", "False", "Unknown"]),
            "reason": reasons,
            "message": st.text(max_size=40),
            "lastTransitionTime": times,
        },
    ),
    max_size=3,
)
pod_statuses = st.fixed_dictionaries(
    {},
    optional={
        "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
        "reason": reasons,
        "message": st.text(max_size=40),
        "podIP": st.sampled_from(["10.0.0.1", "::1", ""]),
        "conditions": conditions,
        "initContainerStatuses": container_statuses,
        "containerStatuses": container_statuses,
    },
)
named = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from(["fetch", "convert", "measure", "publish", "istio"])}),
    max_size=3,
)


def child(meta: dict[str, Any], **rest: Any) -> dict[str, Any]:
    labels = {"edgeml.dev/conversion-uid": KEY.uid, "batch.kubernetes.io/job-name": job_name(KEY, "3")}
    return {"metadata": {**META, "name": job_name(KEY, "3"), "labels": labels, **meta}, **rest}


deletions = st.sampled_from([{}, {"deletionTimestamp": wire(NOW)}, {"labels": None}, {"ownerReferences": []}])
pod_bodies = st.builds(
    lambda meta, status, inits, mains: child(
        meta, spec={"initContainers": inits, "containers": mains}, status=status
    ),
    deletions,
    mutated(pod_statuses),
    named,
    named,
)
job_bodies = st.builds(
    lambda meta, spec, status: child(meta, spec=spec, status=status),
    deletions,
    mutated(
        st.fixed_dictionaries(
            {},
            optional={
                "suspend": st.booleans(),
                "parallelism": st.integers(0, 5),
                "backoffLimit": st.integers(0, 5),
                "activeDeadlineSeconds": st.integers(1, 99),
                "ttlSecondsAfterFinished": st.integers(0, 99),
            },
        )
    ),
    mutated(st.fixed_dictionaries({}, optional={"conditions": conditions, "failed": st.integers(0, 3)})),
)
event_bodies = mutated(
    st.fixed_dictionaries(
        {"reason": st.just("FailedCreate")},
        optional={
            "message": st.text(max_size=60)
            | st.sampled_from(['Error creating: pods "x" is forbidden: exceeded quota: q', "denied request"]),
            "lastTimestamp": times | st.none(),
            "eventTime": times | st.none(),
            "series": st.fixed_dictionaries({}, optional={"lastObservedTime": times}),
        },
    )
)


def readable(read: Any, bodies: list[Any]) -> list[Any]:
    """The views of those bodies that can be read; the others have the one exception that says so."""
    views = []
    for body in bodies:
        try:
            views.append(read(body))
        except MalformedError:
            continue
    return views


@fuzzy
@given(
    mutated(statuses),
    st.lists(job_bodies, max_size=1),
    st.lists(pod_bodies, max_size=2),
    st.lists(event_bodies, max_size=2),
    st.none()
    | st.builds(
        StageProgress, stage=st.sampled_from(["Load", "Fetch", "Evaluate"]), percent=st.integers(0, 100)
    ),
)
def test_any_cluster_ends_in_a_decision(its_status, jobs, pods, events, reported):
    seen = readable(lambda status: view(spec(), status), [its_status])
    the_job = next(iter(readable(JobView.from_body, jobs)), None)
    the_pods, the_events = readable(PodView.from_body, pods), readable(EventView.from_body, events)
    for one in seen:
        for seen_there in (one, _on_a_board(one)):
            decision = decide(seen_there, the_job, the_pods, NOW, events=the_events, reported=reported)
            ModelConversionStatus.model_validate(decision.status.to_wire())
            if isinstance(decision.job_action, PatchJob):
                json.dumps(job_changes(decision.job_action, KEY))


def _on_a_board(one: ConversionView) -> ConversionView:
    """The same conversion with its files published, and on the first of two boards."""
    update = {
        "phase": Phase.PENDING,
        "run_generation": 3,
        "report_uri": "s3://models/out/report.json",
        "job_name": job_name(KEY, "3", Part(board="pi5")),
    }
    status = one.status.model_copy(update=update)
    return replace(one, spec=spec(benchmark={"boards": [FAST | {"name": "pi5"}, FAST]}), status=status)


@fuzzy
@given(anything)
def test_what_is_no_object_at_all_is_said_to_be_malformed(body):
    for read in (ConversionView.from_body, JobView.from_body, PodView.from_body):
        try:
            read(body)
        except MalformedError:
            continue
        raise AssertionError(f"{read} took {body!r}")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a spec."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for name, child in items for p in places(child, (*path, name)))]


@fuzzy
@given(st.data())
def test_a_secret_that_was_pasted_where_it_does_not_belong_is_not_repeated(data):
    """In a field of another type, or under a name that does not exist: the message names the place only."""
    pasted = json.loads(json.dumps(spec(storage={"secretRef": {"name": "s3"}}, job={"backoffLimit": 1})))
    where = data.draw(st.sampled_from([p for p in places(pasted) if p]))
    target = pasted
    for name in where[:-1]:
        target = target[name]
    if data.draw(st.booleans()) and isinstance(target, dict):
        target["password"] = CANARY
    else:
        target[where[-1]] = {CANARY: CANARY} if data.draw(st.booleans()) else f"{CANARY}/+="
    decision = decide(view(pasted), None, [], NOW)
    reason = decision.status.conditions[0].reason
    told = json.dumps(
        [decision.status.failure and decision.status.failure.to_wire(), *map(repr, decision.events)]
    )
    if reason == "InvalidSpec":
        # A field's own name may be the secret only where somebody made it one.
        assert f'"{CANARY}' not in told
        assert f"'{CANARY}" not in told
        assert "/+=" not in told


@given(
    st.sampled_from(list(Method)), st.sampled_from(["s3://models/out/", "s3://models/out", "s3://m1x/a b/"])
)
def test_every_artifact_lies_under_the_output_prefix(method, prefix):
    uri = outcome.object_uri(prefix, method.file_name("gesture"))
    assert uri.startswith(prefix.rstrip("/") + "/")
    assert uri.count("/") == prefix.rstrip("/").count("/") + 1


def test_the_helpers_make_objects_that_can_be_read():
    """The strategies above would prove little if nothing of theirs could be read."""
    assert readable(JobView.from_body, [child({}, spec={}, status={})])
    assert readable(PodView.from_body, [child({}, spec={"containers": [{"name": "publish"}]}, status={})])
    assert decide(conversion(), job(), [pod()], NOW).status.phase == "Pending"
