"""What ``run`` asks for, and where files go."""

from __future__ import annotations

import re
from typing import Any

import pytest

from modelconversion_api.methods import Method, Target
from modelconversion_api.spec import NAME_MAX_LENGTH, ModelConversionSpec, ProfileKind
from modelconversion_client.plugin.asking import Wish, new_name, spec_of
from modelconversion_client.plugin.exits import StoreError, UsageProblem
from modelconversion_client.plugin.store import local_name, place_of, upload_key

OUT = "s3://models/converted/x/"
MODEL = "s3://models/uploads/0/a.h5"


@pytest.mark.parametrize(
    ("wish", "uris", "more"),
    [
        (Wish(methods=(Method.FLOAT16,)), {}, {"methods": ["Float16"]}),
        (Wish(target=Target.GPU), {}, {"target": "GPU"}),
        (
            Wish(profile="p", profile_kind=ProfileKind.CLUSTER, endpoint="http://s3:9000", secret="keys"),
            {"data": "s3://models/d.npy", "labels": "s3://models/l.npy"},
            {
                "profileRef": {"kind": "ClusterConversionProfile", "name": "p"},
                "storage": {"endpoint": "http://s3:9000", "secretRef": {"name": "keys"}},
                "calibration": {"uri": "s3://models/d.npy", "labelsUri": "s3://models/l.npy"},
            },
        ),
        (
            Wish(target=Target.MOBILE),
            {"validation": "s3://models/v.npy", "validation_labels": "s3://models/w.npy"},
            {
                "target": "Mobile",
                "validation": {"uri": "s3://models/v.npy", "labelsUri": "s3://models/w.npy"},
            },
        ),
    ],
)
def test_specs_have_what_was_asked_for_and_nothing_else(
    wish: Wish, uris: dict[str, str], more: dict[str, Any]
) -> None:
    spec = spec_of(wish, uris | {"model": MODEL}, "0" * 64, OUT)
    assert spec == {"source": {"uri": MODEL, "sha256": "0" * 64}, "output": {"uri": OUT}} | more
    ModelConversionSpec.model_validate(spec)


@pytest.mark.parametrize(
    ("wish", "uris", "words"),
    [
        (Wish(), {}, "none of them"),
        (Wish(profile="p", target=Target.GPU), {}, "--profile and --target"),
        (Wish(methods=(Method.INT4,), target=Target.GPU), {}, "--method and --target"),
        (Wish(target=Target.GPU), {"labels": "s3://models/l.npy"}, "--labels without --data"),
        (Wish(target=Target.GPU), {"validation_labels": "s3://models/l.npy"}, "without --validation"),
        (Wish(target=Target.GPU), {"data": "ftp://models/l.npy"}, "spec.calibration.uri: .*must be"),
        (Wish(target=Target.GPU), {"model": "https://host/a.h5"}, "spec.source.uri: .*sha256="),
        (
            Wish(target=Target.GPU),
            {"model": "oci://r.example/a:v1"},
            "spec.source.uri: .*oras resolve or crane",
        ),
        (
            Wish(target=Target.GPU),
            {"data": f"oci://r.example/a@sha256:{'0' * 64}"},
            "calibration.uri: .*must be",
        ),
    ],
)
def test_what_does_not_go_together(wish: Wish, uris: dict[str, str], words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        spec_of(wish, {"model": MODEL} | uris, None, OUT)


@pytest.mark.parametrize(
    ("model", "stem"),
    [
        ("a/Gesture_v2.h5", "gesture-v2"),
        ("s3://models/a/", "a"),
        ("https://host/m.onnx#sha256=" + "0" * 64, "m"),
        ("oci://r.example:5000/acme/Person@sha256:" + "0" * 64, "person"),
        ("___.h5", "model"),
        ("é.tflite", "model"),
        ("x" * 200, "x" * 45),
    ],
)
def test_names_are_names_of_kubernetes(model: str, stem: str) -> None:
    name = new_name(model)
    assert re.fullmatch(rf"{stem}-[0-9a-f]{{6}}", name)
    assert len(name) <= NAME_MAX_LENGTH
    assert new_name(model) != name


def test_places() -> None:
    assert place_of("s3://bucket/a/b") == ("bucket", "a/b")
    assert place_of("s3://bucket") == ("bucket", "")
    assert upload_key("", "d", "m.h5") == "uploads/d/m.h5"
    assert upload_key("team/a/", "d", "m.h5") == "team/a/uploads/d/m.h5"
    for text in ("bucket/a", "s3://", "s3:///a", "gs://bucket/a"):
        with pytest.raises(UsageProblem, match="not of the form"):
            place_of(text)


@pytest.mark.parametrize("key", ["", "a/", "a/..", "..", ".", "a/b\x1b[2J", "a/b\n", "a\\..\\b"])
def test_an_artifacts_name_cannot_lead_out_of_the_folder(key: str) -> None:
    with pytest.raises(StoreError, match="no name that a file can have"):
        local_name(f"s3://bucket/{key}")
