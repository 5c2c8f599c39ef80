"""The local cluster runs real Jobs as a real cluster does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from devcluster.cache import REPOSITORY
from devcluster.control_plane.control_plane import ControlPlane
from devcluster.errors import ApiError, ProcessError
from devcluster.process_node.node import ProcessNode
from devcluster.processes import Process
from devcluster.services.s3 import ObjectStore

Json = dict[str, Any]

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("process_node")]


def shell(name: str, script: str, **fields: Any) -> Json:
    """A container; ``$$`` in its script is one dollar sign, as in every Kubernetes command."""
    return {"name": name, "image": "none", "command": ["sh", "-c", script], **fields}


def job(
    namespace: str, main: Json, inits: tuple[Json, ...] = (), pod: Json | None = None, **spec: Any
) -> Json:
    pod_spec = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "initContainers": list(inits),
        "containers": [main],
        "volumes": [{"name": "work", "emptyDir": {}}],
        **(pod or {}),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {"backoffLimit": 0, **spec, "template": {"spec": pod_spec}},
    }


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.05)
    return found


def condition_of(control_plane: ControlPlane, namespace: str, kind: str) -> Json | None:
    status = control_plane.api.get(f"/apis/batch/v1/namespaces/{namespace}/jobs/job")["status"]
    found = [c for c in status.get("conditions", []) if c["type"] == kind and c["status"] == "True"]
    return found[0] if found else None


def pods(control_plane: ControlPlane, namespace: str) -> list[Json]:
    items: list[Json] = control_plane.api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]
    return items


def the_pod(control_plane: ControlPlane, namespace: str) -> Json:
    (pod,) = until(lambda: pods(control_plane, namespace), "the pod")
    return pod


def test_job_runs_init_containers_in_order_over_one_volume(
    control_plane: ControlPlane, namespace: str
) -> None:
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    control_plane.apply(
        [
            job(
                namespace,
                shell("last", "cat /work/order > /dev/termination-log", **mount),
                (
                    shell("one", "echo one >> /work/order", **mount),
                    shell("two", "echo two >> /work/order", **mount),
                ),
            )
        ]
    )
    until(lambda: condition_of(control_plane, namespace, "Complete"), "the job to complete")
    status = the_pod(control_plane, namespace)["status"]
    assert status["phase"] == "Succeeded"
    (last,) = status["containerStatuses"]
    assert last["state"]["terminated"]["exitCode"] == 0
    assert last["state"]["terminated"]["reason"] == "Completed"
    assert last["state"]["terminated"]["message"] == "one\ntwo\n"
    assert [s["ready"] for s in status["initContainerStatuses"]] == [True, True]


def test_pod_failure_policy_ends_the_job_on_the_first_failure(
    control_plane: ControlPlane, namespace: str
) -> None:
    rule = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "convert", "operator": "In", "values": [21]},
    }
    control_plane.apply(
        [
            job(
                namespace,
                shell("publish", "echo never"),
                (shell("convert", "echo why > /dev/termination-log; exit 21"),),
                backoffLimit=5,
                podFailurePolicy={"rules": [rule]},
            )
        ]
    )
    failed = until(lambda: condition_of(control_plane, namespace, "Failed"), "the job to fail")
    assert failed["reason"] == "PodFailurePolicy"
    pod = the_pod(control_plane, namespace)
    assert pod["status"]["phase"] == "Failed"
    (init,) = pod["status"]["initContainerStatuses"]
    assert init["state"]["terminated"]["exitCode"] == 21
    assert init["state"]["terminated"]["message"] == "why\n"
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"


def test_log_stands_in_for_a_termination_message(control_plane: ControlPlane, namespace: str) -> None:
    main = shell("main", "echo spoken; exit 3", terminationMessagePolicy="FallbackToLogsOnError")
    control_plane.apply([job(namespace, main)])
    until(lambda: condition_of(control_plane, namespace, "Failed"), "the job to fail")
    (status,) = the_pod(control_plane, namespace)["status"]["containerStatuses"]
    assert status["state"]["terminated"]["message"] == "spoken"


def test_container_sees_its_own_environment_only(
    control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_NODE", "x")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3", "namespace": namespace},
        "stringData": {"KEY": "swordfish"},
    }
    secret_env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "KEY"}}}]
    plain_env = [
        {"name": "A", "value": "1"},
        {"name": "B", "value": "$(A)2"},
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    dump = "env > /dev/termination-log"
    control_plane.apply(
        [secret, job(namespace, shell("main", dump, env=plain_env), (shell("init", dump, env=secret_env),))]
    )
    until(lambda: condition_of(control_plane, namespace, "Complete"), "the job to complete")
    pod = the_pod(control_plane, namespace)
    (init,), (main,) = pod["status"]["initContainerStatuses"], pod["status"]["containerStatuses"]
    assert "KEY=swordfish" in init["state"]["terminated"]["message"].splitlines()
    lines = main["state"]["terminated"]["message"].splitlines()
    assert {"A=1", "B=12", f"POD={pod['metadata']['name']}"} <= set(lines)
    own = {"PATH", "HOME", "A", "B", "POD"}
    assert {line.partition("=")[0] for line in lines} <= own | {"PWD", "SHLVL", "OLDPWD", "_"}  # the shell's


def test_missing_secret_is_a_waiting_reason_until_it_is_there(
    control_plane: ControlPlane, namespace: str
) -> None:
    env = [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "late", "key": "KEY"}}}]
    control_plane.apply([job(namespace, shell("main", 'test "$KEY" = here', env=env))])

    def waiting() -> Any:
        statuses = the_pod(control_plane, namespace)["status"].get("containerStatuses")
        return statuses and statuses[0]["state"].get("waiting", {}).get("message")

    assert until(waiting, "the waiting message") == 'secret "late" not found'
    secret = {"metadata": {"name": "late"}, "stringData": {"KEY": "here"}}
    control_plane.api.create(f"/api/v1/namespaces/{namespace}/secrets", secret)
    until(lambda: condition_of(control_plane, namespace, "Complete"), "the job to complete")


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, "0/1 nodes are available: 1 node(s) didn't match"),
        ({"resources": {"requests": {"cpu": "10000"}}}, "0/1 nodes are available: 1 Insufficient cpu."),
    ],
)
def test_pod_that_fits_nowhere_is_unschedulable(
    control_plane: ControlPlane, namespace: str, pod: Json, message: str
) -> None:
    main = shell("main", "true", **{k: v for k, v in pod.items() if k == "resources"})
    control_plane.apply([job(namespace, main, pod={k: v for k, v in pod.items() if k == "nodeSelector"})])
    (condition,) = until(
        lambda: the_pod(control_plane, namespace)["status"].get("conditions"), "the scheduling condition"
    )
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "Unschedulable",
    )
    assert condition["message"].startswith(message)


def test_deleting_a_job_kills_its_processes(
    control_plane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; sleep 1000 & echo $$$$ $! > {pids}.new; mv {pids}.new {pids}; wait; sleep 1000"
    stubborn = job(namespace, shell("main", script), pod={"terminationGracePeriodSeconds": 1})
    control_plane.apply([stubborn])
    until(pids.exists, "the process")
    control_plane.kubectl("delete", "job", "job", "-n", namespace, "--cascade=foreground", "--timeout=60s")
    until(lambda: not pods(control_plane, namespace), "the pod to be gone")
    for pid in pids.read_text().split():
        assert not Path("/proc", pid).exists()


def test_signal_becomes_an_exit_code(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.apply([job(namespace, shell("main", "kill -s SEGV $$$$"))])
    until(lambda: condition_of(control_plane, namespace, "Failed"), "the job to fail")
    (status,) = the_pod(control_plane, namespace)["status"]["containerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 128 + signal.SIGSEGV


def test_node_that_was_killed_reports_its_pods_as_lost(
    control_plane: ControlPlane, namespace: str, tmp_path: Path, process_node: ProcessNode
) -> None:
    kubeconfig = control_plane.state / "process-node.kubeconfig"

    def start() -> subprocess.Popen[bytes]:
        arguments = ["--kubeconfig", str(kubeconfig), "--state", str(tmp_path), "--name", "mortal"]
        return subprocess.Popen([sys.executable, "-m", "devcluster.process_node", *arguments])

    pid_file = tmp_path / "pid"
    script = f"echo $$$$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 1000"
    control_plane.apply([job(namespace, shell("main", script), pod={"nodeName": "mortal"})])
    first = start()
    try:
        until(pid_file.exists, "the container")
        until(lambda: the_pod(control_plane, namespace)["status"]["phase"] == "Running", "the pod to run")
    finally:
        first.kill()
        first.wait()
    until(lambda: not Path("/proc", pid_file.read_text().strip()).exists(), "the container's end")
    second = start()
    try:
        until(lambda: condition_of(control_plane, namespace, "Failed"), "the job to fail")
    finally:
        second.terminate()
        assert second.wait(30) == 0
    status = the_pod(control_plane, namespace)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "NodeLost")
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


def test_node_outlives_the_api_server(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    script = f"until test -e {go}; do sleep 0.1; done"
    control_plane.apply([job(namespace, shell("main", script))])
    until(lambda: the_pod(control_plane, namespace)["status"]["phase"] == "Running", "the pod to run")
    control_plane.stop_api_server()
    go.touch()
    control_plane.start_api_server()
    until(lambda: condition_of(control_plane, namespace, "Complete"), "the job to complete")


def test_requests_need_credentials_and_rights(control_plane: ControlPlane, namespace: str) -> None:
    with pytest.raises(ProcessError, match=r"Unauthorized|provide credentials"):
        control_plane.kubectl("get", "pods", kubeconfig=control_plane.kubeconfig_for("wrong", "nobody"))
    account = control_plane.service_account_kubeconfig(namespace, "default")
    with pytest.raises(ProcessError, match="cannot list resource"):
        control_plane.kubectl("get", "secrets", "-n", namespace, kubeconfig=account)


def test_store_keeps_objects_and_knows_no_bucket_that_was_not_created(
    object_store: ObjectStore, bucket: str
) -> None:
    client = object_store.client()
    client.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    assert client.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"x"
    with pytest.raises(client.exceptions.NoSuchBucket):
        client.put_object(Bucket="no-such-bucket", Key="a", Body=b"x")


def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    shell_script = f"setsid sleep 1000 & echo $$ $! > {pids}.new; mv {pids}.new {pids}; wait"
    script = (
        "import pathlib, time; from devcluster.processes import Process; "
        f"p = Process('x', ['sh', '-c', {shell_script!r}], pathlib.Path({str(tmp_path / 'log')!r})); "
        "time.sleep(1000)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    until(pids.exists, "the grandchild")
    parent.kill()
    parent.wait()
    for pid in pids.read_text().split():
        until(lambda pid=pid: not Path("/proc", pid).exists(), "the end of all processes")


def test_process_that_cannot_start_says_why(tmp_path: Path) -> None:
    process = Process("x", ["/no/such/program"], tmp_path / "log", environment=dict(os.environ))
    assert process.wait(30) == 127
    assert "No such file" in process.tail()


def test_objects_that_are_missing_are_an_error(control_plane: ControlPlane) -> None:
    with pytest.raises(ApiError) as caught:
        control_plane.api.get("/api/v1/namespaces/nowhere")
    assert caught.value.status == 404
