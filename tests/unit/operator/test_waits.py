"""What keeps a conversion from starting is said, and is a failure when it lasts.

The messages are those that kubelets, schedulers, admission and the Job controller write.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from modelconversion_api.reasons import FAILURES, FailureReason
from modelconversion_api.status import Phase
from modelconversion_operator.cluster.store import Store
from modelconversion_operator.deciding.decisions import DeleteJob, Rejection
from modelconversion_operator.deciding.timing import RESYNC_SECONDS
from modelconversion_operator.deciding.views import JobView, PodView
from modelconversion_operator.deciding.waiting import EVENTS_AFTER_SECONDS, events_count_in, wants_events
from support.operator.memory import World
from support.operator.objects import KEY, NOW, conversion, decide, ended, job, pod, running, waiting, wire
from support.operator.situations import BEGUN, begun, condition, disrupted, refused, unschedulable, words

PULL_ERROR = (
    'failed to pull and unpack image "registry.example/converter:1": failed to resolve reference'
    ' "registry.example/converter:1": registry.example/converter:1: not found'
)
BACK_OFF = f'Back-off pulling image "registry.example/converter:1": ErrImagePull: {PULL_ERROR}'

# What waits, the reason, the words that name the cause, and the seconds after which it is a failure.
POD_WAITS = [
    (
        {
            "conditions": unschedulable(
                "0/3 nodes are available: 3 Insufficient memory. preemption: 0/3 nodes …"
            )
        },
        "Unschedulable",
        "no node fits: 0/3 nodes are available: 3 Insufficient memory; ask for less",
        900,
    ),
    (
        {
            "conditions": unschedulable(
                "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
            )
        },
        "Unschedulable",
        "didn't match Pod's node affinity/selector",
        900,
    ),
    ({"states": [waiting("ErrImagePull", PULL_ERROR)]}, "ImagePullFailed", PULL_ERROR, 900),
    ({"states": [waiting("ImagePullBackOff", BACK_OFF)]}, "ImagePullFailed", PULL_ERROR, 900),
    (
        {
            "states": [
                waiting("ErrImageNeverPull", 'Container image "c:1" is not present with pull policy of Never')
            ]
        },
        "ImagePullFailed",
        "is not present with pull policy of Never",
        0,
    ),
    (
        {
            "states": [
                waiting(
                    "InvalidImageName",
                    'Failed to apply default image tag "C:1": couldn\'t parse image name "C:1": invalid'
                    " reference format: repository name must be lowercase",
                )
            ]
        },
        "ImagePullFailed",
        "repository name must be lowercase",
        0,
    ),
    (
        {"states": [waiting("CreateContainerConfigError", 'secret "s3-credentials" not found')]},
        "SecretNotFound",
        'secret "s3-credentials" not found',
        60,
    ),
    (
        {
            "states": [
                waiting(
                    "CreateContainerConfigError",
                    "couldn't find key AWS_ACCESS_KEY_ID in Secret ml/s3-credentials",
                )
            ]
        },
        "SecretNotFound",
        "couldn't find key AWS_ACCESS_KEY_ID",
        60,
    ),
    (
        {
            "states": [
                waiting(
                    "CreateContainerConfigError",
                    "failed to sync secret cache: timed out waiting for the condition",
                )
            ]
        },
        "ContainerStartFailed",
        "failed to sync secret cache",
        900,
    ),
    (
        {
            "states": [
                waiting(
                    "CreateContainerConfigError",
                    "container has runAsNonRoot and image has non-numeric user (node), cannot verify user"
                    " is non-root",
                )
            ]
        },
        "ContainerStartFailed",
        "cannot verify user is non-root",
        60,
    ),
    (
        {
            "states": [
                waiting("CreateContainerError", 'failed to reserve container name "fetch_gesture-abc_ml_0"')
            ]
        },
        "ContainerStartFailed",
        "failed to reserve container name",
        900,
    ),
]


def waiting_pod(what: dict[str, Any], age: float) -> PodView:
    return pod(*what.get("states", ()), phase="Pending", age=age, conditions=what.get("conditions"))


@pytest.mark.parametrize(("what", "reason", "cause", "seconds"), POD_WAITS)
def test_a_pod_that_does_not_start_says_why_and_fails_for_it(what, reason, cause, seconds):
    if seconds:
        early = decide(conversion(begun()), job(), [waiting_pod(what, seconds - 5)], NOW)
        assert (early.status.phase, condition(early)) == (Phase.PENDING, ("Unknown", reason))
        assert cause in words(early)
        assert FAILURES[FailureReason(reason)].hint in words(early)
        assert [(e.type, e.reason) for e in early.events] == [("Warning", reason)]
        assert early.recheck_seconds is not None
        assert early.recheck_seconds <= 6
    late = decide(conversion(begun()), job(), [waiting_pod(what, seconds + 1)], NOW)
    assert condition(late) == ("False", reason)
    assert cause in words(late)
    after = decide(conversion(late.status), job(), [waiting_pod(what, seconds + 1)], NOW)
    assert isinstance(after.job_action, DeleteJob)
    assert after.status == late.status


@pytest.mark.parametrize("why", [None, "PodInitializing", "ContainerCreating"])
def test_the_usual_moment_before_a_start_is_no_cause(why):
    states = [waiting(why)] if why else []
    decision = decide(conversion(begun()), job(), [pod(*states, phase="Pending", age=200)], NOW)
    assert (condition(decision), decision.events) == (("Unknown", "Created"), ())
    late = decide(conversion(begun()), job(), [pod(*states, phase="Pending", age=901)], NOW)
    assert condition(late) == ("False", "PendingDeadlineExceeded")


def test_a_state_that_nobody_knows_is_shown_and_ends_at_the_deadline():
    strange = waiting("SomethingNew", "of a later kubelet")
    decision = decide(conversion(begun()), job(), [pod(strange, phase="Pending", age=200)], NOW)
    assert "SomethingNew: of a later kubelet" in words(decision)
    late = decide(conversion(begun()), job(), [pod(strange, phase="Pending", age=901)], NOW)
    assert condition(late) == ("False", "PendingDeadlineExceeded")
    assert "SomethingNew" in words(late)


def test_no_room_for_a_moment_costs_no_write():
    full = unschedulable("0/3 nodes are available: 3 Insufficient cpu.")
    new = pod(phase="Pending", age=1, conditions=full)
    decision = decide(conversion(begun()), job(), [new], NOW)
    assert (decision.status, decision.events) == (begun(), ())
    assert decision.recheck_seconds is not None
    assert decision.recheck_seconds <= 5


def test_a_pull_that_is_tried_again_and_again_is_one_write_and_one_event():
    status, events = begun(), 0
    for state in [waiting("ErrImagePull", PULL_ERROR), waiting("ImagePullBackOff", BACK_OFF)] * 3:
        decision = decide(conversion(status), job(), [pod(state, phase="Pending", age=100)], NOW)
        events += len(decision.events)
        assert status == begun() or decision.status == status
        status = decision.status
    # Before Kubernetes 1.31 the second state did not name the cause.
    old = waiting("ImagePullBackOff", 'Back-off pulling image "registry.example/converter:1"')
    decision = decide(conversion(status), job(), [pod(old, phase="Pending", age=100)], NOW)
    assert (decision.status, events) == (status, 1)


def test_a_gated_pod_is_in_somebody_s_queue_and_does_not_time_out():
    gated = pod(
        phase="Pending", age=5000, conditions=unschedulable("Scheduling is blocked", "SchedulingGated")
    )
    decision = decide(conversion(begun()), job(), [gated], NOW)
    assert (condition(decision), decision.status.waiting_since) == (("Unknown", "Queued"), None)
    free = pod(
        phase="Pending", age=5000, conditions=unschedulable("0/1 nodes are available: 1 Too many pods.")
    )
    released = decide(conversion(decision.status), job(), [free], NOW)
    assert condition(released) == ("Unknown", "Unschedulable")
    much_later = NOW + timedelta(seconds=901)
    assert condition(decide(conversion(released.status), job(), [free], much_later)) == (
        "False",
        "Unschedulable",
    )


def test_a_container_that_cannot_start_behind_one_that_ran():
    """The Secret went away, or the image: a pod that has begun is not safe from waiting forever."""
    done = {
        "terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": wire(NOW - timedelta(seconds=50))}
    }
    stuck = pod(done, done, waiting("CreateContainerConfigError", 'secret "s3" not found'), age=2000)
    decision = decide(conversion(begun(waiting_since=None)), job(), [stuck], NOW)
    assert (decision.status.phase, condition(decision)) == (Phase.PENDING, ("Unknown", "SecretNotFound"))
    later = decide(conversion(decision.status), job(), [stuck], NOW + timedelta(seconds=61))
    assert condition(later) == ("False", "SecretNotFound")


CREATION = [
    (
        (
            'pods "gesture-1-x7k2p" is forbidden: exceeded quota: team, requested: requests.memory=1Gi,'
            " used: requests.memory=4Gi, limited: requests.memory=4Gi"
        ),
        "QuotaExceeded",
        "exceeded quota: team, requested: requests.memory=1Gi",
        900,
    ),
    (
        (
            'pods "gesture-1-x7k2p" is forbidden: failed quota: team: must specify limits.cpu for:'
            " convert,fetch,publish"
        ),
        "PodRejected",
        "must specify limits.cpu for: convert,fetch,publish",
        60,
    ),
    (
        (
            'pods "gesture-1-" is forbidden: error looking up service account ml/converter:'
            ' serviceaccount "converter" not found'
        ),
        "ServiceAccountNotFound",
        'serviceaccount "converter" not found',
        60,
    ),
    (
        (
            "pods \"gesture-1-x7k2p\" is forbidden: ValidatingAdmissionPolicy 'no-gpu' with binding 'no-gpu'"
            " denied request: gpus are for training"
        ),
        "AdmissionDenied",
        "gpus are for training",
        60,
    ),
    (
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: policy Pod/ml/gesture for'
            " resource violation: only images of registry.example"
        ),
        "AdmissionDenied",
        "only images of registry.example",
        60,
    ),
    (
        'pods "gesture-1-x7k2p" is forbidden: violates PodSecurity "restricted:latest": runAsUser=0',
        "AdmissionDenied",
        "violates PodSecurity",
        60,
    ),
    (
        'pods "gesture-1-x7k2p" is forbidden: no PriorityClass with name batch was found',
        "PodRejected",
        "no PriorityClass with name batch was found",
        60,
    ),
    (
        'pods "gesture-1-x7k2p" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
        "PodRejected",
        'RuntimeClass "gvisor" not found',
        60,
    ),
    (
        'pods "gesture-1-x7k2p" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi',
        "PodRejected",
        "maximum memory usage per Container is 1Gi",
        60,
    ),
    (
        (
            'Pod "gesture-1-x7k2p" is invalid: spec.containers[0].resources.requests: Invalid value: "2":'
            " must be less than or equal to cpu limit of 1"
        ),
        "PodRejected",
        "must be less than or equal to cpu limit of 1",
        60,
    ),
    (
        (
            'Internal error occurred: failed calling webhook "mutate.example": failed to call webhook: Post'
            ' "https://w.svc/": context deadline exceeded'
        ),
        "PodRejected",
        "failed calling webhook",
        900,
    ),
]


@pytest.mark.parametrize(("message", "reason", "cause", "seconds"), CREATION)
def test_a_job_without_a_pod_says_why_from_the_job_s_events(message, reason, cause, seconds):
    since = begun(NOW)
    early = decide(conversion(since), job(), [], NOW + timedelta(seconds=5), events=[refused(message)])
    assert (early.status.phase, condition(early)) == (Phase.PENDING, ("Unknown", reason))
    assert cause in words(early)
    assert "gesture-1-" not in words(early)  # another name at each try would be another write
    assert [(e.type, e.reason) for e in early.events] == [("Warning", reason)]
    late = NOW + timedelta(seconds=seconds + 1)
    decision = decide(conversion(early.status), job(), [], late, events=[refused(message)])
    assert condition(decision) == ("False", reason)
    before = NOW + timedelta(seconds=seconds - 1)
    assert (
        condition(decide(conversion(early.status), job(), [], before, events=[refused(message)]))[0]
        == "Unknown"
    )


def test_what_kept_an_earlier_pod_away_is_no_cause_any_more():
    old = refused('pods "x" is forbidden: exceeded quota: team, requested: pods=1', age=60)
    decision = decide(conversion(begun(NOW)), job(), [], NOW, events=[old])
    assert condition(decision) == ("Unknown", "Created")


@pytest.mark.parametrize(
    ("the_job", "pods", "seconds", "wanted"),
    [
        (job(), [], 1, False),
        (job(), [], 5, True),
        (job(), [pod(phase="Pending")], 500, False),
        (job(), [pod(ended(60), phase="Failed")], 5, True),
        (job(suspend=True), [], 500, False),
        (job(complete=True), [], 500, False),
        (job(deleting=True), [], 500, False),
        (None, [], 500, False),
    ],
)
def test_events_are_asked_for_only_while_a_job_should_have_a_pod(the_job, pods, seconds, wanted):
    assert wants_events(the_job, pods, begun(NOW), NOW + timedelta(seconds=seconds)) is wanted


@pytest.mark.parametrize("seconds", [0, 4, 300])
def test_a_job_without_a_pod_is_looked_at_again_when_somebody_says_why(seconds):
    decision = decide(conversion(begun(NOW)), job(), [], NOW + timedelta(seconds=seconds))
    assert decision.recheck_seconds == RESYNC_SECONDS


async def test_a_reason_that_comes_before_it_counts_is_looked_at_when_it_does():
    world = World()
    world.apply("a")
    await world.work()
    made = world.job_of("ml-a")
    why = replace(refused("exceeded quota: team"), namespace=made.namespace, job_uid=made.uid)
    world.store.put_event(replace(why, time=world.now))
    world.now += timedelta(seconds=1)
    assert await world.reconciler.reconcile("ml-a") == EVENTS_AFTER_SECONDS
    world.now += timedelta(seconds=EVENTS_AFTER_SECONDS)
    assert await world.reconciler.reconcile("ml-a") != EVENTS_AFTER_SECONDS
    assert world.status("ml-a")["conditions"][0]["reason"] == "QuotaExceeded"


async def test_a_reason_of_before_is_not_looked_at_again_and_again_while_a_queue_holds_the_job():
    world = World()
    world.apply("a", labels={"kueue.x-k8s.io/queue-name": "team-a"})
    await world.work()
    made = world.job_of("ml-a")
    why = replace(refused("exceeded quota: team"), namespace=made.namespace, job_uid=made.uid)
    world.store.put_event(replace(why, time=world.now))
    world.store.put_job(replace(made, suspended=True, resource_version="99999"))
    assert await world.reconciler.reconcile("ml-a") != EVENTS_AFTER_SECONDS


@pytest.mark.parametrize(
    ("the_job", "pods", "seconds", "left"),
    [
        (job(), [], 1, EVENTS_AFTER_SECONDS - 1),
        (job(), [pod(ended(60), phase="Failed")], 1, EVENTS_AFTER_SECONDS - 1),
        (job(), [], 5, 0),
        (job(), [pod(phase="Pending")], 1, None),
        (job(suspend=True), [], 1, None),
        (None, [], 1, None),
    ],
)
def test_when_events_count_is_known_before_they_do(the_job, pods, seconds, left):
    assert events_count_in(the_job, pods, begun(NOW), NOW + timedelta(seconds=seconds)) == left


def test_of_a_job_s_events_the_latest_counts_and_those_of_other_namespaces_do_not():
    store = Store()
    store.put_conversion(conversion())
    store.put_job(job())
    early, late = refused("quota", age=60), refused("policy", age=5)
    assert store.conversion_of(late.owner_uid) == KEY.uid
    assert store.put_event(late)
    assert not store.put_event(late)
    assert not store.put_event(early)
    assert store.put_event(replace(refused("forged"), namespace="elsewhere"))
    assert store.event(job()) == late
    assert store.conversion_of("elsewhere/job-1") is None
    store.drop_event(early)
    assert store.event(job()) == late
    store.retain_events("elsewhere", set(), "9")
    assert store.event(job()) == late
    store.retain_events(None, set(), "9")
    assert store.event(job()) is None
    store.drop_job(job())
    assert store.conversion_of(late.owner_uid) is None


JOB_REFUSALS = [
    ("exceeded quota: team, requested: count/jobs.batch=1", False, 0, "Unknown", "QuotaExceeded"),
    ("exceeded quota: team, requested: count/jobs.batch=1", False, 901, "False", "QuotaExceeded"),
    (
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        True,
        0,
        "False",
        "AdmissionDenied",
    ),
    (
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        False,
        0,
        "Unknown",
        "AdmissionDenied",
    ),
    (
        "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
        False,
        61,
        "False",
        "AdmissionDenied",
    ),
    (
        "unable to create new content in namespace ml because it is being terminated",
        False,
        0,
        "Unknown",
        "JobRejected",
    ),
    ("spec.template.spec.tolerations[0].key: Invalid value", True, 0, "False", "JobRejected"),
]


@pytest.mark.parametrize(("message", "permanent", "waited", "value", "reason"), JOB_REFUSALS)
def test_a_job_that_the_server_refuses(message, permanent, waited, value, reason):
    refusal = Rejection(f'jobs.batch "{job().name}" is forbidden: {message}', permanent)
    status = begun(NOW, job_uid=None)
    decision = decide(conversion(status), None, [], NOW + timedelta(seconds=waited), refusal)
    assert condition(decision) == (value, reason)
    assert message in words(decision)
    assert [e.reason for e in decision.events] == [reason]
    if value == "Unknown":
        # The next try neither hides what is wrong nor tells it again.
        retry = decide(conversion(decision.status), None, [], NOW + timedelta(seconds=15))
        assert condition(retry) == (value, reason)
        again = decide(conversion(retry.status), None, [], NOW + timedelta(seconds=15), refusal)
        assert (again.status, again.events) == (decision.status, ())


def test_an_operator_without_the_right_waits_for_it_until_the_deadline():
    words_ = 'jobs.batch is forbidden: User "system:serviceaccount:x:y" cannot create resource "jobs"'
    decision = decide(conversion(begun(NOW, job_uid=None)), None, [], NOW, Rejection(words_, permanent=False))
    assert condition(decision) == ("Unknown", "JobRejected")


def test_a_retry_that_cannot_start_gets_the_whole_pending_time_again():
    """The Job is old by then, which once counted as if the new pod had waited all that time."""
    status = begun(phase=Phase.RUNNING, waiting_since=None)
    decision = decide(conversion(status), job(created=BEGUN), [], NOW)
    assert condition(decision) == ("Unknown", "Created")
    assert decision.status.waiting_since == NOW
    late = decide(conversion(decision.status), job(created=BEGUN), [], NOW + timedelta(seconds=901))
    assert condition(late) == ("False", "PendingDeadlineExceeded")


def test_time_in_which_there_was_no_job_does_not_count():
    decision = decide(conversion(begun()), job(created=NOW - timedelta(seconds=5)), [], NOW)
    assert condition(decision) == ("Unknown", "Created")


def test_a_resumed_conversion_gets_the_whole_pending_time():
    held = decide(conversion(begun(), suspend=True, generation=2), job(created=BEGUN), [], NOW).status
    resumed = decide(conversion(held, generation=3), job(suspend=True, created=BEGUN), [], NOW)
    after = decide(
        conversion(resumed.status, generation=3), job(created=BEGUN), [], NOW + timedelta(seconds=5)
    )
    assert condition(after) == ("Unknown", "Created")


def test_a_pod_on_a_lost_node_keeps_the_next_one_waiting_and_says_so():
    taint = disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")
    leaving = pod(ended(), running(), deleting=True, conditions=taint)
    status = begun(phase=Phase.RUNNING, waiting_since=None)
    decision = decide(conversion(status), job(created=BEGUN), [leaving], NOW)
    assert condition(decision) == ("Unknown", "NodeLost")
    late = decide(conversion(decision.status), job(created=BEGUN), [leaving], NOW + timedelta(seconds=901))
    assert condition(late) == ("False", "NodeLost")


def test_a_pod_that_somebody_deletes_is_no_failure_yet():
    leaving = pod(ended(), running(), deleting=True)
    decision = decide(conversion(begun(phase=Phase.RUNNING, waiting_since=None)), job(), [leaving], NOW)
    assert condition(decision) == ("Unknown", "Retrying")
    assert "is being deleted" in words(decision)


@pytest.mark.parametrize(
    ("age", "conditions", "reason"),
    [
        pytest.param(9, None, "Created", id="its pod of before"),
        pytest.param(3, None, "Retrying", id="a pod made since"),
        pytest.param(
            9, disrupted("EvictionByEvictionAPI", "drained"), "Retrying", id="one drained in that moment"
        ),
    ],
)
def test_a_pod_that_goes_because_its_job_was_suspended_is_no_attempt(age, conditions, reason):
    leaving = pod(running(), deleting=True, age=age, conditions=conditions)
    since = NOW - timedelta(seconds=6)
    resumed = job(created=BEGUN, turned=since)
    decision = decide(conversion(begun(waiting_since=since)), resumed, [leaving], NOW)
    assert condition(decision) == ("Unknown", reason)
    assert [e.reason for e in decision.events] == ([] if reason == "Created" else ["Retrying"])


def test_time_that_ran_out_before_anything_ran_is_what_it_waited_for():
    full = unschedulable("0/3 nodes are available: 3 Insufficient memory.")
    waits = decide(conversion(begun()), job(), [pod(phase="Pending", age=60, conditions=full)], NOW)
    decision = decide(conversion(waits.status), job(failed="DeadlineExceeded"), [], NOW)
    assert condition(decision) == ("False", "Unschedulable")
    assert "Insufficient memory" in words(decision)
    assert words(decision).count(FAILURES[FailureReason.UNSCHEDULABLE].hint) == 1


@pytest.mark.parametrize(
    ("queue", "by"),
    [({"labels": {"kueue.x-k8s.io/queue-name": "ml"}}, "queue ml"), (None, "a queue, or somebody")],
)
def test_a_job_that_somebody_else_suspended_is_said_to_be_held_back(queue, by):
    held = JobView.from_body(
        {
            "metadata": {
                "namespace": "ml",
                "name": job().name,
                "uid": "job-1",
                "resourceVersion": "7",
                "creationTimestamp": wire(BEGUN),
                "labels": {"edgeml.dev/conversion-uid": KEY.uid, **(queue or {}).get("labels", {})},
            },
            "spec": {"suspend": True},
        }
    )
    decision = decide(conversion(begun()), held, [], NOW)
    assert condition(decision) == ("Unknown", "Queued")
    assert by in words(decision)
