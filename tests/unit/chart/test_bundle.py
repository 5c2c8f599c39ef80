"""The bundle for the Operator Lifecycle Manager, and what Artifact Hub shows, against their published rules.

https://olm.operatorframework.io/docs/tasks/creating-operator-bundle/ has those of bundles.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
import yaml
from rich.console import Console

from devcluster.cache import REPOSITORY
from devcluster.release.artifact_hub import changes, shown
from devcluster.release.bundle import bundle
from devcluster.tools.helm import ensure_helm
from support.chart.charts import CHART, render

pytestmark = pytest.mark.slow

Json = dict[str, Any]

SUPPORTED = {"ClusterRole", "ConfigMap", "CustomResourceDefinition", "Service"}
"""Of what OLM takes beside a ClusterServiceVersion, what is used here."""


@pytest.fixture(scope="module")
def files() -> dict[str, Json]:
    made = bundle(ensure_helm(Console(stderr=True)), CHART)
    return {name: yaml.safe_load(text) for name, text in made.items()}


@pytest.fixture(scope="module")
def version(files: dict[str, Json]) -> Json:
    (found,) = (f for f in files.values() if f.get("kind") == "ClusterServiceVersion")
    return found


def test_the_annotations_say_where_everything_is(files: dict[str, Json]) -> None:
    told = files["metadata/annotations.yaml"]["annotations"]
    assert told == {
        "operators.operatorframework.io.bundle.mediatype.v1": "registry+v1",
        "operators.operatorframework.io.bundle.manifests.v1": "manifests/",
        "operators.operatorframework.io.bundle.metadata.v1": "metadata/",
        "operators.operatorframework.io.bundle.package.v1": "model-conversion-operator",
        "operators.operatorframework.io.bundle.channels.v1": "alpha",
        "operators.operatorframework.io.bundle.channel.default.v1": "alpha",
    }


def test_every_manifest_is_one_that_olm_takes(files: dict[str, Json]) -> None:
    manifests = [f for name, f in files.items() if name.startswith("manifests/")]
    kinds = [each["kind"] for each in manifests]
    assert kinds.count("ClusterServiceVersion") == 1
    assert set(kinds) == SUPPORTED | {"ClusterServiceVersion"}
    for each in manifests:
        assert "namespace" not in each["metadata"], "OLM chooses it"
        assert "chosen-by-olm" not in json.dumps(each)
        assert "helm" not in json.dumps(each["metadata"]).lower()


def test_what_the_version_owns_is_in_the_bundle(files: dict[str, Json], version: Json) -> None:
    owned = version["spec"]["customresourcedefinitions"]["owned"]
    crds = {f["metadata"]["name"]: f for f in files.values() if f.get("kind") == "CustomResourceDefinition"}
    ours = [yaml.safe_load(path.read_text()) for path in (CHART / "files/crds").glob("*.yaml")]
    assert crds == {
        crd["metadata"]["name"]: crd | {"metadata": crds[crd["metadata"]["name"]]["metadata"]} for crd in ours
    }
    served = {(n, each["name"]) for n, crd in crds.items() for each in crd["spec"]["versions"]}
    assert {(each["name"], each["version"]) for each in owned} == served
    for each in owned:
        assert each["kind"] == crds[each["name"]]["spec"]["names"]["kind"]
        assert each["displayName"]
        assert each["description"]
    (example,) = json.loads(version["metadata"]["annotations"]["alm-examples"])
    assert (example["kind"], example["apiVersion"]) in {
        (o["kind"], f"edgeml.dev/{o['version']}") for o in owned
    }


def test_the_version_says_what_is_wanted_of_it(version: Json) -> None:
    spec, number = version["spec"], yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert version["metadata"]["name"] == f"model-conversion-operator.v{number}"
    assert spec["version"] == number
    assert re.fullmatch(r"\d+\.\d+\.\d+", spec["minKubeVersion"])
    assert {mode["type"]: mode["supported"] for mode in spec["installModes"]} == {
        "OwnNamespace": False,
        "SingleNamespace": False,
        "MultiNamespace": False,
        "AllNamespaces": True,
    }
    (icon,) = spec["icon"]
    assert icon["mediatype"] == "image/svg+xml"
    assert base64.b64decode(icon["base64data"]) == (REPOSITORY / "docs/images/icon.svg").read_bytes()
    assert version["metadata"]["annotations"]["capabilities"] in (
        *("Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot"),
    )
    for name in ("displayName", "description", "keywords", "maintainers", "provider", "links", "maturity"):
        assert spec[name], name


def test_olm_installs_what_the_chart_does(version: Json) -> None:
    strategy = version["spec"]["install"]
    assert strategy["strategy"] == "deployment"
    rendered = render(release="model-conversion-operator")
    (deployment,) = strategy["spec"]["deployments"]
    expected = rendered.one("Deployment")["spec"]
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    (lease,) = (v for v in variables if v["name"] == "MODELCONVERSION_LEASE_NAMESPACE")
    assert lease == {
        "name": "MODELCONVERSION_LEASE_NAMESPACE",
        "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }
    lease.pop("valueFrom")
    lease["value"] = "conversion-system"
    assert deployment["spec"] == expected
    lease.pop("value")
    lease["valueFrom"] = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    (cluster,), (own,) = strategy["spec"]["clusterPermissions"], strategy["spec"]["permissions"]
    account = expected["template"]["spec"]["serviceAccountName"]
    assert cluster["serviceAccountName"] == own["serviceAccountName"] == account
    assert cluster["rules"] == rendered.one("ClusterRole", "model-conversion-operator")["rules"]
    assert own["rules"] == rendered.one("Role")["rules"]
    related = {each["name"]: each["image"] for each in version["spec"]["relatedImages"]}
    assert related["operator"] == version["metadata"]["annotations"]["containerImage"]
    assert related.keys() == {"operator", "converter"}


CHANGELOG = """\
# Changelog

