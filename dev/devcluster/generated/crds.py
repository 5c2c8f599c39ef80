"""Write the CustomResourceDefinitions from the contract.

``python -m devcluster.generated.crds [--check]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from devcluster.control_plane.install import CRDS
from devcluster.programs import generate
from modelconversion_api.base import GROUP, PLURAL
from modelconversion_api.crd import custom_resource_definitions

_ROOT = CRDS.parent
FOLDERS = (CRDS, _ROOT / "helm/model-conversion-operator/files/crds")
"""The second is the chart's own: a chart cannot take files from outside of its folder."""
FILE = CRDS / f"{PLURAL}.{GROUP}.yaml"
"""The first and main one."""
_HEADER = "# Generated from operator/modelconversion_api by `make generated`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Writes shared parts out in full: anchors are no help to a reader."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def manifest(definition: dict[str, Any]) -> str:
    """Return a CRD as YAML, header included."""
    return _HEADER + yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=110)


def files() -> dict[Path, str]:
    """Return each file with its content."""
    return {
        folder / f"{definition['metadata']['name']}.yaml": manifest(definition)
        for definition in custom_resource_definitions()
        for folder in FOLDERS
    }


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    return generate(
        files,
        program="devcluster.generated.crds",
        words="Write the CRDs from the contract.",
        source="operator/modelconversion_api",
    )


if __name__ == "__main__":
    sys.exit(main())
