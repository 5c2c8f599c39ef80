"""Write the CustomResourceDefinition from the contract.

``python -m devcluster.generated.crds [--check]``
"""

from __future__ import annotations

import argparse
import sys

import yaml

from devcluster.control_plane.install import CRDS
from devcluster.programs import write_or_check
from modelconversion_api.base import GROUP, PLURAL
from modelconversion_api.crd import custom_resource_definition

_ROOT = CRDS.parent
_NAME = f"{PLURAL}.{GROUP}.yaml"
FILE = CRDS / _NAME
FILES = (FILE, _ROOT / "helm/model-conversion-operator/files/crds" / _NAME)
"""The second is the chart's own: a chart cannot take files from outside of its folder."""
_HEADER = "# Generated from operator/modelconversion_api by `make crds`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Writes shared parts out in full: anchors are no help to a reader."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def manifest() -> str:
    """Return the CRD as YAML, header included."""
    return _HEADER + yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=110)


def main() -> int:
    """Write the file; with ``--check`` only say whether it is up to date."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.generated.crds", description="Write the CRD from the contract."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when it is out of date")
    options = parser.parse_args()
    return write_or_check(
        dict.fromkeys(FILES, manifest()),
        _ROOT,
        check=options.check,
        source="operator/modelconversion_api",
        command="make crds",
    )


if __name__ == "__main__":
    sys.exit(main())