## [Unreleased]

### Added

- Something new. It has details.

## [1.1.0] - 2026-02-01

### Added

- **One** thing, i.e. [a link](docs/x.md) over
  two lines. And more of it.
- Other: `code.with.dots`

### Security

- A hole in version 1.0.0 is closed.

## [1.0.0] - 2026-01-01

### Fixed

- Old.
"""


def test_changes_are_those_of_the_version() -> None:
    assert list(changes(CHANGELOG, "1.1.0")) == [
        {"kind": "added", "description": "One thing, i.e. a link over two lines"},
        {"kind": "added", "description": "Other: `code.with.dots`"},
        {"kind": "security", "description": "A hole in version 1.0.0 is closed"},
    ]
    assert list(changes(CHANGELOG, "1.0.0")) == [{"kind": "fixed", "description": "Old"}]
    assert [c["description"] for c in changes(CHANGELOG, "1.2.0")] == ["Something new"]


def test_artifact_hub_gets_what_it_reads() -> None:
    told = shown("1.1.0", CHANGELOG, {"converter": "r/c@sha256:a"}, "https://example.com/p")
    assert {name.removeprefix("artifacthub.io/") for name in told} == {
        *("changes", "containsSecurityUpdates", "crdsExamples", "images", "license", "links")
    }
    assert all(isinstance(text, str) for text in told.values())
    assert told["artifacthub.io/license"] == "Apache-2.0"
    assert told["artifacthub.io/containsSecurityUpdates"] == "true"
    assert yaml.safe_load(told["artifacthub.io/images"]) == [{"name": "converter", "image": "r/c@sha256:a"}]
    for link in yaml.safe_load(told["artifacthub.io/links"]):
        path = link["url"].removeprefix("https://example.com/p/blob/main/")
        assert (REPOSITORY / path).is_file(), path
    kinds = {c["kind"] for c in changes((REPOSITORY / "CHANGELOG.md").read_text(), "0.0.0")}
    assert kinds <= {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert "added" in kinds
