"""A bill of materials of an image: CycloneDX 1.6 as JSON (https://cyclonedx.org/docs/1.6/json)."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.component_evidence import ComponentEvidence, Occurrence
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from devcluster.images.packages import DebianPackage, PythonPackage, System

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/")
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_INDENT: Final = 2


def bill(
    reference: str,
    digest: str,
    system: System,
    python: Sequence[PythonPackage],
    debian: Sequence[DebianPackage],
) -> str:
    """Return the document, alike for the same image: its serial number is made of the image's digest.

    A distribution that lies in several places of the image, such as numpy in the converter's environment and
    in an engine's, is one component with an occurrence for each place.

    Args:
        reference: The image's name and tag.
        digest: Digest of the image's manifest or configuration, ``sha256:...``.
        system: The distribution, for the packages' URLs.
        python: Python distributions.
        debian: Debian packages.

    """
    name, _, tag = reference.rpartition(":")
    image = Component(type=ComponentType.CONTAINER, name=name, version=tag, bom_ref=f"{reference}@{digest}")
    bom = Bom(
        # As the image's own files have it: the time of writing would make each document another.
        metadata=BomMetaData(component=image, timestamp=_EPOCH),
        serial_number=uuid.uuid5(_NAMESPACE, f"{reference}@{digest}"),
    )
    components = [*_python_components(python), *(_debian_component(p, system) for p in debian)]
    bom.components.update(components)
    bom.register_dependency(image, components)
    return JsonV1Dot6(bom).output_as_string(indent=_INDENT) + "\n"


def _python_components(packages: Sequence[PythonPackage]) -> list[Component]:
    places: dict[PackageURL, list[PythonPackage]] = defaultdict(list)
    for package in packages:
        places[PackageURL("pypi", None, package.name, package.version)].append(package)
    return [
        Component(
            name=found[0].name,
            version=found[0].version,
            purl=url,
            bom_ref=url.to_string(),
            licenses=_licenses(next((p.license for p in found if p.license), "")),
            # With a reference of its own each keeps its place in the document.
            evidence=ComponentEvidence(
                occurrences=[Occurrence(location=p.place, bom_ref=f"{url}#{p.place}") for p in found]
            ),
        )
        for url, found in places.items()
    ]


def _licenses(text: str) -> list[License]:
    if not text:
        return []
    return [LicenseFactory().make_from_string(text, license_acknowledgement=LicenseAcknowledgement.DECLARED)]


def _debian_component(package: DebianPackage, system: System) -> Component:
    qualifiers = {"arch": package.architecture, "distro": f"{system.id}-{system.version}".rstrip("-")}
    url = PackageURL("deb", system.id, package.name, package.version, qualifiers)
    return Component(name=package.name, version=package.version, purl=url, bom_ref=url.to_string())
