"""The chart as a bundle for the Operator Lifecycle Manager: ``python -m devcluster.release.bundle``.

https://olm.operatorframework.io/docs/tasks/creating-operator-manifests/. All of it comes from the chart as
Helm renders it with its defaults, which are in a released chart the images of the release. OLM itself makes
the service account, and chooses the namespace.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from rich.console import Console

from devcluster.cache import REPOSITORY
from devcluster.errors import ReleaseError
from devcluster.programs import tells_errors
from devcluster.release.artifact_hub import example
from devcluster.release.source import CHART
from devcluster.tools.helm import ensure_helm

Json = dict[str, Any]

NAME: Final = CHART.name
ICON: Final = REPOSITORY / "docs" / "images" / "icon.svg"
CHANNEL: Final = "alpha"
_NAMESPACE: Final = "chosen-by-olm"
_NAMESPACE_VARIABLE: Final = "MODELCONVERSION_LEASE_NAMESPACE"
_OWN: Final = ("Service", "ConfigMap")
"""Kinds that OLM applies as they are, beside the aggregated roles."""


def bundle(helm: Path, chart: Path) -> dict[str, str]:
    """Return the bundle's files: texts by paths below its folder.

    Args:
        helm: The program.
        chart: The chart's folder or package.

    Raises:
        ReleaseError: Helm cannot read the chart.

    """
    about = yaml.safe_load(_helm(helm, "show", "chart", str(chart)))
    rendered = _helm(helm, "template", NAME, str(chart), "--namespace", _NAMESPACE)
    objects = [found for found in yaml.safe_load_all(rendered) if found]
    crds = [found for found in objects if found["kind"] == "CustomResourceDefinition"]
    manifests = {
        f"{NAME}.clusterserviceversion.yaml": _service_version(objects, about, crds),
        **{f"{crd['metadata']['name']}.yaml": crd for crd in crds},
    }
    for found in objects:
        aggregated = found["kind"] == "ClusterRole" and found["metadata"]["name"] != NAME
        if found["kind"] in _OWN or aggregated:
            name = f"{found['metadata']['name']}_{found['kind'].lower()}.yaml"
            manifests[name] = found | {"metadata": _without_namespace(found["metadata"])}
    for each in manifests.values():
        each["metadata"].get("labels", {}).update({"app.kubernetes.io/managed-by": "olm"})
        each["metadata"].get("labels", {}).pop("helm.sh/chart", None)
        each["metadata"].get("annotations", {}).pop("helm.sh/resource-policy", None)
    files = {f"manifests/{name}": _dumped(each) for name, each in manifests.items()}
    return files | {"metadata/annotations.yaml": _dumped({"annotations": _annotations()})}


def _service_version(objects: list[Json], about: Json, crds: list[Json]) -> Json:
    deployment = _one(objects, "Deployment")
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        if variable["name"] == _NAMESPACE_VARIABLE:
            del variable["value"]
            variable["valueFrom"] = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    known = {each["name"]: each for each in yaml.safe_load(about["annotations"]["artifacthub.io/crds"])}
    owned = [
        {
            "name": crd["metadata"]["name"],
            "version": version["name"],
            "kind": crd["spec"]["names"]["kind"],
            "displayName": known[crd["metadata"]["name"]]["displayName"],
            "description": version["schema"]["openAPIV3Schema"]["description"],
        }
        for crd in crds
        for version in crd["spec"]["versions"]
    ]
    images = _images(container)
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {
            "name": f"{NAME}.v{about['version']}",
            "annotations": {
                "alm-examples": json.dumps([example()], indent=2),
                "capabilities": about["annotations"]["artifacthub.io/operatorCapabilities"],
                "categories": "AI/Machine Learning",
                "containerImage": container["image"],
                "description": about["description"],
                "repository": about["home"],
                "support": about["maintainers"][0]["name"],
            },
        },
        "spec": {
            "displayName": "Model Conversion Operator",
            "description": f"{about['description']}.\n\nDocumentation: {about['home']}/tree/main/docs",
            "version": about["version"],
            "maturity": "alpha",
            "minKubeVersion": about["kubeVersion"].removeprefix(">=").removesuffix("-0"),
            "keywords": about["keywords"],
            "icon": [
                {"base64data": base64.b64encode(ICON.read_bytes()).decode(), "mediatype": "image/svg+xml"}
            ],
            "links": [{"name": "Source", "url": about["home"]}],
            "provider": {"name": about["maintainers"][0]["name"], "url": about["home"]},
            "maintainers": [
                {name: each[name] for name in ("name", "email") if name in each}
                for each in about["maintainers"]
            ],
            # It watches the cluster, by a ClusterRole; the chart has values for single namespaces.
            "installModes": [
                {"type": kind, "supported": kind == "AllNamespaces"}
                for kind in ("OwnNamespace", "SingleNamespace", "MultiNamespace", "AllNamespaces")
            ],
            "customresourcedefinitions": {"owned": owned},
            "relatedImages": [{"name": name, "image": image} for name, image in images.items()],
            "install": {
                "strategy": "deployment",
                "spec": {
                    "clusterPermissions": [
                        {"serviceAccountName": account, "rules": _one(objects, "ClusterRole", NAME)["rules"]}
                    ],
                    "permissions": [{"serviceAccountName": account, "rules": _one(objects, "Role")["rules"]}],
                    "deployments": [
                        {
                            "name": deployment["metadata"]["name"],
                            "label": deployment["spec"]["selector"]["matchLabels"],
                            "spec": deployment["spec"],
                        }
                    ],
                },
            },
        },
    }


def _images(container: Json) -> dict[str, str]:
    """Return every image that may run, by a name for it."""
    variables = {each["name"]: each.get("value", "") for each in container["env"]}
    images = {"operator": container["image"], "converter": variables["MODELCONVERSION_CONVERTER_IMAGE"]}
    for entry in filter(None, variables["MODELCONVERSION_ENGINES"].split(",")):
        source, _, image = entry.partition("=")
        images[f"converter-{source.lower()}"] = image
    runtime = variables["MODELCONVERSION_RUNTIME_IMAGE"]
    return images | ({"runtime": runtime} if runtime else {})


def _annotations() -> dict[str, str]:
    begin = "operators.operatorframework.io.bundle"
    return {
        f"{begin}.mediatype.v1": "registry+v1",
        f"{begin}.manifests.v1": "manifests/",
        f"{begin}.metadata.v1": "metadata/",
        f"{begin}.package.v1": NAME,
        f"{begin}.channels.v1": CHANNEL,
        f"{begin}.channel.default.v1": CHANNEL,
    }


def _one(objects: list[Json], kind: str, name: str | None = None) -> Json:
    (found,) = (o for o in objects if o["kind"] == kind and name in (None, o["metadata"]["name"]))
    return found


def _without_namespace(metadata: Json) -> Json:
    return {name: value for name, value in metadata.items() if name != "namespace"}


def _dumped(document: Json) -> str:
    return yaml.safe_dump(document, sort_keys=False, width=110)


def _helm(helm: Path, *arguments: str) -> str:
    done = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"helm {arguments[0]} failed: {done.stderr.strip()[-1000:]}")
    return done.stdout


def write(files: Mapping[str, str], into: Path) -> None:
    """Write a bundle below a folder, in which nothing else may be."""
    for name, text in files.items():
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(text)


@tells_errors
def main() -> int:
    """Write the bundle of a chart."""
    parser = argparse.ArgumentParser(prog="python -m devcluster.release.bundle", description=__doc__)
    parser.add_argument("--into", type=Path, default=REPOSITORY / "release-bundle", help="(%(default)s)")
    parser.add_argument("--chart", type=Path, default=CHART, help="folder, or package of a release")
    options = parser.parse_args()
    console = Console(stderr=True)
    write(bundle(ensure_helm(console), options.chart), options.into)
    print(f"wrote the bundle into {options.into}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
