"""The bill of materials of a built image, against what other programs read from its files."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from rich.console import Console

from devcluster.cache import cache_dir
from devcluster.images.build import ensure_onnx_image
from devcluster.images.buildah import Buildah
from devcluster.images.packages import debian_packages, python_packages, system
from devcluster.images.sbom import bill
from support.cluster.e2e_cluster import Cluster

Versions = set[tuple[str, str]]


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


def test_the_bill_of_an_image_names_what_uv_and_dpkg_find_in_it(cluster: Cluster) -> None:
    cluster.real_node()  # images are built here for no other
    image, buildah = ensure_onnx_image(Console(stderr=True)), Buildah()
    with buildah.container(image.reference) as (_, root):
        python, debian = python_packages(root), debian_packages(root)
        text = bill(image.reference, buildah.digest(image.reference), system(root), python, debian)
        told: dict[str, Versions] = defaultdict(set)
        for component in json.loads(text)["components"]:
            name, version = component["name"], component["version"]
            for place in component.get("evidence", {}).get("occurrences", [{"location": "dpkg"}]):
                told[place["location"]].add((canonicalize_name(name), version))
        debians = {(canonicalize_name(name), version) for name, version in listed_by_dpkg(root)}
        assert told.pop("dpkg") == debians | unpacked(root)
        engine, converter = (
            f"/opt/{place}/lib/python3.13/site-packages" for place in ("engines/onnx", "venv")
        )
        assert {engine, converter, "/opt/app"} <= told.keys()
        for place, versions in told.items():
            assert versions == listed_by_uv(root / place.lstrip("/")), place
