"""One registry for all images, and the Secrets for it."""

from __future__ import annotations

import json

import pytest

from modelconversion_api.spec import ModelConversionSpec
from modelconversion_operator.deciding.defaults import Defaults
from modelconversion_operator.deciding.manifest import Part, job_manifest
from modelconversion_operator.settings import load
from support.chart.charts import Json, Rendered, render
from support.operator.objects import KEY, spec

pytestmark = pytest.mark.slow

DIGEST = "sha256:" + "a" * 64
BOARD = {"name": "pi", "nodeSelector": {"board": "pi"}}


def pods(rendered: Rendered, patch: pytest.MonkeyPatch, **asked: object) -> dict[str, Json]:
    """Every pod that comes of a release: the operator's, the test's, and those of Jobs of three kinds."""
    for name, value in rendered.env.items():
        patch.setenv(name, value)
    rules = load([]).rules(Defaults.model_validate(rendered.defaults))
    onnx = spec(source={"uri": "s3://models/net.onnx"}, benchmark={"boards": [BOARD]}, **asked)
    wanted = ModelConversionSpec.model_validate(onnx)
    found = {"operator": rendered.pod, "test": rendered.one("Pod")["spec"]}
    for part in (Part(), Part(reads_report=True), Part(board="pi")):
        job = job_manifest(KEY, "1", wanted, rules.jobs, part=part)
        found[repr(part)] = job["spec"]["template"]["spec"]
    return found


def images(pod: Json) -> list[str]:
    return [c["image"] for c in (*pod.get("initContainers", ()), *pod["containers"])]


@pytest.mark.parametrize(
    ("reference", "elsewhere"),
    [
        ("tflite", "tflite"),
        ("edge/tflite", "edge/tflite"),
        ("ghcr.io/edge/tflite", "edge/tflite"),
        ("localhost/edge/tflite", "edge/tflite"),
        ("localhost:5000/tflite", "tflite"),
        ("registry:5000/edge/team/tflite", "edge/team/tflite"),
        ("docker.io/library/tflite", "library/tflite"),
        ("10.0.0.1:5000/tflite", "tflite"),
    ],
)
@pytest.mark.parametrize("mirror", ["mirror.example", "mirror.example:5000/of/all"])
@pytest.mark.parametrize(("ending", "parts"), [
    (":1.2", {"tag": "1.2"}),
    (f"@{DIGEST}", {"digest": DIGEST}),
    (f":1.2@{DIGEST}", {"tag": "1.2", "digest": DIGEST}),
])  # fmt: skip
def test_the_registry_takes_the_place_of_every_image_s(
    reference: str, elsewhere: str, mirror: str, ending: str, parts: Json, monkeypatch: pytest.MonkeyPatch
):
    image = {"repository": reference} | parts
    converter = {
        "image": image,
        "engines": {"ONNX": f"{reference}{ending}"},
        "runtimeImage": f"{reference}{ending}",
    }
    values = {"image": image, "converter": converter}
    for registry, wanted in (("", f"{reference}{ending}"), (mirror, f"{mirror}/{elsewhere}{ending}")):
        found = pods(render(values | {"imageRegistry": registry}), monkeypatch)
        assert {image for pod in found.values() for image in images(pod)} == {wanted}


def test_an_image_that_is_not_named_stays_so():
    assert render({"imageRegistry": "mirror.example"}).env["MODELCONVERSION_RUNTIME_IMAGE"] == ""


@pytest.mark.parametrize(
    ("values", "operators", "jobs"),
    [
        ({}, [], []),
        ({"imagePullSecrets": [{"name": "all"}]}, ["all"], ["all"]),
        (
            {
                "imagePullSecrets": [{"name": "all"}],
                "image": {"pullSecrets": [{"name": "one"}, {"name": "all"}]},
            },
            ["all", "one"],
            ["all"],
        ),
        (
            {
                "imagePullSecrets": [{"name": "all"}],
                "converter": {"image": {"pullSecrets": [{"name": "one"}]}},
            },
            ["all"],
            ["all", "one"],
        ),
        ({"converter": {"image": {"pullSecrets": [{"name": "one"}]}}}, [], ["one"]),
    ],
)
def test_secrets_for_pulling_reach_every_pod(
    values: Json, operators: list[str], jobs: list[str], monkeypatch: pytest.MonkeyPatch
):
    for name, pod in pods(render(values), monkeypatch).items():
        wanted = operators if name in ("operator", "test") else jobs
        assert [secret["name"] for secret in pod.get("imagePullSecrets", [])] == wanted, name


def test_a_conversion_s_own_secrets_for_pulling_count(monkeypatch: pytest.MonkeyPatch):
    own = {"imagePullSecrets": [{"name": "own"}]}
    found = pods(render({"imagePullSecrets": [{"name": "all"}]}), monkeypatch, job=own)
    assert [json.dumps(pod["imagePullSecrets"]) for pod in found.values()].count('[{"name": "own"}]') == 3
