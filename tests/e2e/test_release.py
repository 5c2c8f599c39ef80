"""The release that the other tests here run: what a stranger can know of the images that the node pulled."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name
from rich.console import Console

from devcluster.cache import REPOSITORY, cache_dir, locked
from devcluster.images.base_image import ensure_base_image
from devcluster.images.buildah import Buildah
from devcluster.images.oci_archive import ARCHITECTURES, layers
from support.cluster.chart_release import Release
from support.cluster.e2e_cluster import Cluster, Conversions
from support.cluster.published import ONNX, RUNTIME, Published

Json = dict[str, Any]
Versions = set[tuple[str, str]]

EXAMPLE = REPOSITORY / "examples" / "gesture-classifier.yaml"
PROVENANCE, BILL = "https://slsa.dev/provenance/v1", "https://cyclonedx.org/bom"


def uv() -> Path:
    """The uv of ``make install``."""
    found = shutil.which("uv") or next(iter(sorted(cache_dir().glob("uv-*/bin/uv"))), None)
    if found is None:
        pytest.skip("needs uv, which make install gets")
    return Path(found)


def listed_by_uv(folder: Path) -> Versions:
    command = [uv(), "pip", "list", "--offline", "--format=json", "--target", folder]
    done = subprocess.run(command, check=True, capture_output=True)
    return {(canonicalize_name(each["name"]), each["version"]) for each in json.loads(done.stdout)}


def listed_by_dpkg(root: Path) -> Versions:
    shown = r"${db:Status-Status} ${Package} ${Version}\n"
    command = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", f"--showformat={shown}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    rows = (line.split() for line in done.stdout.splitlines())
    return {(name, version) for status, name, version in rows if status == "installed"}


def unpacked(root: Path) -> Versions:
    """What was unpacked beside dpkg, of which each image keeps the packages' own words."""
    texts = [file.read_text() for file in (root / "var/lib/dpkg/status.d").iterdir()]
    pairs = [
        re.findall(rf"^{field}: (.+)$", "\n".join(texts), re.MULTILINE) for field in ("Package", "Version")
    ]
    assert len(pairs[0]) == len(pairs[1]) > 10
    return {(canonicalize_name(name), version) for name, version in zip(*pairs, strict=True)}


def told(bill: Json) -> dict[str, Versions]:
    """What a bill of materials says, by place; Debian's packages are at ``dpkg``."""
    found: dict[str, Versions] = defaultdict(set)
    for component in bill["components"]:
        name, version = component["name"], component["version"]
        for place in component.get("evidence", {}).get("occurrences", [{"location": "dpkg"}]):
            found[place["location"]].add((canonicalize_name(name), version))
    return found


def images_of(pods: list[Json]) -> set[str]:
    """What the kubelet says that containers run: ``REPOSITORY@sha256:...``."""
    statuses = (pod["status"] for pod in pods)
    return {
        container["imageID"]
        for status in statuses
        for container in (*status.get("initContainerStatuses", ()), *status["containerStatuses"])
    }


def native(published: Published, repository: str, digest: str) -> str:
    """The digest of the image for this machine in an index."""
    wanted = ARCHITECTURES[platform.machine()]
    entries = published.get(repository, "manifests", digest).json()["manifests"]
    (found,) = (entry["digest"] for entry in entries if entry["platform"]["architecture"] == wanted)
    return str(found)


