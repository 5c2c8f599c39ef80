"""A user's own metric in a real container: one that measures, and one that tells what it could get at.

The image is this tree's converter, which has a Python and NumPy: to the operator it is one like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from devcluster.cache import REPOSITORY
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions, ImageNames, Json

EXAMPLE = REPOSITORY / "examples" / "own-metric.yaml"
PYTHON = "/opt/venv/bin/python"
_LONGEST_WORD = 1000
MEASURES = """
import json, os
import numpy as np
outputs = np.load(os.environ["METRIC_OUTPUTS"])
labels = np.load(os.environ["METRIC_LABELS"])["labels"]
right = (outputs[outputs.files[0]].argmax(axis=1) == labels).mean()
json.dump({"metric": float(right)}, open(os.environ["METRIC_RESULT"], "w"))
"""
TRIES = """
import ctypes, json, os, socket, subprocess, urllib.request
got = []
def attempt(name, what):
    try:
        got.append([name, str(what())[:200]])
    except Exception as error:
        print("kept from", name, repr(error)[:200])
for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, socket.AF_PACKET):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
        attempt(f"socket {family} {kind}", lambda: socket.socket(family, kind))
attempt("pair", socket.socketpair)
attempt("store", lambda: urllib.request.urlopen(STORE, timeout=5).status)
attempt("api", lambda: urllib.request.urlopen("https://kubernetes.default.svc", timeout=5).status)
attempt("metadata", lambda: urllib.request.urlopen("http://169.254.169.254/", timeout=5).status)
attempt("token", lambda: os.listdir("/var/run/secrets/kubernetes.io/serviceaccount"))
attempt("secrets", lambda: os.listdir("/run/secrets")[0])
attempt("sandbox memory", lambda: open("/proc/1/mem", "r+b"))
attempt("sandbox environment", lambda: open("/proc/1/environ", "rb").read())
attempt("trace", lambda: 1 / (ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0))
attempt("namespace", lambda: 1 / (ctypes.CDLL(None).unshare(0x10000000) == 0))
for folder in ("/work", "/metric/results/..", "/metric/data/.."):
    names = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    if names - {"data", "results", "sandbox"}:
        got.append([folder, sorted(names)])
given = "/metric/data/outputs/original.npz"
for path in ("/new", "/metric/data/new", "/metric/sandbox/metric-sandbox", given):
    attempt(f"write {path}", lambda: open(path, "a"))
words = ("AWS", "SECRET", "TOKEN", "CONVERSION", "KUBERNETES", "CANARY", "AZURE", "GOOGLE")
got += [[name, "in the environment"] for name in os.environ if any(word in name.upper() for word in words)]
others = [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]
got += [["processes", others]] if others else []
got += [["root", os.getuid()]] if os.getuid() == 0 else []
print("GOT", json.dumps(got))
json.dump({"metric": len(got)}, open(os.environ["METRIC_RESULT"], "w"))
"""


@pytest.fixture
def image(cluster: Cluster, images: ImageNames, release: Release) -> Iterator[str]:
    """An image that the release allows for metrics."""
    if "@sha256:" not in images.converter:
        pytest.skip("needs a converter image that is named by its digest")
    release.install({"policy": {"allowedMetricImages": [f"{images.converter.partition('@')[0]}@*"]}})
    yield images.converter
    release.install()


def command(program: str) -> list[str]:
    """A command that runs it; no word of one may be longer than a KiB."""
    parts = [program[at : at + _LONGEST_WORD] for at in range(0, len(program), _LONGEST_WORD)]
    return [PYTHON, "-c", "import sys; exec(''.join(sys.argv[1:]))", *parts]


def converted(conversions: Conversions, *metrics: Json, **spec: object) -> tuple[str, Json]:
    uri = f"s3://{conversions.bucket}/datasets"
    validation = {
        "uri": f"{uri}/test_features.npy",
        "labelsUri": f"{uri}/test_labels.npy",
        "metrics": list(metrics),
    }
    name = conversions.apply(EXAMPLE, validation=validation, **spec)
    return name, conversions.ended(name)


def test_a_container_judges_the_outputs_and_gets_nothing_else(
    image: str, conversions: Conversions, release: Release
) -> None:
    tries = TRIES.replace("STORE", repr(conversions.store.endpoint))
    _, status = converted(
        conversions,
        {"name": "right", "image": image, "command": command(MEASURES), "maxDrop": "0.1"},
        {"name": "got", "image": image, "command": command(tries), "max": "0"},
    )
    (pod,) = conversions.pods()
    where = ("-n", conversions.namespace, pod["metadata"]["name"])
    log = conversions.kubectl("logs", *where, "-c", "user-metric-got", check=False).stdout
    assert status["phase"] == "Succeeded", f"{log}\n{conversions.describe(status)}"
    assert log.count("GOT []") == 3, log
    report = json.loads(conversions.read("converted/own-metric/report.json"))
    original = {figure["name"]: figure["value"] for figure in report["evaluation"]["metrics"]}
    assert original == {"right": pytest.approx(report["evaluation"]["originalAccuracy"]), "got": 0}
    for artifact in report["artifacts"]:
        figures = {figure["name"]: figure for figure in artifact["metrics"]}
        assert figures["right"]["value"] == pytest.approx(artifact["accuracy"])
        assert (figures["got"]["value"], figures["got"]["passed"]) == (0, True)


def test_an_image_that_cannot_be_pulled_is_told(image: str, conversions: Conversions) -> None:
    missing = f"{image.partition('@')[0]}@sha256:{'0' * 64}"
    _, status = converted(
        conversions,
        {"name": "away", "image": missing, "command": ["/away"]},
        job={"pendingDeadlineSeconds": 20},
    )
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "ImagePullFailed"), status
    assert "0" * 64 in status["failure"]["message"]


def test_an_image_that_nobody_has_allowed_is_refused(
    images: ImageNames, release: Release, conversions: Conversions
) -> None:
    other = f"registry.invalid/other@sha256:{'0' * 64}"
    _, status = converted(conversions, {"name": "other", "image": other, "command": ["/other"]})
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "PolicyViolation"), status
    assert conversions.pods() == []
