"""What people and machines do to conversions, to the operator and to the node, in real containers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from devcluster.cache import REPOSITORY
from devcluster.release.chart import with_values
from devcluster.services.release import release_manifests
from support.chart.charts import later_chart
from support.cluster.chart_release import CRD, Release
from support.cluster.e2e_cluster import Cluster, Conversions, ImageNames
from support.cluster.injection import injection_manifests
from support.cluster.published import Published

Json = dict[str, Any]

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
ONE_METHOD: Json = {"methods": ["DynamicRange"], "calibration": None, "validation": None}
CANARY = "canary-e2e"


def is_running(status: Json) -> bool:
    return bool(status.get("phase") == "Running")


def succeeded(conversions: Conversions, name: str) -> Json:
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    return status


def failure(conversions: Conversions, name: str) -> Json:
    status = conversions.ended(name)
    assert status["phase"] == "Failed", conversions.describe(status)
    found: Json = status["failure"]
    return found


def jobs(conversions: Conversions) -> list[Json]:
    return conversions.kubectl.list("jobs", conversions.namespace)


def test_a_bad_model_fails_with_its_reason_at_once(release: Release, conversions: Conversions) -> None:
    client = conversions.store.client()
    client.put_object(Bucket=conversions.bucket, Key="bad.h5", Body=b"\x89HDF\r\n\x1a\n" + b"nothing" * 99)
    name = conversions.apply(EXAMPLE, source={"uri": f"s3://{conversions.bucket}/bad.h5"}, **ONE_METHOD)
    found = failure(conversions, name)
    assert (found["reason"], found["stage"]) == ("UnreadableModel", "Load"), found
    assert len(conversions.pods()) == 1, "what cannot pass is not tried again"
    assert conversions.keys("converted/") == set()


def test_a_missing_secret_is_told_while_it_is_waited_for(release: Release, conversions: Conversions) -> None:
    conversions.kubectl.apply(release_manifests(conversions.namespace, "nobody-made-it"))
    storage = {"endpoint": conversions.store.endpoint, "secretRef": {"name": "nobody-made-it"}}
    name = conversions.apply(EXAMPLE, storage=storage, job={"pendingDeadlineSeconds": 20}, **ONE_METHOD)
    assert failure(conversions, name)["reason"] == "SecretNotFound"


def test_a_pod_that_no_node_takes_is_told(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE, job={"nodeSelector": {"no": "node"}, "pendingDeadlineSeconds": 15})
    found = failure(conversions, name)
    assert found["reason"] == "Unschedulable"
    assert "node" in found["message"]


def test_more_memory_than_there_is_becomes_a_reason(release: Release, conversions: Conversions) -> None:
    resources = {"limits": {"memory": "200Mi"}, "requests": {"cpu": "100m", "memory": "200Mi"}}
    name = conversions.apply(EXAMPLE, job={"resources": resources, "backoffLimit": 0}, **ONE_METHOD)
    found = failure(conversions, name)
    assert found["reason"] == "OutOfMemory", found
    assert "memory" in found["message"]


def test_a_model_that_steals_gets_nothing(release: Release, conversions: Conversions, tmp_path: Path) -> None:
    model = tmp_path / "innocent"
    program = REPOSITORY / "tests/support/converter/make_hostile_model.py"
    bait = tmp_path / "bait"
    bait.write_text(f"{CANARY} of this machine")
    # In the container: the API token, the other containers' credentials, everybody's environment and files.
    patterns = [
        str(bait),
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "/proc/[0-9]*/environ",
        "/work/*/*",
        "/work/input/../*",
        "/tmp/*",
    ]
    made = subprocess.run(
        [sys.executable, program, model, *patterns], check=True, capture_output=True, text=True
    )
    assert CANARY in made.stdout, "without confinement it gets what it wants"
    conversions.upload({f"innocent/{f.relative_to(model)}": f for f in model.rglob("*") if f.is_file()})
    # Its credentials are bait, too: the model would show them if it saw them.
    keys = {"AWS_ACCESS_KEY_ID": conversions.store.keys.access_key}
    keys["AWS_SECRET_ACCESS_KEY"] = conversions.store.keys.secret_key
    source = {"uri": f"s3://{conversions.bucket}/innocent/"}
    # It has no weights, and so nothing that another method could quantize.
    name = conversions.apply(EXAMPLE, source=source, **ONE_METHOD | {"methods": ["Float32"]})
    status = succeeded(conversions, name)
    (artifact,) = status["artifacts"]
    content = conversions.read(artifact["uri"].removeprefix(f"s3://{conversions.bucket}/"))
    pods = json.dumps(conversions.pods())
    logs = "".join(
        conversions.kubectl(
            "logs", pod["metadata"]["name"], "-n", conversions.namespace, "--all-containers"
        ).stdout
        for pod in conversions.pods()
    )
    for secret in (*keys.values(), CANARY):
        assert secret.encode() not in content
        assert secret not in logs + pods + json.dumps(status) + release.logs()
    report = json.loads(conversions.read("converted/gesture-classifier/report.json"))
    assert set(report["provenance"]["isolation"]) == {"no-network", "no-other-programs", "own-files-only"}


def test_behind_a_mesh_the_result_is_taken_and_nothing_goes_on(
    release: Release, images: ImageNames, conversions: Conversions
) -> None:
    """A proxy that never ends, an agent that fails, and termination messages cut to 12 KiB for five."""
    python = ["python3", "-c"]
    commands = {
        "istio-proxy": [*python, "import time; time.sleep(100000)"],
        "vault-agent": [*python, "raise SystemExit(2)"],
    }
    policy = injection_manifests(conversions.namespace, images.converter, commands)
    conversions.kubectl.apply(policy)
    time.sleep(2)  # the API server takes a new policy up after a moment
    try:
        name = conversions.apply(EXAMPLE)
        status = succeeded(conversions, name)
        (pod, *_) = conversions.pods()
        assert {c["name"] for c in pod["spec"]["containers"]} == {"publish", *commands}
        assert len(status["artifacts"]) == 4
        release.until_gone("pods", conversions.namespace)
        assert jobs(conversions) == []
    finally:
        for made in policy:
            conversions.kubectl("delete", made["kind"], made["metadata"]["name"])


def test_suspend_stops_and_resume_goes_on(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE)
    conversions.until(name, is_running, "running")
    patch = ("patch", "mconv", name, "-n", conversions.namespace, "--type=merge", "-p")
    conversions.kubectl(*patch, '{"spec":{"suspend":true}}')
    conversions.until(name, lambda s: s.get("phase") == "Suspended", "suspended")
    release.until_gone("pods", conversions.namespace)
    conversions.kubectl(*patch, '{"spec":{"suspend":false}}')
    succeeded(conversions, name)
    assert len(jobs(conversions)) == 1


def test_deleted_in_mid_run_it_leaves_nothing_running(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE)
    conversions.until(name, is_running, "running")
    conversions.kubectl("delete", "mconv", name, "-n", conversions.namespace, "--timeout=30s")
    release.until_gone("jobs", conversions.namespace)
    release.until_gone("pods", conversions.namespace)


def test_progress_and_kubectl_wait(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE)
    seen = set()
    deadline = time.monotonic() + 120
    while (status := conversions.status(name)).get("phase") not in ("Succeeded", "Failed"):
        seen.add(status.get("progress", {}).get("stage"))
        assert time.monotonic() < deadline
        time.sleep(0.3)
    assert seen - {None}, (
        "ten seconds are too short for more than a glimpse; the integration tests see it all"
    )
    where = ("-n", conversions.namespace)
    conversions.kubectl("wait", "--for=condition=Succeeded", f"mconv/{name}", "--timeout=10s", *where)


def test_the_operator_s_pod_is_killed_in_mid_run(release: Release, conversions: Conversions) -> None:
    name = conversions.apply(EXAMPLE)
    conversions.until(name, is_running, "running")
    before = {pod["metadata"]["uid"] for pod in release.operator_pods()}
    for pod in release.operator_pods():
        release.kubectl(
            "delete", "pod", pod["metadata"]["name"], "-n", release.namespace, "--grace-period=0", "--force"
        )
    succeeded(conversions, name)
    assert not before & {pod["metadata"]["uid"] for pod in release.operator_pods()}
    assert len(jobs(conversions)) == 1


def test_an_upgrade_and_a_rollback_in_mid_run(
    cluster: Cluster, published: Published, release: Release, conversions: Conversions, tmp_path: Path
) -> None:
    """From the released chart to a later one, whose resource has another column, and back.

    Each time one conversion runs, and the Job of another waits for a node that comes afterwards.
    """
    node = cluster.real_node().layout.node_name
    chart = later_chart(tmp_path)
    values = chart / "values.yaml"
    values.write_text(with_values(values.read_text(), published.summary["chart"]["values"]))

    def in_flight(when: str) -> tuple[str, str]:
        elsewhere = {"uri": f"s3://{conversions.bucket}/waited/"}
        waits = conversions.apply(
            EXAMPLE,
            name=f"waits-{when}",
            output=elsewhere,
            job={"nodeSelector": {when: "over"}},
            **ONE_METHOD,
        )
        conversions.until(waits, lambda s: "jobName" in s, "given a Job")
        runs = conversions.apply(EXAMPLE, name=f"runs-{when}")
        conversions.until(runs, is_running, "running")
        return waits, runs

    before = in_flight("upgrade")
    release.install({"log": {"format": "json"}, "replicas": 2}, chart=(str(chart),))
    cluster.kubectl("label", "node", node, "upgrade=over")
    assert printed_columns(release)[0] == "Stage"
    ended_once(conversions, *before)
    assert len(release.operator_pods()) == 2
    for pod in release.operator_pods():
        log = release.kubectl("logs", pod["metadata"]["name"], "-n", release.namespace).stdout
        assert all(json.loads(line)["level"] for line in log.splitlines())
    after = in_flight("rollback")
    release.helm("rollback", "--wait")
    cluster.kubectl("label", "node", node, "rollback=over")
    assert printed_columns(release)[0] == "Phase"
    ended_once(conversions, *before, *after)
    assert len(release.operator_pods()) == 1


def ended_once(conversions: Conversions, *names: str) -> None:
    """Each conversion succeeded, by one Job and one pod, and was said to have once."""
    for name in names:
        succeeded(conversions, name)
    # A result is taken as soon as it is there; the Job ends a moment later.
    complete = ("--for=condition=Complete", "job", "--all", "--timeout=60s")
    conversions.kubectl("wait", *complete, "-n", conversions.namespace)
    for name in names:
        events = conversions.kubectl.list("events", conversions.namespace)
        about = [e for e in events if e["involvedObject"]["name"] == name and e["reason"] == "Converted"]
        assert [event.get("count", 1) for event in about] == [1]
        owned = [j for j in jobs(conversions) if j["metadata"]["ownerReferences"][0]["name"] == name]
        assert [(job["status"].get("succeeded"), job["status"].get("failed")) for job in owned] == [(1, None)]
    assert len(jobs(conversions)) == len(names)


def printed_columns(release: Release) -> list[str]:
    text = release.kubectl("get", "crd", CRD, "-o", "json").stdout
    return [c["name"] for c in json.loads(text)["spec"]["versions"][0]["additionalPrinterColumns"]]


@pytest.mark.parametrize("when", ["in the middle", "between two containers"])
def test_the_node_is_restarted(
    cluster: Cluster, release: Release, images: ImageNames, conversions: Conversions, when: str
) -> None:
    """Between two containers the kubelet leaves the pod lying (kubernetes/kubernetes#118321)."""
    node = cluster.real_node()
    between = when == "between two containers"
    name = conversions.apply(EXAMPLE)
    conversions.until(name, is_running, "running")
    try:
        node.restart(once_idle=images.converter if between else None)
        succeeded(conversions, name)
    finally:
        conversions.store.forward.again()  # it went with the pod's network, and the store is there again
    assert len(jobs(conversions)) == 1
    events = conversions.kubectl.list("events", conversions.namespace)
    assert any("lost its sandbox" in e["message"] for e in events) or not between


def test_another_tenant_s_secret_is_out_of_reach(release: Release, conversions: Conversions) -> None:
    storage = {"endpoint": conversions.store.endpoint, "secretRef": {"name": f"{release.namespace}/s3"}}
    with pytest.raises(Exception, match="secretRef"):
        conversions.apply(EXAMPLE, storage=storage)
