"""Writes the Grafana dashboards of chart and examples: ``python -m devcluster.dashboards [--check]``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from devcluster.cache import REPOSITORY
from devcluster.dashboards.inference import inference
from devcluster.dashboards.operator import operator_health
from devcluster.dashboards.overview import overview
from devcluster.dashboards.quality import model_quality
from devcluster.programs import generate

FOLDER: Final = REPOSITORY / "helm" / "model-conversion-operator" / "files" / "dashboards"

DASHBOARDS: Final = {
    "overview": overview,
    "model-quality": model_quality,
    "operator-health": operator_health,
}
"""What makes each file of :data:`FOLDER`."""

EXAMPLES: Final = {"inference": (inference, "examples/monitor/dashboard.json")}
"""What makes the dashboards of the examples, and where they lie."""


def document(name: str) -> str:
    """Return the JSON of a dashboard."""
    make = DASHBOARDS[name] if name in DASHBOARDS else EXAMPLES[name][0]
    return json.dumps(make(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def file(name: str) -> Path:
    """Where a dashboard lies."""
    return REPOSITORY / EXAMPLES[name][1] if name in EXAMPLES else FOLDER / f"{name}.json"


def main() -> int:
    """Write the files; with ``--check`` only say whether they are up to date."""
    return generate(
        lambda: {file(name): document(name) for name in (*DASHBOARDS, *EXAMPLES)},
        program="devcluster.dashboards",
        words="Write the Grafana dashboards of the chart and of the examples.",
        source="dev/devcluster/dashboards",
    )
