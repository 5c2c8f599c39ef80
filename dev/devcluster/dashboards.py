"""Writes the Grafana dashboards of the Helm chart: ``python -m devcluster.dashboards [--check]``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .cache import REPOSITORY
from .dashboard_operator import operator_health
from .dashboard_overview import overview
from .dashboard_quality import model_quality
from .programs import write_or_check

FOLDER: Final = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "dashboards"

DASHBOARDS: Final = {
    "overview": overview,
    "model-quality": model_quality,
    "operator-health": operator_health,
}
"""What makes each file of :data:`FOLDER`."""


def document(name: str) -> str:
    """The JSON of a dashboard."""
    return json.dumps(DASHBOARDS[name](), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    parser = argparse.ArgumentParser(
        prog="python -m devcluster.dashboards", description="Write the chart's Grafana dashboards."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of date")
    options = parser.parse_args()
    return write_or_check(
        {FOLDER / f"{name}.json": document(name) for name in DASHBOARDS},
        REPOSITORY,
        check=options.check,
        source="dev/devcluster/dashboards.py",
        command="make dashboards",
    )


if __name__ == "__main__":
    sys.exit(main())
