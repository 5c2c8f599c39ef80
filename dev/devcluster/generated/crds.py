"""Write the CustomResourceDefinition from the contract.

``python -m devcluster.generated.crds [--check]``
"""

from __future__ import annotations

import sys

import yaml

from devcluster.control_plane.install import CRDS
from devcluster.programs import generate
from modelconversion_api.base import GROUP, PLURAL
from modelconversion_api.crd import custom_resource_definition

_ROOT = CRDS.parent
_NAME = f"{PLURAL}.{GROUP}.yaml"
FILE = CRDS / _NAME
FILES = (FILE, _ROOT / "helm/model-conversion-operator/files/crds" / _NAME)
"""The second is the chart's own: a chart cannot take files from outside of its folder."""
_HEADER = "# Generated from operator/modelconversion_api by `make generated`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Writes shared parts out in full: anchors are no help to a reader."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def manifest() -> str:
    """Return the CRD as YAML, header included."""
    return _HEADER + yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=110)


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    return generate(
        lambda: dict.fromkeys(FILES, manifest()),
        program="devcluster.generated.crds",
        words="Write the CRD from the contract.",
        source="operator/modelconversion_api",
    )


if __name__ == "__main__":
    sys.exit(main())
