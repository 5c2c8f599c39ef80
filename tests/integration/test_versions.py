"""Two versions of the resource at a real API server: read and refused alike, and how one follows another."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.control_plane.control_plane import ControlPlane
from support.cluster.conversions import manifest, until

pytestmark = pytest.mark.cluster

CRD = "modelconversions.edgeml.dev"
OLD, NEW = "v1alpha1", "v1beta1"
SPEC = {
    "source": {"uri": "s3://models/gesture.h5"},
    "output": {"uri": "s3://models/out/"},
    "methods": ["DynamicRange"],
}


@pytest.fixture
def namespace(crd: ControlPlane) -> Iterator[str]:
    name = f"versions-{secrets.token_hex(3)}"
    crd.create_namespace(name)
    yield name
    crd.kubectl("delete", "namespace", name, "--wait=false")


def write(cluster: ControlPlane, namespace: str, name: str, version: str, **changes: Any) -> str:
    body = manifest(name, namespace, SPEC | changes) | {"apiVersion": f"edgeml.dev/{version}"}
    return cluster.kubectl("apply", "-f", "-", input=json.dumps(body), check=False).stderr


def read(cluster: ControlPlane, namespace: str, name: str, version: str) -> dict[str, Any]:
    kind = f"modelconversions.{version}.edgeml.dev/{name}"
    found: dict[str, Any] = json.loads(cluster.kubectl("-n", namespace, "get", kind, "-o", "json").stdout)
    return found


def store_in(cluster: ControlPlane, version: str) -> None:
    """Have the API server store new and changed objects in ``version``."""
    names = [OLD, NEW]
    patch = [
        {"op": "replace", "path": f"/spec/versions/{place}/storage", "value": name == version}
        for place, name in enumerate(names)
    ]
    cluster.kubectl("patch", "crd", CRD, "--type", "json", "-p", json.dumps(patch))


def stored_versions(cluster: ControlPlane) -> list[str]:
    text = cluster.kubectl("get", "crd", CRD, "-o", "jsonpath={.status.storedVersions}").stdout
    found: list[str] = json.loads(text)
    return found


@pytest.mark.parametrize(("written", "other"), [(OLD, NEW), (NEW, OLD)])
def test_what_is_written_in_one_is_read_in_the_other(
    crd: ControlPlane, namespace: str, written: str, other: str
) -> None:
    assert write(crd, namespace, "tested", written) == ""
    one, two = (read(crd, namespace, "tested", version) for version in (written, other))
    assert (one["apiVersion"], two["apiVersion"]) == (f"edgeml.dev/{written}", f"edgeml.dev/{other}")
    assert one["spec"] == two["spec"]
    assert one["metadata"]["uid"] == two["metadata"]["uid"]


@pytest.mark.parametrize("version", [OLD, NEW])
def test_the_same_is_refused(crd: ControlPlane, namespace: str, version: str) -> None:
    said = write(crd, namespace, "bad", version, methods=["FullInteger"])
    assert "FullInteger and Int16Activations need calibration data" in said


def test_kubectl_shows_the_newer_one(crd: ControlPlane, namespace: str) -> None:
    assert write(crd, namespace, "tested", OLD) == ""
    found = json.loads(crd.kubectl("-n", namespace, "get", "mconv", "tested", "-o", "json").stdout)
    assert found["apiVersion"] == f"edgeml.dev/{NEW}"


def test_stored_resources_are_taken_over_as_the_documents_say(crd: ControlPlane, namespace: str) -> None:
    """And back again, for the other tests."""
    assert stored_versions(crd) == [OLD]
    for version in (OLD, NEW):
        assert write(crd, namespace, f"of-{version}", version) == ""
    found = {version: read(crd, namespace, f"of-{version}", OLD) for version in (OLD, NEW)}
    before = {version: resource["metadata"]["uid"] for version, resource in found.items()}
    for there in (NEW, OLD):
        gone = OLD if there == NEW else NEW
        store_in(crd, there)
        until(lambda: set(stored_versions(crd)) == {OLD, NEW}, "both versions are stored", 30)
        # Of this namespace alone: those of other tests are on their way out.
        everything = crd.kubectl("-n", namespace, "get", "mconv", "-o", "json").stdout
        crd.kubectl("replace", "-f", "-", input=everything)
        patch = json.dumps({"status": {"storedVersions": [there]}})
        crd.kubectl("patch", "crd", CRD, "--subresource", "status", "--type", "merge", "-p", patch)
        # The API server lets a version go only where nothing can be stored in it any more.
        place = [OLD, NEW].index(gone)
        remove = json.dumps([{"op": "remove", "path": f"/spec/versions/{place}"}])
        crd.kubectl("patch", "crd", CRD, "--type", "json", "--dry-run=server", "-p", remove)
        for version, uid in before.items():
            for shown in (OLD, NEW):
                assert read(crd, namespace, f"of-{version}", shown)["metadata"]["uid"] == uid
    assert stored_versions(crd) == [OLD]


def test_a_version_that_is_still_stored_cannot_go(crd: ControlPlane) -> None:
    """Which is why this release stores what the one before it knows."""
    patch = [
        {"op": "remove", "path": "/spec/versions/0"},
        {"op": "replace", "path": "/spec/versions/0/storage", "value": True},
    ]
    words = ("patch", "crd", CRD, "--type", "json", "--dry-run=server", "-p", json.dumps(patch))
    assert "storedVersions" in crd.kubectl(*words, check=False).stderr