def test_the_released_chart_converts_as_it_comes(
    cluster: Cluster, published: Published, release: Release, conversions: Conversions
) -> None:
    """No value was set, and what runs is what was signed."""
    cluster.real_node()
    assert release.values() == {}
    name = conversions.apply(EXAMPLE, methods=["DynamicRange"])
    status = conversions.ended(name)
    assert status["phase"] == "Succeeded", conversions.describe(status)
    running = images_of(release.operator_pods()) | images_of(conversions.pods())
    assert running == {published.reference("image"), published.reference("converter.image")}
    for reference in running:
        path, _, digest = reference.removeprefix(f"{published.host}/").partition("@")
        assert published.signed_digest(path, digest) == digest
        assert published.statements(path, digest).keys() == {PROVENANCE}
        own = native(published, path, digest)
        assert published.signed_digest(path, own) == own
        said = published.statements(path, own)
        assert said.keys() == {PROVENANCE, BILL}
        materials = {m["name"]: m for m in said[PROVENANCE]["buildDefinition"]["resolvedDependencies"]}
        for lock in ("uv.lock", "dev/build-requirements.txt"):
            content = (REPOSITORY / lock).read_bytes()
            assert materials[lock]["digest"] == {"sha256": hashlib.sha256(content).hexdigest()}
        assert materials["source"]["digest"] == {"gitCommit": published.commit}


def test_the_chart_is_signed_and_bundled_with_its_images(cluster: Cluster, published: Published) -> None:
    cluster.real_node()
    chart = published.summary["chart"]
    path = chart["repository"].removeprefix(f"{published.host}/")
    assert (
        published.get(path, "manifests", chart["version"]).headers["Docker-Content-Digest"] == chart["digest"]
    )
    assert published.signed_digest(path, chart["digest"]) == chart["digest"]
    materials = published.statements(path, chart["digest"])[PROVENANCE]["buildDefinition"]
    named = {m["name"] for m in materials["resolvedDependencies"]}
    assert {published.reference("image"), published.reference(ONNX)} < named
    about = yaml.safe_load(
        published.file("bundle/manifests/model-conversion-operator.clusterserviceversion.yaml")
    )
    images = {each["name"]: each["image"] for each in about["spec"]["relatedImages"]}
    assert images == {
        "operator": published.reference("image"),
        "converter": published.reference("converter.image"),
        "converter-onnx": published.reference(ONNX),
        "runtime": published.reference(RUNTIME),
    }


def test_the_attached_bill_names_what_uv_and_dpkg_find_in_the_pulled_image(
    cluster: Cluster, published: Published, tmp_path: Path
) -> None:
    node, reference = cluster.real_node(), published.reference(ONNX)
    node.pull(reference)
    path, _, digest = reference.removeprefix(f"{published.host}/").partition("@")
    said = told(published.statements(path, native(published, path, digest))[BILL])
    with node.files_of(reference, tmp_path / "root") as root:
        debians = {(canonicalize_name(name), version) for name, version in listed_by_dpkg(root)}
        assert said.pop("dpkg") == debians | unpacked(root)
        engine, converter = (
            f"/opt/{place}/lib/python3.13/site-packages" for place in ("engines/onnx", "venv")
        )
        assert {engine, converter, "/opt/app"} <= said.keys()
        for place, versions in said.items():
            assert versions == listed_by_uv(root / place.lstrip("/")), place


def test_an_image_is_the_same_when_it_is_built_again(cluster: Cluster, tmp_path: Path) -> None:
    """Debian's packages and Python are what every image has; nothing is taken from the build before."""
    cluster.real_node()  # images are built here for no other
    buildah, console, digests = Buildah(), Console(stderr=True), []
    with locked("images", lambda: console.print("Another run is building images: waiting")):
        ensure_base_image(buildah, console)
        try:
            for name in ("once", "again"):
                reference, archive = f"localhost/built-{name}:1", tmp_path / f"{name}.tar"
                buildah.build(
                    REPOSITORY / "Dockerfile",
                    REPOSITORY,
                    reference,
                    tmp_path / f"{name}.log",
                    target="python",
                    architecture=None,
                    arguments={},
                    secrets={},
                    tell=lambda _: None,
                    anew=True,
                )
                buildah.save(reference, archive)
                buildah.run("rmi", reference)
                digests.append([layer.digest for layer in layers(archive)])
        finally:
            buildah.tidy()
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2
