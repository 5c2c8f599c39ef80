"""Writes the CustomResourceDefinition from the contract: ``python -m devcluster.crds [--check]``."""

from __future__ import annotations

import argparse
import sys

import yaml

from modelconversion_api.base import GROUP, PLURAL
from modelconversion_api.crd import custom_resource_definition

from .install import CRDS

FILE = CRDS / f"{PLURAL}.{GROUP}.yaml"
_HEADER = "# Generated from operator/modelconversion_api by `make crds`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """Writes shared parts out in full: anchors are no help to a reader."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def manifest() -> str:
    """The CRD as YAML, header included."""
    return _HEADER + yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=110)


def main() -> int:
    """Write the file; with ``--check`` only say whether it is up to date."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.crds", description="Write crds/ from the contract."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when crds/ is out of date")
    options = parser.parse_args()
    wanted, name = manifest(), FILE.relative_to(CRDS.parent)
    if FILE.exists() and FILE.read_text() == wanted:
        print(f"{name} is up to date")
        return 0
    if options.check:
        print(
            f"error: {name} is out of date with operator/modelconversion_api: run `make crds`",
            file=sys.stderr,
        )
        return 1
    CRDS.mkdir(exist_ok=True)
    FILE.write_text(wanted)
    print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
