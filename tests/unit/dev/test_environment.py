"""What a container of the process node sees: variables and paths."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from devcluster.errors import ContainerConfigError
from devcluster.process_node.environment import (
    PathMap,
    container_environment,
    expand,
    parse_quantity,
    pod_request,
)
from devcluster.process_node.scheduling import is_for_scheduler, misfit, unschedulable

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"a/b": "label"}},
    "spec": {"containers": []},
}
OBJECTS = {
    ("secrets", "s3"): {"kind": "Secret", "data": {"KEY": base64.b64encode(b"swordfish").decode()}},
    ("configmaps", "settings"): {"kind": "ConfigMap", "data": {"LEVEL": "info"}},
}


def environment(paths: PathMap | None = None, **container: Any) -> dict[str, str]:
    return container_environment(
        {"name": "c", **container}, POD, lambda kind, name: OBJECTS.get((kind, name)), paths or PathMap({})
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)", "1"),
        ("x$(A)$(A)y", "x11y"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$$$$", "$$"),
    ],
)
def test_expansion_is_that_of_kubernetes(text: str, expected: str) -> None:
    assert expand(text, {"A": "1"}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/work", "/host/w"),
        ("/work/in/model.h5", "/host/in/model.h5"),
        ("/work/other", "/host/w/other"),
        ("--dir=/work --x=/work/in", "--dir=/host/w --x=/host/in"),
        ('{"dir": "/work"}', '{"dir": "/host/w"}'),
        ("/a:/work:/b", "/a:/host/w:/b"),
        ("/workshop /work-shop /work.d", "/workshop /work-shop /work.d"),
        ("s3://bucket/work/x", "s3://bucket/work/x"),
        ("/mnt/work", "/mnt/work"),
    ],
)
def test_paths_are_mapped_by_whole_components(text: str, expected: str) -> None:
    assert PathMap({"/work/": "/host/w", "/work/in": "/host/in"}).apply(text) == expected


def test_sources_of_the_environment() -> None:
    env = [
        {"name": "PLAIN", "value": "$(LEVEL) in /work"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s3", "key": "KEY"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "no", "key": "KEY", "optional": True}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a/b']"}}},
        {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
    ]
    sources = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "no", "optional": True}}]
    limits = {"limits": {"memory": "1Gi"}}
    assert environment(PathMap({"/work": "/host"}), env=env, envFrom=sources, resources=limits) == {
        "LEVEL": "info",
        "PLAIN": "info in /host",
        "KEY": "swordfish",
        "NAME": "p",
        "LABEL": "label",
        "MIB": "1024",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "no", "key": "K"}}, 'secret "no" not found'),
        ({"configMapKeyRef": {"name": "no", "key": "K"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "s3", "key": "K"}}, "couldn't find key K in Secret ns/s3"),
    ],
)
def test_what_is_missing_is_named_as_the_kubelet_does(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ContainerConfigError) as caught:
        environment(env=[{"name": "X", "valueFrom": source}])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "number"), [("500m", 0.5), ("2Gi", 2**31), ("1e3", 1000), (4, 4), ("3k", 3000)]
)
def test_quantities(text: str | int, number: float) -> None:
    assert parse_quantity(text) == pytest.approx(number)


def test_word_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="much"):
        parse_quantity("much")


def test_scheduling() -> None:
    def asks(cpu: str) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}}

    pod: dict[str, Any] = {
        "metadata": {},
        "spec": {"initContainers": [asks("3")], "containers": [asks("1"), asks("1")]},
        "status": {},
    }
    capacity = {"cpu": "3", "memory": "1Gi", "ephemeral-storage": "1Gi", "pods": "4"}
    assert pod_request(pod, "cpu") == 3
    assert is_for_scheduler(pod)
    assert misfit(pod, {}, capacity, 3) == ""
    assert misfit(pod, {}, capacity, 4).endswith("Too many pods.")
    assert misfit(pod, {}, {**capacity, "cpu": "2"}, 0).endswith("Insufficient cpu.")
    pod["spec"]["nodeSelector"] = {"disk": "ssd"}
    assert misfit(pod, {"disk": "ssd"}, capacity, 0) == ""
    problem = misfit(pod, {}, capacity, 0)
    assert "node affinity/selector" in problem
    pod["status"] = unschedulable(pod, problem)
    assert unschedulable(pod, problem) is None
