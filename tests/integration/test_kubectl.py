"""What a person sees with kubectl."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from devcluster.local import installed_program
from modelconversion_api.crd import custom_resource_definition
from support.cluster.conversions import until
from support.cluster.kubelet import SELECTOR, Kubelet, ended, running, waiting

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("operator", "process_node")]


@pytest.fixture
def kubelet(control_plane, conversions):
    return Kubelet(control_plane, conversions)


def kept(conversions, name, **job):
    conversions.apply(
        name,
        source={"uri": conversions.uri("m.h5")},
        methods=["Float16"],
        job={"nodeSelector": SELECTOR, **job},
    )


def environment_of(conversions):
    """The environment of a kubectl that runs beside the test; its cache goes with the control plane."""
    cluster = conversions.cluster
    return {
        "KUBECONFIG": str(cluster.kubeconfig),
        "KUBECACHEDIR": str(cluster.state / "kubectl-cache"),
        "PATH": "/usr/bin:/bin",
    }


def shows(conversions, name, *parts):
    """Wait until ``get -o wide`` has all of these in the conversion's line; gives the line."""

    def line() -> str:
        return conversions.kubectl("get", "mconv", name, "-o", "wide", "--no-headers")

    until(lambda: all(part in line() for part in parts), f"{name} shows {parts}", 60, line)
    return line()


def test_get_describe_and_wait_tell_the_story(conversions, kubelet):
    kept(conversions, "story", backoffLimit=1)
    pod = kubelet.take()
    kubelet.says(pod, waiting("ImagePullBackOff", 'Back-off pulling image "c:1": ErrImagePull: not found'))
    shows(conversions, "story", "Pending", "ImagePullFailed", "the image cannot be pulled: not found")
    kubelet.says(pod, running())
    shows(conversions, "story", "Running", "Fetch in pod story-")
    kubelet.says(pod, ended(60), phase="Failed")
    shows(conversions, "story", "Retrying", "attempt 1 failed with StorageUnavailable")
    second = kubelet.take(2)
    kubelet.says(second, running())
    shows(conversions, "story", "Running", "Fetch in pod story-")
    kubelet.says(second, ended(11), phase="Failed")
    line = shows(conversions, "story", "Failed", "SourceNotFound", "train the model first")
    assert len(line.splitlines()) == 1

    until(lambda: "SourceNotFound" in conversions.events("story"), "the last event")
    described = conversions.kubectl("describe", "mconv", "story")
    told = [row.split()[1] for row in described.partition("Events:")[2].splitlines()[3:]]
    assert told == ["ImagePullFailed", "Started", "Retrying", "Started", "SourceNotFound"]

    wait = ("wait", "mconv/story", "--timeout=20s")
    conversions.kubectl(*wait, "--for=condition=Succeeded=False")
    conversions.kubectl(*wait, "--for=jsonpath={.status.completionTime}")
    conversions.kubectl(*wait, "--for=jsonpath={.status.phase}=Failed")


def test_waiting_for_the_end_ends_whichever_way_it_goes(conversions, kubelet):
    """kubectl wait for success alone would wait in vain: the end has a field of its own."""
    kept(conversions, "ends")
    command = [
        installed_program("kubectl"),
        "-n",
        conversions.namespace,
        "wait",
        "mconv/ends",
        "--timeout=60s",
    ]
    with subprocess.Popen(
        [*command, "--for=jsonpath={.status.completionTime}"],
        env=environment_of(conversions),
        stdout=subprocess.PIPE,
    ) as waiter:
        pod = kubelet.take()
        kubelet.says(pod, running())
        shows(conversions, "ends", "Running")
        assert waiter.poll() is None
        kubelet.says(pod, ended(11), phase="Failed")
        conversions.finished("ends")
        assert waiter.wait(10) == 0


def test_watching_shows_each_change_once(conversions, kubelet, tmp_path):
    kept(conversions, "watched")
    command = [installed_program("kubectl"), "-n", conversions.namespace, "get", "mconv", "-o", "wide", "-w"]
    seen = tmp_path / "watch.txt"
    with (
        seen.open("wb") as out,
        subprocess.Popen(command, env=environment_of(conversions), stdout=out) as watcher,
    ):
        pod = kubelet.take()
        kubelet.says(pod, running())
        shows(conversions, "watched", "Running")
        kubelet.says(pod, ended(11), phase="Failed")
        conversions.finished("watched")
        time.sleep(1)
        watcher.terminate()
    lines = [line.split("  ") for line in seen.read_text().splitlines()[1:]]
    texts = [" ".join(part for part in line if part) for line in lines]
    assert texts[-1].count("SourceNotFound") >= 1
    assert len([t for t in texts if "Running" in t]) == 1
    assert len([t for t in texts if "Failed" in t and "SourceNotFound" in t]) == 1


def test_explain_has_words_for_every_field(crd):
    """As kubectl prints it, not only as the CRD has it."""
    text = crd.kubectl("explain", "modelconversion", "--recursive").stdout
    schema: dict[str, Any] = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for part in ("spec", "status"):
        for name in schema["properties"][part]["properties"]:
            assert f"{name}\t<" in text
            words = crd.kubectl("explain", f"modelconversion.{part}.{name}").stdout
            assert "<no description>" not in words.partition("FIELDS:")[0], f"{part}.{name}"


def test_progress_is_in_the_status_and_in_the_wide_columns(conversions, kubelet):
    kept(conversions, "moving")
    pod = kubelet.take()
    kubelet.says(pod, ended(), running())
    shows(conversions, "moving", "Running   10 ")
    progress = json.loads(conversions.kubectl("get", "mconv", "moving", "-o", "json"))["status"]["progress"]
    assert (progress["stage"], progress["percent"], progress["pod"]) == (
        "Convert",
        10,
        pod["metadata"]["name"],
    )
